"""The end of a streamed call in each phase: the provider's generator is closed once and the slot given back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from providers import errors
from routing.stream import CLOSE_TIMEOUT_S
from tests.routing.fakes import DONE, FOREVER, OK, ROLE, Fake, Setup, Step, collect, state_of, taken, text
from tests.routing.virtual_time import in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.base import CompletionRequest, StreamEvent

# How long the call runs before it is closed, what the provider does meanwhile, and whether its generator was entered.
PHASES = {
    "not begun": (None, OK, 0),
    "waiting for headers": (1.0, (FOREVER,), 1),
    "after a role frame": (1.0, (ROLE, FOREVER), 1),
    "in the middle": (1.0, ("x", FOREVER), 1),
    "mailbox full": (1.0, ("x",) * 100, 1),
    "after the finish reason": (0.5, ("x", DONE, FOREVER), 1),
    "whole": (1.0, OK, 1),
    "failed": (1.0, (errors.RequestRefused("400"),), 1),
    "broken": (1.0, ("x", errors.StreamBroken("reset")), 1),
}


class Careless(Fake):
    """Has a bug in its clean-up."""

    def stream_completion(self, request: CompletionRequest) -> AsyncIterator[str | StreamEvent]:
        """Answer as a fake does, but raise when closed."""
        inner = super().stream_completion(request)

        class Stream:
            def __aiter__(self) -> AsyncIterator[str | StreamEvent]:
                return inner

            async def aclose(self) -> None:
                await inner.aclose()  # type: ignore[attr-defined]
                raise ValueError("a bug in the clean-up")

        return Stream()  # type: ignore[return-value]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("phase", PHASES)
@in_virtual_time
async def test_closing_in_any_phase_closes_the_upstream_once_and_gives_the_slot_back(phase: str, times: int) -> None:
    """A client may leave at any moment, and more than one place may notice it."""
    wait_s, script, entered = PHASES[phase]
    fake = Fake(script)
    setup = Setup(fake)
    call = setup.stream()
    if wait_s is not None:
        await asyncio.sleep(wait_s)
    started = now()
    for _ in range(times):
        await call.aclose()
    assert now() == started
    assert (fake.opened, fake.closed) == (entered, entered)
    assert setup.held() == {}
    assert setup.target("a").breaker._failures_in_a_row == (1 if phase == "broken" else 0)


@pytest.mark.parametrize("phase", [phase for phase, (wait_s, *_) in PHASES.items() if wait_s])
@in_virtual_time
async def test_a_client_that_leaves_is_no_failure_of_the_provider(phase: str) -> None:
    """Only what the provider did by itself counts."""
    wait_s, script, _ = PHASES[phase]
    setup = Setup(Fake(script), Fake())
    call = setup.stream()
    await asyncio.sleep(wait_s or 0)
    await call.aclose()
    outcome = {"whole": "ok", "failed": "RequestRefused", "broken": "StreamBroken"}.get(phase, "cancelled")
    assert setup.notes.attempts == [("a", outcome)]
    assert setup.notes.failovers == []


@in_virtual_time
async def test_the_slot_is_held_until_the_call_is_closed() -> None:
    """Until its last byte is sent a stream counts, also when the provider has long finished."""
    setup = Setup(Fake())
    call = setup.stream()
    await asyncio.sleep(1)
    assert setup.held() == {"a": 1}
    await taken(call)
    assert setup.held() == {"a": 1}
    await call.aclose()
    assert setup.held() == {}


@in_virtual_time
async def test_a_slow_close_is_waited_for_and_a_hanging_one_not_for_ever() -> None:
    """Two seconds are enough for an orderly end; after that the next request matters more."""
    quick = Setup(Fake(("x", FOREVER), close_s=1.5))
    call = quick.stream()
    await asyncio.sleep(1)
    started = now()
    await call.aclose()
    assert now() - started == pytest.approx(1.5)

    fake = Fake(("x", FOREVER), close_s=60)
    setup = Setup(fake)
    call = setup.stream()
    await asyncio.sleep(1)
    started = now()
    await call.aclose()
    assert now() - started == pytest.approx(CLOSE_TIMEOUT_S)
    assert setup.held() == {}
    while not call._task.done():
        await asyncio.sleep(1)


@in_virtual_time
async def test_two_closes_at_once_cancel_once() -> None:
    """A second cancellation would interrupt the clean-up that the first one began."""
    fake = Fake(("x", FOREVER), close_s=1.0)
    setup = Setup(fake)
    call = setup.stream()
    await asyncio.sleep(1)
    first = asyncio.ensure_future(call.aclose())
    await asyncio.sleep(0.5)
    await call.aclose()
    await first
    assert (fake.opened, fake.closed) == (1, 1)
    assert setup.held() == {}


@in_virtual_time
async def test_closing_while_being_cancelled_still_closes_everything() -> None:
    """A server that shuts down cancels the request whose response is just being closed."""
    fake = Fake(("x", FOREVER), close_s=1.0)
    setup = Setup(fake)
    call = setup.stream()
    await asyncio.sleep(1)
    closing = asyncio.ensure_future(call.aclose())
    await asyncio.sleep(0.5)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert setup.held() == {}
    await asyncio.wait([call._task])
    assert fake.closed == 1


@in_virtual_time
async def test_a_cancelled_taker_closes_in_its_finally() -> None:
    """That is how a response ends whose request was cancelled."""
    fake = Fake(("x", FOREVER), close_s=0.5)
    setup = Setup(fake)
    taker = asyncio.ensure_future(collect(setup.stream()))
    await asyncio.sleep(1)
    taker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taker
    assert fake.closed == 1
    assert setup.held() == {}


@pytest.mark.parametrize(
    ("script", "outcome"),
    [(OK, "ok"), (("x", errors.StreamBroken("reset")), "StreamBroken"), (("x", FOREVER), "StreamStalled")],
)
@in_virtual_time
async def test_an_adapter_that_fails_to_clean_up_changes_nothing_about_the_answer(
    script: tuple[Step, ...], outcome: str
) -> None:
    """What it raises while closing comes after everything that matters to the client."""
    setup = Setup(Careless(script))
    call = setup.stream()
    if outcome == "ok":
        assert text(await collect(call)) == "hello"
    else:
        with pytest.raises(errors.StreamBroken):
            await collect(call)
    assert setup.notes.attempts == [("a", outcome)]
    assert setup.held() == {}


@in_virtual_time
async def test_an_adapter_that_fails_to_clean_up_does_not_keep_a_cancelled_call_alive() -> None:
    """Its error must not take the cancellation's place and send the call to the next target."""
    second = Fake(("x", FOREVER))
    setup = Setup(Careless((FOREVER,)), second)
    call = setup.stream()
    await asyncio.sleep(1)
    await call.aclose()
    assert call._task.done()
    assert not second.calls
    assert setup.held() == {}


