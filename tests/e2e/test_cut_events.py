"""Upstreams whose connection ends after any byte: one whole answer or one error, never parts of two answers."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.admin import new_key
from tests.e2e.client import bearer
from tests.e2e.conftest import Start
from tests.e2e.server import ADMIN_KEY, MODEL, Running, provider
from tests.upstream import Script, Upstream, anthropic_frames, chunk, responses
from tests.upstream.frames import event
from tests.upstream.raw_client import RawClient
from tests.upstream.recorded import Recorded
from tests.upstream.steps import Body, Close, End, Hang, Head, Reset, Sleep, Step

RESPONSES: dict[str, Any] = {"model": MODEL, "input": "hi"}
MESSAGES: dict[str, Any] = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
TEXT = "Grüße 🌍"
OTHER = "of-the-other"
CHAT = b"".join(
    [
        event(chunk(delta={"role": "assistant", "content": ""})),
        *(event(chunk(delta={"content": piece})) for piece in ("Grü", "ße ", "🌍")),
        event(chunk(delta={}, finish_reason="stop")),
        b"data: [DONE]\n\n",
    ]
)
OWN = anthropic_frames.sse(
    anthropic_frames.begin(),
    anthropic_frames.PING,
    *anthropic_frames.text_block(0, "Grü", "ße ", "🌍"),
    anthropic_frames.end(),
    anthropic_frames.STOP,
)
PIECES = ["word " * 20] * 100
# Many pieces of an answer that does not end.
LONG = {
    "a response passed through": [
        frame + b"\n\n" for frame in responses.stream("".join(PIECES), pieces=len(PIECES)).split(b"\n\n")[: len(PIECES)]
    ],
    "a message passed through": [
        anthropic_frames.sse(anthropic_frames.begin(), anthropic_frames.start(0, {"type": "text", "text": ""})),
        *(anthropic_frames.sse(anthropic_frames.delta(0, "text", piece)) for piece in PIECES),
    ],
}
LONG["a response made of a chat"] = LONG["a message made of a chat"] = [
    event(chunk(delta={"content": piece})) for piece in PIECES
]
ENDS: dict[str, Step] = {"reset": Reset(), "closed": Close(), "over": End()}


@dataclass(frozen=True)
class Case:
    """A surface, and what the first provider speaks and says."""

    path: str
    body: dict[str, Any]
    data: bytes
    kind: str = "openai"
    has_responses: bool = False


CASES = {
    "a response passed through": Case("/v1/responses", RESPONSES, responses.stream(TEXT), has_responses=True),
    "a response made of a chat": Case("/v1/responses", RESPONSES, CHAT),
    "a message passed through": Case("/v1/messages", MESSAGES, OWN, kind="anthropic"),
    "a message made of a chat": Case("/v1/messages", MESSAGES, CHAT),
}


def events_of(body: bytes) -> list[dict[str, Any]]:
    """Return the events, each of which has its type as its name."""
    found = []
    for frame in body.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n", 1)
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert body.endswith(b"\n\n")
    return found


def said(events: list[dict[str, Any]]) -> str:
    """Return the text of an answer, as far as it came."""
    pieces = [one["delta"] for one in events if one["type"] in ("response.output_text.delta", "content_block_delta")]
    return "".join(piece if isinstance(piece, str) else piece["text"] for piece in pieces)


def hold_together(events: list[dict[str, Any]]) -> bool:
    """Hold that the events are of one answer, which has one end, and say whether that is a good one."""
    kinds = [one["type"] for one in events]
    ends = [kind for kind in kinds if kind in ("response.completed", "response.incomplete", "message_stop", "error")]
    assert ends == [kinds[-1]], kinds
    assert sum(kind in ("response.created", "message_start") for kind in kinds) == 1, kinds
    if "sequence_number" in events[0]:
        assert [one["sequence_number"] for one in events] == list(range(len(events)))
        assert len({one["response"]["id"] for one in events if "response" in one}) == 1
        assert ("response.failed" in kinds) == (ends == ["error"])
    return ends != ["error"]


async def streamed(gateway: Running, case: Case, key: str = ADMIN_KEY) -> tuple[list[dict[str, Any]], str]:
    """Ask for a stream, and return its events and the provider that is told."""
    async with RawClient(gateway.port) as client:
        headers = {**bearer(key), "content-type": "application/json"}
        await client.send("POST", case.path, json.dumps({**case.body, "stream": True}).encode(), headers)
        reply = await client.reply()
    assert (reply.status, reply.ending) == (200, "complete"), reply.body
    return events_of(reply.body), reply.headers["x-lunarbit-provider"]


def asked(up: Upstream) -> list[Recorded]:
    """Return what an upstream was asked, besides for its health."""
    return [call for call in up.requests if call.method == "POST"]


async def begin(start: Start, a: Upstream, b: Upstream, case: Case) -> Running:
    """Start a gateway whose first provider is `a`, as the case has it, and the second `b`, which only chats."""
    b.default = Script.text(OTHER, pieces=2)
    address = a.origin if case.kind == "anthropic" else a.base_url
    options = {"options": {"responses": True}} if case.has_responses else {}
    return await start({"a": provider(address, kind=case.kind, **options), "b": provider(b)})


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", CASES)
async def test_an_upstream_that_ends_anywhere(start: Start, a: Upstream, b: Upstream, name: str, end: str) -> None:
    """Before the first content the other provider answers, all of it; afterwards nothing of the other is ever sent."""
    case = CASES[name]
    gateway = await begin(start, a, b, case)
    step = 1 if os.environ.get("LUNARBIT_TEST_FULL") else 41
    for length in range(0, len(case.data) + 1, step):
        cut = Script.steps(Head(), Body(case.data[:length]), ENDS[end])
        a.default = a.responses = cut
        events, who = await streamed(gateway, case)
        is_whole = hold_together(events)
        if who == "b":
            assert (is_whole, said(events)) == (True, OTHER)
        else:
            assert said(events) == TEXT if is_whole else TEXT.startswith(said(events)), length
        # Failures in a row open breakers, which is not what this is about.
        gateway.clock.ahead_s += 600


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", CASES)
async def test_a_client_that_leaves_at_any_time_ends_the_upstream(
    start: Start, a: Upstream, b: Upstream, name: str, stream: bool
) -> None:
    """Before there is an answer, before its first content and in the middle of it; nobody else is asked then."""
    case = CASES[name]
    gateway = await begin(start, a, b, case)
    head, data = (Head(), case.data) if stream else (Head(content_type="application/json"), b'{"id":"x","model":"m"')
    phases = [Script.steps(Hang()), Script.steps(head, Hang())]
    phases += [Script.steps(head, Body(data[: len(data) * part // 4]), Hang()) for part in (1, 2, 3)]
    for number, phase in enumerate(phases):
        a.default = a.responses = phase
        async with RawClient(gateway.port) as client:
            headers = {**bearer(ADMIN_KEY), "content-type": "application/json"}
            await client.send("POST", case.path, json.dumps({**case.body, "stream": stream}).encode(), headers)
            await a.wait_for(lambda: len(asked(a)) > number)  # noqa: B023 - it is over before the next one begins.
        await asyncio.wait_for(asked(a)[-1].disconnected.wait(), 10)
    lines = await gateway.logged(len(phases))
    assert [(line["status"], line["attempts"]) for line in lines] == [(499, 1)] * len(phases)
    assert not asked(b)


@pytest.mark.parametrize("name", CASES)
async def test_a_days_tokens_that_end_in_the_middle(start: Start, a: Upstream, b: Upstream, name: str) -> None:
    """The answer ends with an error, numbered like all events, and is counted once."""
    case = CASES[name]
    gateway = await begin(start, a, b, case)
    key = await new_key(gateway, "few", tokensPerDay=20)
    steps = [step for frame in LONG[name] for step in (Body(frame), Sleep(0.002))]
    a.default = a.responses = Script.steps(Head(), *steps, Hang())
    events, who = await streamed(gateway, case, key)
    assert (who, hold_together(events)) == ("a", False)
    (line,) = [line for line in await gateway.logged() if line["path"] == case.path]
    assert (line["code"], line["attempts"]) == ("TOKEN_LIMIT_EXCEEDED", 1)
    assert (
        gateway.metric("lunarbit_ai_tokens_total", provider="a", model=MODEL, direction="completion")
        == (line["completion_tokens"])
    )
