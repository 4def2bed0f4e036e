"""A streamed call: the commit point, the ends of an answer, and the time limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from providers import errors
from providers.base import StreamEvent, Usage
from routing.stream import AFTER_FINISH_S, MAX_EVENTS_BEFORE_CONTENT
from tests.routing.fakes import DONE, FOREVER, OK, ROLE, Fake, Setup, Step, collect, limits, taken, text
from tests.routing.virtual_time import in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.base import CompletionRequest
    from routing.stream import StreamCall

CONTENT = [
    StreamEvent(content="x"),
    StreamEvent(reasoning="x"),
    StreamEvent(refusal="x"),
    StreamEvent(tool_calls=[{"index": 0}]),
    StreamEvent(other_content=True),
    StreamEvent(finish_reason="stop"),
    "x",
]
NOT_CONTENT = [ROLE, StreamEvent(), StreamEvent(usage=Usage()), StreamEvent(headers={"x": "y"}), ""]


@pytest.mark.parametrize("content", CONTENT, ids=repr)
@in_virtual_time
async def test_nothing_is_tried_elsewhere_after_the_first_content(content: Step) -> None:
    """The client may have it already; a second answer on top of it would be garbage."""
    first, second = Fake((ROLE, content, errors.StreamBroken("reset"))), Fake()
    setup = Setup(first, second)
    call = setup.stream()
    with pytest.raises(errors.StreamBroken):
        await collect(call)
    assert (len(first.calls), len(second.calls), call.attempts) == (1, 0, 1)
    assert call.target is setup.target("a")
    assert setup.notes.attempts == [("a", "StreamBroken")]


@pytest.mark.parametrize("error", [errors.ServerFailed("500"), errors.Overloaded("503"), errors.RateLimited("429")])
@in_virtual_time
async def test_no_error_after_the_first_content_is_retried(error: errors.ProviderError) -> None:
    """Not even those that would be asked again before it."""
    setup = Setup(Fake(("x", error)), Fake())
    call = setup.stream()
    events: list[StreamEvent] = []
    with pytest.raises(type(error)):
        await taken(call, events)
    assert text(events) == "x"
    await call.aclose()
    assert (setup.notes.retries, setup.notes.failovers) == ([], [])
    assert setup.held() == {}


@pytest.mark.parametrize("frame", NOT_CONTENT, ids=repr)
@in_virtual_time
async def test_what_is_not_content_does_not_commit(frame: Step) -> None:
    """A role-only frame says only that the provider has begun to think."""
    setup = Setup(Fake((frame, frame, errors.StreamBroken("reset"))), Fake())
    call = setup.stream()
    assert text(await collect(call)) == "hello"
    assert (call.target, call.attempts) == (setup.target("b"), 2)
    assert setup.notes.failovers == [("a", "StreamBroken")]


@in_virtual_time
async def test_frames_before_the_content_reach_the_client_in_order_and_only_from_the_answering_target() -> None:
    """A client sees one answer, whole, from its role frame on."""
    other = StreamEvent(raw=b"{}")
    setup = Setup(Fake((ROLE, other, errors.StreamBroken("reset"))), Fake((ROLE, "a", other, "b", DONE)))
    assert await collect(setup.stream()) == [ROLE, StreamEvent(content="a"), other, StreamEvent(content="b"), DONE]


@pytest.mark.parametrize(
    ("script", "content", "finish"),
    [
        (("one ", "two"), "one two", "stop"),
        ((), "", "stop"),
        (("",), "", "stop"),
        ((ROLE,), "", "stop"),
        ((StreamEvent(finish_reason="length"),), "", "length"),
        (("x", StreamEvent(finish_reason="length")), "x", "length"),
        (("x", StreamEvent(content="y", finish_reason="tool_calls")), "xy", "tool_calls"),
        (("x", DONE, StreamEvent(usage=Usage(1, 2), usage_only=True)), "x", "stop"),
    ],
)
@in_virtual_time
async def test_a_generator_that_ends_has_given_a_whole_answer(
    script: tuple[Step, ...], content: str, finish: str
) -> None:
    """A simple provider yields strings and stops; the client always hears a finish reason, once."""
    setup = Setup(Fake(script))
    call = setup.stream()
    events = await collect(call)
    assert text(events) == content
    assert [event.finish_reason for event in events if event.finish_reason] == [finish]
    assert (call.finish_reason, call.content_chars) == (finish, len(content))
    assert setup.notes.attempts == [("a", "ok")]


@in_virtual_time
async def test_what_follows_the_finish_reason_still_counts() -> None:
    """Usage comes in an event of its own after it."""
    usage = Usage(prompt_tokens=3, completion_tokens=4)
    call = Setup(Fake(("x", DONE, 0.1, StreamEvent(usage=usage, usage_only=True)))).stream()
    events = await collect(call)
    assert events[-1].usage == call.usage == usage
    assert len(events) == 3


@in_virtual_time
async def test_content_after_a_finish_reason_belongs_to_another_choice() -> None:
    """With `n` above 1 every choice finishes on its own."""
    setup = Setup(Fake(("x", DONE, "y", DONE)))
    assert text(await collect(setup.stream(n=2))) == "xy"


@pytest.mark.parametrize(
    "script", [("x", DONE, FOREVER), (DONE, FOREVER), (StreamEvent(content="x", finish_reason="stop"), FOREVER)]
)
@in_virtual_time
async def test_an_answer_is_whole_when_nothing_follows_its_finish_reason(script: tuple[Step, ...]) -> None:
    """Some servers forget to end the stream; their clients need not wait for the idle timeout."""
    fake = Fake(script)
    setup = Setup(fake)
    started = now()
    call = setup.stream()
    events = await collect(call)
    assert events[-1].finish_reason == "stop"
    assert now() - started == pytest.approx(AFTER_FINISH_S)
    assert setup.notes.attempts == [("a", "ok")]
    assert fake.opened == fake.closed == 1


@in_virtual_time
async def test_the_other_choices_keep_the_idle_timeout_after_one_has_finished() -> None:
    """They may go on for long, with pauses."""
    setup = Setup(Fake(("x", DONE, 20.0, "y", 20.0, DONE)))
    assert text(await collect(setup.stream(n=2))) == "xy"


@in_virtual_time
async def test_one_finished_choice_of_several_is_not_the_whole_answer() -> None:
    """The others may have been cut."""
    setup = Setup(Fake(("x", DONE, FOREVER)))
    with pytest.raises(errors.StreamStalled):
        await collect(setup.stream(n=2))


@in_virtual_time
async def test_no_content_within_the_first_token_timeout_moves_on_and_closes_the_silent_one() -> None:
    """Frames without content do not put it off."""
    silent = Fake((ROLE, *(step for _ in range(100) for step in (0.5, ROLE))))
    setup = Setup(silent, Fake(), timeouts=limits(first_token_s=3.2))
    started = now()
    call = setup.stream()
    assert text(await collect(call)) == "hello"
    assert now() - started == pytest.approx(3.2)
    assert (len(silent.calls), silent.closed) == (1, 1)
    assert setup.notes.attempts == [("a", "FirstTokenTimedOut"), ("b", "ok")]
    assert call.ttft_s == pytest.approx(3.2)
    assert setup.state("b").latency_s() == pytest.approx(0)
    assert setup.state("a").latency_s() is None


@in_virtual_time
async def test_a_silent_stream_is_ended_by_the_idle_timeout() -> None:
    """Each event moves the limit, and what came so far is the client's."""
    fake = Fake(("a", 20.0, "b", 20.0, ROLE, FOREVER))
    setup = Setup(fake)
    call = setup.stream()
    started = now()
    events: list[StreamEvent] = []
    with pytest.raises(errors.StreamStalled):
        await taken(call, events)
    assert text(events) == "ab"
    assert now() - started == pytest.approx(70)
    await call.aclose()
    assert setup.notes.attempts == [("a", "StreamStalled")]
    assert fake.closed == 1
    assert setup.target("a").breaker._failures_in_a_row == 1


