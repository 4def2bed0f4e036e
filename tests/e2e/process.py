"""A gateway that runs as a program of its own, in front of upstreams of the test. Several can share their stores."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.architecture.installation import free_port
from tests.e2e.server import ADMIN_KEY, GENEROUS, MODEL
from tests.upstream import Upstream
from tests.upstream.raw_client import RawClient

ROOT = Path(__file__).parents[2]
PEPPER = "a pepper that all gateways of a test share"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
DRAIN_S = 1.0


@dataclass
class Process:
    """A gateway that runs as a program of its own."""

    program: asyncio.subprocess.Process
    port: int
    log_file: Path

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it logged."""
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def stopped(self) -> int:
        """Wait for its end and return the exit code."""
        return await asyncio.wait_for(self.program.wait(), STOP_LIMIT_S)

    def client(self) -> RawClient:
        """A connection to it."""
        return RawClient(self.port)

    async def metric(self, name: str) -> float:
        """Return the value of a metric without labels, as `/metrics` shows it."""
        async with self.client() as client:
            await client.send("GET", "/metrics")
            text = (await client.reply()).body.decode()
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} "))


@asynccontextmanager
async def gateway_process(
    folder: Path,
    providers: Mapping[str, Upstream],
    *,
    name: str = "gateway",
    drain_s: float = DRAIN_S,
    toml: str = "",
    stdout: int | None = None,
    **environment: str,
) -> AsyncIterator[Process]:
    """Run `python -m gateway serve` in front of `providers`, on a port of its own choosing.

    Gateways of the same `folder` share its data; each needs a `name`. `toml` is added to the configuration, and
    `environment` to the variables. Its output goes to a file, or its standard output to the descriptor `stdout`.
    """
    port = free_port()
    config = folder / f"{name}.toml"
    config.write_text(f"[server]\ndrain_s = {drain_s}\n{_providers(providers)}{toml}")
    variables = {
        **{name: value for name, value in os.environ.items() if name.startswith(("PATH", "COVERAGE", "LD_"))},
        **{f"GATEWAY_LIMITS__{name.upper()}": str(limit) for name, limit in GENEROUS.items()},
        "GATEWAY_VERIFICATION__ENABLED": "false",
        "PORT": str(port),
        "API_KEY_ADMIN": ADMIN_KEY,
        "KEY_PEPPER": PEPPER,
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "GATEWAY_CONFIG": str(config),
        **environment,
    }
    log_file = folder / f"{name}.log"
    with log_file.open("ab") as output:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve"),
            cwd=ROOT,
            env=variables,
            stdout=output if stdout is None else stdout,
            stderr=output,
        )
    process = Process(program, port, log_file)
    try:
        await _until_it_answers(process)
        yield process
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


def _providers(providers: Mapping[str, Upstream]) -> str:
    lines = []
    for rank, (name, upstream) in enumerate(providers.items()):
        lines += [f"[providers.{name}]", 'kind = "openai"', f'base_url = "{upstream.base_url}"']
        lines += [f'models = ["{MODEL}"]', f"priority = {rank}"]
    return "\n".join([*lines, ""])


async def _until_it_answers(process: Process) -> None:
    async with asyncio.timeout(START_LIMIT_S):
        while await status_of(process, "/health/ready") != 200:
            assert process.program.returncode is None, process.log_file.read_text()
            await asyncio.sleep(0.05)


async def status_of(process: Process, path: str) -> int | None:
    """Return the status of a GET on a new connection, None when there is no answer."""
    try:
        async with process.client() as client:
            await client.send("GET", path)
            return (await client.reply()).status or None
    except OSError:
        return None
