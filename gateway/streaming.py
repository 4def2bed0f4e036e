"""The response that owns an upstream: from the first event to the last byte, and to the clean end in every other case.

    upstream ──> owner task (routing.stream) ──> mailbox ──> frames() ──> send ──> client
                                                    ^
                     client gone, shutdown ─────────┘ (interrupt)     ping timer (wake)

After the first events of a pass-through answer the owner task writes to the client by itself, which spares every chunk
two changes of tasks; the end, errors and comments still come by the mailbox.

`ClientStream` is the middle of that picture. Two responses carry its frames: sse-starlette's for `/ai/chat`, and a
leaner one for the pass-through surfaces, where sse-starlette's 18 us a chunk would be the largest part.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sse_starlette import EventSourceResponse
from sse_starlette.sse import AppStatus, SendTimeoutError

from gateway.call_errors import client_error
from gateway.client_watch import ClientWatch, client_connection
from gateway.context import NO_USAGE, context_of, key_id_of
from gateway.errors import GatewayError
from gateway.json_body import ClientGone
from gateway.tokens import usage_of
from routing.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from starlette.types import Receive, Scope, Send

    from gateway.allowance import Allowance
    from gateway.drain import Drain
    from gateway.state import GatewayState
    from providers.base import CompletionRequest, StreamEvent, Usage
    from routing.stream import StreamCall

T = TypeVar("T")

Writer = Callable[[bytes], Awaitable[None]]
_GAPS_KEPT = 64
_TICK_TOLERANCE_S = 0.01
# The gateway drains its streams itself (`gateway/drain.py`); sse-starlette would cut them at the first signal.
AppStatus.enable_automatic_graceful_drain = False


class SlowClient(Exception):
    """The client did not take a frame within `send_timeout_s`."""


class StreamFacts:
    """What a codec may say about a streamed answer; grows with it."""

    __slots__ = ("_call", "_request")

    def __init__(self, call: StreamCall, request: CompletionRequest) -> None:
        self._call = call
        self._request = request

    @property
    def provider(self) -> str:
        """The name of the provider that answers; empty before one does."""
        return self._call.target.provider.name if self._call.target else ""

    @property
    def model(self) -> str:
        """The model that answers; empty before one does."""
        return self._call.target.model if self._call.target else ""

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended."""
        return self._call.finish_reason

    @property
    def usage(self) -> Usage:
        """The provider's count of tokens, or an estimate from what came so far."""
        return usage_of(self._call.usage, self._request, self._call.content_chars)


class Codec(Protocol):
    """Writes a streamed answer in one dialect; every method returns whole SSE events; `ping` is one or a comment."""

    ping: bytes

    def start(self, facts: StreamFacts) -> bytes:
        """Return what goes out before the first event."""
        ...

    def events(self, events: list[StreamEvent], facts: StreamFacts) -> bytes:
        """Return the bytes for `events`; empty when this dialect does not show them."""
        ...

    def end(self, facts: StreamFacts) -> bytes:
        """Return what ends a whole answer."""
        ...

    def error(self, error: GatewayError, facts: StreamFacts) -> bytes:
        """Return what ends a broken answer."""
        ...


