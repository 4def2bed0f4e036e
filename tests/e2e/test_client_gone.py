"""Clients that leave, in every phase of a request: nobody works for them any longer, and the log says 499."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.e2e.client import MODES, STREAMS, Client, Mode, ask, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import ADMIN_KEY, Running, provider
from tests.upstream import Script, Upstream
from tests.upstream.frames import encode

Leaving = Literal["close", "reset"]
LEFT = "lunarbit_client_disconnects_total"

# What the upstream does, and what of it the client waits for before it leaves.
PHASES: dict[str, tuple[Script, bytes | None]] = {
    "no head": (Script.hang(), None),
    "no first token": (Script.hang_after_headers(), None),
    "comments only": (Script.comments_only(0.02), None),
    "roles only": (Script.role_frames_then_hang(), None),
    "between events": (Script.stall_after(2), b"tok1"),
    "while events flow": (Script.endless(64, 0.005), b"xxx"),
}


async def assert_cancelled(gateway: Running, a: Upstream, b: Upstream, mode: Mode) -> dict[str, object]:
    """Hold that the one call at `a` was given up for a client that left; returns its log line."""
    call = a.chat_requests[0]
    await a.wait_for(call.disconnected.is_set)
    (line,) = await gateway.logged()
    assert (line["status"], line["path"]) == (499, mode.path)
    assert gateway.metric(LEFT, route=mode.path) == 1
    assert gateway.outcomes("a") == {"cancelled": 1}
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 0)
    assert gateway.target("a").breaker.is_closed
    assert gateway.target("a").breaker._failures_in_a_row == 0
    await gateway.until(lambda: gateway.provider("a").in_flight == 0)
    return dict(line)


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_client_that_leaves_a_stream_ends_the_upstreams_work(
    two: Running, a: Upstream, b: Upstream, mode: Mode, phase: str, leave: Leaving
) -> None:
    """Tokens that nobody reads cost money; those that were sent are counted."""
    a.default, marker = PHASES[phase]
    async with Client(two) as client:
        await client.ask(mode)
        await a.wait_for(lambda: a.in_flight == 1)
        if marker is not None:
            await client.reply(until=marker)
        getattr(client, leave)()
        line = await assert_cancelled(two, a, b, mode)
    if marker is None:
        assert (line["provider"], line["completion_tokens"]) == (None, 0)
    else:
        assert (line["provider"], line["model"], line["attempts"]) == ("a", "gpt-4", 1)
        assert int(str(line["completion_tokens"])) > 0
        assert int(str(line["prompt_tokens"])) > 0


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("script", [Script.hang(), Script.stall_after(0)], ids=["no head", "half an answer"])
@pytest.mark.parametrize("mode", [mode for mode in MODES if not mode.stream], ids=str)
async def test_a_client_that_leaves_a_whole_answer_ends_the_upstreams_work(
    two: Running, a: Upstream, b: Upstream, mode: Mode, script: Script, leave: Leaving
) -> None:
    """A server that only writes at the end notices nothing by itself."""
    a.default = script
    async with Client(two) as client:
        await client.ask(mode)
        await a.wait_for(lambda: a.in_flight == 1)
        getattr(client, leave)()
        await assert_cancelled(two, a, b, mode)


@pytest.mark.parametrize("phase", ["no head", "between events"])
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_client_that_leaves_after_a_comment_is_noticed(
    start: Start, a: Upstream, b: Upstream, mode: Mode, phase: str
) -> None:
    """The comment began the answer; what waits behind it is given up all the same."""
    gateway = await start({"a": provider(a), "b": provider(b)}, stream={"ping_s": 0.05})
    a.default, _ = PHASES[phase]
    async with Client(gateway) as client:
        await client.ask(mode)
        await client.reply(until=b": ping")
        client.close()
        await assert_cancelled(gateway, a, b, mode)


@pytest.mark.parametrize("phase", ["no head", "between events"])
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_second_request_behind_the_first_does_not_hide_that_the_client_left(
    two: Running, a: Upstream, b: Upstream, mode: Mode, phase: str
) -> None:
    """HTTP/1.1 lets a client send its next request before it has the answer to the last one."""
    a.default, marker = PHASES[phase]
    body = encode({"messages": [{"role": "user", "content": "second"}], "model": "gpt-4"})
    head = f"POST {mode.path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n"
    async with Client(two) as client:
        await client.ask(mode)
        await a.wait_for(lambda: a.in_flight == 1)
        if marker is not None and mode.stream:
            await client.reply(until=marker)
        client._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await client._writer.drain()
        # The second request has arrived once the connection answers nothing new and holds it.
        assert await client.silent(0.05)
        client.close()
        await assert_cancelled(two, a, b, mode)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_client_that_leaves_during_a_retry_stops_it(start: Start, a: Upstream, b: Upstream, mode: Mode) -> None:
    """The next attempt is in the way of being cancelled like the first."""
    gateway = await start({"a": provider(a), "b": provider(b)})
    a.queue(Script.status(503))
    b.default = Script.hang()
    async with Client(gateway) as client:
        await client.ask(mode)
        await b.wait_for(lambda: b.in_flight == 1)
        client.close()
        await b.wait_for(b.chat_requests[0].disconnected.is_set)
        (line,) = await gateway.logged()
    assert line["status"] == 499
    assert gateway.outcomes("b") == {"cancelled": 1}
    assert len(a.chat_requests) == 1


async def test_many_clients_that_leave_at_once_leave_nothing_behind(two: Running, a: Upstream) -> None:
    """Slots, connections and tasks are all given back, so that the next request finds room."""
    a.default = Script.stall_after(1)
    clients = [Client(two) for _ in range(40)]
    for number, client in enumerate(clients):
        await client.__aenter__()
        await client.ask(MODES[number % len(MODES)])
    await a.wait_for(lambda: a.in_flight == len(clients))
    for number, client in enumerate(clients):
        (client.reset if number % 2 else client.close)()
    await a.wait_for(lambda: a.in_flight == 0)
    for client in clients:
        await client.__aexit__(None, None, None)
    lines = await two.logged(len(clients))
    assert {line["status"] for line in lines} == {499}
    assert a.open_connections <= 1
    a.default = Script.text()
    assert_whole(await ask(two, MODES[0]), "Hello world", "a", 1)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_client_that_has_its_answer_and_closes_has_not_left(two: Running, a: Upstream, mode: Mode) -> None:
    """499 is for answers that were not taken to their end."""
    for _ in range(5):
        assert_whole(await ask(two, mode), "Hello world", "a", 1)
    lines = await two.logged(5)
    assert {line["status"] for line in lines} == {200}
    assert two.metric(LEFT, route=mode.path) == 0
