"""The work that goes on beside the requests: fresh gauges, news of changed keys, and old usage thrown away."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from gateway.errors import StorageUnavailable
from gateway.observability.logs import exception_fields, get_logger
from gateway.releases.model import BuildState

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.authenticator import KeyAuthenticator
    from gateway.auth.secret import Peppers
    from gateway.observability.metrics import Metrics
    from gateway.releases.snapshot import Catalogue, CatalogueReader, Downloads, ProjectSnapshot
    from gateway.storage.leases import Leases
    from gateway.storage.usage import UsageTable
    from gateway.usage.recorder import UsageRecorder
    from routing.router import ModelRouter

GAUGES_EVERY_S = 0.5
# A revocation has to reach every process within a second.
KEYS_EVERY_S = 0.4
DOWNLOADS_EVERY_S = 1.0
GITHUB_EVERY_S = 1.0
ROUNDS_PER_DOWNLOADS = 30
PRUNE_EVERY_S = 3600.0
_PRUNE_LEASE = "usage-retention"
_DAY_MS = 86_400_000


async def keep_gauges(metrics: Metrics, router: ModelRouter, recorder: UsageRecorder) -> None:
    """Set what is not counted but looked at, so that the gauges of every worker are fresh.

    How much later than planned this task wakes up is how long every other one may have waited.
    """
    loop = asyncio.get_running_loop()
    try:
        while True:
            planned = loop.time() + GAUGES_EVERY_S
            await asyncio.sleep(GAUGES_EVERY_S)
            metrics.loop_lag.observe(max(0.0, loop.time() - planned))
            metrics.show_providers(list(router.providers.values()))
            metrics.usage_pending.set(recorder.pending)
            metrics.settle()
    finally:
        metrics.settle()


async def follow_keys(authenticator: KeyAuthenticator, metrics: Metrics) -> None:
    """Ask the database again and again which keys have changed."""
    while True:
        await asyncio.sleep(KEYS_EVERY_S)
        try:
            await authenticator.refresh()
        except StorageUnavailable:
            # The database has said so in the log; keys that are known go on working meanwhile.
            metrics.database_up.set(0)
        except Exception as exc:  # noqa: BLE001 - revocations must go on coming, whatever one look has met with.
            metrics.database_up.set(0)
            get_logger().error("keys_not_followed", **exception_fields(exc))
        else:
            metrics.database_up.set(1)


async def follow_catalogue(catalogue: CatalogueReader, metrics: Metrics) -> None:
    """Ask the database again and again which projects have changed, and count the builds when some have."""
    counted: dict[str, tuple[int, Counter[str]]] = {}
    shown: Catalogue | None = None
    while True:
        if catalogue.now is not shown:
            shown = catalogue.now
            counted = {name: _counts(found, counted.get(name)) for name, found in shown.projects.items()}
            total = sum((counts for _, counts in counted.values()), Counter())
            metrics.show_builds({str(state): total[state] for state in BuildState})
        await asyncio.sleep(KEYS_EVERY_S)
        try:
            await catalogue.refresh()
        except StorageUnavailable:
            continue
        except Exception as exc:  # noqa: BLE001 - what is served meanwhile is the catalogue as it was.
            get_logger().error("catalogue_not_followed", **exception_fields(exc))


def _counts(found: ProjectSnapshot, known: tuple[int, Counter[str]] | None) -> tuple[int, Counter[str]]:
    """Return a project's revision and its builds by state."""
    if known is not None and known[0] == found.revision:
        return known
    versions = (version for channel in found.project.channels for version in channel.versions)
    return found.revision, Counter(str(build.state) for version in versions for build in version.builds)


async def write_downloads(downloads: Downloads) -> None:
    """Write the download counts again and again, and now and then hear of those of other processes."""
    for round_number in itertools.count(1):
        await asyncio.sleep(DOWNLOADS_EVERY_S)
        try:
            await downloads.flush()
            if round_number % ROUNDS_PER_DOWNLOADS == 0:
                await downloads.load()
        except StorageUnavailable:
            continue
        except Exception as exc:  # noqa: BLE001 - what was not written is kept, and the next round tries again.
            get_logger().error("downloads_not_written", **exception_fields(exc))


async def wait_for_sources(has_sources: Callable[[], bool]) -> None:
    """Return once a project is to be taken over from GitHub."""
    while True:
        if has_sources():
            return
        await asyncio.sleep(GITHUB_EVERY_S)


async def prune_usage(usage: UsageTable, leases: Leases, retention_days: int, clock_ms: Callable[[], int]) -> None:
    """Throw away usage that is older than `retention_days`, in one of all processes, once an hour."""
    holder = secrets.token_hex(8)
    while True:
        try:
            if await leases.acquire(_PRUNE_LEASE, holder, PRUNE_EVERY_S * 1.5):
                removed = await usage.prune(clock_ms() - retention_days * _DAY_MS)
                if removed:
                    get_logger().info("usage_pruned", rows=removed, retention_days=retention_days)
        except StorageUnavailable:
            pass
        except Exception as exc:  # noqa: BLE001 - the next hour tries again.
            get_logger().error("usage_not_pruned", **exception_fields(exc))
        await asyncio.sleep(PRUNE_EVERY_S)


def warn_of_unknown_peppers(peppers: Peppers, used: frozenset[str]) -> None:
    """Say in the log that some keys cannot work, because the pepper that they were made with is not configured."""
    unknown = sorted(used - set(peppers.ids))
    if unknown:
        get_logger().warning(
            "keys_of_unknown_pepper",
            pepper_ids=unknown,
            hint="these keys answer 401; give the pepper that they were made with as KEY_PEPPER_PREVIOUS",
        )
