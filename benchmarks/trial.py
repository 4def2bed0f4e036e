"""One trial: one server in one round, in a fresh process, through all phases."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import proc, processes
from benchmarks.load import Job, Measured
from benchmarks.servers import DIRECT, ROOT, Server, Setting, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
CONNECTIONS: Final = 64
_LOAD_GRACE_S: Final = 90.0
_SLOW_WARMUP_S: Final = 4.0
_SETTLE_S: Final = 0.5
_OPENED_PER_S: Final = 500.0


@dataclass(frozen=True)
class Plan:
    """How long the phases of a run last."""

    rounds: int
    limit_s: float
    warmup_s: float = 1.5
    unary_s: float = 5.0
    stream_s: float = 6.0
    latency_s: float = 5.0
    open_rounds: int = 2
    open_streams: int = 1000
    open_s: float = 6.0


class Trial(msgspec.Struct, kw_only=True):
    """What one trial measured; a phase that did not run is None."""

    server: str
    round: int
    version: str = ""
    failure: str = ""
    start_s: float | None = None
    idle_rss_bytes: int = 0
    unary: Measured | None = None
    stream: Measured | None = None
    unary_latency: Measured | None = None
    stream_latency: Measured | None = None
    open: Measured | None = None

    def phases(self) -> list[Measured]:
        """Return the phases that ran."""
        every = (self.unary, self.stream, self.unary_latency, self.stream_latency, self.open)
        return [phase for phase in every if phase is not None]


@dataclass(frozen=True)
class Bench:
    """What all trials of a run share."""

    plan: Plan
    upstream_port: int
    upstream_pid: int
    folder: Path
    peers_dir: Path
    gateway_command: str


@contextmanager
def upstream(folder: Path) -> Iterator[tuple[int, int]]:
    """Run the upstream; yields its port and its pid."""
    port = processes.free_port()
    command = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
    log = folder / "upstream.log"
    with processes.running(command, env=environment({}), cwd=ROOT, core=LOAD_CORE, log=log) as child:
        processes.wait_ready(child, port, "/v1/models", limit_s=15, only_200=True)
        yield port, child.pid


def load(job: Job) -> Measured:
    """Run one phase in a load generator of its own."""
    stream_s = job.chunks * job.gap_ms / 1000 if job.stream else 0.0
    limit_s = job.warmup_s + job.measure_s + 2 * stream_s + _LOAD_GRACE_S
    command = [sys.executable, "-m", "benchmarks.load"]
    output = processes.run(
        command, cwd=ROOT, limit_s=limit_s, core=LOAD_CORE, stdin=msgspec.json.encode(job), env=environment({})
    )
    return msgspec.json.decode(output, type=Measured)


@contextmanager
def started(bench: Bench, server: Server, trial: Trial) -> Iterator[tuple[int, int]]:
    """Run the server of a trial until it is ready; yields its port and its pid (0 for the upstream itself)."""
    if server.launch is None:
        yield bench.upstream_port, 0
        return
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        port = processes.free_port()
        setting = Setting(port, bench.upstream_port, Path(name), bench.peers_dir, bench.gateway_command)
        launch = server.launch(setting)
        trial.version = launch.version
        log = bench.folder / f"{server.name}.log"
        env = environment(launch.env)
        with processes.running(launch.command, env=env, cwd=ROOT, core=SERVER_CORE, log=log) as child:
            ready_path = server.ready_path or "/"
            only_200 = server.ready_path is not None
            limit_s = server.start_limit_s
            trial.start_s = processes.wait_ready(child, port, ready_path, limit_s=limit_s, only_200=only_200)
            yield port, child.pid


def run_trial(bench: Bench, server: Server, number: int) -> Trial:
    """Run one trial; a server that fails is part of the result, with the reason."""
    trial = Trial(server=server.name, round=number)
    try:
        with started(bench, server, trial) as (port, pid):
            time.sleep(_SETTLE_S)
            trial.idle_rss_bytes = proc.tree_rss_bytes(pid) if pid else 0
            _run_phases(bench, server, trial, port, pid)
    except processes.StartError as exc:
        trial.failure = str(exc)
    return trial


def base_job(bench: Bench, server: Server, port: int, pid: int) -> Job:
    """Return the closed unary job for a server; the other phases are variations of it."""
    headers = dict(server.headers)
    if server.upstream_header:
        headers[server.upstream_header] = f"http://127.0.0.1:{bench.upstream_port}/v1"
    return Job(
        kind="closed",
        port=port,
        path="/v1/chat/completions",
        headers=headers,
        decoded=server.decoded,
        stream=False,
        connections=CONNECTIONS,
        warmup_s=max(bench.plan.warmup_s, _SLOW_WARMUP_S if server.slow else 0.0),
        measure_s=bench.plan.unary_s,
        server_pid=pid,
        server_core=SERVER_CORE,
        upstream_pid=bench.upstream_pid,
    )


def _run_phases(bench: Bench, server: Server, trial: Trial, port: int, pid: int) -> None:
    plan = bench.plan
    job = base_job(bench, server, port, pid)
    replace = msgspec.structs.replace
    paced = replace(job, kind="paced", connections=1, warmup_s=0.5, measure_s=plan.latency_s)
    if server is not DIRECT:
        trial.unary = load(job)
    trial.unary_latency = load(replace(paced, interval_ms=40.0 if server.slow else 8.0))
    if not server.streams:
        return
    if server is not DIRECT:
        trial.stream = load(replace(job, stream=True, measure_s=plan.stream_s))
    trial.stream_latency = load(replace(paced, stream=True, chunks=3, interval_ms=100.0 if server.slow else 20.0))
    if trial.round < plan.open_rounds and not server.slow:
        trial.open = load(open_job(job, plan))


def open_job(job: Job, plan: Plan) -> Job:
    """Return the job with many open streams of 10 chunks/s: all stay open until the measured window has passed."""
    ramp_s = plan.open_streams / _OPENED_PER_S
    chunks = round(10 * (ramp_s + plan.open_s + 1.0))
    streams = plan.open_streams
    return msgspec.structs.replace(
        job,
        kind="hold",
        stream=True,
        connections=streams,
        warmup_s=ramp_s,
        measure_s=plan.open_s,
        chunks=chunks,
        gap_ms=100,
    )
