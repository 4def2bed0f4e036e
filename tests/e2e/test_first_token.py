"""A provider that is silent: how long it may be, and what is asked instead."""

from __future__ import annotations

import pytest

from tests.e2e.client import (
    LUNARBIT,
    MODES,
    OPENAI,
    STREAMS,
    WHOLES,
    Client,
    Mode,
    Seen,
    ask,
    assert_error,
    assert_whole,
)
from tests.e2e.conftest import Start
from tests.e2e.server import HASTY, Running, provider
from tests.upstream import Script, Upstream

SILENT = {
    "no head": Script.hang(),
    "no body": Script.hang_after_headers(),
    "comments only": Script.comments_only(0.02),
    "roles only": Script.role_frames_then_hang(),
}


@pytest.mark.parametrize("silence", SILENT)
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stream_without_content_is_closed_after_first_token_s_and_asked_elsewhere(
    hasty_two: Running, a: Upstream, b: Upstream, mode: Mode, silence: str
) -> None:
    """Comments and role frames do not show that a model is working. The silent one is not retried."""
    a.default = SILENT[silence]
    assert_whole(await ask(hasty_two, mode), "Hello world", "b", 2)
    await a.wait_for(a.chat_requests[0].disconnected.is_set)
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 1)
    assert hasty_two.outcomes("a") == {"FirstTokenTimedOut": 1}
    assert hasty_two.metric("lunarbit_provider_failovers_total", provider="a") == 1
    assert hasty_two.target("a").breaker.is_closed


@pytest.mark.parametrize("silence", SILENT)
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_silence_with_nothing_behind_it_is_a_timeout(
    hasty_one: Running, a: Upstream, mode: Mode, silence: str
) -> None:
    """The status can still tell, since nothing was sent yet."""
    a.default = SILENT[silence]
    seen = await ask(hasty_one, mode)
    assert_error(seen, 504, "PROVIDER_TIMEOUT")
    assert not seen.is_event_stream
    await a.wait_for(a.chat_requests[0].disconnected.is_set)
    assert len(a.chat_requests) == 1
    assert (await hasty_one.logged())[0]["code"] == "PROVIDER_TIMEOUT"


@pytest.mark.parametrize("mode", WHOLES, ids=str)
async def test_a_whole_answer_may_take_longer_than_first_token_s(hasty_one: Running, a: Upstream, mode: Mode) -> None:
    """Its headers come when it is complete, so their lateness says nothing."""
    a.queue(Script.text("late", first_token_delay_s=0.4))
    assert_whole(await ask(hasty_one, mode), "late", "a", 1)


@pytest.mark.parametrize("silence", ["no head", "no body"])
@pytest.mark.parametrize("mode", WHOLES, ids=str)
async def test_a_whole_answer_is_bounded_by_total_s(
    start: Start, a: Upstream, b: Upstream, mode: Mode, silence: str
) -> None:
    """Each target has its own patience; what is left of the request's goes to the next one."""
    gateway = await start({"a": provider(a, timeouts={"total_s": 0.25}), "b": provider(b)})
    a.default = SILENT[silence]
    assert_whole(await ask(gateway, mode), "Hello world", "b", 2)
    await a.wait_for(a.chat_requests[0].disconnected.is_set)
    assert gateway.outcomes("a") == {"TotalTimedOut": 1}
    b.default = Script.hang()
    gateway.provider("b").in_flight += 1000
    assert_error(await ask(gateway, mode), 504, "PROVIDER_TIMEOUT")
    gateway.provider("b").in_flight -= 1000


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stream_that_goes_on_for_too_long_ends_at_total_s(start: Start, a: Upstream, mode: Mode) -> None:
    """Content that never ends is cut, and told as cut."""
    gateway = await start({"a": provider(a, timeouts={"total_s": 0.5})})
    a.default = Script.endless(16, 0.02)
    seen = await ask(gateway, mode)
    assert_error(seen, 200, "STREAM_INTERRUPTED")
    assert seen.text
    await a.wait_for(a.chat_requests[0].disconnected.is_set)
    assert gateway.outcomes("a") == {"TotalTimedOut": 1}


