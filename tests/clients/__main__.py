"""`python -m tests.clients`: run every client in every case, print the table, exit with 1 when anything failed."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.clients import table
from tests.clients.programs import Program, command, programs
from tests.clients.runs import Outcome, Run, perform, runs_of
from tests.clients.scenario import CASES
from tests.clients.stage import REAL, Stage, stage
from tests.e2e import real_server
from tests.e2e.server import JsonObject

AT_ONCE = 2


def main(arguments: list[str]) -> int:
    """Do what the command line says, and return the exit code."""
    known = programs()
    parser = _parser([program.name for program in known])
    options = parser.parse_args(arguments)
    if options.real and not real_server.in_place():
        parser.error("the model server is not in place: start this with scripts/test-clients, or give it --no-real")
    chosen = [program for program in known if program.name in (options.only or [one.name for one in known])]
    cases = options.case or list(CASES)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lunarbit-clients-")))
        real = None
        if options.real:
            server = real_server.serving(real_server.both_models(folder), folder / "llama.log")
            real = stack.enter_context(server).origin
        outcomes = []
        for program in chosen:
            runs = [run for run in runs_of(program.name, real=options.real) if run.case in cases]
            data = folder / program.name
            data.mkdir()
            outcomes += asyncio.run(_client(program, runs, data, real))
    sys.stdout.write(f"{table.render(outcomes)}\n")
    sys.stdout.flush()
    sys.stderr.write(table.failures(outcomes))
    return int(any(outcome.status == "failed" for outcome in outcomes))


async def _client(program: Program, runs: list[Run], folder: Path, real: str | None) -> list[Outcome]:
    """Perform all runs of a client, a few at once; those on the model server follow one another."""
    words = command(program)
    sys.stderr.write(f"{program.name} ")
    scripted, slow = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(1)
    outcomes: list[Outcome] = []
    errors: list[JsonObject] = []

    async def one(run: Run, place: Stage) -> None:
        async with slow if run.provider == REAL else scripted:
            outcomes.append(await perform(run, words, place))
        sys.stderr.write("F" if outcomes[-1].status == "failed" else ".")
        sys.stderr.flush()

    try:
        async with stage(folder, real) as place:
            await asyncio.gather(*(one(run, place) for run in runs))
            outcomes.sort(key=lambda outcome: runs.index(outcome.run))
            errors = [line for line in place.gateway.log if line["level"] in {"error", "critical"}]
    except (AssertionError, TimeoutError) as error:
        # The gateway logged an error, or something of it was left.
        detail = "\n".join(map(json.dumps, errors)) or repr(error)
        outcomes.append(Outcome(Run(program.name, "end", "gateway"), "failed", detail))
    sys.stderr.write("\n")
    return outcomes


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/test-clients", description="Run real clients against the gateway.")
    parser.add_argument("--only", nargs="+", choices=names, metavar="CLIENT", help=f"of: {', '.join(names)}")
    parser.add_argument("--case", nargs="+", choices=CASES, help="these cases alone")
    parser.add_argument("--no-real", dest="real", action="store_false", help="leave the model server out")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
