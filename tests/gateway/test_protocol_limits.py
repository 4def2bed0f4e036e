"""What the protocol refuses: slow clients, large heads, broken HTTP. Real sockets, deadlines made short."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway import protocol
from gateway.app import create_app
from tests.gateway.edge import HELLO, Served, log_lines, request_lines, served, settings_for, until, upstream_toml
from tests.gateway.wire import assert_canonical_400, get, post, wire
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import BytesIO
    from pathlib import Path

SHORT_S = 0.3


@pytest.fixture
async def gateway(tmp_path: Path, log: BytesIO) -> AsyncIterator[Served]:
    """Serve a gateway with the echo provider on a real socket."""
    async with served(create_app(settings_for(tmp_path))) as running:
        yield running


async def test_a_client_that_sends_nothing_is_dropped(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open connection costs memory, so it has to become a request in time."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", SHORT_S)
    async with wire(gateway.port) as connection:
        assert await connection.end() == b""


async def test_a_head_that_trickles_in_is_dropped_although_bytes_keep_coming(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline is for the whole head: a slowloris sends a byte now and then and must not renew it."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", SHORT_S)
    async with wire(gateway.port) as connection:
        await connection.send(b"GET /health HTTP/1.1\r\nX-Slow: ")
        dropped = asyncio.create_task(connection.end())
        for _ in range(400):
            if dropped.done():
                break
            connection.writer.write(b"a")
            await asyncio.sleep(SHORT_S / 6)
        assert await dropped == b""


async def test_the_second_head_on_a_connection_has_a_deadline_too(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep-alive must not be a way round the deadline."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", SHORT_S)
    async with wire(gateway.port) as connection:
        await connection.send(get("/health"))
        assert (await connection.answer()).status == 200
        await connection.send(b"GET /hea")
        assert await connection.end() == b""


async def test_stray_line_breaks_do_not_keep_a_connection_open(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They end the server's own wait for the next request without beginning one."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", SHORT_S)
    async with wire(gateway.port) as connection:
        await connection.send(get("/health"))
        assert (await connection.answer()).status == 200
        await connection.send(b"\r\n")
        assert await connection.end() == b""


async def test_a_body_that_stalls_is_dropped(gateway: Served, monkeypatch: pytest.MonkeyPatch, log: BytesIO) -> None:
    """The request is over for the application too, and is logged as one whose client left."""
    monkeypatch.setattr(protocol, "BODY_TIMEOUT_S", SHORT_S)
    async with wire(gateway.port) as connection:
        await connection.send(post("/ai/chat", HELLO)[:-5])
        assert await connection.end() == b""
    await until(lambda: request_lines(log))
    assert request_lines(log)[0]["status"] == 499


async def test_a_body_that_keeps_coming_is_waited_for(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow uploads are fine as long as something arrives."""
    monkeypatch.setattr(protocol, "BODY_TIMEOUT_S", 2.0)
    request = post("/ai/chat", HELLO)
    async with wire(gateway.port) as connection:
        await connection.send(request[:-12])
        for byte in request[-12:]:
            await asyncio.sleep(0.25)
            await connection.send(bytes([byte]))
        assert (await connection.answer()).status == 200


async def test_a_slow_answer_is_not_cut_by_the_deadlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the request is whole, the protocol waits for the application, also with half a request behind it."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    monkeypatch.setattr(protocol, "BODY_TIMEOUT_S", 0.1)
    async with Upstream() as up:
        up.queue(Script.hold() + Script.text("late"))
        app = create_app(settings_for(tmp_path, upstream_toml(up.base_url)))
        async with served(app) as running, wire(running.port) as connection:
            await connection.send(post("/ai/chat", HELLO) + b"GET /hea")
            await up.wait_for(lambda: up.in_flight)
            await asyncio.sleep(0.5)
            up.release.set()
            answer = await connection.answer()
            assert b"late" in answer.body
            assert await connection.end() == b""


@pytest.mark.parametrize("size", [protocol.MAX_HEAD_BYTES + 1, 1 << 20])
async def test_a_head_of_more_than_64_kib_is_refused(gateway: Served, size: int) -> None:
    """Uvicorn alone would take a head of any size into memory."""
    async with wire(gateway.port) as connection:
        connection.writer.write(get("/health", "X-Large: " + "a" * size))
        assert_canonical_400(await connection.answer())
        await connection.end()