# Comments to the client


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_comment_keeps_a_silent_stream_alive_before_the_first_token(
    start: Start, a: Upstream, mode: Mode
) -> None:
    """Proxies cut silent connections; the comment commits the 200, so who answers is not in the headers."""
    gateway = await start({"a": provider(a)}, stream={"ping_s": 0.1})
    a.default = Script.hold() + Script.text("late")
    async with Client(gateway) as client:
        await client.ask(mode)
        reply = await client.reply(until=b": ping\n\n: ping\n\n")
        assert reply.body == b": ping\n\n" * (len(reply.body) // 8)
        a.release.set()
        seen = Seen(mode, await client.reply())
    assert (seen.status, seen.text, seen.is_whole, seen.error) == (200, "late", True, None)
    assert seen.pings >= 2
    assert "x-lunarbit-provider" not in seen.headers
    if mode.path == LUNARBIT:
        assert (seen.events[0][0], seen.events[0][1]["provider"]) == ("start", "a")


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_failover_goes_on_behind_the_comments(start: Start, a: Upstream, b: Upstream, mode: Mode) -> None:
    """A comment is no content: the next provider can still answer as if nothing had happened."""
    gateway = await start({"a": provider(a, timeouts=HASTY), "b": provider(b)}, stream={"ping_s": 0.1})
    a.default = Script.hang()
    seen = await ask(gateway, mode)
    assert (seen.status, seen.text, seen.is_whole, seen.error) == (200, "Hello world", True, None)
    assert seen.pings >= 1
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 1)
    if mode.path == LUNARBIT:
        assert [data["provider"] for name, data in seen.events if name in {"start", "done"}] == ["b", "b"]
    (line,) = await gateway.logged()
    assert (line["status"], line["provider"], line["attempts"]) == (200, "b", 2)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_failure_behind_a_comment_is_an_error_event(start: Start, a: Upstream, mode: Mode) -> None:
    """The 200 is out, so the status cannot tell any more."""
    gateway = await start({"a": provider(a, timeouts=HASTY)}, stream={"ping_s": 0.1})
    a.default = Script.hang()
    seen = await ask(gateway, mode)
    assert_error(seen, 504, "PROVIDER_TIMEOUT")
    assert seen.is_event_stream
    assert len(seen.events) == 1
    (line,) = await gateway.logged()
    assert (line["status"], line["code"]) == (200, "PROVIDER_TIMEOUT")


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_comments_fill_pauses_between_events_and_never_stand_inside_one(
    start: Start, a: Upstream, mode: Mode
) -> None:
    """A comment line inside an event would be part of it for some readers."""
    gateway = await start({"a": provider(a)}, stream={"ping_s": 0.05})
    a.default = Script.text("0123456789", pieces=5, delay_s=0.12)
    seen = await ask(gateway, mode)
    # On a busy machine a comment comes before the first token, and with it the headers, which then name no provider.
    assert (seen.status, seen.error, seen.is_whole, seen.text) == (200, None, True, "0123456789")
    assert seen.pings >= 4
    assert all(frame == ": ping" or ": ping" not in frame for frame in seen.frames)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stream_that_flows_gets_no_comment(start: Start, a: Upstream, mode: Mode) -> None:
    """The comment answers silence and not the clock."""
    gateway = await start({"a": provider(a)}, stream={"ping_s": 1.0})
    a.default = Script.text("x" * 70, pieces=70, delay_s=0.02)
    seen = await ask(gateway, mode)
    assert_whole(seen, "x" * 70, "a", 1)
    assert seen.pings == 0


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.path == OPENAI], ids=str)
async def test_a_slow_provider_makes_no_other_request_wait(one: Running, a: Upstream, mode: Mode) -> None:
    """One hanging call holds its own slot and nothing else."""
    a.queue(Script.hold() + Script.text("slow"))
    async with Client(one) as waiting:
        await waiting.ask(WHOLES[0])
        await a.wait_for(lambda: a.in_flight == 1)
        assert_whole(await ask(one, mode), "Hello world", "a", 1)
        assert one.provider("a").in_flight == 1
        a.release.set()
        assert Seen(WHOLES[0], await waiting.reply()).text == "slow"
