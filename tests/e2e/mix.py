"""A mix of AI requests of every kind, what their clients saw of them, and what the upstreams say about them."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from gateway.context import CLIENT_GONE
from tests.e2e.client import LUNARBIT, OPENAI, OPENAI_CODES, Client, Mode, Seen, bearer
from tests.e2e.server import LIMIT_S, Running
from tests.upstream import Script, Upstream, frames
from tests.upstream.answers import TextAnswer
from tests.upstream.recorded import Recorded
from tests.upstream.steps import Head
from tests.upstream.wire import Wire

PROMPT = "hi"
# One message of two characters.
PROMPT_ESTIMATE = 5
_CODES = {theirs: ours for ours, theirs in OPENAI_CODES.items() if ours != "KEY_REVOKED"}


@dataclass
class Call:
    """One call as an upstream counted it: what it reported, and how many characters of an answer it sent."""

    upstream: str
    usage: frames.JsonObject | None = None
    chars: int = 0


@dataclass
class Books:
    """What the upstreams did, by the id of the request that made them do it."""

    calls: defaultdict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    arrived: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    def note(self, upstream: str, call: Recorded) -> Call:
        """Enter a call."""
        request_id = call.headers["x-request-id"]
        entry = Call(upstream)
        self.calls[request_id].append(entry)
        self.arrived[request_id].set()
        return entry


@dataclass(frozen=True)
class Noted:
    """Enters the call, and answers if it should: with a text and a usage that depend on the request."""

    books: Books
    upstream: str
    answers: bool = False
    counts: bool = True

    async def run(self, wire: Wire) -> None:
        """Enter the call, and answer."""
        entry = self.books.note(self.upstream, wire.call)
        if not self.answers:
            return
        randomly = random.Random(wire.call.headers["x-request-id"])
        text = "x" * randomly.randint(1, 60)
        entry.usage, entry.chars = _usage(randomly) if self.counts else None, len(text)
        await TextAnswer(text, randomly.randint(1, 5), usage=entry.usage).run(wire)


@dataclass(frozen=True)
class Flowing:
    """Sends a stream that goes on for long, and counts what it has sent so far."""

    books: Books
    upstream: str

    async def run(self, wire: Wire) -> None:
        """Send content until the peer leaves."""
        entry = self.books.calls[wire.call.headers["x-request-id"]][-1]
        await Head().run(wire)
        while True:
            entry.chars += 4
            await wire.body(frames.event(frames.chunk("tok ", model=wire.call.model)))
            await asyncio.sleep(0.002)


def _usage(randomly: random.Random) -> frames.JsonObject:
    prompt, completion = randomly.randint(1, 5_000), randomly.randint(1, 5_000)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": randomly.randint(0, prompt)},
        "completion_tokens_details": {"reasoning_tokens": randomly.randint(0, completion)},
    }


def scripts(books: Books, a: Upstream, b: Upstream) -> list[str]:
    """Teach two upstreams what each model is, and return the models. `a` is asked first."""
    refused = Script.openai_error("context_length_exceeded", message="Too long.", status=400)
    at_a: dict[str, Script | None] = {
        "fine": None,
        "unpriced": None,
        "uncounted": None,
        "overloaded": Script.status(503),
        "failing": Script.status(500),
        "html": Script.html(),
        "error-first": Script.error_event(0),
        "error-later": Script.error_event(2),
        "reset-later": Script.reset_after(2),
        "ended": Script.eof_after(2),
        "malformed": Script.malformed_event(before_content=False),
        "refused": refused,
        "broken": Script.status(500),
        "limited": Script.status(429, retry_after=200),
        "stalled": Script.stall_after(2),
        "silent": Script.hang_after_headers(),
        "flowing": Script.steps(Flowing(books, "a")),
    }
    at_b = {"refused": refused, "broken": Script.status(500), "limited": Script.status(429, retry_after=200)}
    for name, upstream, special in (("a", a, at_a), ("b", b, at_b)):
        for model in at_a:
            script = special.get(model)
            noted = Script.steps(Noted(books, name, answers=script is None, counts=model != "uncounted"))
            upstream.by_model[model] = noted if script is None else noted + script
    return list(at_a)


@dataclass
class Outcome:
    """One request, and what its client saw. `status` is 499 for a client that left; `text` is what came until then."""

    request_id: str
    key_name: str
    mode: Mode
    model: str
    status: int = 0
    code: str | None = None
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A kind of request: for which model, by whose key, and what its client does."""

    model: str
    key_name: str = "user"
    does: str = "reads"
    stream: bool | None = None
    weight: int = 2


