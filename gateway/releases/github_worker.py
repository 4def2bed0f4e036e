"""The work in the background that follows GitHub's releases, in one of all processes at a time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import StorageUnavailable
from gateway.observability.logs import exception_fields, get_logger
from gateway.releases.github_store import OutOfTurn
from gateway.releases.github_sync import Report

if TYPE_CHECKING:
    from gateway.releases.github_store import GithubStore, LeaseHolder
    from gateway.releases.github_sync import GithubSync

LEASE: Final = "github-sync"
LEASE_S: Final = 300.0
TICK_S: Final = 1.0
_AFTER_TROUBLE_S: Final = 10.0
_PRUNE_EVERY_MS: Final = 3_600_000
_DELIVERIES_KEPT_MS: Final = 7 * 86_400_000


class Watcher(Protocol):
    """What is told of the work, for metrics."""

    def github_looked(self, *, is_good: bool) -> None:
        """Count one look at a project or release."""
        ...

    def github_states(self, counts: dict[str, int]) -> None:
        """Take in how many releases are in which state."""
        ...


class GithubWorker:
    """Looks at what is due. `has_sources` says whether there is a project with a source; without one nothing is done.

    `on_change` is awaited after each change of the catalogue. `clock_ms` gives Unix milliseconds.
    """

    def __init__(
        self,
        store: GithubStore,
        leases: LeaseHolder,
        sync: GithubSync,
        *,
        clock_ms: Callable[[], int],
        on_change: Callable[[], Awaitable[object]],
        watcher: Watcher,
    ) -> None:
        self._store = store
        self._leases = leases
        self._sync = sync
        self._clock_ms = clock_ms
        self._on_change = on_change
        self._watcher = watcher
        self._holder = secrets.token_hex(8)
        self._pruned_at = 0
        self._renewed_at = 0.0

    async def run(self, has_sources: Callable[[], bool]) -> None:
        """Look again and again until cancelled; what goes wrong is logged and tried again later."""
        while True:
            await asyncio.sleep(TICK_S)
            if not has_sources():
                continue
            try:
                await self.round()
            except StorageUnavailable:
                await asyncio.sleep(_AFTER_TROUBLE_S)
            except Exception as exc:  # noqa: BLE001 - releases must go on being followed, whatever one look has met.
                get_logger().error("github_not_followed", **exception_fields(exc))
                await asyncio.sleep(_AFTER_TROUBLE_S)

    async def round(self) -> list[Report]:
        """Look at everything that is due, one after the other; nothing if another process does."""
        due = await self._store.due(self._clock_ms())
        if not (due.projects or due.releases) or not await self._leases.acquire(LEASE, self._holder, LEASE_S):
            return []
        self._renewed_at = asyncio.get_running_loop().time()
        reports: list[Report] = []
        try:
            for project_id, release_id in [*((project_id, None) for project_id in due.projects), *due.releases]:
                report = await self._look(project_id, release_id)
                reports.append(report)
                # GitHub wants to be left alone.
                if report.held_until is not None:
                    break
            self._watcher.github_states(await self._store.count_states())
            await self._prune()
        finally:
            with suppress(StorageUnavailable):
                await self._leases.release(LEASE, self._holder)
        return reports

    async def _look(self, project_id: str, release_id: int | None) -> Report:
        try:
            if release_id is None:
                report = await self._sync.poll(project_id, self._renew)
            else:
                await self._renew(0, 0)
                report = await self._sync.look_at(project_id, release_id)
        except OutOfTurn:
            return Report(project_id, problem="somebody else has looked at it meanwhile")
        self._watcher.github_looked(is_good=not report.problem)
        if report.problem:
            get_logger().warning("github_problem", project=project_id, problem=report.problem)
        if report.has_changed:
            with suppress(StorageUnavailable):
                await self._on_change()
        return report

    async def _renew(self, _done: int, _total: int) -> None:
        """Keep the lease. Raises `OutOfTurn` if another process has it by now."""
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at < LEASE_S / 4:
            return
        self._renewed_at = now
        if not await self._leases.acquire(LEASE, self._holder, LEASE_S):
            raise OutOfTurn

    async def _prune(self) -> None:
        now = self._clock_ms()
        if now - self._pruned_at >= _PRUNE_EVERY_MS:
            self._pruned_at = now
            await self._store.prune_deliveries(now - _DELIVERIES_KEPT_MS)
