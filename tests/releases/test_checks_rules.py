"""What checks mean for the state of a build, when the next one comes, and that looking for it costs next to nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from gateway.releases.check_queue import CheckQueue, Due
from gateway.releases.check_rules import CheckRecord, Finding, Schedule
from gateway.releases.model import Architecture, Build, BuildState, Channel, Platform, Project, Version
from gateway.releases.outcome import Digests, Outcome, Reason
from gateway.releases.snapshot import Catalogue, compiled
from gateway.releases.store import BuildKey

if TYPE_CHECKING:
    from types import FrameType

PENDING, VERIFIED, FAILED, UNREACHABLE = BuildState
BUILD: Final = Build("b", Platform.LINUX, Architecture.X64, "b.bin", 5, "https://a.test/b", "", created_at=1)
KEY: Final = BuildKey("p", "stable", "1.0.0", "b")
GOOD: Final = Outcome(VERIFIED, size=5, digests=Digests("2" * 64, "5" * 128, "1" * 40, "m" * 32), etag='"e"')
SAME: Final = Outcome(VERIFIED, size=5, etag='"e"')
AWAY: Final = Outcome(UNREACHABLE, Reason.STATUS, "The server answered with status 503.")
WRONG: Final = Outcome(FAILED, Reason.SHA256, "Wrong.")
CHANGED: Final = Outcome(PENDING, Reason.CHANGED, "Changed.")
SCHEDULE: Final = Schedule()
HOUR_MS: Final = 3_600_000


def _after(*outcomes: Outcome) -> Finding:
    """Return what is known after these outcomes, one every second; nothing is left to chance."""
    build, record = BUILD, None
    for number, outcome in enumerate(outcomes, 1):
        build, record = SCHEDULE.conclude(build, record, outcome, 1000 * number, 0.5)
    assert record is not None
    return Finding(build, record)


@pytest.mark.parametrize(
    ("outcomes", "state", "delay_s"),
    [
        ([GOOD], VERIFIED, 21_600),
        ([AWAY], PENDING, 30),
        ([AWAY, AWAY], PENDING, 60),
        ([AWAY, AWAY, AWAY], UNREACHABLE, 120),
        ([AWAY, AWAY, GOOD], VERIFIED, 21_600),
        ([AWAY] * 100, UNREACHABLE, 3600),
        ([WRONG], FAILED, 300),
        ([WRONG] * 3, FAILED, 1200),
        ([WRONG] * 5000, FAILED, 21_600),
        ([WRONG] + [AWAY] * 9, FAILED, 21_600),
        ([AWAY] * 3 + [WRONG], FAILED, 2400),
        ([WRONG, GOOD], VERIFIED, 21_600),
        ([GOOD, AWAY], VERIFIED, 30),
        ([GOOD, AWAY, AWAY, SAME, AWAY, AWAY], VERIFIED, 60),
        ([GOOD, AWAY, AWAY, AWAY], UNREACHABLE, 120),
        ([GOOD, CHANGED], PENDING, 0),
        ([GOOD, CHANGED, WRONG], FAILED, 300),
        ([GOOD, AWAY, AWAY, CHANGED, AWAY], PENDING, 30),
    ],
)
def test_the_state_and_the_next_check_follow_from_what_was_found(
    outcomes: list[Outcome], state: BuildState, delay_s: int
) -> None:
    """A wrong file fails at once; only three failures in a row to reach it count; and a failed build stays failed."""
    build, record = _after(*outcomes)
    assert build.state is state
    assert (record.next_at - record.checked_at) / 1000 == delay_s
    assert record.fits(build)


def test_the_reason_is_told_and_kept() -> None:
    """For machines and for people; an outage that changes nothing yet is not shown, so no answer changes."""
    assert _after(AWAY).build.state_reason == "status: The server answered with status 503."
    assert _after(AWAY).build.state_at is None
    assert _after(GOOD, AWAY).build == _after(GOOD).build
    assert _after(WRONG, AWAY).build == _after(WRONG).build
    assert _after(WRONG, GOOD).build.state_reason == ""
    assert _after(GOOD, CHANGED).build.state_at == 2000


def test_checksums_are_those_of_the_whole_file_that_was_found_right() -> None:
    """Who declared none gets them from the first sight; a probe or a wrong file changes none."""
    build = _after(GOOD).build
    assert (build.sha256, build.sha512, build.sha1, build.md5) == ("2" * 64, "5" * 128, "1" * 40, "m" * 32)
    assert _after(GOOD, SAME).build == build
    declared = replace(BUILD, sha256="9" * 64)
    assert SCHEDULE.conclude(declared, None, GOOD, 1, 0.5).build.sha256 == "9" * 64
    assert _after(replace(WRONG, digests=GOOD.digests)).build.sha256 == ""


def test_validators_are_those_of_the_last_good_file() -> None:
    """An error page has validators too, and the next probe must not compare with these."""
    assert _after(GOOD, replace(AWAY, etag='"page"')).record.etag == '"e"'
    assert _after(GOOD, replace(SAME, etag=None)).record.etag is None


def test_no_delay_is_more_than_a_fifth_off() -> None:
    """Builds that were published together are not all looked at together for ever."""
    found = {SCHEDULE.delay_s(VERIFIED, 0, chance / 10) for chance in range(11)}
    assert (round(min(found)), round(max(found)), len(found)) == (17_280, 25_920, 11)


class _Clock:
    """Unix milliseconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