@in_virtual_time
async def test_an_adapter_whose_own_task_was_cancelled_ends_the_call() -> None:
    """A stray cancellation must not leave the client waiting for a call that is over."""
    setup = Setup(Fake(("x", asyncio.CancelledError())))
    call = setup.stream()
    with pytest.raises(errors.StreamBroken):
        await collect(call)
    setup = Setup(Fake((asyncio.CancelledError(),)))
    with pytest.raises(errors.StreamBroken):
        await collect(setup.stream())
    assert setup.held() == {}


@in_virtual_time
async def test_a_stream_that_began_as_the_probe_does_not_disturb_a_later_probe() -> None:
    """It proved the target long ago; when it ends minutes later, another request may be the probe."""
    fake = Fake(("x", 29.0, "y", FOREVER), (10.0, *OK))
    setup = Setup(fake)
    breaker = setup.target("a").breaker
    breaker.trip()
    first = setup.stream()
    await asyncio.sleep(1)
    assert state_of(breaker) == "closed"
    breaker.trip()
    second = setup.stream()
    await asyncio.sleep(1)
    assert state_of(breaker) == "half_open"
    await first.aclose()
    assert state_of(breaker) == "half_open"
    assert text(await collect(second)) == "hello"
    assert state_of(breaker) == "closed"
