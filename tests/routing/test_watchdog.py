"""The watchdog: what it cancels, what it raises, and whose cancellation wins."""

# ruff: noqa: PT012 - what stands in a watched block is what the tests are about.
from __future__ import annotations

import asyncio
import math
from contextlib import suppress

import pytest

from routing.watchdog import Watchdog
from tests.routing.virtual_time import in_virtual_time, now


class Late(Exception):
    """The deadline passed."""


class Idle(Exception):
    """Nothing touched it."""


class Gone(Exception):
    """Somebody barked."""


def at(seconds: float) -> Watchdog:
    """Return a watchdog whose deadline is so many seconds ahead."""
    return Watchdog(now() + seconds, Late)


@in_virtual_time
async def test_the_deadline_ends_the_block_with_its_error() -> None:
    """However often it was touched."""
    started = now()
    with pytest.raises(Late), at(5) as dog:
        dog.limit(2, Idle)
        while True:
            await asyncio.sleep(1)
            dog.touch()
    assert now() - started == pytest.approx(5)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


@in_virtual_time
async def test_a_block_that_nobody_touches_ends_with_the_other_error() -> None:
    """Each touch begins the count anew."""
    started = now()
    with pytest.raises(Idle), at(100) as dog:
        dog.limit(2, Idle)
        for pause_s in (1.9, 1.9, 0.5, 1.9, 50):
            await asyncio.sleep(pause_s)
            dog.touch()
    assert now() - started == pytest.approx(1.9 + 1.9 + 0.5 + 1.9 + 2)


@pytest.mark.parametrize(("deadline_s", "limit_s", "error"), [(5, 9, Late), (5, 5, Late), (9, 5, Idle)])
@in_virtual_time
async def test_whichever_is_due_first_names_the_error(deadline_s: float, limit_s: float, error: type) -> None:
    """At the same moment the deadline counts."""
    with pytest.raises(error), at(deadline_s) as dog:
        dog.limit(limit_s, Idle)
        await asyncio.sleep(1_000)


@in_virtual_time
async def test_a_deadline_that_has_passed_ends_the_first_wait() -> None:
    """A retry may begin when the time is over."""
    with pytest.raises(Late), at(-1):
        await asyncio.sleep(1_000)


@in_virtual_time
async def test_a_block_that_ends_in_time_leaves_nothing_behind() -> None:
    """No timer may bark at what the task does next."""
    with at(5) as dog:
        dog.limit(1, Idle)
        await asyncio.sleep(0.5)
    await asyncio.sleep(100)
    with pytest.raises(ValueError, match="own"), at(5):
        raise ValueError("own")


@in_virtual_time
async def test_without_any_limit_it_only_barks() -> None:
    """An infinite deadline needs no timer."""
    with Watchdog(math.inf, Late) as dog:
        await asyncio.sleep(1e6)
    with pytest.raises(Idle), Watchdog(math.inf, Late) as dog:
        dog.limit(3, Idle)
        await asyncio.sleep(1e6)


@in_virtual_time
async def test_a_limit_can_be_lifted_and_set_again() -> None:
    """While a client reads slowly, the provider's silence means nothing."""
    started = now()
    with pytest.raises(Idle), at(1_000) as dog:
        dog.limit(1, Idle)
        dog.limit(None, Idle)
        await asyncio.sleep(500)
        dog.limit(1, Idle)
        await asyncio.sleep(500)
    assert now() - started == pytest.approx(501)


@in_virtual_time
async def test_resting_stops_the_count_until_the_next_touch() -> None:
    """The time between two sends is the upstream's, not the client's."""
    started = now()
    with pytest.raises(Idle), Watchdog(math.inf, Late) as dog:
        dog.limit(2, Idle)
        dog.rest()
        await asyncio.sleep(100.5)
        dog.touch()
        await asyncio.sleep(100)
    assert 102.5 <= now() - started <= 104.5 + 1e-6
    with pytest.raises(Late), at(5) as dog:
        dog.limit(2, Idle)
        dog.rest()
        await asyncio.sleep(100)


@in_virtual_time
async def test_a_limit_given_beforehand_counts_from_the_start_of_the_block() -> None:
    """It may be set up outside."""
    dog = at(100)
    dog.limit(2, Idle)
    with pytest.raises(Idle), dog:
        await asyncio.sleep(50)


@in_virtual_time
async def test_a_bark_ends_the_block_with_its_error_and_the_first_counts() -> None:
    """Whoever notices first that the client is gone."""
    loop = asyncio.get_running_loop()
    with pytest.raises(Gone, match="first"), at(100) as dog:
        loop.call_later(1, dog.bark, Gone("first"))
        loop.call_later(1, dog.bark, Gone("second"))
        await asyncio.sleep(50)


@in_virtual_time
async def test_a_watchdog_off_duty_cancels_nobody() -> None:
    """The task has moved on to something that this watchdog knows nothing of."""
    with at(5) as dog:
        await asyncio.sleep(1)
    dog.bark(Gone())
    dog.limit(1, Idle)
    at(5).bark(Gone())
    await asyncio.sleep(100)


@pytest.mark.parametrize("order", ["dog first", "other first"])
@in_virtual_time
async def test_somebody_else_s_cancellation_at_the_same_moment_wins(order: str) -> None:
    """A task that is to stop must not take its own time limit for an answer and go on."""
    went_on = False

    async def work() -> None:
        nonlocal went_on
        try:
            with at(5):
                await asyncio.sleep(100)
        except Late:
            went_on = True
            await asyncio.sleep(100)

    loop = asyncio.get_running_loop()
    if order == "dog first":
        task = loop.create_task(work())
        await asyncio.sleep(0)
        loop.call_at(now() + 5, task.cancel)
    else:
        handles: list[asyncio.Task[None]] = []

        def cancel() -> None:
            handles[0].cancel()

        loop.call_at(now() + 5, cancel)
        task = loop.create_task(work())
        handles.append(task)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not went_on
    assert now() < 1_010


@in_virtual_time
async def test_a_cancellation_from_before_the_block_is_not_taken_for_its_own() -> None:
    """Clean-up in a task that is being cancelled may have time limits too."""

    async def work() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            with pytest.raises(Late), at(1):
                await asyncio.sleep(100)
            return "cleaned up"
        return "undisturbed"

    task = asyncio.ensure_future(work())
    await asyncio.sleep(1)
    task.cancel()
    assert await task == "cleaned up"
    assert task.cancelling() == 1


@in_virtual_time
async def test_an_error_of_the_block_itself_is_not_replaced() -> None:
    """A clean-up that fails after the bark says more than the bark."""
    with pytest.raises(ValueError, match="own"), at(1):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            raise ValueError("own") from None
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@in_virtual_time
async def test_a_block_that_swallows_the_bark_goes_on_unharmed() -> None:
    """An adapter may do so wrongly; what comes after the block must not be cancelled for it."""
    with at(1), suppress(asyncio.CancelledError):
        await asyncio.sleep(100)
    await asyncio.sleep(1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@in_virtual_time
async def test_blocks_can_be_nested() -> None:
    """The inner one's bark is not the outer one's."""
    with at(10) as outer:
        outer.limit(8, Idle)
        with pytest.raises(Late), at(3):
            await asyncio.sleep(100)
        with pytest.raises(Idle), at(20) as inner:
            inner.limit(2, Idle)
            await asyncio.sleep(100)
    with pytest.raises(Late), at(3), at(10):
        await asyncio.sleep(100)
