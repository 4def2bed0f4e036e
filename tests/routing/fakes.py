"""Providers that do as a script says, an observer that takes notes, and routers made of them."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from providers.base import AIProvider, CompletionRequest, StreamEvent
from providers.config import Timeouts
from routing.plan import Plan, Route
from routing.router import ModelRouter
from routing.targets import ProviderState, Target
from routing.whole import Answer
from tests.routing.virtual_time import now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from routing.breaker import Breaker
    from routing.stream import StreamCall

MODEL = "m"
FOREVER = 1e7
DONE = StreamEvent(finish_reason="stop")
ROLE = StreamEvent(raw=b'{"choices":[{"delta":{"role":"assistant"}}]}')

# One step of an answer: a string or event is yielded, a number of seconds slept, an exception raised.
Step = str | StreamEvent | float | BaseException
OK: tuple[Step, ...] = ("hello", DONE)


class Fake(AIProvider):
    """Answers call after call as `scripts` say, the last one for ever.

    `opened` and `closed` count generators that were entered and left; `close_s` is how long leaving one takes and
    `close_error` what it raises. `most_open` is the largest number that were open at once.
    """

    def __init__(
        self,
        *scripts: tuple[Step, ...],
        context: int | None = None,
        close_s: float = 0.0,
        close_error: Exception | None = None,
    ) -> None:
        self.scripts = list(scripts) or [OK]
        self.context = context
        self.close_s = close_s
        self.close_error = close_error
        self.models = [MODEL]
        self.calls: list[CompletionRequest] = []
        self.called_at: list[float] = []
        self.opened = 0
        self.closed = 0
        self.most_open = 0
        self.was_closed = 0

    async def stream_completion(self, request: CompletionRequest) -> AsyncIterator[str | StreamEvent]:
        """Play the next script."""
        script = self.next_script(request)
        self.opened += 1
        self.most_open = max(self.most_open, self.opened - self.closed)
        try:
            for step in script:
                if isinstance(step, BaseException):
                    raise copy.copy(step)
                if isinstance(step, (int, float)):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            if self.close_s:
                await asyncio.sleep(self.close_s)
            self.closed += 1
            if self.close_error is not None:
                raise self.close_error

    def next_script(self, request: CompletionRequest) -> tuple[Step, ...]:
        """Note the call and return what it is answered with."""
        self.calls.append(request)
        self.called_at.append(now())
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]

    async def get_models(self) -> list[str]:
        """Return `models`."""
        return self.models

    def context_length(self, model: str) -> int | None:
        """Return `context`."""
        return self.context

    async def aclose(self) -> None:
        """Count it."""
        self.was_closed += 1


class Notes:
    """An observer that writes down what it hears."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, str]] = []
        self.surprises: list[tuple[str, str]] = []
        self.retries: list[str] = []
        self.failovers: list[tuple[str, str]] = []

    def attempt(self, target: Target, outcome: str) -> None:
        """Note how an attempt ended."""
        self.attempts.append((target.provider.name, outcome))

    def surprised(self, target: Target, error: BaseException) -> None:
        """Note what an adapter raised unplanned."""
        self.surprises.append((target.provider.name, type(error).__name__))

    def retried(self, target: Target) -> None:
        """Note a retry."""
        self.retries.append(target.provider.name)

    def failed_over(self, source: Target, error: BaseException) -> None:
        """Note a failover."""
        self.failovers.append((source.provider.name, type(error).__name__))


class Setup:
    """A router over `fakes`, which are called a, b, c ... and all serve the model `m`.

    `each` are settings of `ProviderState` for every provider. Without `clock` the router follows the running loop.
    """

    def __init__(
        self,
        *fakes: AIProvider,
        strategy: str = "priority",
        routes: dict[str, Route] | None = None,
        default_route: str | None = None,
        clock: Callable[[], float] | None = None,
        **each: Any,
    ) -> None:
        self.notes = Notes()
        self.router = ModelRouter(
            strategy=strategy,
            routes=routes,
            default_route=default_route,
            observer=self.notes,
            clock=clock or asyncio.get_running_loop().time,
        )
        each.setdefault("closed_models", (MODEL,))
        for name, fake in zip("abcdefghijklmnop", fakes, strict=False):
            self.router.register_provider(name, fake, **each)

    def state(self, name: str) -> ProviderState:
        """Return what the router knows of one provider."""
        return self.router.providers[name]

    def target(self, name: str, model: str = MODEL) -> Target:
        """Return one target."""
        return self.state(name).target(model)

    def plan(self) -> Plan:
        """Return the plan for `m`."""
        return self.router.plan(MODEL)

    async def ask(self, caller: str = "key", **fields: Any) -> Answer:
        """Ask for a whole answer."""
        return await self.router.complete(self.plan(), request(**fields), caller=caller)

    def stream(self, caller: str = "key", **fields: Any) -> StreamCall:
        """Open a stream, which the test has to close."""
        return self.router.open_stream(self.plan(), request(stream=True, **fields), caller=caller)

    def held(self) -> dict[str, int]:
        """Return the requests in flight for every provider that has some, by its own count or its targets'."""
        held = {}
        for name, state in self.router.providers.items():
            counts = [state.in_flight, *(target.in_flight for target in state._targets.values())]
            if any(counts):
                held[name] = max(counts, key=abs)
        return held

    def probing(self) -> list[str]:
        """Return the providers that wait for a probe of theirs."""
        return [
            name
            for name, state in self.router.providers.items()
            if state.breaker._probing or any(target.breaker._probing for target in state._targets.values())
        ]


def request(**fields: Any) -> CompletionRequest:
    """Return a chat request."""
    messages = fields.pop("messages", [{"role": "user", "content": "hi"}])
    return CompletionRequest.of(MODEL, messages, **fields)


async def taken(call: StreamCall, into: list[StreamEvent] | None = None) -> list[StreamEvent]:
    """Take all events of `call` up to its end, also into a list of the test's; raises what ended it otherwise."""
    events = [] if into is None else into
    while batch := await call.take():
        events += batch
    return events


async def collect(call: StreamCall) -> list[StreamEvent]:
    """Take all events of `call` and close it."""
    try:
        return await taken(call)
    finally:
        await call.aclose()


def state_of(breaker: Breaker) -> str:
    """Return a breaker's state; a call, so that the type checker expects another answer the next time."""
    return breaker.state


def text(events: list[StreamEvent]) -> str:
    """Return the content of `events`."""
    return "".join(event.content for event in events)


def limits(**seconds: float) -> Timeouts:
    """Return timeouts: those of a usual provider, except for what is given."""
    return Timeouts(**seconds)


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, at: float = 1_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        """Return the time in monotonic seconds."""
        return self.at
