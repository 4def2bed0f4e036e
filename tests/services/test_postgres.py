"""The server of the tests must leave nothing behind, and say what is missing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.services import postgres

START = """
import os, sys
from tests.services.postgres import PostgresServer
server = PostgresServer()
server.start()
print(server.pid, server._root, flush=True)
sys.stdin.read()
"""
LIMIT_S = 60


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_tests_that_are_killed_leave_no_server_behind(sent: signal.Signals) -> None:
    """Otherwise each interrupted run would keep a server and its folder for ever."""
    command = [sys.executable, "-c", START]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, root = process.stdout.readline().split()
        assert _runs(int(pid))
        process.send_signal(sent)
        process.wait(LIMIT_S)
    give_up = time.monotonic() + LIMIT_S
    while _runs(int(pid)) or Path(root).exists():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_missing_server_is_named_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is skipped would look like one that has passed."""
    monkeypatch.setattr(postgres, "_DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match=r"initdb .* missing; scripts/test --install"):
        postgres.tool("initdb")


def _runs(pid: int) -> bool:
    """Say whether a process runs; one that has ended may stay in the table for as long as nobody asks for it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
