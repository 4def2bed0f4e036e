"""Scripts that misbehave: one constructor for each way an upstream can break an answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

from tests.upstream import frames
from tests.upstream.frames import DONE, JsonObject
from tests.upstream.recorded import Recorded
from tests.upstream.steps import (
    EVENT_STREAM,
    Body,
    Close,
    End,
    Hang,
    Head,
    KeepAlive,
    PerCall,
    Repeat,
    Reset,
    Send,
    Step,
    Steps,
    Whole,
    answer_members,
    json_answer,
    stream_of,
)
from tests.upstream.wire import Wire

# Clients drop what they have not yet read when the connection breaks; the pause lets them read it first.
SETTLE_S = 0.05
MALFORMED = b'data: {"id":"chatcmpl-broken","choices":[{"index":0,"del\n\n'
_COMMENT = b": keep-alive\n\n"


@dataclass(frozen=True)
class Broken:
    """The beginning of an answer, then the steps that break it.

    A streamed call gets the role frame and `n_content` content events ("tok0 ", "tok1 ", ...), `delay_s`
    apart. A call that is not streamed gets the first half of its JSON document, with a Content-Length for
    the whole of it unless `announce` is False.
    """

    n_content: int
    breaking: tuple[Step, ...]
    delay_s: float = 0.0
    announce: bool = True

    async def run(self, wire: Wire) -> None:
        """Send the beginning, let it arrive, break it."""
        if wire.call.stream:
            await self._begin_stream(wire)
        else:
            await self._begin_document(wire)
        await wire.flush()
        await asyncio.sleep(SETTLE_S)
        for step in self.breaking:
            await step.run(wire)

    async def _begin_stream(self, wire: Wire) -> None:
        members = answer_members(wire.call)
        await wire.head(content_type=EVENT_STREAM)
        await wire.body(frames.event(frames.role_chunk(**members)))
        for number in range(self.n_content):
            await asyncio.sleep(self.delay_s if number else 0)
            await wire.body(frames.event(frames.chunk(f"tok{number} ", **members)))

    async def _begin_document(self, wire: Wire) -> None:
        document = frames.completion("tok " * 20, usage=frames.default_usage(), **answer_members(wire.call))
        data = frames.encode(document)
        await wire.head(length=len(data) if self.announce else None)
        await wire.body(data[: len(data) // 2])


@dataclass(frozen=True)
class Content:
    """Send one content event of a stream."""

    text: str

    async def run(self, wire: Wire) -> None:
        """Send the event."""
        await wire.body(frames.event(frames.chunk(self.text, **answer_members(wire.call))))


@dataclass(frozen=True)
class Finish:
    """Send the chunk with the finish reason, `[DONE]`, and end the body."""

    async def run(self, wire: Wire) -> None:
        """Send both and end."""
        await wire.body(frames.event(frames.chunk(finish_reason="stop", **answer_members(wire.call))))
        await wire.body(frames.event(DONE))
        await wire.end()


def _head(call: Recorded) -> Head:
    """The head that a call expects: an event stream, or JSON of a length not yet known."""
    return Head() if call.stream else Head(content_type="application/json")


class Faults(Steps):
    """Constructors of faults. Calls that are not streamed get the nearest fault that their form allows."""

    @classmethod
    def reset(cls) -> Self:
        """Reset the connection (RST) before any byte."""
        return cls.steps(Reset())

    @classmethod
    def close_before_headers(cls) -> Self:
        """Close the connection (FIN) before any byte."""
        return cls.steps(Close())

    @classmethod
    def headers_then_close(cls) -> Self:
        """Send the head of a chunked answer, then close the connection (FIN) without any body."""
        return cls.steps(PerCall(lambda call: [_head(call), Close()]))

    @classmethod
    def hang(cls) -> Self:
        """Send no byte at all until the peer leaves."""
        return cls.steps(Hang())

    @classmethod
    def hang_after_headers(cls) -> Self:
        """Send the head of the answer and then nothing until the peer leaves."""
        return cls.steps(PerCall(lambda call: [_head(call), Hang()]))

    @classmethod
    def comments_only(cls, interval_s: float = 0.05, n_content: int | None = None) -> Self:
        """Send an SSE comment every `interval_s`, after `n_content` content events, until the peer leaves."""
        comments = Repeat(_COMMENT, interval_s)
        if n_content is None:
            return cls.steps(Head(), comments)
        return cls.steps(Broken(n_content, (comments,)))

    @classmethod
    def role_frames_then_hang(cls, frames_sent: int = 2) -> Self:
        """Send frames that only name the role, then nothing until the peer leaves."""

        def choose(call: Recorded) -> list[Step]:
            frame = Body(frames.event(frames.role_chunk(**answer_members(call))))
            return [Head(), *[frame] * frames_sent, Hang()]

        return cls.steps(PerCall(choose))

    @classmethod
    def stall_after(cls, n_content: int = 2, delay_s: float = 0.0) -> Self:
        """Send `n_content` content events, then nothing until the peer leaves."""
        return cls.steps(Broken(n_content, (Hang(),), delay_s))

    @classmethod
    def reset_after(cls, n_content: int = 2, delay_s: float = 0.0) -> Self:
        """Send `n_content` content events, then reset the connection (RST)."""
        return cls.steps(Broken(n_content, (Reset(),), delay_s))

    @classmethod
    def eof_after(cls, n_content: int = 2, delay_s: float = 0.0) -> Self:
        """Send `n_content` content events, then end the body cleanly without finish reason or `[DONE]`."""
        return cls.steps(Broken(n_content, (End(),), delay_s, announce=False))

    @classmethod
    def cut_after(cls, n_content: int = 2, delay_s: float = 0.0) -> Self:
        """Send `n_content` content events, then close (FIN) in the middle of an HTTP chunk."""
        begun = PerCall(lambda call: [Send(b'80\r\ndata: {"id":"chatcmpl-cut","cho')] if call.stream else [])
        return cls.steps(Broken(n_content, (begun, Close()), delay_s))

    @classmethod
    def malformed_event(cls, before_content: bool = True, then_complete: bool = False) -> Self:
        """Send an event of broken JSON, before or after two content events; then finish the answer or end."""
        after: tuple[Step, ...] = (Content("after "), Finish()) if then_complete else (End(),)
        step = Broken(0 if before_content else 2, (Body(MALFORMED), *after))
        broken_json = Whole(MALFORMED.removeprefix(b"data: "))
        return cls.steps(PerCall(lambda call: [step] if call.stream else [broken_json]))

    @classmethod
    def error_event(
        cls,
        after_content: int = 0,
        error: JsonObject | None = None,
        role_frame: bool = True,
    ) -> Self:
        """Send `after_content` content events, then an error event inside the 200 answer, and end the body.

        `error` is the value of the event's `error` member. A call that is not streamed gets the error as a
        200 JSON answer. With `role_frame` False and no content the error is the very first event.
        """
        value = error or {
            "message": "The server had an error.",
            "type": "server_error",
            "param": None,
            "code": None,
        }
        body = {"error": value}

        def choose(call: Recorded) -> list[Step]:
            if not call.stream:
                return [json_answer(body)]
            if not role_frame and not after_content:
                return stream_of([body])
            return [Broken(after_content, (Body(frames.event(body)), End()))]

        return cls.steps(PerCall(choose))

    @classmethod
    def huge_event(cls, n_bytes: int = 2 * 1024 * 1024, after_content: int = 0) -> Self:
        """Send one well-formed event with `n_bytes` of text in it, then finish like a whole answer."""

        def choose(call: Recorded) -> list[Step]:
            text = "x" * n_bytes
            if not call.stream:
                return [json_answer(frames.completion(text, **answer_members(call)))]
            return [Broken(after_content, (Content(text), Finish()))]

        return cls.steps(PerCall(choose))

    @classmethod
    def endless(cls, piece_bytes: int = 1024, interval_s: float = 0.0) -> Self:
        """Send content events as fast as the peer reads them, until it leaves."""

        def choose(call: Recorded) -> list[Step]:
            frame = frames.event(frames.chunk("x" * piece_bytes, **answer_members(call)))
            return [_head(call), Repeat(frame, interval_s)]

        return cls.steps(PerCall(choose))

    @classmethod
    def raw(cls, data: bytes, *, then: Step | None = None, keep_alive: bool = False) -> Self:
        """Put exactly these bytes on the connection, then do `then` (by default close with FIN).

        With `keep_alive` the bytes count as a complete answer and the connection goes on.
        """
        return cls.steps(Send(data), KeepAlive() if keep_alive else then or Close())