class ClientStream:
    """A streamed call and the client that it is for. `begin` it, send its `frames`, always `aclose` it.

    After `ping_s` of silence a comment goes out, also before the first token.
    """

    def __init__(
        self,
        call: StreamCall,
        codec: Codec,
        facts: StreamFacts,
        *,
        scope: Scope,
        receive: Receive,
        state: GatewayState,
        allowance: Allowance | None,
    ) -> None:
        self.facts = facts
        self.call = call
        self.context = context_of(scope)
        self._codec = codec
        self._drain = state.drain
        self._accounts = state.accounts
        self._allowance = allowance
        self._ping_s = state.settings.stream.ping_s
        self._ping_due = False
        self._begun = False
        self._accounted = False
        self._gaps: list[float] = []
        self._first: list[StreamEvent] | None = None
        self._last_sent = time.perf_counter()
        self._write: Writer | None = None
        self._writing_since: float | None = None
        self._send_timeout_s = math.inf
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._ping_s, self._tick)
        self._gone = asyncio.Event()
        self._connection = client_connection(scope)
        self._watch = ClientWatch(scope, receive, self._client_gone)
        self._drain.add(call.mailbox.interrupt, key_id_of(self.context))

    async def begin(self) -> None:
        """Wait for the first content, or for `ping_s` of silence, after which the answer begins with a comment.

        Raises what ended the call before that, so that it can still become an HTTP error.
        """
        while self._first is None and not self._ping_due:
            self._first = await self.call.take()

    def upstream_headers(self) -> dict[str, str]:
        """Return those of the provider's headers that clients may see, as far as they are known yet."""
        found: dict[str, str] = {}
        for event in self._first or ():
            found.update(event.headers or {})
        return found

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield whole SSE events as bytes until the answer is over. Raises `ClientGone` when the client left.

        After `write_through` only what the owner task does not write itself is yielded: comments and the end.
        """
        batch = self._first
        try:
            while batch is None or batch:
                frame = self._next_frame(batch)
                if frame:
                    yield frame
                    self._sent(content=batch is not None)
                if self._write is not None and self._begun and self.call.mailbox.is_empty:
                    self.call.hand_over(self._write_events)
                batch = await self.call.mailbox.take()
            last = self._codec.end(self.facts)
        except (ClientGone, SlowClient):
            raise
        except Exception as exc:  # noqa: BLE001 - the client is told of every failure by an event.
            # Nothing may follow the last event, so the owner task must not be writing any more.
            await self.call.aclose()
            last = self._codec.error(self._told(exc, committed=self._begun), self.facts)
        # Who has seen the end may ask again at once, and must find what this call had reserved.
        await self._settle()
        yield last
        # The client has its answer: that the server now reports the request's end as a disconnect means nothing.
        self._watch.stop()

    def _next_frame(self, batch: list[StreamEvent] | None) -> bytes:
        """Return what to write for a batch, or the comment that is due; empty when there is nothing to write."""
        if batch is None:
            due, self._ping_due = self._ping_due, False
            return self._codec.ping if due else b""
        if self._allowance is not None:
            self._allowance.note(self.call.content_chars, self.call.mailbox.interrupt)
        frame = self._codec.events(batch, self.facts)
        if self._begun:
            return frame
        self._begun = True
        return self._codec.start(self.facts) + frame

    def write_through(self, write: Writer, send_timeout_s: float) -> None:
        """Let the owner task write events by itself once the first ones are out; a write may take `send_timeout_s`.

        It spares every event a change of tasks. `write` may be called while a comment is being written.
        """
        self._write = write
        self._send_timeout_s = send_timeout_s
        self._timer.cancel()
        self._tick()

    def _write_events(self, events: list[StreamEvent]) -> Awaitable[None] | None:
        """Write the frame of some events, or return what does it for the owner task where that may take a while."""
        if self._allowance is not None:
            self._allowance.note(self.call.content_chars, self.call.mailbox.interrupt)
        frame = self._codec.events(events, self.facts)
        if not frame or self._write is None:
            return None
        if self._connection is None or not self._connection.write_piece(frame):
            return self._write_frame(frame, self._write)
        self._sent(content=True)
        return None

    async def _write_frame(self, frame: bytes, write: Writer) -> None:
        self._writing_since = time.perf_counter()
        try:
            await write(frame)
        except OSError:
            # Some servers say in this way that the client has left.
            self._client_gone()
        self._writing_since = None
        self._sent(content=True)

    async def aclose(self) -> None:
        """Close the upstream, stop watching, and account for what was received. Safe while being cancelled."""
        self._timer.cancel()
        self._drain.remove(self.call.mailbox.interrupt)
        self._watch.stop()
        try:
            await self.call.aclose()
        finally:
            await self._settle()

    async def gone(self) -> None:
        """Wait until the client has left."""
        await self._gone.wait()

    def _sent(self, *, content: bool) -> None:
        now = time.perf_counter()
        if content:
            self._gaps.append(now - self._last_sent)
            if len(self._gaps) >= _GAPS_KEPT:
                self._count_gaps()
        self._last_sent = now

    def _count_gaps(self) -> None:
        """Hand the gaps to the metrics many at a time, which costs a chunk less than one by one."""
        gaps, self._gaps = self._gaps, []
        if self.call.target is not None:
            self._accounts.metrics.gaps(self.call.target.provider.name, gaps)

    def _tick(self) -> None:
        """Look whether a comment is due or a write takes too long. The timer runs on, so that no event costs one."""
        now = time.perf_counter()
        wait_s = self._ping_s - (now - self._last_sent)
        if self._writing_since is not None:
            wait_s = self._ping_s
            if now - self._writing_since >= self._send_timeout_s:
                self.call.mailbox.interrupt(SlowClient())
        elif wait_s <= _TICK_TOLERANCE_S:
            self._ping_due = True
            self.call.mailbox.wake()
            wait_s = self._ping_s
        self._timer = self._loop.call_later(min(wait_s, self._send_timeout_s / 4), self._tick)

    def _client_gone(self) -> None:
        self.context.client_gone = True
        self._gone.set()
        self.call.mailbox.interrupt(ClientGone())

    def _told(self, error: Exception, *, committed: bool) -> GatewayError:
        told = client_error(error, committed=committed)
        self.context.error_code = told.code
        return told

    async def _settle(self) -> None:
        """Account for what was received, once."""
        if self._accounted:
            return
        self._accounted = True
        self._count_gaps()
        call = self.call
        usage = self.facts.usage if call.target is not None else NO_USAGE
        self._accounts.answered(self.context, call.target, call.attempts, usage, call.ttft_s)
        if self._allowance is not None and self.context.ai is not None:
            await self._allowance.settle(usage.total_tokens, self.context.ai.cost_nano)


class PassThroughResponse:
    """The lean streaming response: sends frames as they come, each under a timeout, and closes what it owns."""

    def __init__(self, stream: ClientStream, headers: list[tuple[bytes, bytes]], send_timeout_s: float) -> None:
        self._stream = stream
        self._headers = headers
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the stream watches it.
        """Send the answer. Returns without an end of the body when the client left or stopped reading."""
        try:
            await self._send_all(send, context_of(scope).send)
        except ClientGone:
            pass
        except SlowClient:
            hang_up(scope)
        finally:
            await self._stream.aclose()

    async def _send_all(self, send: Send, send_body: Send) -> None:
        async def write(frame: bytes) -> None:
            await send_body({"type": "http.response.body", "body": frame, "more_body": True})

        self._stream.write_through(write, self._send_timeout_s)
        dog = Watchdog(math.inf, SlowClient)
        dog.limit(self._send_timeout_s, SlowClient)
        with dog:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            async with aclosing(self._stream.frames()) as frames:  # type: ignore[type-var]
                dog.rest()
                async for frame in frames:
                    dog.touch()
                    await write(frame)
                    dog.rest()
            dog.touch()
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class ChatEventResponse(EventSourceResponse):
    """sse-starlette's response over a `ClientStream`, which does the pings and the watching itself."""

    def __init__(self, stream: ClientStream, headers: dict[str, str], send_timeout_s: float) -> None:
        super().__init__(stream.frames(), headers=headers, ping=0, sep="\n", send_timeout=send_timeout_s)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the stream watches it.
        """Send the answer. Returns without an end of the body when the client left or stopped reading."""

        async def receive_gone() -> dict[str, str]:
            await self._stream.gone()
            return {"type": "http.disconnect"}

        try:
            await super().__call__(scope, receive_gone, send)
        except ClientGone:
            pass
        except SendTimeoutError:
            hang_up(scope)
        finally:
            await self._stream.aclose()


def hang_up(scope: Scope) -> None:
    """Drop the connection of a client that stopped reading; closing it in order would wait for that client."""
    context_of(scope).client_gone = True
    connection = client_connection(scope)
    if connection is not None:
        connection.abort()


async def run_whole(call: Coroutine[Any, Any, T], scope: Scope, receive: Receive, drain: Drain) -> T:
    """Run `call` until it is done, the client leaves, or the grace of a shutdown is over.

    Raises what the call raises, `ClientGone`, or `ShuttingDown`; the call is cancelled then and has closed its
    upstream.
    """
    with Watchdog(math.inf, ClientGone) as dog:

        def gone() -> None:
            context_of(scope).client_gone = True
            dog.bark(ClientGone())

        watch = ClientWatch(scope, receive, gone)
        drain.add(dog.bark, key_id_of(context_of(scope)))
        try:
            return await call
        finally:
            drain.remove(dog.bark)
            watch.stop()
