"""The steps a script is made of: each does one thing to the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, Self

from tests.upstream import frames
from tests.upstream.frames import JsonObject
from tests.upstream.recorded import Recorded
from tests.upstream.wire import Headers, Wire

EVENT_STREAM = "text/event-stream; charset=utf-8"


class Step(Protocol):
    """One step of a script."""

    async def run(self, wire: Wire) -> None:
        """Do it; the step is cancelled when the peer leaves."""


@dataclass(frozen=True)
class Steps:
    """An immutable list of steps. `a + b` does the steps of `a`, then those of `b`."""

    plan: tuple[Step, ...] = ()

    @classmethod
    def steps(cls, *steps: Step) -> Self:
        """Make a list of exactly these steps."""
        return cls(steps)

    def __add__(self, other: Steps) -> Self:
        """Join two lists."""
        return type(self)(self.plan + other.plan)


@dataclass(frozen=True)
class Send:
    """Put raw bytes on the connection, whatever HTTP makes of them."""

    data: bytes

    async def run(self, wire: Wire) -> None:
        """Send the bytes."""
        await wire.send(self.data)


@dataclass(frozen=True)
class Head:
    """Send a status line and headers, by default those of an event stream."""

    status: int = 200
    headers: Headers = ()
    content_type: str | None = EVENT_STREAM
    length: int | None = None

    async def run(self, wire: Wire) -> None:
        """Send the head."""
        await wire.head(self.status, self.headers, self.content_type, self.length)


@dataclass(frozen=True)
class Body:
    """Send part of the body, in the framing that the head announced."""

    data: bytes

    async def run(self, wire: Wire) -> None:
        """Send the part."""
        await wire.body(self.data)


@dataclass(frozen=True)
class End:
    """End the body cleanly; the connection stays usable if the request allowed it."""

    async def run(self, wire: Wire) -> None:
        """End the body."""
        await wire.end()


@dataclass(frozen=True)
class Sleep:
    """Do nothing for a while."""

    seconds: float

    async def run(self, wire: Wire) -> None:
        """Wait."""
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True)
class Hold:
    """Wait until the test sets the upstream's `release` event."""

    async def run(self, wire: Wire) -> None:
        """Wait for the event."""
        await wire.release.wait()


@dataclass(frozen=True)
class Hang:
    """Send nothing until the peer leaves or the upstream's own time limit is over."""

    async def run(self, wire: Wire) -> None:
        """Wait to be cancelled."""
        await asyncio.get_running_loop().create_future()


@dataclass(frozen=True)
class Repeat:
    """Send the same part of the body again and again, with a pause of `interval_s`, until the peer leaves."""

    data: bytes
    interval_s: float

    async def run(self, wire: Wire) -> None:
        """Send for ever."""
        while True:
            await wire.body(self.data)
            await asyncio.sleep(self.interval_s)


@dataclass(frozen=True)
class Close:
    """Close the connection with FIN, whatever is still owed."""

    async def run(self, wire: Wire) -> None:
        """Close."""
        await wire.close()


@dataclass(frozen=True)
class Reset:
    """Close the connection with RST, whatever is still owed."""

    async def run(self, wire: Wire) -> None:
        """Reset."""
        await wire.reset()


@dataclass(frozen=True)
class KeepAlive:
    """Declare a raw answer complete, so that the connection serves the next request."""

    async def run(self, wire: Wire) -> None:
        """Mark the answer complete."""
        wire.complete = True


@dataclass(frozen=True)
class Whole:
    """Send a whole answer with a Content-Length."""

    data: bytes
    status: int = 200
    headers: Headers = ()
    content_type: str | None = "application/json"

    async def run(self, wire: Wire) -> None:
        """Send head, body and end."""
        await wire.head(self.status, self.headers, self.content_type, len(self.data))
        await wire.body(self.data)
        await wire.end()


@dataclass(frozen=True)
class PerCall:
    """Choose the steps when the call is known."""

    choose: Callable[[Recorded], Iterable[Step]]

    async def run(self, wire: Wire) -> None:
        """Do the chosen steps until one closes the connection."""
        for step in self.choose(wire.call):
            if not wire.closed:
                await step.run(wire)


def answer_members(call: Recorded, model: str | None = None) -> JsonObject:
    """The members that all documents of one answer share: its id and the model's name."""
    return {"id": f"{frames.ANSWER_ID}-{call.number}", "model": model or call.model}


def stream_of(payloads: Iterable[JsonObject | str]) -> list[Step]:
    """The steps of a whole event stream with these payloads, one write for each event."""
    return [Head(), *(Body(frames.event(payload)) for payload in payloads), End()]


def json_answer(document: JsonObject, status: int = 200) -> Whole:
    """The step that sends `document` as a whole answer."""
    return Whole(frames.encode(document), status)
