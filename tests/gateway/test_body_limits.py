"""How large a body may be, and that it is counted while it arrives and not believed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.app import create_app
from gateway.errors import PayloadTooLarge
from gateway.json_body import ClientGone, read_body
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, JSON_HEADERS, KEY, Served, edge_client, served, settings_for
from tests.gateway.wire import get, post, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.types import Message

LIMIT = 2000
TOML = ECHO + f"[server]\nmax_body_bytes = 500\nmax_ai_body_bytes = {LIMIT}\n"
CHATS = ["/ai/chat", "/v1/chat/completions", "/api/v2/ai/chat"]


def body_of(size: int) -> bytes:
    """Return a chat of exactly `size` bytes."""
    empty = json.dumps({"messages": [{"role": "user", "content": ""}]})
    return json.dumps({"messages": [{"role": "user", "content": "a" * (size - len(empty))}]}).encode()


async def _pieces(body: bytes, size: int = 300) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Served]:
    """Serve a gateway with small limits on a real socket."""
    async with served(create_app(settings_for(tmp_path, TOML))) as running:
        yield running


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_the_limit_itself_passes_and_one_byte_more_does_not(gateway: Served, path: str, chunked: bool) -> None:
    """With a declared length and without one."""

    def content(size: int) -> bytes | AsyncIterator[bytes]:
        return _pieces(body_of(size)) if chunked else body_of(size)

    assert len(body_of(LIMIT)) == LIMIT
    good = await gateway.client.post(path, content=content(LIMIT), headers=JSON_HEADERS)
    assert good.status_code == 200
    large = await gateway.client.post(path, content=content(LIMIT + 1), headers=JSON_HEADERS)
    error = assert_canonical_error(large, "PAYLOAD_TOO_LARGE", 413)
    assert large.headers["connection"] == "close"
    if "details" in error:
        assert error["details"] == {"max_bytes": LIMIT}


async def test_a_declared_length_is_refused_before_the_body_comes(gateway: Served) -> None:
    """Whoever waits for the answer before sending saves the traffic; and the connection is closed."""
    head = post("/ai/chat", b"").replace(b"Content-Length: 0", b"Content-Length: 33554433")
    async with wire(gateway.port) as connection:
        await connection.send(head)
        answer = await connection.answer()
        assert answer.status == 413
        assert answer.all("connection") == ["close"]
        assert await connection.end() == b""


async def test_an_endless_chunked_body_is_cut_off(gateway: Served) -> None:
    """The body is counted while it arrives; nobody waits for its end."""
    head = post("/ai/chat", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with wire(gateway.port) as connection:
        await connection.send(head)
        for _ in range(5):
            await connection.send(b"200\r\n" + b"[" * 512 + b"\r\n")
        answer = await connection.answer()
        assert answer.status == 413
        await connection.end()


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nowhere"])
async def test_other_routes_have_the_smaller_limit(gateway: Served, path: str) -> None:
    """Only chats carry images."""
    fits = await gateway.client.request("GET", path, content=b"a" * 500, headers=KEY)
    assert fits.status_code in {200, 404}
    large = await gateway.client.request("GET", path, content=b"a" * 501, headers=KEY)
    if path == "/nowhere":
        assert_canonical_error(large, "NOT_FOUND", 404)
    else:
        assert_canonical_error(large, "PAYLOAD_TOO_LARGE", 413)


@pytest.mark.parametrize("path", CHATS)
async def test_a_strangers_large_body_is_refused_and_never_read(gateway: Served, path: str) -> None:
    """For its key; and the connection closes, so that nobody has to throw the rest away."""
    async with wire(gateway.port) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 33554433\r\nContent-Type: application/json\r\n\r\n"
        await connection.send(head.encode())
        answer = await connection.answer()
        assert answer.status == 401
        assert answer.all("connection") == ["close"]
        assert await connection.end() == b""


async def test_a_body_that_is_too_large_counts_as_a_request(tmp_path: Path) -> None:
    """Else it would be a way to ask as often as one likes."""
    async with edge_client(tmp_path, TOML, GATEWAY_LIMITS__PER_KEY="2") as client:
        answers = [await client.post("/ai/chat", content=body_of(LIMIT + 1), headers=JSON_HEADERS) for _ in range(3)]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    for answer in answers[:2]:
        assert_canonical_error(answer, "PAYLOAD_TOO_LARGE", 413)
    assert_canonical_error(answers[2], "RATE_LIMIT_EXCEEDED", 429)
    assert {answer.headers["connection"] for answer in answers} == {"close"}


async def test_a_client_with_a_normal_library_sees_the_413(gateway: Served) -> None:
    """It is still sending when the answer comes, so the connection must not be reset under the answer."""
    for _ in range(5):
        response = await gateway.client.post("/ai/chat", content=b"[" * (1 << 20), headers=JSON_HEADERS)
        assert_canonical_error(response, "PAYLOAD_TOO_LARGE", 413)


async def test_the_limits_of_the_shared_page_are_the_defaults(tmp_path: Path) -> None:
    """1 MiB, and 32 MiB on AI routes."""
    server = settings_for(tmp_path).server
    assert (server.max_body_bytes, server.max_ai_body_bytes) == (1 << 20, 32 << 20)


async def test_a_request_without_a_body_reads_as_empty(gateway: Served) -> None:
    """It is then refused as JSON, not as a protocol error."""
    async with wire(gateway.port) as connection:
        await connection.send(post("/ai/chat", b""))
        assert (await connection.answer()).status == 400
        await connection.send(get("/health"))
        assert (await connection.answer()).status == 200


def _receiver(*messages: Message) -> AsyncIterator[Message]:
    async def generate() -> AsyncIterator[Message]:
        for message in messages:
            yield message

    return generate()


async def test_a_body_is_put_together_from_its_pieces() -> None:
    """In order, with empty pieces in between."""
    pieces = [b"a", b"", b"bc", b"d"]
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    source = _receiver(*messages, {"type": "http.request"})
    assert await read_body(source.__anext__, 4) == b"abcd"


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_a_client_that_leaves_in_its_body_is_gone(before: int) -> None:
    """Half a body is not a body."""
    piece: Message = {"type": "http.request", "body": b"ab", "more_body": True}
    source = _receiver(*[piece] * before, {"type": "http.disconnect"})
    with pytest.raises(ClientGone):
        await read_body(source.__anext__, 100)


async def test_reading_stops_at_the_piece_that_passes_the_limit() -> None:
    """What comes after it is never asked for."""
    piece: Message = {"type": "http.request", "body": b"ab", "more_body": True}
    asked = 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        return piece

    with pytest.raises(PayloadTooLarge):
        await read_body(receive, 5)
    assert asked == 3
