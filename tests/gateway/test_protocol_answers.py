"""The heads that the gateway writes itself are uvicorn's, byte for byte, whatever an application sends."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.protocol import GatewayCycle

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = 3_000
BROKEN = [(b"x-a", b"a\r\nb: c"), (b"x-a", b"\x00"), (b"x-a\r", b"b"), (b"x-a", b"\x7f")]
FRAMING = [
    (b"content-length", b"0"),
    (b"content-length", b"1"),
    (b"content-length", b"3"),
    (b"connection", b"close"),
    (b"connection", b"keep-alive"),
    (b"transfer-encoding", b"chunked"),
]
OTHERS = [(b"content-type", b"text/plain"), (b"x-a", b"a\tb"), (b"x-b", b""), (b"x-c", b"\xe9"), (b"etag", b'"x"')]


class Wire:
    """A transport, and flow control that never holds anything back; remembers what was written."""

    write_paused = False

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        """Take bytes."""
        self.written += data

    def close(self) -> None:
        """Close the connection."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    async def drain(self) -> None:
        """Wait for nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


class Case(NamedTuple):
    """A request, and what the application answers it with."""

    method: str
    keep_alive: bool
    expects_continue: bool
    default_headers: list[tuple[bytes, bytes]]
    messages: list[dict[str, Any]]


class Seen(NamedTuple):
    """What the client gets, and how the connection goes on."""

    written: bytes
    closed: bool
    told: int
    complete: bool
    keep_alive: bool


def a_case(chance: random.Random) -> Case:
    """Make a case; some answers have no head, two of them, or bodies that are longer or shorter than was said."""
    headers = [chance.choice(chance.choice((FRAMING, OTHERS))) for _ in range(chance.randrange(5))]
    messages: list[dict[str, Any]] = [
        {"type": "http.response.start", "status": chance.choice((200, 200, 204, 302, 304, 500)), "headers": headers}
    ]
    for _ in range(chance.randrange(4)):
        body = b"abc"[: chance.randrange(4)]
        messages.append({"type": "http.response.body", "body": body, "more_body": chance.random() < 0.4})
    if chance.random() < 0.05:
        messages.insert(0, messages[0])
    if chance.random() < 0.05:
        messages.pop(0)
    defaults = chance.choice(([], [(b"server", b"x")]))
    return Case(
        chance.choice(("GET", "HEAD", "POST")), chance.random() < 0.8, chance.random() < 0.2, defaults, messages
    )


async def answer(case: Case, kind: type[RequestResponseCycle]) -> Seen:
    """Let a cycle of this kind answer."""
    wire: Any = Wire()
    told: list[None] = []
    make: Callable[..., RequestResponseCycle] = RequestResponseCycle
    cycle = make(
        scope={"type": "http", "method": case.method, "http_version": "1.1"},
        transport=wire,
        flow=wire,
        logger=logging.getLogger("tests.silent"),
        access_logger=logging.getLogger("tests.silent"),
        access_log=False,
        default_headers=case.default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=case.expects_continue,
        keep_alive=case.keep_alive,
        on_response=lambda: told.append(None),
    )
    cycle.__class__ = kind

    async def app(_: object, __: object, send: Any) -> None:
        for message in case.messages:
            await send(message)

    await cycle.run_asgi(app)
    return Seen(wire.written, wire.closed, len(told), cycle.response_complete, cycle.keep_alive)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Half of the answers are wrong on purpose, and uvicorn logs each of them."""
    logging.getLogger("tests.silent").setLevel(logging.CRITICAL + 1)


async def test_every_answer_is_the_one_that_uvicorn_would_write() -> None:
    """Also answers that no application should send: a faster way may not be a laxer one."""
    chance = random.Random(9)
    for _ in range(CASES):
        case = a_case(chance)
        ours, uvicorns = await answer(case, GatewayCycle), await answer(case, RequestResponseCycle)
        if not uvicorns.complete and uvicorns.written.startswith(ours.written):
            # A head waits for the body. Where none comes, the connection closes, and nothing is as good as half of it.
            ours = ours._replace(written=uvicorns.written)
        assert ours == uvicorns, case


@pytest.mark.parametrize("broken", BROKEN, ids=str)
@pytest.mark.parametrize("length", [b"1", b"0"])
async def test_a_header_that_would_end_its_line_is_never_sent(broken: tuple[bytes, bytes], length: bytes) -> None:
    """Whoever controls it would write the rest of the answer; the client is told of an error in its place."""
    start = {"type": "http.response.start", "status": 200, "headers": [broken, (b"content-length", length)]}
    body = {"type": "http.response.body", "body": b"x"[: int(length)]}
    seen = await answer(Case("GET", True, False, [], [start, body]), GatewayCycle)
    assert seen.written.startswith(b"HTTP/1.1 500 ")
    assert broken[1] not in seen.written or broken[1] == b"b"
    assert b"x-a" not in seen.written
    assert seen.closed
