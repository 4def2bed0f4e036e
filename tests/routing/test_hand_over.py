"""After `hand_over` the owner task gives events to a function by itself; the end still comes by `take`."""

from __future__ import annotations

import asyncio

import pytest

from providers import errors
from providers.base import StreamEvent
from providers.config import Timeouts
from tests.routing.fakes import FOREVER, Fake, Setup
from tests.routing.virtual_time import in_virtual_time

PATIENCE = Timeouts(connect_s=1, first_token_s=5, idle_s=2, total_s=60)


class Written:
    """A client that takes `pause_s` for every event."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.text: list[str] = []
        self.pause_s = pause_s
        self.interrupted = 0

    async def __call__(self, events: list[StreamEvent]) -> None:
        """Take what arrived together."""
        try:
            await asyncio.sleep(self.pause_s)
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        self.text.append("".join(event.content for event in events))


@in_virtual_time
async def test_events_after_it_are_written_in_order_and_the_end_is_taken() -> None:
    """Nothing is lost or doubled between the mailbox and the function."""
    setup = Setup(Fake(("one", 1.0, "two", 0.5, "three")), timeouts=PATIENCE)
    call, written = setup.stream(), Written()
    first = await call.take()
    assert first is not None
    assert [event.content for event in first] == ["one"]
    call.hand_over(written)
    last = await call.take()
    assert last is not None
    assert [event.finish_reason for event in last] == ["stop"]
    assert await call.take() == []
    assert written.text == ["two", "three"]
    assert call.content_chars == len("onetwothree")
    await call.aclose()
    assert setup.held() == {}


@in_virtual_time
async def test_a_slow_client_is_not_a_stalled_provider() -> None:
    """The idle limit is about the provider; here each write takes longer than it."""
    setup = Setup(Fake(("one", 0.5, "two", 0.5, "three")), timeouts=PATIENCE)
    call, written = setup.stream(), Written(pause_s=10)
    await call.take()
    call.hand_over(written)
    assert await call.take() != []
    assert written.text == ["two", "three"]
    assert setup.notes.attempts == [("a", "ok")]
    await call.aclose()


@in_virtual_time
async def test_a_stalled_provider_is_still_noticed_between_two_writes() -> None:
    """Resting the watchdog while writing must not put it to sleep."""
    setup = Setup(Fake(("one", 0.5, "two", FOREVER)), timeouts=PATIENCE)
    call, written = setup.stream(), Written(pause_s=3)
    await call.take()
    call.hand_over(written)
    with pytest.raises(errors.StreamStalled):
        await call.take()
    assert written.text == ["two"]
    await call.aclose()


@in_virtual_time
async def test_closing_the_call_interrupts_a_write_that_waits() -> None:
    """A client that stopped reading must not keep the provider's connection."""
    setup = Setup(Fake(("one", 0.5, "two", "three")), timeouts=PATIENCE)
    call, written = setup.stream(), Written(pause_s=1000)
    await call.take()
    call.hand_over(written)
    await asyncio.sleep(1)
    await call.aclose()
    assert written.interrupted == 1
    assert written.text == []
    assert setup.held() == {}
    assert setup.notes.attempts == [("a", "cancelled")]


@in_virtual_time
async def test_what_an_adapter_raises_unplanned_is_told_to_the_observer() -> None:
    """A bug in an adapter hides behind failover unless somebody hears of it."""
    setup = Setup(Fake((KeyError("bug"),)), Fake(("fine",)), timeouts=PATIENCE)
    assert (await setup.ask()).target.provider.name == "b"
    assert setup.notes.surprises == [("a", "KeyError")]