@in_virtual_time
async def test_a_stream_that_never_ends_is_ended_by_the_total_timeout() -> None:
    """However lively it is."""
    fake = Fake(tuple(step for _ in range(1_000) for step in ("x", 1.0)))
    setup = Setup(fake, timeouts=limits(total_s=100))
    started = now()
    with pytest.raises(errors.TotalTimedOut):
        await collect(setup.stream())
    assert now() - started == pytest.approx(100)
    assert fake.closed == 1


@in_virtual_time
async def test_endless_frames_without_content_are_no_answer() -> None:
    """They are kept until the content comes, so there must be a bound."""
    endless = Fake((*([ROLE] * (MAX_EVENTS_BEFORE_CONTENT + 1)), "x", DONE))
    setup = Setup(endless, Fake())
    assert text(await collect(setup.stream())) == "hello"
    assert setup.notes.failovers == [("a", "UnreadableAnswer")]
    setup = Setup(Fake((*([ROLE] * (MAX_EVENTS_BEFORE_CONTENT - 1)), "x", DONE)))
    assert text(await collect(setup.stream())) == "x"


async def wait_until_full(call: StreamCall) -> None:
    """Return when the owner task waits for room in the mailbox."""
    while not call.mailbox.is_full:
        await asyncio.sleep(0.01)


