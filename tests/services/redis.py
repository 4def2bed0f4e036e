"""A real Redis on loopback, with a folder of its own and nothing kept on disk.

`with redis_server(tmp_path) as server:` and then `server.url`; `pause`, `resume`, `kill`, `stop` and `start` are what
can happen to it. The fixtures `redis_process` and `redis_url` are for the conftest of a package to import.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_LIMIT_S = 20.0
_PROGRAM = "redis-server"


class RedisServer:
    """One redis-server process. Its port, and so its `url`, stays the same when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None, "Redis was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it, empty, and return when it answers."""
        program = shutil.which(_PROGRAM)
        assert program is not None, f"{_PROGRAM} is missing; `scripts/test --install` installs what the tests need"
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._folder,
            "logfile": self._folder / "redis.log",
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + _LIMIT_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "redis.log").read_text(encoding="utf-8")
            assert time.monotonic() < end, "Redis does not answer"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, as an operator does; nothing happens if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it, as a power cut does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Keep it from answering; connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again, also to what was asked meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # A process that is paused would not hear of anything else.
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            process.wait(_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_LIMIT_S)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis until the block is left. Skips the test where Redis is not installed."""
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_process(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for one test, which may stop it."""
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def redis_url(redis_process: RedisServer) -> str:
    """The address of a Redis for one test."""
    return redis_process.url


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
