"""The drain itself, in every phase of a request; `test_shutdown.py` has the signal and the process around it."""

from __future__ import annotations

import pytest

from tests.e2e.client import MODES, STREAMS, Client, Mode, Seen, ask, assert_error
from tests.e2e.conftest import Start
from tests.e2e.server import Running, provider
from tests.upstream import Script, Upstream
from tests.upstream.raw_client import RawClient

GRACE_S = 0.15

PHASES: dict[str, tuple[Script, str]] = {
    "no head": (Script.hang(), ""),
    "no first token": (Script.hang_after_headers(), ""),
    "between events": (Script.stall_after(2), "tok0 tok1 "),
    "limited": (Script.status(429, retry_after=15), ""),
}


async def status_of(gateway: Running, path: str) -> tuple[int, str]:
    """Return the status of a GET and the code of its error."""
    async with RawClient(gateway.port) as client:
        await client.send("GET", path)
        seen = Seen(MODES[1], await client.reply())
    return seen.status, seen.error["code"] if seen.error else ""


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_at_the_end_of_the_grace_every_open_request_is_told(
    start: Start, a: Upstream, mode: Mode, phase: str
) -> None:
    """By a status where none was sent yet, by an event where one was; the upstream is given up."""
    gateway = await start({"a": provider(a)}, server={"drain_s": GRACE_S})
    a.default, text = PHASES[phase]
    async with Client(gateway) as client:
        await client.ask(mode)
        await a.wait_for(lambda: a.chat_requests)
        gateway.app.begin_drain()
        seen = Seen(mode, await client.reply())
    assert_error(seen, 503, "SHUTTING_DOWN")
    assert seen.is_event_stream == (mode.stream and bool(text))
    if seen.is_event_stream:
        assert seen.text == text
    else:
        assert int(seen.headers["retry-after"]) >= 1
    await a.wait_for(lambda: a.in_flight == 0)
    (line,) = await gateway.logged()
    assert (line["status"], line["code"]) == (seen.status, "SHUTTING_DOWN")
    assert (line.get("completion_tokens", 0) > 0) == seen.is_event_stream
    assert gateway.target("a").breaker.is_closed


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stream_that_only_had_comments_is_told_by_an_event(start: Start, a: Upstream, mode: Mode) -> None:
    """The comment committed the 200."""
    gateway = await start({"a": provider(a)}, server={"drain_s": GRACE_S}, stream={"ping_s": 0.05})
    a.default = Script.hang()
    async with Client(gateway) as client:
        await client.ask(mode)
        await client.reply(until=b": ping")
        gateway.app.begin_drain()
        seen = Seen(mode, await client.reply())
    assert_error(seen, 503, "SHUTTING_DOWN")
    assert (seen.is_event_stream, len(seen.events)) == (True, 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_draining_gateway_is_not_ready_and_begins_nothing(start: Start, a: Upstream, mode: Mode) -> None:
    """A load balancer that still sends requests gets an answer that its clients can retry elsewhere."""
    gateway = await start({"a": provider(a)})
    assert await status_of(gateway, "/health/ready") == (200, "")
    gateway.app.begin_drain()
    assert await status_of(gateway, "/health/ready") == (503, "SHUTTING_DOWN")
    assert await status_of(gateway, "/health/live") == (200, "")
    seen = await ask(gateway, mode)
    assert_error(seen, 503, "SHUTTING_DOWN")
    assert int(seen.headers["retry-after"]) >= 1
    assert a.chat_requests == []
