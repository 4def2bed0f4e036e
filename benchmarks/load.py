"""The load generator: reads one `Job` as JSON from standard input, writes one `Measured` to standard output.

It reads the CPU time of the server at the two ends of the measured window itself, so that the window and the number
of answers in it belong together.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import uvloop

from benchmarks import proc, wire
from benchmarks.client import Client, Tally

if TYPE_CHECKING:
    from collections.abc import Callable

_DRAIN_LIMIT_S: Final = 20.0
_MOST_ERRORS: Final = 500
_RECONNECT_PAUSE_S: Final = 0.05


class Job(msgspec.Struct, kw_only=True):
    """One phase.

    `closed`: every connection asks again as soon as it has its answer. `paced`: one connection, one arrival every
    `interval_ms`, however long answers take. `hold`: every connection runs one stream, opened over `warmup_s`.
    """

    kind: Literal["closed", "paced", "hold"]
    port: int
    path: str
    headers: dict[str, str]
    decoded: bool
    stream: bool
    chunks: int = 64
    gap_ms: int = 5
    connections: int = 1
    interval_ms: float = 10.0
    warmup_s: float = 1.0
    measure_s: float = 3.0
    server_pid: int = 0
    server_core: int = 0
    upstream_pid: int = 0


class Measured(msgspec.Struct, kw_only=True):
    """The result; `requests` (right answers), `chunks` and `cpu_s` are the window's, errors the whole phase's."""

    requests: int
    chunks: int
    window_s: float
    cpu_s: float
    load_share: float
    upstream_share: float
    other_share: float  # Of the server's core, taken by work that is not the server's.
    checked: int
    errors: dict[str, int]
    p50_ms: float | None = None
    p99_ms: float | None = None
    first_p50_ms: float | None = None
    first_p99_ms: float | None = None
    gap_p99_ms: float | None = None
    open_streams: int = 0
    rss_bytes: int = 0


class Mark(msgspec.Struct, frozen=True):
    """The counters at one end of the measured window."""

    at_s: float
    requests: int
    chunks: int
    server_cpu_s: float
    upstream_cpu_s: float
    load_cpu_s: float
    core_busy_s: float


def percentile_ms(values_s: list[float], percent: float) -> float | None:
    """Return the nearest-rank percentile in milliseconds, or None without values."""
    if not values_s:
        return None
    ordered = sorted(values_s)
    rank = max(0, -(-len(ordered) * percent // 100) - 1)
    return 1000 * ordered[int(rank)]


class Phase:
    """Runs one job."""

    def __init__(self, job: Job) -> None:
        """Prepare the requests; must run inside the event loop."""
        self.job = job
        self.tally = Tally()
        self.loop = asyncio.get_running_loop()
        self.clients: set[Client] = set()
        self.stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: list[tuple[wire.Question, bytes]] = []
        for variant in range(wire.VARIANTS):
            question = wire.Question(variant, job.stream, job.chunks, job.gap_ms)
            body = wire.request_body(question)
            self._requests.append((question, wire.http_request(job.port, job.path, job.headers, body)))

    async def connect(self, number: int, idle: Callable[[Client], None]) -> None:
        """Open one connection; a refused one counts as an error."""
        shift = number % wire.VARIANTS
        requests = self._requests[shift:] + self._requests[:shift]

        def ready(client: Client) -> None:
            self.clients.add(client)
            idle(client)

        def lost(client: Client) -> None:
            self.clients.discard(client)
            if not self.stopping and self.job.kind != "hold" and self.tally.failed < _MOST_ERRORS:
                self._spawn(number, idle)

        def new() -> Client:
            return Client(self.tally, requests, decoded=self.job.decoded, idle=ready, lost=lost)

        try:
            await self.loop.create_connection(new, "127.0.0.1", self.job.port)
        except OSError as exc:
            self.tally.error(f"connect: {exc.strerror or exc}")

    def _spawn(self, number: int, idle: Callable[[Client], None]) -> None:
        async def again() -> None:
            await asyncio.sleep(_RECONNECT_PAUSE_S)
            await self.connect(number, idle)

        task = self.loop.create_task(again())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def mark(self) -> Mark:
        """Return the counters as they are now."""
        job = self.job
        return Mark(
            time.monotonic(),
            self.tally.correct,
            self.tally.chunks,
            proc.tree_cpu_s(job.server_pid) if job.server_pid else 0.0,
            proc.tree_cpu_s(job.upstream_pid) if job.upstream_pid else 0.0,
            time.process_time(),
            proc.core_busy_s(job.server_core),
        )

    async def drain(self, limit_s: float = _DRAIN_LIMIT_S) -> None:
        """Let outstanding answers end, so that they are checked too; what is left then is an error."""
        self.stopping = True
        end_s = time.monotonic() + limit_s
        while any(client.busy for client in self.clients) and time.monotonic() < end_s:
            await asyncio.sleep(0.02)
        for task in self._tasks:
            task.cancel()
        for client in list(self.clients):
            if client.busy:
                self.tally.error("not finished in time")
            client.close()

    def result(self, first: Mark, last: Mark) -> Measured:
        """Put the two ends of the window together."""
        window_s = last.at_s - first.at_s
        cpu_s = last.server_cpu_s - first.server_cpu_s
        tally = self.tally
        if last.requests == first.requests and last.chunks == first.chunks:
            tally.error("no right answer in the measured window")
        return Measured(
            requests=last.requests - first.requests,
            chunks=last.chunks - first.chunks,
            window_s=window_s,
            cpu_s=cpu_s,
            load_share=(last.load_cpu_s - first.load_cpu_s) / window_s,
            upstream_share=(last.upstream_cpu_s - first.upstream_cpu_s) / window_s,
            other_share=max(0.0, (last.core_busy_s - first.core_busy_s - cpu_s) / window_s),
            checked=tally.checked,
            errors=tally.errors,
        )


async def run_closed(phase: Phase) -> Measured:
    """Keep every connection busy; streams start spread over one stream's length."""
    job = phase.job
    spread_s = min(job.chunks * job.gap_ms / 1000 if job.stream else 0.0, job.warmup_s)

    def idle(client: Client) -> None:
        if not phase.stopping:
            client.ask()

    for number in range(job.connections):
        await phase.connect(number, idle)
        await asyncio.sleep(spread_s / job.connections)
    await asyncio.sleep(max(0.0, job.warmup_s - spread_s))
    first = phase.mark()
    await asyncio.sleep(job.measure_s)
    last = phase.mark()
    await phase.drain()
    return phase.result(first, last)


