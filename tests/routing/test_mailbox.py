"""The queue between the upstream's reader and the client's writer."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.mailbox import MAX_BYTES, MAX_ITEMS, Mailbox
from tests.routing.virtual_time import in_virtual_time


@in_virtual_time
async def test_what_waits_is_taken_together_and_in_order() -> None:
    """Many items cost the taker one wake-up."""
    box: Mailbox[str] = Mailbox(len)
    for item in "abc":
        box.put(item)
    assert await box.take() == ["a", "b", "c"]
    box.close()
    assert await box.take() == []
    assert await box.take() == []


@in_virtual_time
async def test_a_waiting_taker_is_woken_by_an_item() -> None:
    """And only by something that happened."""
    box: Mailbox[str] = Mailbox(len)
    taker = asyncio.ensure_future(box.take())
    await asyncio.sleep(1)
    assert not taker.done()
    box.put("a")
    box.put("b")
    assert await taker == ["a", "b"]


@in_virtual_time
async def test_a_bare_wake_gives_none_and_nothing_is_remembered_of_it() -> None:
    """A ping timer wakes the taker; a wake without a taker is lost, because the taker looks around anyway."""
    box: Mailbox[str] = Mailbox(len)
    taker = asyncio.ensure_future(box.take())
    await asyncio.sleep(0)
    box.wake()
    box.wake()
    assert await taker is None
    box.wake()
    taker = asyncio.ensure_future(box.take())
    await asyncio.sleep(0)
    assert not taker.done()
    box.close()
    assert await taker == []


@in_virtual_time
async def test_an_error_at_the_end_comes_after_the_items() -> None:
    """What arrived before the failure is still the client's."""
    box: Mailbox[str] = Mailbox(len)
    box.put("a")
    box.close(ValueError("reset"))
    assert await box.take() == ["a"]
    for _ in range(2):
        with pytest.raises(ValueError, match="reset"):
            await box.take()


@in_virtual_time
async def test_an_interruption_comes_before_the_items_and_the_first_one_counts() -> None:
    """A client that is gone needs nothing any more."""
    box: Mailbox[str] = Mailbox(len)
    taker = asyncio.ensure_future(box.take())
    await asyncio.sleep(0)
    box.interrupt(ValueError("gone"))
    box.interrupt(KeyError("shutdown"))
    with pytest.raises(ValueError, match="gone"):
        await taker
    box.put("a")
    box.close()
    with pytest.raises(ValueError, match="gone"):
        await box.take()


@in_virtual_time
async def test_a_cancelled_taker_loses_nothing() -> None:
    """What was put at the same moment is there for the next take."""
    box: Mailbox[str] = Mailbox(len)
    taker = asyncio.ensure_future(box.take())
    await asyncio.sleep(0)
    box.put("a")
    taker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taker
    assert await box.take() == ["a"]


@pytest.mark.parametrize(
    ("size", "fits"), [(0, MAX_ITEMS), (1, MAX_ITEMS), (MAX_BYTES // 4, 4), (MAX_BYTES, 1), (MAX_BYTES * 9, 1)]
)
@in_virtual_time
async def test_it_is_full_by_count_or_by_bytes(size: int, fits: int) -> None:
    """Large events fill it sooner."""
    box: Mailbox[str] = Mailbox(len)
    for _ in range(fits):
        assert not box.is_full
        box.put("x" * size)
    assert box.is_full
    assert len(await box.take() or []) == fits
    assert not box.is_full


@in_virtual_time
async def test_room_is_waited_for_only_while_it_is_full() -> None:
    """Emptying it lets the reader go on; a cancelled wait leaves it usable."""
    box: Mailbox[str] = Mailbox(len)
    await box.room()
    for item in "x" * MAX_ITEMS:
        box.put(item)
    cancelled = asyncio.ensure_future(box.room())
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    waiting = asyncio.ensure_future(box.room())
    await asyncio.sleep(1)
    assert not waiting.done()
    await box.take()
    await waiting


@in_virtual_time
async def test_a_taker_that_fills_it_again_at_once_keeps_the_reader_waiting() -> None:
    """The reader looks again after it was woken."""
    box: Mailbox[str] = Mailbox(len)
    for item in "x" * MAX_ITEMS:
        box.put(item)
    waiting = asyncio.ensure_future(box.room())
    await asyncio.sleep(0)
    await box.take()
    for item in "x" * MAX_ITEMS:
        box.put(item)
    await asyncio.sleep(1)
    assert not waiting.done()
    await box.take()
    await waiting


@given(
    sizes=st.lists(st.sampled_from([0, 1, 1_000, 50_000, 200_000]), max_size=60),
    put_s=st.floats(0, 0.1),
    take_s=st.floats(0, 0.5),
)
@in_virtual_time
async def test_nothing_is_lost_or_doubled_and_the_bound_holds(sizes: list[int], put_s: float, take_s: float) -> None:
    """Whatever the speeds of the two sides."""
    box: Mailbox[tuple[int, int]] = Mailbox(lambda item: item[1])
    items = list(enumerate(sizes))
    got: list[tuple[int, int]] = []

    async def put() -> None:
        for item in items:
            box.put(item)
            await asyncio.sleep(put_s)
            if box.is_full:
                await box.room()
        box.close()

    putting = asyncio.ensure_future(put())
    while batch := await box.take():
        assert len(batch) <= MAX_ITEMS
        assert sum(size for _, size in batch[:-1]) < MAX_BYTES
        got += batch
        await asyncio.sleep(take_s)
    await putting
    assert got == items
