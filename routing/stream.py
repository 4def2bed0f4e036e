"""A streamed call: one owner task asks, fails over and reads; another task takes the events out of its mailbox."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from providers import errors
from providers.base import CHAT, StreamEvent, StreamItem, events_of
from routing.failover import record_failure
from routing.mailbox import Mailbox
from routing.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from providers.base import CompletionRequest, Usage
    from routing.failover import Failover, Observer
    from routing.targets import Target

MAX_EVENTS_BEFORE_CONTENT = 256
CLOSE_TIMEOUT_S = 2.0
AFTER_FINISH_S = 1.0


class _Opened(NamedTuple):
    target: Target
    stream: AsyncIterator[StreamItem]
    first: list[StreamEvent]
    deadline: float
    ended: bool


class StreamCall:
    """One streamed request on its way. Take events with `take`, and always end with `aclose`.

    `target`, `attempts` and `ttft_s` (seconds until the first content) are known once the first events are there.
    `usage`, `finish_reason` and `content_chars` grow with the answer, so that a cut one can still be accounted for.
    """

    def __init__(self, request: CompletionRequest, failover: Failover, deadline: float, observer: Observer) -> None:
        self._request = request
        self._failover = failover
        self._deadline = deadline
        self._observer = observer
        self._started = time.perf_counter()
        self.mailbox: Mailbox[StreamEvent] = Mailbox(_size)
        self.target: Target | None = None
        self.ttft_s: float | None = None
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.content_chars = 0
        self._closing = False
        self._write: Callable[[list[StreamEvent]], Awaitable[None] | None] | None = None
        self._task = asyncio.get_running_loop().create_task(self._own(), name="upstream-call")

    @property
    def attempts(self) -> int:
        """How many attempts were made so far."""
        return self._failover.attempts

    async def take(self) -> list[StreamEvent] | None:
        """Return the events that wait, an empty list at the end, None after a bare `mailbox.wake`.

        Raises the `ProviderError` or `RoutingError` that ended the call, and whatever `mailbox.interrupt` was given.
        """
        return await self.mailbox.take()

    def hand_over(self, write: Callable[[list[StreamEvent]], Awaitable[None] | None]) -> None:
        """From now on have the owner task give events to `write`, which spares them the way through the mailbox.

        To be called when the mailbox is empty. The end of the call, and what ends it, still come by `take`. `write`
        does not raise, and returns what to wait for if it cannot write at once; meanwhile the provider is not taken to
        be stalled.
        """
        self._write = write

    async def aclose(self) -> None:
        """Stop the call: cancel its task once, wait at most 2 s for it to close the upstream, give the slot back.

        Safe to call again and while being cancelled.
        """
        try:
            if not self._task.done():
                if not self._closing:
                    self._closing = True
                    self._task.cancel()
                with anyio.CancelScope(deadline=anyio.current_time() + CLOSE_TIMEOUT_S, shield=True):
                    await asyncio.wait([self._task])
        finally:
            # What writes to the client leads back here: left as it is, only the garbage collector would free both.
            self._write = None
            if self._failover.slot is not None:
                self._failover.slot.release()

    async def _own(self) -> None:
        try:
            opened = await self._failover.run(self._open)
            try:
                await self._pump(opened)
            except Exception as exc:
                record_failure(opened.target, exc, self._failover.caller, self._observer)
                raise
            except BaseException:
                self._observer.attempt(opened.target, "cancelled")
                raise
            else:
                self._observer.attempt(opened.target, "ok")
            finally:
                await _close(opened.stream)
        except Exception as exc:  # noqa: BLE001 - whatever ended the call is the taker's to hear.
            self.mailbox.close(exc)
        except BaseException:
            # Whoever cancelled the call has left it; but a cancellation may also have come out of an adapter by itself.
            self.mailbox.close(errors.StreamBroken("the call was cancelled"))
            raise
        else:
            self.mailbox.close()

    async def _open(self, target: Target) -> _Opened:
        """Ask one target and read up to its first content, which is the point of no return."""
        provider = target.provider
        loop = asyncio.get_running_loop()
        deadline = min(self._deadline, loop.time() + provider.timeouts.total_s)
        stream = provider.provider.stream_completion(self._request.for_model(target.model))
        started = time.perf_counter()
        first: list[StreamEvent] = []
        ended = True
        try:
            with Watchdog(deadline, total_timed_out) as dog:
                dog.limit(provider.timeouts.first_token_s, _first_token_timed_out)
                async for item in stream:
                    events = events_of(item)
                    first += events
                    if not events:
                        dog.touch()
                    if any(event.commits for event in events):
                        ended = False
                        break
                    _check_beginning(first)
        except BaseException:
            await _close(stream)
            raise
        now = time.perf_counter()
        target.streamed.observe(now - started, provider.clock())
        self.ttft_s = now - self._started
        return _Opened(target, stream, first, deadline, ended)

    async def _pump(self, opened: _Opened) -> None:
        """Hand on the events until the answer is whole; raises when it ends otherwise."""
        self.target = opened.target
        for event in opened.first:
            self._put(event)
        if opened.ended:
            self._put(StreamEvent(finish_reason="stop"))
            return
        try:
            with Watchdog(opened.deadline, total_timed_out) as dog:
                await self._pump_rest(opened, dog)
        except errors.StreamStalled:
            if not self._is_whole():
                raise
        if self.finish_reason is None:
            self._put(StreamEvent(finish_reason="stop"))

    async def _pump_rest(self, opened: _Opened, dog: Watchdog) -> None:
        idle_s = opened.target.provider.timeouts.idle_s
        if self._is_whole():
            idle_s = min(idle_s, AFTER_FINISH_S)
        dog.limit(idle_s, _stalled)
        async for item in opened.stream:
            events = events_of(item)
            pending = self._hand_on(events)
            if pending is not None:
                # A slow client is not a stalled provider: the wait for it does not count.
                dog.rest()
                await pending
            dog.touch()
            if self.finish_reason is not None and idle_s > AFTER_FINISH_S and self._is_whole():
                idle_s = AFTER_FINISH_S
                dog.limit(idle_s, _stalled)

    def _hand_on(self, events: list[StreamEvent]) -> Awaitable[None] | None:
        """Give events to who takes them, and return what to wait for before the next ones are read."""
        if self._write is None:
            for event in events:
                self._put(event)
            return self.mailbox.room() if self.mailbox.is_full else None
        for event in events:
            self._note(event)
        return self._write(events)

    def _is_whole(self) -> bool:
        """Whether the only choice has its finish reason, so that nothing but usage can follow."""
        asked = self._request
        return self.finish_reason is not None and asked.get("n", 1) in (None, 1) and asked.operation == CHAT

    def _put(self, event: StreamEvent) -> None:
        self._note(event)
        self.mailbox.put(event)

    def _note(self, event: StreamEvent) -> None:
        if event.usage is not None:
            self.usage = event.usage
        if event.finish_reason is not None:
            self.finish_reason = event.finish_reason
        self.content_chars += len(event.content) + len(event.reasoning)
        if event.tool_calls:
            self.content_chars += _argument_chars(event.tool_calls)


def _argument_chars(calls: list[dict[str, Any]]) -> int:
    functions = [call.get("function") for call in calls]
    arguments = [function.get("arguments") for function in functions if isinstance(function, dict)]
    return sum(len(text) for text in arguments if isinstance(text, str))


def _size(event: StreamEvent) -> int:
    """Return about how much memory an event takes, in bytes."""
    if event.raw is not None:
        return len(event.raw)
    if event.native is not None:
        return len(event.native)
    size = len(event.content) + len(event.reasoning) + _argument_chars(event.tool_calls or [])
    values = [value for block in event.thinking_blocks or () for value in block.values()]
    return size + sum(len(value) for value in values if isinstance(value, str))


async def _close(stream: AsyncIterator[StreamItem]) -> None:
    """Close a provider's generator, which closes its upstream, even while being cancelled.

    What it raises is dropped: it would take the place of the answer, the error or the cancellation that ended the call.
    """
    aclose = getattr(stream, "aclose", None)
    # A generator that has come to its end has no frame left, and nothing to close.
    if aclose is not None and getattr(stream, "ag_frame", stream) is not None:
        with suppress(Exception), anyio.CancelScope(deadline=anyio.current_time() + CLOSE_TIMEOUT_S, shield=True):
            await aclose()


def _check_beginning(first: list[StreamEvent]) -> None:
    if len(first) > MAX_EVENTS_BEFORE_CONTENT:
        msg = "too many events without content"
        raise errors.UnreadableAnswer(msg)


def _first_token_timed_out() -> errors.ProviderError:
    return errors.FirstTokenTimedOut("no content in time")


def total_timed_out() -> errors.ProviderError:
    """Return the error of a call that ran into its deadline."""
    return errors.TotalTimedOut("the answer was not whole in time")


def _stalled() -> errors.ProviderError:
    return errors.StreamStalled("the stream brought nothing for too long")
