"""One check of one build: ask its server, work out what the answer means, and write that down with its audit row."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.audit.entry import AuditEntry, log_head
from gateway.observability.logs import get_logger
from gateway.releases.check_rules import Finding, Schedule
from gateway.releases.model import Build, BuildState

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.audit.chain import Head
    from gateway.releases.check_queue import Due
    from gateway.releases.check_rules import CheckRecord
    from gateway.releases.outcome import Outcome
    from gateway.releases.store import BuildKey
    from gateway.releases.verify import Expectation

_ACTOR = "verification"
_ACTION = "build.state"


class Written(NamedTuple):
    """What a written finding has changed: the revision of the project and the audit log's head, None if nothing."""

    revision: int | None = None
    head: Head | None = None


class CheckStore(Protocol):
    """Where findings are kept. Every method raises `StorageUnavailable` when the store does not answer."""

    async def load(self) -> dict[BuildKey, CheckRecord]:
        """Return what is remembered of every build."""
        ...

    async def write(self, key: BuildKey, seen: Build, finding: Finding, entry: AuditEntry | None) -> Written | None:
        """Write what a check of the build `seen` found out, in one transaction with the audit row.

        None, and nothing written, when the build is gone or not exactly as it was seen any more.
        """
        ...


class BuildVerifier(Protocol):
    """Asks a download's server; see `gateway.releases.verify.Verifier`."""

    def close(self) -> None:
        """Let go of what it owns."""
        ...

    async def verify(self, expected: Expectation, *, on_bytes: Callable[[int], object] | None = None) -> Outcome:
        """Download the file and compare it with what is declared."""
        ...

    async def probe(self, url: str, *, size: int, etag: str | None = None, last_modified: str | None = None) -> Outcome:
        """Ask whether the file seems to be the one that was verified."""
        ...


class Observer(Protocol):
    """Is told what is done; the metrics."""

    def build_checked(self, kind: str, result: str) -> None:
        """Count a check: `verify` or `probe`, and `verified`, `failed`, `unreachable` or `changed`."""
        ...

    def build_downloaded(self, size: int) -> None:
        """Count so many bytes downloaded."""
        ...


class Examiner:
    """Checks builds with `verifier`, and writes to `store`. `clock_ms` gives Unix milliseconds, `chance` 0 to 1."""

    def __init__(
        self,
        verifier: BuildVerifier,
        store: CheckStore,
        *,
        schedule: Schedule,
        clock_ms: Callable[[], int],
        observer: Observer | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._verifier = verifier
        self._store = store
        self._schedule = schedule
        self._clock_ms = clock_ms
        self._observer = observer
        self._chance = chance

    async def examine(
        self, due: Due, *, whole: bool = False, on_bytes: Callable[[int], object] | None = None
    ) -> Outcome:
        """Ask whether a verified build is still as it was; download every other one, and this too if `whole`.

        Where the server sends nothing by which an exchanged file would show, only a download tells.
        """
        from gateway.releases.verify import Expectation

        build, record = due.build, due.record
        has_validators = record is not None and (record.etag or record.last_modified)
        if build.state is BuildState.VERIFIED and record is not None and has_validators and not whole:
            kind = "probe"
            outcome = await self._verifier.probe(
                build.download_url, size=build.file_size, etag=record.etag, last_modified=record.last_modified
            )
        else:
            kind = "verify"
            outcome = await self._verifier.verify(Expectation.of(build), on_bytes=on_bytes or self._downloaded)
        if self._observer is not None:
            result = "changed" if outcome.state is BuildState.PENDING else str(outcome.state)
            self._observer.build_checked(kind, result)
        return outcome

    def conclude(self, due: Due, outcome: Outcome) -> Finding:
        """Return what an outcome means for the build."""
        return self._schedule.conclude(due.build, due.record, outcome, self._clock_ms(), self._chance())

    async def record(self, due: Due, finding: Finding) -> Written | None:
        """Write a finding, and tell of it; None when the build is another by now. Raises `StorageUnavailable`."""
        before, after = due.build, finding.build
        entry = None
        if before.state is not after.state:
            entry = AuditEntry(
                at=finding.record.checked_at,
                actor_id=_ACTOR,
                actor=_ACTOR,
                action=_ACTION,
                target="/".join(due.key),
                before=_shown(before),
                after=_shown(after),
                client_ip="",
                request_id="",
            )
        written = await self._store.write(due.key, before, finding, entry)
        if written is not None and entry is not None and written.head is not None:
            log_head(entry, written.head)
            _log(due.key, before, after)
        return written

    def _downloaded(self, size: int) -> None:
        if self._observer is not None:
            self._observer.build_downloaded(size)


def _shown(build: Build) -> dict[str, object]:
    return {"state": str(build.state), "state_reason": build.state_reason, "sha256": build.sha256}


def _log(key: BuildKey, before: Build, after: Build) -> None:
    bad = after.state in {BuildState.FAILED, BuildState.UNREACHABLE}
    log = get_logger().warning if bad else get_logger().info
    log(
        "build_state",
        project=key.project_id,
        channel=key.channel_id,
        version=key.version_id,
        build=key.build_id,
        before=str(before.state),
        after=str(after.state),
        reason=after.state_reason,
    )
