"""Scripts that speak Anthropic's dialect, well and badly; those of `Script` that need no dialect serve both.

    up.default = messages.text("Hello")
    up.queue(messages.error(529, "overloaded_error"))

A call that is not streamed gets the nearest that its form allows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.upstream import anthropic_frames as frames
from tests.upstream.faults import SETTLE_S
from tests.upstream.frames import JsonObject, encode, split_text
from tests.upstream.recorded import Recorded
from tests.upstream.script import Script
from tests.upstream.steps import Body, Close, End, Hang, Head, PerCall, Repeat, Reset, Send, Sleep, Step, Whole
from tests.upstream.wire import Headers, Wire

MALFORMED = b'event: content_block_delta\ndata: {"type":"content_block_del\n\n'


def text(content: str = "Hello world", *, pieces: int = 4, delay_s: float = 0.0, headers: Headers = ()) -> Script:
    """Answer with text in `pieces`, `delay_s` apart."""
    events = [frames.begin(), *frames.text_block(0, *split_text(content, pieces)), frames.end(), frames.STOP]
    document = frames.message([{"type": "text", "text": content}])
    return _either(events, document, delay_s=delay_s, headers=headers)


def blocks(*content: JsonObject, stop_reason: str = "end_turn", usage: JsonObject | None = None, **end: Any) -> Script:
    """Answer with these whole blocks; `usage` adds to the usual one, `end` to what says why the answer ended."""
    counted = {"input_tokens": 7, "output_tokens": 5, **(usage or {})}
    events = [frames.begin(**(usage or {})), *frames.blocks_of(list(content)), frames.end(stop_reason, counted, **end)]
    return _either([*events, frames.STOP], frames.message(list(content), stop_reason, usage=counted, **end))


def error(status: int, kind: str, message: str = "No.", headers: Headers = (), **members: Any) -> Script:
    """Refuse with a status and Anthropic's error object."""
    return Script.steps(Whole(encode(frames.error(kind, message, **members)), status, headers))


def split_every_byte(content: str) -> Script:
    """Stream text with every byte in a write of its own."""
    data = frames.sse(frames.begin(), *frames.text_block(0, content), frames.end(), frames.STOP)
    return Script.sse(data, piece_bytes=1)


def stall_after(n_content: int) -> Script:
    """Send `n_content` pieces of text, then nothing until the peer leaves."""
    return Script.steps(Broken(n_content, (Hang(),)))


def reset_after(n_content: int) -> Script:
    """Send `n_content` pieces of text, then reset the connection (RST)."""
    return Script.steps(Broken(n_content, (Reset(),)))


def eof_after(n_content: int) -> Script:
    """Send `n_content` pieces of text, then end the body cleanly without a reason to stop."""
    return Script.steps(Broken(n_content, (End(),), announce=False))


def cut_after(n_content: int) -> Script:
    """Send `n_content` pieces of text, then close (FIN) in the middle of an HTTP chunk."""
    begun = PerCall(lambda call: [Send(b'80\r\nevent: content_block_delta\ndata: {"ty')] if call.stream else [])
    return Script.steps(Broken(n_content, (begun, Close())))


def pings_after(n_content: int, interval_s: float) -> Script:
    """Send `n_content` pieces of text, then only pings until the peer leaves."""
    return Script.steps(Broken(n_content, (Repeat(frames.sse(frames.PING), interval_s),)))


def pings_between(content: str, *, count: int, interval_s: float) -> Script:
    """Send text whose second half comes after `count` pings."""
    first, second = split_text(content, 2)
    ending = [*frames.text_block(1, second), frames.end(), frames.STOP]
    return _with_pings([frames.begin(), *frames.text_block(0, first)], ending, count, interval_s)


def thinks_in_silence(content: str, *, count: int, interval_s: float) -> Script:
    """Send text behind reasoning of which only `count` pings are seen."""
    opening, *rest = frames.thinking_block(0, "EqoB")
    ending = [*rest, *frames.text_block(1, content), frames.end(), frames.STOP]
    return _with_pings([frames.begin(), opening], ending, count, interval_s)


def _with_pings(first: list[JsonObject], last: list[JsonObject], count: int, interval_s: float) -> Script:
    pings: list[Step] = [step for _ in range(count) for step in (Sleep(interval_s), Body(frames.sse(frames.PING)))]
    return Script.steps(Head(), Body(frames.sse(*first)), *pings, Body(frames.sse(*last)), End())


def error_event(n_content: int, kind: str = "overloaded_error", message: str = "Overloaded") -> Script:
    """Send `n_content` pieces of text, then an error event inside the 200 answer, and end the body."""
    body = frames.error(kind, message)
    breaking = Broken(n_content, (Body(frames.sse(body)), End()))
    return Script.steps(PerCall(lambda call: [breaking] if call.stream else [Whole(encode(body))]))


def malformed_event(n_content: int, *, then_complete: bool) -> Script:
    """Send `n_content` pieces of text and broken JSON; then finish the answer or end."""
    rest = frames.sse(frames.delta(0, "text", "after "), frames.stop(0), frames.end(), frames.STOP)
    after = (Body(rest), End()) if then_complete else (End(),)
    return Script.steps(Broken(n_content, (Body(MALFORMED), *after)))


def endless(interval_s: float = 0.0) -> Script:
    """Send pieces of text until the peer leaves."""
    return Script.steps(Broken(1, (Repeat(frames.sse(frames.delta(0, "text", "x")), interval_s),)))


@dataclass(frozen=True)
class Broken:
    """The beginning of an answer, then the steps that break it.

    A streamed call gets `n_content` pieces of text ("tok0 ", "tok1 ", ...). Any other gets the first half of its JSON
    document, with a Content-Length for the whole of it unless `announce` is False.
    """

    n_content: int
    breaking: tuple[Step, ...]
    announce: bool = True

    async def run(self, wire: Wire) -> None:
        """Send the beginning, let it arrive, break it."""
        if wire.call.stream:
            opening = frames.start(0, {"type": "text", "text": ""})
            pieces = [frames.delta(0, "text", f"tok{number} ") for number in range(self.n_content)]
            await Head().run(wire)
            await wire.body(frames.sse(frames.begin(), opening, *pieces))
        else:
            data = encode(frames.message([{"type": "text", "text": "tok " * 20}]))
            await wire.head(length=len(data) if self.announce else None)
            await wire.body(data[: len(data) // 2])
        await wire.flush()
        await asyncio.sleep(SETTLE_S)
        for step in self.breaking:
            await step.run(wire)


def _either(
    events: Iterable[JsonObject], document: JsonObject, *, delay_s: float = 0.0, headers: Headers = ()
) -> Script:
    def choose(call: Recorded) -> list[Step]:
        if not call.stream:
            return [Sleep(delay_s), Whole(encode(document), headers=headers)]
        sent = [step for event in events for step in (Sleep(delay_s), Body(frames.sse(event)))]
        return [Head(headers=headers), *sent, End()]

    return Script.steps(PerCall(choose))
