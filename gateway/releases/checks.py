"""The work in the background that verifies builds, in one of all processes: the one that holds the lease.

What a check has found is written before anything else is checked in its place, however long the database is away. A
process that is stopped forgets what it was about, and whoever comes next begins that check again.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.errors import StorageUnavailable
from gateway.observability.logs import exception_fields, get_logger
from gateway.releases.check_queue import CheckQueue, Due
from gateway.releases.check_rules import Schedule
from gateway.releases.examiner import Examiner

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.releases.check_rules import Finding
    from gateway.releases.examiner import BuildVerifier, CheckStore, Observer, Written
    from gateway.releases.snapshot import CatalogueReader

LEASE = "build-verification"
AT_ONCE = 2
_RELEASE_S = 1.0


class Leases(Protocol):
    """Decides which process works; see `gateway.storage.leases.Leases`."""

    async def acquire(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take or renew a lease; False when somebody else has it. Raises `StorageUnavailable`."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give a lease back. Raises `StorageUnavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How the work is done; times in seconds.

    The lease is held for `lease_s` and renewed three times meanwhile. At most `at_once` builds are checked at a time.
    News of the catalogue are looked for every `look_s`, and what could not be written is tried again after `retry_s`.
    """

    lease_s: float = 60.0
    look_s: float = 0.5
    retry_s: float = 2.0
    at_once: int = AT_ONCE


class BuildChecks:
    """Checks the builds of the catalogue for as long as `run` runs.

    `make_verifier` is called in a thread when there is something to check for the first time, since the system's
    certificates take time and memory.
    """

    def __init__(
        self,
        catalogue: CatalogueReader,
        store: CheckStore,
        leases: Leases,
        make_verifier: Callable[[], BuildVerifier],
        *,
        clock_ms: Callable[[], int],
        schedule: Schedule | None = None,
        pace: Pace | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._leases = leases
        self._make_verifier = make_verifier
        self._clock_ms = clock_ms
        self._schedule = schedule or Schedule()
        self._pace = pace or Pace()
        self._observer = observer
        self._holder = secrets.token_hex(8)
        self._renew_at = self._held_until = 0.0
        self._verifier: BuildVerifier | None = None
        self._queue: CheckQueue | None = None
        self._running: dict[asyncio.Task[None], Due] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Check builds until cancelled; then downloads end at once, and the lease is given back."""
        try:
            while True:
                await self._rest()
                try:
                    await self._look()
                except StorageUnavailable:
                    continue
                except Exception as exc:  # noqa: BLE001 - builds must go on being checked, whatever one look has met with.
                    get_logger().error("builds_not_checked", **exception_fields(exc))
        finally:
            await self._end()

    async def _rest(self) -> None:
        """Wait until it is time to look, or a check is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.look_s):
                await self._news.wait()
        self._news.clear()

    async def _look(self) -> None:
        """Take in what is new, and begin what is due. Raises `StorageUnavailable`."""
        if not self._catalogue.now.projects and not self._running:
            return
        if not await self._holds_lease():
            self._cancel_downloads(list(self._running))
            self._queue = None
            return
        if self._queue is None or self._queue.outdated:
            # A build of which the catalogue does not know the result yet would be checked in vain once more.
            await self._catalogue.refresh()
            self._queue = CheckQueue(await self._store.load(), self._schedule, self._clock_ms, random.random)
        queue = self._queue
        await queue.follow(self._catalogue.now)
        # Nobody asks any more what a check of a build finds out that was replaced or removed meanwhile.
        self._cancel_downloads([task for task, due in self._running.items() if not queue.has(due)])
        if self._verifier is None and len(queue):
            self._verifier = await asyncio.to_thread(self._make_verifier)
        while len(self._running) < self._pace.at_once:
            due = queue.take({busy.key for busy in self._running.values()})
            if due is None or self._verifier is None:
                return
            self._begin(due, self._verifier)

    async def _holds_lease(self) -> bool:
        """Take or renew the lease when it is time to, and say whether this process has it.

        While the database is away, the holder has the lease until the time that it was told last.
        """
        loop = asyncio.get_running_loop()
        if (asked_at := loop.time()) >= self._renew_at:
            self._renew_at = asked_at + self._pace.retry_s
            with suppress(StorageUnavailable):
                held = await self._leases.acquire(LEASE, self._holder, self._pace.lease_s)
                self._held_until = asked_at + self._pace.lease_s if held else 0.0
                self._renew_at = asked_at + self._pace.lease_s / 3
        return loop.time() < self._held_until

    def _begin(self, due: Due, verifier: BuildVerifier) -> None:
        examiner = Examiner(
            verifier, self._store, schedule=self._schedule, clock_ms=self._clock_ms, observer=self._observer
        )
        task = asyncio.create_task(self._check(examiner, due))
        self._running[task] = due
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._writing.discard(task)
        self._news.set()

    async def _check(self, examiner: Examiner, due: Due) -> None:
        """Check one build and write what comes of it."""
        try:
            finding = examiner.conclude(due, await examiner.examine(due))
            written = await self._write(examiner, due, finding)
        except Exception as exc:  # noqa: BLE001 - one build must not keep the others from being checked.
            get_logger().error("build_not_checked", build="/".join(due.key), **exception_fields(exc))
            if self._queue is not None:
                self._queue.again(due.key, self._schedule.longest_retry_s)
            return
        if self._queue is not None:
            if written is None:
                self._queue.outdated = True
            else:
                self._queue.done(due, finding, written.revision)

    async def _write(self, examiner: Examiner, due: Due, finding: Finding) -> Written | None:
        """Write a finding as soon as the database takes it; None when the build is another by now."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this runs in one.
        self._writing.add(task)
        while True:
            try:
                return await examiner.record(due, finding)
            except StorageUnavailable:
                await asyncio.sleep(self._pace.retry_s)

    def _cancel_downloads(self, tasks: list[asyncio.Task[None]]) -> None:
        """End checks; one that knows its result still writes it, which does nothing if the build is another by now."""
        for task in tasks:
            if task not in self._writing:
                task.cancel()

    async def _end(self) -> None:
        """End all checks, and let another process go on."""
        self._queue = None
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        if self._verifier is not None:
            self._verifier.close()
        if self._held_until:
            # A database that is away must not keep the process from stopping; the lease then runs out by itself.
            await asyncio.wait({asyncio.create_task(self._release())}, timeout=_RELEASE_S)

    async def _release(self) -> None:
        with suppress(StorageUnavailable):
            await self._leases.release(LEASE, self._holder)
