"""The command line of the benchmark: see `benchmarks/README.md`."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import keys, report, updates
from benchmarks.processes import StartError
from benchmarks.profiling import profile
from benchmarks.servers import ROOT, SERVERS, Server
from benchmarks.trial import LOAD_CORE, SERVER_CORE, Bench, Plan, Trial, run_trial, upstream

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL: Final = Plan(rounds=5, limit_s=900)
QUICK: Final = Plan(
    rounds=2, limit_s=130, warmup_s=1.0, unary_s=2.0, stream_s=2.0, latency_s=1.5, open_rounds=1, open_s=2.5
)
_README: Final = ROOT / "benchmarks" / "README.md"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    peers = [server.name for server in SERVERS if server.peer]
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the gateway and its peers.")
    parser.add_argument("--quick", action="store_true", help="about 90 s, fewer rounds, no peers")
    parser.add_argument("--peers", default=",".join(peers), help="none, or names separated by commas (%(default)s)")
    parser.add_argument("--peers-dir", type=Path, default=ROOT / "benchmarks" / ".peers", help="where peers live")
    parser.add_argument("--only", default="", help="measure only these servers, separated by commas")
    parser.add_argument("--rounds", type=int, help="at most so many rounds")
    parser.add_argument("--minutes", type=float, help="start no round that would end later than this")
    parser.add_argument("--open-streams", type=int, default=1000, help="streams held open at once (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all trials and medians to this file")
    parser.add_argument("--write-readme", action="store_true", help="put the table into benchmarks/README.md")
    parser.add_argument("--gateway-command", default="", help="start the gateway with this command instead")
    parser.add_argument("--keys", action="store_true", help="measure what keys, limits and usage cost, instead")
    parser.add_argument("--updates", action="store_true", help="measure what an update check costs, instead")
    parser.add_argument("--profile", action="store_true", help="sample the gateway with py-spy instead of measuring")
    return parser.parse_args(argv)


def chosen_servers(options: argparse.Namespace) -> list[Server]:
    """Return the servers to measure; ValueError for a name that is not in the table."""
    known = {server.name: server for server in SERVERS}
    peers = set() if options.quick or options.peers == "none" else set(filter(None, options.peers.split(",")))
    only = set(filter(None, options.only.split(",")))
    if unknown := (peers | only) - known.keys():
        msg = f"unknown servers: {', '.join(sorted(unknown))}; known: {', '.join(known)}"
        raise ValueError(msg)
    if only:
        # Without the direct figures nothing can be said about added latency.
        return [server for server in SERVERS if server.name in only | {"direct"}]
    return [server for server in SERVERS if not server.peer or server.name in peers]


def chosen_plan(options: argparse.Namespace) -> Plan:
    """Return the plan of the run."""
    base = QUICK if options.quick else FULL
    changes: dict[str, float] = {"open_streams": options.open_streams}
    if options.rounds is not None:
        changes["rounds"] = options.rounds
    if options.minutes is not None:
        changes["limit_s"] = 60 * options.minutes
    return Plan(**{**vars(base), **changes})


def say(text: str) -> None:
    """Tell the person in front of the terminal what happens; standard output is for the table."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def prepare(bench: Bench, servers: Sequence[Server]) -> tuple[list[Server], dict[str, str]]:
    """Install what is missing before the clock runs; returns the usable servers and the reasons of the others."""
    unavailable: dict[str, str] = {}
    for server in servers:
        if server.install is None:
            continue
        say(f"{server.title}: looking for it in {bench.peers_dir}, installing it if it is missing")
        try:
            say(f"{server.title}: {server.install(bench.peers_dir)[1]}")
        except StartError as exc:
            unavailable[server.name] = str(exc)
            say(f"{server.title} is not available: {exc}")
    return [server for server in servers if server.name not in unavailable], unavailable


def measure(bench: Bench, servers: Sequence[Server]) -> list[Trial]:
    """Run the rounds; each begins with another server, so that none always follows the same one."""
    trials: list[Trial] = []
    end_s = time.monotonic() + bench.plan.limit_s
    longest_s = 0.0
    for number in range(bench.plan.rounds):
        start_s = time.monotonic()
        if start_s + longest_s > end_s:
            say(f"time is up after {number} rounds")
            break
        shift = number % len(servers)
        for server in (*servers[shift:], *servers[:shift]):
            trial = run_trial(bench, server, number)
            trials.append(trial)
            errors = sum(sum(phase.errors.values()) for phase in trial.phases())
            say(f"round {number + 1}: {server.title}, {errors} errors {trial.failure}")
        longest_s = max(longest_s, time.monotonic() - start_s)
    return trials


def _stop_on_signal(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _prepare_process() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop_on_signal)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # The children inherit it; streams need descriptors.
    os.sched_setaffinity(0, {LOAD_CORE})


def main() -> int:
    """Run the benchmark; 0 when it ran, 2 when it cannot run here, 130 when it was interrupted."""
    options = arguments()
    try:
        servers, plan = chosen_servers(options), chosen_plan(options)
    except ValueError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        sys.stderr.write(f"this needs Linux and the two cores {SERVER_CORE} and {LOAD_CORE}\n")
        return 2
    _prepare_process()
    try:
        return _run(options, servers, plan)
    except KeyboardInterrupt:
        say("interrupted; every process that was started has been stopped")
        return 130


def _run(options: argparse.Namespace, servers: list[Server], plan: Plan) -> int:
    for wanted, part in ((options.keys, keys), (options.updates, updates)):
        if wanted:
            text = f"{report.heading()}\n\n{part.measure()}"
            sys.stdout.write(text)
            if options.write_readme:
                report.write_readme(text, _README, part.BEGIN, part.END)
            return 0
    peers_dir = options.peers_dir.resolve()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, upstream(Path(name)) as (port, pid):
        bench = Bench(plan, port, pid, Path(name), peers_dir, options.gateway_command)
        if options.profile:
            sys.stdout.write(profile(bench))
            return 0
        usable, unavailable = prepare(bench, servers)
        trials = measure(bench, usable)
    result = report.make_report(plan, trials, unavailable)
    text = report.markdown(result, plan)
    sys.stdout.write(text)
    if options.json is not None:
        report.write_json(result, options.json)
    if options.write_readme:
        report.write_readme(text, _README)
    return 0


if __name__ == "__main__":
    sys.exit(main())
