"""HTTP/1.1 as clients really speak it: pipelining, HTTP/1.0, Expect, upgrades, HEAD, bodies that nobody reads."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.app import create_app
from tests.gateway.canonical import SECURITY_HEADERS
from tests.gateway.edge import HELLO, KEY, Served, request_lines, served, settings_for, until, upstream_toml
from tests.gateway.wire import assert_canonical_400, get, post, wire
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import BytesIO
    from pathlib import Path


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """A provider on loopback."""
    async with Upstream() as running:
        yield running


@pytest.fixture
async def gateway(tmp_path: Path, log: BytesIO, up: Upstream) -> AsyncIterator[Served]:
    """Serve a gateway in front of `up` on a real socket."""
    async with served(create_app(settings_for(tmp_path, upstream_toml(up.base_url)))) as running:
        yield running


async def test_pipelined_requests_are_answered_in_order(gateway: Served) -> None:
    """RFC 9112, section 9.3.2: answers go out in the order of the requests, here with a slow one first."""
    async with wire(gateway.port) as connection:
        await connection.send(
            post("/ai/chat", HELLO)
            + get("/health", "X-Request-ID: second")
            + get("/nowhere", "X-Request-ID: third")
            + get("/health/live", "X-Request-ID: fourth")
        )
        answers = [await connection.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 404, 200]
    assert [answer.all("x-request-id")[0] for answer in answers[1:]] == ["second", "third", "fourth"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_with_a_pipelined_request_behind_stops_the_running_one(
    gateway: Served, up: Upstream, stream: bool
) -> None:
    """The upstream of an answer that nobody reads costs money, whatever else stands on the connection."""
    up.queue(Script.hold() + Script.text("never"))
    async with wire(gateway.port) as connection:
        await connection.send(post("/ai/chat", {**HELLO, "stream": stream}))
        await up.wait_for(lambda: up.in_flight)
        await connection.send(get("/health"))
        await asyncio.sleep(0.05)
    await up.wait_for(up.chat_requests[0].disconnected.is_set)


async def test_the_requests_behind_a_client_that_left_are_not_answered(
    gateway: Served, up: Upstream, log: BytesIO
) -> None:
    """Their answers could reach nobody."""
    up.queue(Script.hold() + Script.text("never"))
    async with wire(gateway.port) as connection:
        await connection.send(post("/ai/chat", HELLO) + post("/ai/chat", HELLO))
        await up.wait_for(lambda: up.in_flight)
    await until(lambda: request_lines(log))
    await asyncio.sleep(0.1)
    assert [line["status"] for line in request_lines(log)] == [499]
    assert len(up.chat_requests) == 1


async def test_many_pipelined_requests_are_all_answered(gateway: Served) -> None:
    """More than wait in the gateway wait in the kernel, and come in afterwards."""
    count = 100
    async with wire(gateway.port) as connection:
        connection.writer.write(b"".join(get("/health", f"X-Request-ID: r{n}") for n in range(count)))
        ids = [(await connection.answer()).all("x-request-id")[0] for _ in range(count)]
    assert ids == [f"r{n}" for n in range(count)]


async def test_a_large_pipelined_body_arrives_whole(gateway: Served, up: Upstream) -> None:
    """Reading pauses at a high-water mark while the first request is answered, and goes on after it."""
    text = "long " * 100_000
    large = {"messages": [{"role": "user", "content": text}]}
    up.queue(Script.hold() + Script.text("first"))
    async with wire(gateway.port) as connection:
        connection.writer.write(post("/ai/chat", HELLO) + post("/ai/chat", large))
        await up.wait_for(lambda: up.in_flight)
        up.release.set()
        assert b"first" in (await connection.answer()).body
        assert (await connection.answer()).status == 200
    assert up.chat_requests[1].json["messages"][0]["content"] == text


async def test_broken_http_behind_a_running_request_does_not_spoil_its_answer(gateway: Served, up: Upstream) -> None:
    """A 400 in the middle of another answer would be taken for a part of it."""
    up.queue(Script.hold() + Script.text("whole"))
    async with wire(gateway.port) as connection:
        await connection.send(post("/ai/chat", HELLO) + b"NONSENSE\r\n\r\n")
        await up.wait_for(lambda: up.in_flight)
        up.release.set()
        answer = await connection.answer()
        assert answer.status == 200
        assert json.loads(answer.body)["response"] == "whole"
        assert answer.all("connection") == ["close"]
        assert await connection.end() == b""


async def test_http_1_0_is_answered_and_closed(gateway: Served) -> None:
    """Old proxies and health checkers speak it; without keep-alive the connection ends with the answer."""
    async with wire(gateway.port) as connection:
        await connection.send(get("/health", version="1.0"))
        answer = await connection.answer()
        assert answer.status == 200
        assert json.loads(answer.body)["status"] == "healthy"
        assert answer.all("connection") == ["close"]
        assert await connection.end() == b""


async def test_expect_100_continue_is_told_to_go_on(gateway: Served) -> None:
    """Curl asks before it sends a large body (RFC 9110, section 10.1.1)."""
    request = post("/ai/chat", HELLO, "Expect: 100-continue")
    head, _, body = request.partition(b"\r\n\r\n")
    async with wire(gateway.port) as connection:
        await connection.send(head + b"\r\n\r\n")
        assert (await connection.answer(head_only=True)).status == 100
        await connection.send(body)
        assert (await connection.answer()).status == 200


async def test_expect_100_continue_is_refused_before_the_body_when_the_key_is_wrong(gateway: Served) -> None:
    """Asking first is what saves the client from sending its body in vain."""
    request = post("/ai/chat", HELLO, "Expect: 100-continue").replace(b"Bearer ", b"Bearer not-")
    async with wire(gateway.port) as connection:
        await connection.send(request.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        assert (await connection.answer()).status == 401


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_an_upgrade_is_ignored_and_the_request_answered(gateway: Served, protocol: str) -> None:
    """RFC 9110, section 7.8: a server may ignore the wish. Java's client wishes for h2c with every request."""
    async with wire(gateway.port) as connection:
        await connection.send(
            get("/health", f"Upgrade: {protocol}", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        )
        answer = await connection.answer()
        assert answer.status == 200
        assert answer.all("upgrade") == []


async def test_a_connection_goes_on_after_an_ignored_upgrade(gateway: Served) -> None:
    """A client that got a normal answer sends its next request on the same connection."""
    request = get("/health", "Upgrade: h2c", "Connection: Upgrade")
    async with wire(gateway.port) as connection:
        for _ in range(3):
            await connection.send(request)
            assert (await connection.answer()).status == 200


@pytest.mark.parametrize("path", ["/", "/health", "/ai/status", "/v1/models", "/metrics", "/api/v2/health"])
async def test_head_has_the_headers_of_get_and_no_body(gateway: Served, path: str) -> None:
    """RFC 9110, section 9.3.2. The next answer on the connection shows that no body was sent."""
    key = f"Authorization: {KEY['authorization']}"
    async with wire(gateway.port) as connection:
        await connection.send(get(path, key).replace(b"GET", b"HEAD"))
        head = await connection.answer(head_only=True)
        await connection.send(get("/health/live"))
        assert json.loads((await connection.answer()).body) == {"status": "live"}
    assert head.status == 200
    assert int(head.all("content-length")[0]) > 0
    for name, value in SECURITY_HEADERS.items():
        assert head.all(name) == [value]


async def test_a_body_that_nobody_reads_does_not_disturb_the_next_request(gateway: Served) -> None:
    """A refused request's body is skipped and never taken for a request."""
    smuggled = get("/nowhere")
    async with wire(gateway.port) as connection:
        await connection.send(post("/ai/chat", smuggled).replace(b"Bearer ", b"Bearer not-") + get("/health/live"))
        assert (await connection.answer()).status == 401
        assert (await connection.answer()).status == 200


async def test_the_request_line_may_hold_a_whole_address(gateway: Served) -> None:
    """RFC 9112, section 3.2.2: a server accepts the absolute form."""
    async with wire(gateway.port) as connection:
        await connection.send(get("http://gateway/health/live"))
        assert (await connection.answer()).status == 200


async def test_a_connect_request_is_refused_in_our_shape(gateway: Served) -> None:
    """The gateway is not a forward proxy."""
    async with wire(gateway.port) as connection:
        await connection.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        assert_canonical_400(await connection.answer())