async def test_many_small_headers_are_counted_together(gateway: Served) -> None:
    """The cap is on the head, not on one header."""
    lines = [f"X-{number}: {'a' * 100}" for number in range(1000)]
    async with wire(gateway.port) as connection:
        connection.writer.write(get("/health", *lines))
        assert_canonical_400(await connection.answer())


async def test_a_head_just_below_the_cap_is_answered(gateway: Served) -> None:
    """Long cookies and tokens are legal."""
    async with wire(gateway.port) as connection:
        await connection.send(get("/health", "X-Large: " + "a" * (protocol.MAX_HEAD_BYTES - 100)))
        assert (await connection.answer()).status == 200


async def test_the_cap_begins_anew_with_each_request(gateway: Served) -> None:
    """Otherwise a long-lived connection would be refused sooner or later."""
    request = get("/health", "X-Large: " + "a" * (protocol.MAX_HEAD_BYTES // 2))
    async with wire(gateway.port) as connection:
        for _ in range(4):
            await connection.send(request)
            assert (await connection.answer()).status == 200


async def test_what_stands_before_a_head_in_one_piece_is_not_counted(gateway: Served) -> None:
    """A large body may end in the piece in which the next head begins."""
    body = b'{"messages":"' + b"a" * (protocol.MAX_HEAD_BYTES - 1000) + b'"}'
    head = get("/health", "X-Large: " + "a" * (protocol.MAX_HEAD_BYTES // 2))
    pipelined = get("/health/live") * 3
    async with wire(gateway.port) as connection:
        await connection.send(post("/ai/chat", body) + pipelined + head[:20_000])
        await asyncio.sleep(0.1)
        await connection.send(head[20_000:])
        assert (await connection.answer()).status == 400
        for _ in range(4):
            assert (await connection.answer()).status == 200


async def test_a_head_that_goes_on_and_on_is_refused_before_it_ends(gateway: Served) -> None:
    """One header without an end would never be handed over by the parser."""
    async with wire(gateway.port) as connection:
        await connection.send(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Large: ")
        for _ in range(9):
            connection.writer.write(b"a" * 8192)
            await asyncio.sleep(0.01)
        assert_canonical_400(await connection.answer())
        await connection.end()


BROKEN = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"NONSENSE\r\n\r\n",
    b"GET /health HTTP/9.9\r\n\r\n",
    b"GET /health HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /ai/chat HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /he\x00alth HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nBad Header: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nX: a\x00b\r\n\r\n",
    "GET /hé HTTP/1.1\r\n\r\n".encode(),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
async def test_broken_http_gets_the_canonical_400(gateway: Served, data: bytes, log: BytesIO) -> None:
    """Uvicorn's own refusal is plain text without the security headers."""
    async with wire(gateway.port) as connection:
        await connection.send(data)
        assert_canonical_400(await connection.answer())
        assert await connection.end() == b""
    assert [line["event"] for line in log_lines(log) if line["level"] != "info"] == ["library"]


async def test_broken_http_after_a_good_request_gets_the_canonical_400(gateway: Served) -> None:
    """A connection that has been in use is no different."""
    async with wire(gateway.port) as connection:
        await connection.send(get("/health"))
        assert (await connection.answer()).status == 200
        await connection.send("GET /hé HTTP/1.1\r\n\r\n".encode())
        assert_canonical_400(await connection.answer())


async def test_broken_chunks_of_a_body_end_the_request(gateway: Served, log: BytesIO) -> None:
    """The application must not wait for the rest of a body that can never come."""
    head = post("/ai/chat", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with wire(gateway.port) as connection:
        await connection.send(head + b"5\r\nhello\r\nZZZ\r\n")
        assert_canonical_400(await connection.answer())
        await connection.end()
    await until(lambda: request_lines(log))
    assert request_lines(log)[0]["status"] == 499


async def test_the_400_points_to_the_configured_documentation(tmp_path: Path, log: BytesIO) -> None:
    """The base of `documentation_url` is configurable, and holds for this answer like for every other."""
    toml = "[server]\ndocs_url = 'https://intranet.example/errors'\n"
    async with served(create_app(settings_for(tmp_path, toml))) as running, wire(running.port) as connection:
        await connection.send(b"NONSENSE\r\n\r\n")
        assert_canonical_400(await connection.answer(), docs_url="https://intranet.example/errors")
