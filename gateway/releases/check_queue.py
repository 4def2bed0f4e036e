"""Which build is checked next: a heap of due times that follows the catalogue, so that a look at it is cheap.

Only projects that have changed are gone through, and of these only builds that have changed are put anew.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING, NamedTuple

from gateway.releases.model import Build, BuildState
from gateway.releases.store import BuildKey

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from gateway.releases.check_rules import CheckRecord, Finding, Schedule
    from gateway.releases.snapshot import Catalogue, ProjectSnapshot

# Others get their turn after so many builds, which take about a millisecond.
_BUILDS_AT_A_TIME = 100
# What has never been checked comes before everything that is only looked at again.
_AT_ONCE = 0
_BUSY_MS = 500


class Due(NamedTuple):
    """A build to check; `record` is that of its last check, None when that was of another file or there was none."""

    key: BuildKey
    build: Build
    record: CheckRecord | None


class _Item(NamedTuple):
    due: Due
    place: int


class CheckQueue:
    """The builds of the catalogue in the order of their next checks; `records` are those of earlier checks.

    `outdated` turns true when somebody else has checked a build meanwhile: then read the records again and make a new
    queue. `clock_ms` gives Unix milliseconds and `chance` a random number from 0 to 1.
    """

    def __init__(
        self,
        records: dict[BuildKey, CheckRecord],
        schedule: Schedule,
        clock_ms: Callable[[], int],
        chance: Callable[[], float],
    ) -> None:
        self.outdated = False
        self._records = records
        self._schedule = schedule
        self._clock_ms = clock_ms
        self._chance = chance
        self._seen: Catalogue | None = None
        self._projects: dict[str, tuple[int, set[BuildKey]]] = {}
        self._written: dict[str, int] = {}
        self._items: dict[BuildKey, _Item] = {}
        self._heap: list[tuple[int, int, BuildKey]] = []
        self._places = itertools.count()

    def __len__(self) -> int:
        return len(self._items)

    async def follow(self, catalogue: Catalogue) -> None:
        """Take in what has changed since the last time."""
        if catalogue is self._seen:
            return
        for project_id in self._projects.keys() - catalogue.projects.keys():
            self._forget(self._projects.pop(project_id)[1])
            self._written.pop(project_id, None)
        for project_id, found in catalogue.projects.items():
            known = self._projects.get(project_id)
            if (known is None or known[0] != found.revision) and self._is_news(found):
                await self._take_in(found, known[1] if known is not None else set())
        self._seen = catalogue

    def take(self, busy: Container[BuildKey]) -> Due | None:
        """Return the next build that is due and take it out, unless it is among those that are being checked."""
        now = self._clock_ms()
        while self._heap and self._heap[0][0] <= now:
            _, place, key = heapq.heappop(self._heap)
            item = self._items.get(key)
            if item is None or item.place != place:
                continue
            if key not in busy:
                return item.due
            self._put(item.due, now + _BUSY_MS)
        return None

    def has(self, due: Due) -> bool:
        """Whether the build is still the one that was taken out."""
        item = self._items.get(due.key)
        return item is not None and item.due.build == due.build

    def done(self, due: Due, finding: Finding, revision: int | None) -> None:
        """Put a build that was checked back; `revision` is that of its project if the finding has changed it."""
        if revision is not None:
            self._written[due.key.project_id] = revision
        if self.has(due):
            self._put(Due(due.key, finding.build, finding.record), finding.record.next_at)

    def again(self, key: BuildKey, after_s: float) -> None:
        """Put a build back whose check came to nothing."""
        item = self._items.get(key)
        if item is not None:
            self._put(item.due, self._clock_ms() + round(1000 * after_s))

    def _is_news(self, found: ProjectSnapshot) -> bool:
        """Whether a project was read after what was last written of it here."""
        return found.revision >= self._written.get(found.project.id, 0)

    async def _take_in(self, found: ProjectSnapshot, known: set[BuildKey]) -> None:
        present = set()
        for number, (key, build) in enumerate(builds_of(found), 1):
            present.add(key)
            item = self._items.get(key)
            if item is None or item.due.build != build:
                self._add(key, build, is_new=item is None)
            if number % _BUILDS_AT_A_TIME == 0:
                await asyncio.sleep(0)
                if not self._is_news(found):
                    return
        self._forget(known - present)
        self._projects[found.project.id] = found.revision, present

    def _add(self, key: BuildKey, build: Build, *, is_new: bool) -> None:
        record = self._records.pop(key, None)
        if record is not None and record.fits(build):
            self._put(Due(key, build, record), record.next_at)
        elif build.state is BuildState.PENDING:
            self._put(Due(key, build, None), _AT_ONCE)
        else:
            self.outdated = self.outdated or not is_new
            delay_s = self._schedule.recheck_s * self._chance()
            self._put(Due(key, build, None), self._clock_ms() + round(1000 * delay_s))

    def _put(self, due: Due, at: int) -> None:
        place = next(self._places)
        self._items[due.key] = _Item(due, place)
        heapq.heappush(self._heap, (at, place, due.key))
        if len(self._heap) > 2 * len(self._items) + _BUILDS_AT_A_TIME:
            self._heap = [entry for entry in self._heap if self._is_valid(entry)]
            heapq.heapify(self._heap)

    def _is_valid(self, entry: tuple[int, int, BuildKey]) -> bool:
        item = self._items.get(entry[2])
        return item is not None and item.place == entry[1]

    def _forget(self, keys: set[BuildKey]) -> None:
        for key in keys:
            self._items.pop(key, None)


def builds_of(found: ProjectSnapshot, *, withdrawn: bool = False) -> Iterator[tuple[BuildKey, Build]]:
    """Return the builds of a project that have a file, those of withdrawn versions only if asked."""
    for channel_id, channel in found.channels.items():
        for entry in channel.entries:
            if entry.version.yanked_at is None or withdrawn:
                for build in entry.version.builds:
                    if build.download_url:
                        yield BuildKey(found.project.id, channel_id, entry.version.id, build.id), build