def _catalogue(revision: int, *builds: Build, yanked_at: int | None = None) -> Catalogue:
    versions = tuple(
        Version(f"{number}.0.0", builds=(one,), yanked_at=yanked_at) for number, one in enumerate(builds, 1)
    )
    project = Project("p", channels=(Channel("stable", versions=versions),))
    return Catalogue(revision, {"p": compiled(project, revision)})


def _queue(clock: _Clock, records: dict[BuildKey, CheckRecord] | None = None) -> CheckQueue:
    return CheckQueue(records or {}, SCHEDULE, clock, lambda: 0.5)


async def test_new_builds_come_first_and_each_once() -> None:
    """Before all that is only looked at again, however long that has been due."""
    clock = _Clock()
    old = replace(BUILD, state=VERIFIED, state_at=5)
    queue = _queue(clock, {KEY: CheckRecord(1, 5, 5, 500)})
    await queue.follow(_catalogue(1, old, BUILD))
    found = [queue.take(()), queue.take(()), queue.take(())]
    assert [due and due.build for due in found] == [BUILD, old, None]
    assert found[1] is not None
    assert found[1].record == CheckRecord(1, 5, 5, 500)


async def test_a_build_that_is_to_be_verified_again_is_due_at_once() -> None:
    """Its record is of the state before; and one that somebody else has verified asks for the records anew."""
    clock = _Clock()
    failed = replace(BUILD, state=FAILED, state_at=5)
    queue = _queue(clock, {KEY: CheckRecord(1, 5, 5, clock.now + HOUR_MS, 7)})
    await queue.follow(_catalogue(1, failed))
    assert queue.take(()) is None
    again = replace(failed, state=PENDING, state_at=9)
    await queue.follow(_catalogue(2, again))
    assert queue.take(()) == Due(KEY, again, None)
    assert not queue.outdated
    await queue.follow(_catalogue(3, replace(again, state=VERIFIED, state_at=12)))
    assert queue.outdated


async def test_a_catalogue_that_was_read_before_a_result_was_written_does_not_undo_it() -> None:
    """Otherwise the file would be downloaded a second time, for nothing."""
    clock = _Clock()
    queue = _queue(clock)
    await queue.follow(_catalogue(1, BUILD))
    due = queue.take(())
    assert due is not None
    finding = SCHEDULE.conclude(BUILD, None, GOOD, clock.now, 0.5)
    queue.done(due, finding, 3)
    await queue.follow(_catalogue(2, BUILD))
    assert queue.take(()) is None
    clock.now += 7 * HOUR_MS
    assert queue.take(()) == Due(KEY, finding.build, finding.record)


async def test_withdrawn_and_removed_builds_are_left_alone() -> None:
    """Nobody is offered them; a version that is restored is looked at again."""
    clock = _Clock()
    queue = _queue(clock)
    await queue.follow(_catalogue(1, BUILD, yanked_at=4))
    assert queue.take(()) is None
    await queue.follow(_catalogue(2, BUILD))
    await queue.follow(Catalogue(3, {}))
    assert (queue.take(()), len(queue)) == (None, 0)
    await queue.follow(_catalogue(4, BUILD))
    assert queue.take({KEY}) is None
    clock.now += HOUR_MS
    assert queue.take(()) is not None


async def test_looking_at_ten_thousand_builds_costs_next_to_nothing() -> None:
    """Counted in lines of Python: a look without news runs a handful, and the heap does not grow with what was done."""
    clock = _Clock()
    queue = _queue(clock)
    catalogue = _catalogue(1, *(replace(BUILD, created_at=number) for number in range(10_000)))
    await queue.follow(catalogue)
    while (due := queue.take(())) is not None:
        queue.done(due, SCHEDULE.conclude(due.build, None, GOOD, clock.now, 0.5), None)
    lines = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        await queue.follow(catalogue)
        assert queue.take(()) is None
    finally:
        sys.settrace(before)
    assert lines < 50
    for _ in range(50_000):
        queue.again(KEY, 60.0)
    assert len(queue._heap) < 3 * len(queue)