async def run_paced(phase: Phase) -> Measured:
    """Ask at fixed times on one connection.

    An answer that is still outstanding when the next request is due makes that request wait, and the wait counts:
    latency runs from the due time then. When the connection is free it runs from the actual send, because a late
    timer is the load generator's own delay.
    """
    job = phase.job
    free = asyncio.Event()

    def idle(client: Client) -> None:  # noqa: ARG001
        free.set()

    await phase.connect(0, idle)
    start_s = time.monotonic()
    warm = int(1000 * job.warmup_s / job.interval_ms)
    count = int(1000 * (job.warmup_s + job.measure_s) / job.interval_ms)
    first = phase.mark()
    for number in range(count):
        due_s = start_s + number * job.interval_ms / 1000
        await asyncio.sleep(due_s - time.monotonic())
        if number == warm:
            phase.tally.latencies_s.clear()
            phase.tally.first_chunks_s.clear()
            first = phase.mark()
        waited = not free.is_set()
        if not await _is_set(free, _DRAIN_LIMIT_S):
            break
        free.clear()
        for client in phase.clients:
            client.ask(due_s if waited else None)
    await phase.drain()
    result = phase.result(first, phase.mark())
    result.p50_ms = percentile_ms(phase.tally.latencies_s, 50)
    result.p99_ms = percentile_ms(phase.tally.latencies_s, 99)
    result.first_p50_ms = percentile_ms(phase.tally.first_chunks_s, 50)
    result.first_p99_ms = percentile_ms(phase.tally.first_chunks_s, 99)
    return result


async def _is_set(event: asyncio.Event, limit_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), limit_s)
    except TimeoutError:
        return False
    return True


async def run_hold(phase: Phase) -> Measured:
    """Open one stream per connection over `warmup_s`, measure while all are open, wait until all have ended."""
    job = phase.job
    asked: set[Client] = set()

    def idle(client: Client) -> None:
        if client not in asked:
            asked.add(client)
            client.ask()

    start_s = time.monotonic()
    for number in range(job.connections):
        due_s = start_s + number * job.warmup_s / job.connections
        await asyncio.sleep(due_s - time.monotonic())
        await phase.connect(number, idle)
    await asyncio.sleep(0.5)
    phase.tally.gaps_s.clear()
    first = phase.mark()
    await asyncio.sleep(job.measure_s)
    last = phase.mark()
    open_streams = phase.tally.streaming
    gap_p99_ms = percentile_ms(phase.tally.gaps_s, 99)
    rss_bytes = proc.tree_rss_bytes(job.server_pid) if job.server_pid else 0
    await phase.drain(job.chunks * job.gap_ms / 1000 + _DRAIN_LIMIT_S)
    result = phase.result(first, last)
    result.open_streams, result.gap_p99_ms, result.rss_bytes = open_streams, gap_p99_ms, rss_bytes
    return result


async def run(job: Job) -> Measured:
    """Run one job."""
    phase = Phase(job)
    runners = {"closed": run_closed, "paced": run_paced, "hold": run_hold}
    return await runners[job.kind](phase)


def main() -> None:
    """Run the job on standard input."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(job))))


if __name__ == "__main__":
    main()