KINDS = [
    Kind("fine", weight=20),
    Kind("fine", "other", weight=6),
    Kind("unpriced", weight=3),
    Kind("uncounted", weight=4),
    *[Kind(model) for model in ("overloaded", "failing", "html", "error-first")],
    *[Kind(model, key_name="other") for model in ("error-later", "reset-later", "ended", "malformed")],
    *[Kind(model, weight=1) for model in ("refused", "broken", "limited")],
    Kind("stalled", does="leaves midway", stream=True, weight=4),
    Kind("flowing", does="leaves midway", stream=True),
    Kind("silent", does="leaves early", weight=3),
    Kind("fine", does="leaves sending"),
    Kind("no-such-model"),
    Kind("unpriced", "restricted"),
    Kind("fine", "restricted"),
    Kind("fine", "capped", weight=4),
    Kind("fine", "thrifty"),
    Kind("fine", "poor"),
    Kind("fine", "narrow", weight=3),
    Kind("fine", "reader"),
    Kind("fine", "nobody"),
    Kind("fine", does="sends nonsense"),
    Kind("fine", does="asks for nonsense"),
    Kind("fine", does="declares nonsense", weight=1),
]


async def play(
    gateway: Running, books: Books, kind: Kind, secret: str, number: int, randomly: random.Random
) -> Outcome:
    """Send one request of a kind, do with it what its client does, and return what was seen."""
    stream = randomly.random() < 0.5 if kind.stream is None else kind.stream
    mode = Mode(randomly.choice((LUNARBIT, OPENAI)), stream)
    outcome = Outcome(f"mix-{number}", kind.key_name, mode, kind.model)
    prefix = randomly.choice(("", "/api/v2"))
    body: dict[str, Any] = {"model": kind.model, "messages": [{"role": "user", "content": PROMPT}], "stream": stream}
    headers = {**bearer(secret), "x-request-id": outcome.request_id, "content-type": "application/json"}
    data = frames.encode(_spoiled(body, kind.does))
    if kind.does == "declares nonsense":
        headers["content-type"] = "text/csv"
    async with Client(gateway) as client:
        if kind.does == "leaves sending":
            await client.send_part(_head(prefix + mode.path, len(data), headers) + data[:20])
            outcome.status = CLIENT_GONE
            return outcome
        await client.send("POST", prefix + mode.path, data, headers)
        if kind.does == "leaves early":
            await asyncio.wait_for(books.arrived[outcome.request_id].wait(), LIMIT_S)
            outcome.status = CLIENT_GONE
            return outcome
        reply = await client.reply(until=b"tok" if kind.does == "leaves midway" else None, timeout_s=LIMIT_S)
        if kind.model == "stalled" and reply.ending == "open":
            reply = await client.reply(until=b"tok1", timeout_s=LIMIT_S)
        _read(outcome, Seen(mode, reply))
    return outcome


def _head(path: str, length: int, headers: dict[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: gateway", f"content-length: {length}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def _read(outcome: Outcome, seen: Seen) -> None:
    outcome.headers = seen.headers
    if seen.reply.ending == "open":
        # The last frame may be in parts.
        whole, _, _ = seen.reply.body.rpartition(b"\n\n")
        seen.reply.pieces = [whole + b"\n\n"]
        outcome.status, outcome.text = CLIENT_GONE, seen.text
        return
    assert seen.reply.ending == "complete", seen.reply
    outcome.status = seen.status
    error = seen.error
    if error is None:
        assert seen.is_whole
    elif "x-lunarbit-error-code" in seen.headers:
        outcome.code = seen.headers["x-lunarbit-error-code"]
    else:
        outcome.code = error["code"] if seen.mode.path == LUNARBIT else _CODES[error["code"]]
    if error is None or seen.is_event_stream:
        outcome.text = seen.text


def _spoiled(body: dict[str, Any], does: str) -> object:
    if does == "sends nonsense":
        return [body]
    return {**body, "messages": []} if does == "asks for nonsense" else body
