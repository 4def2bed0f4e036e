"""`scripts/bench --profile`: samples the gateway under load with py-spy."""

from __future__ import annotations

import subprocess
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import processes
from benchmarks.load import Job
from benchmarks.peers import install_py_spy
from benchmarks.processes import StartError
from benchmarks.servers import GATEWAY, ROOT, environment
from benchmarks.trial import LOAD_CORE, Bench, Trial, base_job, load, started

if TYPE_CHECKING:
    from pathlib import Path

_RATE_HZ: Final = 250
_SAMPLE_S: Final = 8
_SHOWN: Final = 30


def profile(bench: Bench) -> str:
    """Return a Markdown report of where the gateway spends its CPU time, or why that cannot be said."""
    try:
        py_spy = install_py_spy(bench.peers_dir)
    except StartError as exc:
        return f"No profile: py-spy cannot be installed ({exc}). Install it, or run without --profile.\n"
    trial = Trial(server=GATEWAY.name, round=0)
    parts: list[str] = []
    try:
        with started(bench, GATEWAY, trial) as (port, pid):
            for title, stream in (("unary", False), ("stream", True)):
                job = base_job(bench, GATEWAY, port, pid)
                job = msgspec.structs.replace(job, stream=stream, warmup_s=2.0, measure_s=_SAMPLE_S + 3.0)
                parts.append(f"## {title}\n\n{_sample(bench, py_spy, job, title)}")
    except StartError as exc:
        parts.append(f"No profile: {exc}\n\npy-spy must be allowed to trace (root, or kernel.yama.ptrace_scope=0).\n")
    return "\n".join(parts)


def _sample(bench: Bench, py_spy: Path, job: Job, title: str) -> str:
    raw = bench.peers_dir / f"profile-{title}.txt"
    options = ["--duration", str(_SAMPLE_S), "--rate", str(_RATE_HZ), "--format", "raw", "--nonblocking", "--function"]
    command = [str(py_spy), "record", "--pid", str(job.server_pid), *options, "--output", str(raw)]
    log = bench.folder / "py-spy.log"
    raw.unlink(missing_ok=True)
    # The warm-up of the load covers the start of the profiler, so that all samples fall into the load.
    with processes.running(command, env=environment({}), cwd=ROOT, core=LOAD_CORE, log=log) as child:
        load(job)
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(_SAMPLE_S)
        if not raw.exists():
            raise StartError(child.log_tail() or "py-spy wrote nothing")
    return summary(raw.read_text(), raw)


def summary(stacks: str, source: Path) -> str:
    """Return the functions with most samples, from collapsed stacks (`frame;frame;frame count` a line)."""
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(samples)
        for frame in set(frames):
            inclusive[frame] += int(samples)
    total = own.total() or 1
    lines = [
        f"{own.total()} samples; collapsed stacks for a flame graph: {source}",
        "",
        "| own % | with callees % | function |",
    ]
    lines.append("|---:|---:|---|")
    for frame, count in own.most_common(_SHOWN):
        lines.append(f"| {100 * count / total:.1f} | {100 * inclusive[frame] / total:.1f} | {frame} |")
    return "\n".join(lines) + "\n"
