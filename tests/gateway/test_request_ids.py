"""The id of a request: the client's own when it is usable, else a new one, and the same one wherever it stands."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.context import new_request_id, request_id_from
from tests.gateway.canonical import assert_canonical_error, assert_security_headers
from tests.gateway.edge import HELLO, KEY, request_lines

if TYPE_CHECKING:
    from io import BytesIO

    import httpx

USABLE = string.ascii_letters + string.digits + "._-"
MADE = re.compile(r"req_[a-z0-9]{12,}")


@given(st.text(USABLE, min_size=1, max_size=128))
@example("a")
@example("-" * 128)
@example("req_abc123xyz")
def test_a_usable_id_is_kept(given_id: str) -> None:
    """A caller can follow its request through its own logs and ours."""
    assert request_id_from(given_id.encode()) == given_id


@given(
    st.binary(max_size=200).filter(
        lambda value: not (0 < len(value) <= 128 and all(chr(byte) in USABLE for byte in value))
    )
)
@example(b"")
@example(b"a" * 129)
@example(b"a b")
@example(b"a\n")
@example(b"a\r\nset-cookie: x=1")
@example("ä".encode())
@example(b"\xb2")
@example(b"../../etc")
def test_an_unusable_id_is_replaced(given_id: bytes) -> None:
    """It goes into a header and into log lines, so it can hold nothing that would forge either."""
    assert MADE.fullmatch(request_id_from(given_id))


def test_made_ids_differ() -> None:
    """They are only of use when each names one request."""
    assert MADE.fullmatch(request_id_from(None))
    assert len({new_request_id() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("path", ["/health", "/api/v2/health", "/nowhere", "/v1/nowhere", "/api/v1/x"])
async def test_the_id_comes_back_on_every_kind_of_answer(client: httpx.AsyncClient, path: str) -> None:
    """Found or not, on each surface."""
    kept = await client.get(path, headers={"x-request-id": "my.own-ID_1"})
    assert_security_headers(kept)
    assert kept.headers["x-request-id"] == "my.own-ID_1"
    replaced = await client.get(path, headers={"x-request-id": "not usable"})
    assert_security_headers(replaced)
    assert MADE.fullmatch(replaced.headers["x-request-id"])


async def test_the_id_is_the_same_in_header_body_and_log(client: httpx.AsyncClient, log: BytesIO) -> None:
    """Whoever reports an error quotes any of them."""
    response = await client.get("/nowhere")
    error = assert_canonical_error(response, "NOT_FOUND", 404)
    (line,) = request_lines(log)
    assert line["request_id"] == error["request_id"] == response.headers["x-request-id"]


async def test_the_id_of_a_chat_is_in_its_log_line(client: httpx.AsyncClient, log: BytesIO) -> None:
    """Also when all goes well."""
    response = await client.post("/ai/chat", json=HELLO, headers={**KEY, "x-request-id": "chat-1"})
    assert response.headers["x-request-id"] == "chat-1"
    (line,) = request_lines(log)
    assert line["request_id"] == "chat-1"
