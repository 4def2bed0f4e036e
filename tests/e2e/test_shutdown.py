"""SIGTERM to a real gateway process with answers under way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import LUNARBIT, MODES, OPENAI, STREAMS, WHOLES, Mode, Seen, assert_error
from tests.e2e.server import ADMIN_KEY
from tests.upstream import Script, Upstream
from tests.upstream.raw_client import RawClient

ROOT = Path(__file__).parents[2]
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


@asynccontextmanager
async def gateway_process(folder: Path, a: Upstream, drain_s: float = DRAIN_S) -> AsyncIterator[Process]:
    """Run `python -m gateway serve` in front of `a`, on a port of its own choosing."""
    port = _free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name.startswith(("PATH", "COVERAGE", "LD_"))},
        "PORT": str(port),
        "API_KEY_ADMIN": ADMIN_KEY,
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "GATEWAY_CONFIG": str(folder / "gateway.toml"),
    }
    toml = f'[server]\ndrain_s = {drain_s}\n[providers.a]\nkind = "openai"\nbase_url = "{a.base_url}"\n'
    (folder / "gateway.toml").write_text(toml + 'models = ["gpt-4"]\n')
    log_file = folder / "log"
    with log_file.open("wb") as output:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve", cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    process = Process(program, port, log_file)
    try:
        await _until_it_answers(process)
        yield process
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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


async def ask(client: RawClient, mode: Mode) -> None:
    """Send a chat."""
    await client.chat(path=mode.path, stream=mode.stream, headers={"authorization": f"Bearer {ADMIN_KEY}"})


@pytest.fixture
async def a() -> AsyncIterator[Upstream]:
    """The upstream behind the process."""
    async with Upstream() as upstream:
        yield upstream


async def test_open_answers_are_told_of_a_shutdown_and_the_process_ends_in_order(tmp_path: Path, a: Upstream) -> None:
    """A client that hears why can go elsewhere; one that is only cut off cannot know what it has."""
    a.default = Script.stall_after(2)
    async with gateway_process(tmp_path, a) as process:
        clients = [process.client() for _ in MODES]
        for client, mode in zip(clients, MODES, strict=True):
            await client.__aenter__()
            await ask(client, mode)
        await a.wait_for(lambda: a.in_flight == len(MODES))
        for client, mode in zip(clients, MODES, strict=True):
            if mode.stream:
                await client.reply(until=b"tok1")
        process.program.send_signal(signal.SIGTERM)
        for client, mode in zip(clients, MODES, strict=True):
            seen = Seen(mode, await client.reply())
            assert seen.reply.ending == "complete"
            assert_error(seen, 503, "SHUTTING_DOWN")
            if mode.stream:
                assert seen.text == "tok0 tok1 "
            else:
                assert int(seen.headers["retry-after"]) >= 1
        await a.wait_for(lambda: a.in_flight == 0)
        assert all(call.disconnected.is_set() for call in a.chat_requests)
        assert await process.stopped() == 0
        for client in clients:
            await client.__aexit__(None, None, None)
    lines = [line for line in process.log if line["event"] == "request" and line["method"] == "POST"]
    assert {(line["path"], line["code"]) for line in lines} == {
        (LUNARBIT, "SHUTTING_DOWN"),
        (OPENAI, "SHUTTING_DOWN"),
    }
    streamed = [line for line in lines if line["status"] == 200]
    assert len(streamed) == len(STREAMS)
    assert all(line["completion_tokens"] > 0 and line["provider"] == "a" for line in streamed)
    assert [line for line in process.log if line["level"] in {"warning", "error", "critical"}] == []


async def test_answers_that_end_within_the_grace_are_whole_and_new_ones_are_refused(
    tmp_path: Path, a: Upstream
) -> None:
    """A restart should not be noticed by those who are nearly done, and must not begin what it will cut."""
    a.default = Script.text("abcd", hold_after=1)
    async with gateway_process(tmp_path, a, drain_s=20.0) as process:
        clients = [process.client() for _ in MODES]
        for client, mode in zip(clients, MODES, strict=True):
            await client.__aenter__()
            await ask(client, mode)
        await a.wait_for(lambda: a.in_flight == len(MODES))
        process.program.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_LIMIT_S):
            while await status_of(process, "/health/ready") == 200:
                await asyncio.sleep(0.02)
        assert await status_of(process, "/health/ready") in {None, 503}
        a.release.set()
        for client, mode in zip(clients, MODES, strict=True):
            seen = Seen(mode, await client.reply())
            assert (seen.reply.ending, seen.text, seen.is_whole, seen.error) == ("complete", "abcd", True, None)
        # All is done long before the grace is over, so nothing waits for its end.
        assert await process.stopped() == 0
        for client in clients:
            await client.__aexit__(None, None, None)
    assert len(a.chat_requests) == len(MODES)


async def test_a_client_that_does_not_read_cannot_hold_up_the_end(tmp_path: Path, a: Upstream) -> None:
    """The grace ends for everybody."""
    a.default = Script.endless(16_384)
    async with gateway_process(tmp_path, a) as process, process.client() as client:
        await ask(client, STREAMS[0])
        await a.wait_for(lambda: a.chat_requests and a.chat_requests[0].bytes_sent > 1_000_000)
        process.program.send_signal(signal.SIGTERM)
        assert await process.stopped() == 0
        await a.wait_for(lambda: a.in_flight == 0)


async def test_an_idle_gateway_stops_at_once(tmp_path: Path, a: Upstream) -> None:
    """A kept-alive connection without a request is no reason to wait."""
    async with gateway_process(tmp_path, a, drain_s=20.0) as process, process.client() as client:
        await ask(client, WHOLES[0])
        await client.reply()
        process.program.send_signal(signal.SIGTERM)
        assert await process.stopped() == 0
