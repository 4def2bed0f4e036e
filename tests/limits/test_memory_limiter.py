"""Sliding windows in memory against the plainest possible model, under a clock that the tests turn."""

from __future__ import annotations

import asyncio
import os

import pytest

from gateway.limits.memory import MemoryLimiter
from gateway.limits.windows import Decision, Window
from tests.limits.clock import SECOND, TurnedClock
from tests.limits.model import Model, Walk

WALKS = 200 if os.environ.get("LUNARBIT_TEST_FULL") == "1" else 20
STEPS = 500
KEY = Window("key", "a", 3, 900)


@pytest.mark.parametrize("seed", range(WALKS))
async def test_every_answer_is_that_of_the_model(clock: TurnedClock, seed: int) -> None:
    """Nothing over the limit, nothing refused under it, and every number right, whatever the system's clock does."""
    walk, model, limiter = Walk(seed), Model(), MemoryLimiter(clock)
    last: Decision | None = None
    for _ in range(STEPS):
        clock.pass_us(max(0, walk.wait_us(last, model, clock.now_us)))
        if walk.random.random() < 0.05:
            clock.unix_us += walk.random.randint(-7200 * SECOND, 7200 * SECOND)
        windows = walk.windows()
        peek = walk.random.random() < 0.2
        last = await (limiter.peek(windows) if peek else limiter.hit(windows))
        assert last == model.decide(windows, clock.now_us, clock.unix_us, count=not peek)


async def test_the_walks_meet_every_kind_of_answer(clock: TurnedClock) -> None:
    """A comparison that never refuses, or never meets a lowered limit, would show little."""
    walk, model, lowered = Walk(3), Model(), 0
    answers: list[Decision] = []
    for _ in range(STEPS):
        clock.pass_us(max(0, walk.wait_us(answers[-1] if answers else None, model, clock.now_us)))
        windows = walk.windows()
        lowered += any(len(model.counted(window, clock.now_us)) > window.limit for window in windows)
        answers.append(model.decide(windows, clock.now_us, clock.unix_us, count=True))
    refused = [answer for answer in answers if not answer.allowed]
    assert len(answers) - len(refused) > 100
    assert len(refused) > 100
    assert lowered > 5
    assert any(answer.retry_after_s == 1 for answer in refused)
    assert any(answer.retry_after_s > answer.reset_after_s for answer in refused)


async def test_waiting_as_told_is_long_enough_and_a_second_less_is_not(clock: TurnedClock) -> None:
    """Also when the limit was lowered, so that more than one request has to leave."""
    limiter = MemoryLimiter(clock)
    for _ in range(3):
        await limiter.hit([KEY])
        clock.pass_us(100 * SECOND + 1)
    lowered = KEY._replace(limit=2)
    refused = await limiter.hit([lowered])
    assert (refused.allowed, refused.remaining, refused.retry_after_s, refused.reset_after_s) == (False, 0, 700, 600)
    clock.pass_us((refused.retry_after_s - 1) * SECOND)
    assert (await limiter.peek([lowered])).retry_after_s == 1
    clock.pass_us(SECOND)
    assert (await limiter.hit([lowered])).allowed


async def test_a_request_is_seen_until_exactly_one_window_later(clock: TurnedClock) -> None:
    """The window is open at its old end: a microsecond decides."""
    limiter = MemoryLimiter(clock)
    one = KEY._replace(limit=1)
    await limiter.hit([one])
    clock.pass_us(900 * SECOND - 1)
    assert not (await limiter.hit([one])).allowed
    clock.pass_us(1)
    assert (await limiter.hit([one])).allowed


async def test_turning_the_clock_changes_nothing_but_what_the_reset_is_called(clock: TurnedClock) -> None:
    """Windows run on the monotonic clock; an hour forward or back neither admits nor refuses."""
    limiter = MemoryLimiter(clock)
    first = await limiter.hit([KEY])
    for hours in (5, -11):
        clock.unix_us += hours * 3600 * SECOND
        turned = await limiter.peek([KEY])
        assert turned == first._replace(remaining=first.remaining - 1, reset=first.reset + hours * 3600)
        first = turned._replace(remaining=first.remaining)


async def test_a_refused_request_counts_in_no_window(clock: TurnedClock) -> None:
    """Otherwise a client at one limit would eat up the others by asking in vain."""
    limiter = MemoryLimiter(clock)
    full = Window("ai", "a", 1, 3600)
    await limiter.hit([full])
    for _ in range(5):
        assert not (await limiter.hit([KEY, full])).allowed
    assert (await limiter.hit([KEY])).remaining == KEY.limit - 1


async def test_at_most_so_many_subjects_are_kept_and_the_least_recently_used_goes_first(clock: TurnedClock) -> None:
    """The memory of the limiter must not be in the hands of its clients; other scopes keep what they have."""
    limiter = MemoryLimiter(clock, max_subjects=3)
    await limiter.hit([KEY])
    for subject in "abcad":
        await limiter.hit([Window("ip", subject, 10, 60)])
    kept = {subject: (await limiter.peek([Window("ip", subject, 10, 60)])).remaining for subject in "abcd"}
    assert kept == {"a": 7, "b": 9, "c": 8, "d": 8}
    assert (await limiter.peek([KEY])).remaining == 1
    assert [len(table) for table in limiter._tables.values()] == [1, 3]


async def test_empty_windows_are_swept(clock: TurnedClock) -> None:
    """A visitor of last week must not take up memory for ever."""
    limiter = MemoryLimiter(clock)
    for number in range(2500):
        await limiter.hit([Window("ip", str(number), 10, 60)])
    clock.pass_us(60 * SECOND)
    for _ in range(3):
        await limiter.hit([KEY._replace(limit=100)])
        clock.pass_us(SECOND)
    assert {scope: len(table) for (scope, _), table in limiter._tables.items()} == {"ip": 0, "key": 1}


async def test_a_window_that_is_swept_at_the_moment_of_its_use_still_counts(clock: TurnedClock) -> None:
    """Its list is empty and due to go, just as a request is to be written into it."""
    limiter = MemoryLimiter(clock)
    one = KEY._replace(limit=1)
    for _ in range(3):
        assert (await limiter.hit([one])).allowed
        assert not (await limiter.hit([one])).allowed
        clock.pass_us(900 * SECOND)


async def test_requests_at_the_same_time_are_admitted_up_to_the_limit() -> None:
    """With the machine's own clocks."""
    limiter = MemoryLimiter()
    decisions = await asyncio.gather(*(limiter.hit([KEY._replace(limit=40)]) for _ in range(100)))
    await limiter.aclose()
    assert sum(decision.allowed for decision in decisions) == 40
    assert sorted(decision.remaining for decision in decisions if decision.allowed) == list(range(40))