@in_virtual_time
async def test_a_slow_client_is_no_stalled_provider() -> None:
    """While the mailbox is full nobody reads the upstream, so its silence means nothing."""
    fake = Fake((*(["x"] * 100), 29.0, "y", DONE))
    setup = Setup(fake)
    call = setup.stream()
    await wait_until_full(call)
    await asyncio.sleep(200)
    assert not call._task.done()
    assert text(await collect(call)) == "x" * 100 + "y"
    assert setup.notes.attempts == [("a", "ok")]


@in_virtual_time
async def test_a_provider_that_stalls_after_a_slow_client_is_still_found_out() -> None:
    """The limit is in force again as soon as there is room."""
    fake = Fake((*(["x"] * 16), FOREVER))
    call = Setup(fake).stream()
    await wait_until_full(call)
    await asyncio.sleep(200)
    started = now()
    with pytest.raises(errors.StreamStalled):
        await collect(call)
    assert now() - started == pytest.approx(30)


@in_virtual_time
async def test_a_slow_client_does_not_outlive_the_total_timeout() -> None:
    """Its slot is somebody else's turn then."""
    fake = Fake(("x",) * 1_000)
    setup = Setup(fake, timeouts=limits(total_s=60))
    call = setup.stream()
    await asyncio.sleep(61)
    assert fake.closed == 1
    with pytest.raises(errors.TotalTimedOut):
        await collect(call)


@in_virtual_time
async def test_the_upstream_is_not_read_ahead_of_the_client_without_bound() -> None:
    """At most one full mailbox is held for a client that reads nothing."""
    taken_from = 0

    class Counting(Fake):
        def next_script(self, request: CompletionRequest) -> tuple[Step, ...]:
            return ()

        async def stream_completion(self, request: CompletionRequest) -> AsyncIterator[str]:
            nonlocal taken_from
            for _ in range(1_000):
                taken_from += 1
                yield "x" * 20_000

    call = Setup(Counting()).stream()
    await asyncio.sleep(5)
    assert taken_from <= 8
    await call.aclose()


@in_virtual_time
async def test_a_provider_that_raises_before_it_streams_is_failed_over() -> None:
    """Some adapters are plain functions that return an iterator, and fail on the way there."""

    class Sudden(Fake):
        def stream_completion(self, request: CompletionRequest) -> AsyncIterator[str]:
            raise errors.Unreachable("refused")

    setup = Setup(Sudden(), Fake())
    assert text(await collect(setup.stream())) == "hello"


@in_virtual_time
async def test_an_iterator_without_aclose_is_a_stream_too() -> None:
    """The interface asks for an asynchronous iterator, not for a generator."""

    class Three:
        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self) -> Three:
            return self

        async def __anext__(self) -> str:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return "x"

    class Plain(Fake):
        def stream_completion(self, request: CompletionRequest) -> AsyncIterator[str]:
            return Three()

    setup = Setup(Plain())
    assert text(await collect(setup.stream())) == "xxx"


@in_virtual_time
async def test_a_taker_that_is_woken_for_another_reason_finds_nothing() -> None:
    """The ping timer uses that."""
    call = Setup(Fake((5.0, *OK))).stream()
    asyncio.get_running_loop().call_later(1, call.mailbox.wake)
    assert await call.take() is None
    assert text(await taken(call)) == "hello"
    await call.aclose()
