"""One run: a client's program in one case against one provider, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

from tests.clients import scenario
from tests.clients.stage import KEY, REAL, Stage
from tests.e2e import real_server

Status = Literal["ok", "not-applicable", "failed"]

LIMIT_S = 60.0
REAL_LIMIT_S = 180.0
SEEN_LIMIT_S = 15.0
_LINE_BYTES = 1 << 20
_SHOWN_CHARS = 2_500


@dataclass(frozen=True)
class Run:
    """A case of a client, and the provider that is to answer: a kind of the scripted ones, or the model server."""

    client: str
    case: str
    provider: str

    @property
    def variables(self) -> dict[str, str]:
        """What the program is told of it; see README.md."""
        if self.provider == REAL:
            chat, embeddings, server = real_server.MODEL, real_server.EMBEDDING_MODEL, "real"
        else:
            chat, server = scenario.route(self.case, self.provider), "scripted"
            embeddings = scenario.EMBEDDINGS_MODEL
        return {"LUNARBIT_MODEL": chat, "LUNARBIT_EMBEDDINGS_MODEL": embeddings, "LUNARBIT_SERVER": server}


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `detail` is the reason of what is not applicable, or all that a failed program printed."""

    run: Run
    status: Status
    detail: str = ""
    version: str = ""


def runs_of(client: str, *, real: bool) -> list[Run]:
    """Return every run of a client: all cases for each scripted provider, and the plain ones on the model server."""
    runs = [Run(client, case, kind) for case in scenario.CASES for kind in scenario.KINDS]
    return runs + [Run(client, case, REAL) for case in scenario.PLAIN if real]


async def perform(run: Run, command: Sequence[str], stage: Stage) -> Outcome:
    """Run the program and look at what it reports, and at what the provider saw."""
    seen: list[str] = []
    code: int | None = None
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        try:
            async with asyncio.timeout(REAL_LIMIT_S if run.provider == REAL else LIMIT_S):
                words, environment = [*command, run.case], _environment(run, stage, folder)
                async with _program(words, folder, environment, errors) as program:
                    answer = await _report(program, seen)
                    complaint = await _complaint(run, stage) if answer.get("status") == "ok" else ""
                    await _end(program, seen)
                    code = program.returncode
        except TimeoutError:
            complaint, answer = "It took too long.", {}
        complaint = complaint or (f"Exit code {code}." if code else "")
        if complaint or answer.get("status") not in {"ok", "not-applicable"}:
            return Outcome(run, "failed", _printed(complaint, seen, errors))
    return Outcome(run, answer["status"], str(answer.get("reason", "")), str(answer.get("version", "")))


def _environment(run: Run, stage: Stage, home: str) -> dict[str, str]:
    """Return the program's variables: nothing of the caller's but where programs are."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LD_LIBRARY_PATH", "LANG"}}
    fixed = {"HOME": home, "TMPDIR": home, "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "*"}
    return kept | fixed | {"LUNARBIT_BASE_URL": stage.base_url, "LUNARBIT_KEY": KEY} | run.variables


@contextlib.asynccontextmanager
async def _program(
    command: Sequence[str], home: str, environment: dict[str, str], errors: IO[bytes]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a program in a process group of its own, which is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=home,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        limit=_LINE_BYTES,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _report(program: asyncio.subprocess.Process, seen: list[str]) -> dict[str, Any]:
    """Read until the program's report, which comes while it still runs; empty when it ended without one."""
    assert program.stdout is not None
    async for line in program.stdout:
        seen.append(line.decode(errors="replace"))
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict) and "status" in document:
                return document
    return {}


async def _end(program: asyncio.subprocess.Process, seen: list[str]) -> None:
    """Close standard input, which a program may be waiting for, and read the rest."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.close()
    seen.append((await program.stdout.read()).decode(errors="replace"))
    await program.wait()


async def _complaint(run: Run, stage: Stage) -> str:
    """Return what the provider should have seen and did not, else nothing."""
    model = {"abort": "endless", "failover": "dies-early", "cut": "dies-late"}.get(run.case)
    if model is None or run.provider == REAL:
        return ""
    upstream = stage.upstreams[run.provider]
    calls = [call for call in upstream.chat_requests if call.model == model]
    if not calls:
        return "The provider was not asked."
    if run.case == "abort":
        try:
            await upstream.wait_for(lambda: all(call.disconnected.is_set() for call in calls), SEEN_LIMIT_S)
        except TimeoutError:
            return "The program still runs, and the provider never saw that the answer was given up."
    return ""


def _printed(first: str, seen: list[str], errors: IO[bytes]) -> str:
    errors.seek(0)
    whole = "\n".join([first, "".join(seen), errors.read().decode(errors="replace")]).strip()
    return whole if len(whole) <= _SHOWN_CHARS else f"{first}\n[...]{whole[-_SHOWN_CHARS:]}"
