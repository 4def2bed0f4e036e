"""Several workers: one address, one sum of their metrics, a clean end. Also one worker as a program."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.architecture.installation import REPOSITORY, Running, running
from tests.gateway.edge import HELLO, KEY
from tests.gateway.settings_files import GOOD_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

SERVE = [sys.executable, "-m", "gateway", "serve"]
LIMIT_S = 30.0


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Return the variables of a gateway as a program, with temporary files below `tmp_path`."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(REPOSITORY),
        "TMPDIR": str(tmp_path / "tmp"),
        "API_KEY_ADMIN": GOOD_KEY,
        "GATEWAY_DATA_DIR": str(tmp_path / "data"),
        "GATEWAY_SERVER__DRAIN_S": "1",
        "LMSTUDIO_ENABLED": "false",
        **kept,
        **more,
    }


def totals(page: str, name: str) -> dict[str, float]:
    """Return the samples of a metric by their labels as written."""
    found = re.findall(rf"^{name}(?:{{(.*)}})? ([0-9.e+-]+)$", page, re.MULTILINE)
    return {labels: float(number) for labels, number in found}


def events(gateway: Running) -> list[dict[str, object]]:
    """Return the JSON lines of a program's output."""
    return [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]


def workers_of(gateway: Running) -> set[int]:
    """Return the process ids of the workers, from their own log lines."""
    text = gateway.log.read_text()
    return {int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", text)}


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[Running]:
    """Run two workers, configured by a file that only the command line names."""
    config = tmp_path / "elsewhere.toml"
    config.write_text(
        "[server]\nworkers = 2\n[limits]\nlimits_per_worker_ok = true\n[providers.mine]\nkind = 'echo'\n",
        encoding="utf-8",
    )
    command = [*SERVE, "--config", "elsewhere.toml"]
    with running(command, environment(tmp_path), cwd=tmp_path, log=tmp_path / "log") as gateway:
        give_up = time.monotonic() + LIMIT_S
        while len(workers_of(gateway)) < 2:
            assert time.monotonic() < give_up, gateway.log.read_text()
            time.sleep(0.05)
        yield gateway


async def ask(gateway: Running, count: int) -> None:
    """Send requests on connections of their own, so that they spread."""
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=LIMIT_S) as client:
        close = {"connection": "close"}
        answers = await asyncio.gather(*(client.get("/ai/status", headers=close) for _ in range(count)))
        assert {answer.status_code for answer in answers} == {200}
        # The file that the command line names counts in the workers too.
        assert {answer.json()["providers"][0]["name"] for answer in answers} == {"mine"}


async def asked(gateway: Running, expected: int) -> str:
    """Return the scrape that shows so many of these requests; the other worker hands its numbers over now and then."""
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=LIMIT_S) as client:
        async with asyncio.timeout(LIMIT_S):
            while True:
                page = (await client.get("/metrics", headers={"connection": "close"})).text
                samples = totals(page, "lunarbit_http_requests_total")
                numbers = [number for labels, number in samples.items() if 'route="/ai/status"' in labels]
                assert sum(numbers) <= expected
                if numbers == [expected]:
                    return page
                await asyncio.sleep(0.1)


async def test_the_numbers_of_all_workers_add_up(two_workers: Running) -> None:
    """Whichever worker a scrape reaches, also after one has been killed and replaced."""
    await ask(two_workers, 40)
    assert "pid=" not in await asked(two_workers, 40)
    victim = min(workers_of(two_workers))
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(LIMIT_S):
        while len(workers_of(two_workers)) < 3:
            await asyncio.sleep(0.1)
    await ask(two_workers, 10)
    await asked(two_workers, 50)
    folder = next((two_workers.log.parent / "tmp").glob("lunarbit-metrics-*"))
    assert not list(folder.glob(f"gauge_live*_{victim}.db"))
    assert two_workers.stop() == 0
    assert not list((two_workers.log.parent / "tmp").glob("lunarbit-metrics-*"))
    assert "Traceback" not in two_workers.log.read_text()


async def test_one_worker_ends_in_order(tmp_path: Path) -> None:
    """SIGTERM is obeyed with exit code 0; every line on standard output is JSON, whoever wrote it."""
    with running(SERVE, environment(tmp_path), cwd=tmp_path, log=tmp_path / "log") as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
            assert (await client.post("/ai/chat", json=HELLO, headers=KEY)).status_code == 200
        assert gateway.stop() == 0
    text = gateway.log.read_text()
    assert "Traceback" not in text
    assert GOOD_KEY not in text
    lines = events(gateway)
    assert {line["event"] for line in lines} >= {"request", "library"}
    assert all({"timestamp", "level", "event"} <= set(line) for line in lines)
    assert "uvicorn.access" not in text


def test_an_interrupt_ends_it_too(tmp_path: Path) -> None:
    """Ctrl-C in a terminal is no crash."""
    with running(SERVE, environment(tmp_path), cwd=tmp_path, log=tmp_path / "log") as gateway:
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(LIMIT_S) == 0
    assert "Traceback" not in gateway.log.read_text()


def test_a_port_in_use_is_an_error_and_no_crash(tmp_path: Path) -> None:
    """The exit code tells the supervisor that the start failed."""
    with running(SERVE, environment(tmp_path), cwd=tmp_path, log=tmp_path / "log") as gateway:
        port = gateway.url.rpartition(":")[2]
        again = asyncio.run(_serve(tmp_path, port))
    assert again[0] not in {0, None}
    assert "address already in use" in again[1].lower()


async def _serve(tmp_path: Path, port: str) -> tuple[int | None, str]:
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            *SERVE, cwd=tmp_path, env=environment(tmp_path, PORT=port, HOST="127.0.0.1"), stdout=output, stderr=output
        )
        try:
            code = await asyncio.wait_for(process.wait(), LIMIT_S)
        finally:
            if process.returncode is None:
                process.kill()
        output.seek(0)
        return code, output.read().decode()
