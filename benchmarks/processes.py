"""Starts, pins, awaits and stops child processes; only processes started here are ever signalled."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_TERM_LIMIT_S: Final = 8.0
_POLL_S: Final = 0.002
_LOG_TAIL: Final = 400


class StartError(Exception):
    """A program could not be installed or started; the text is the reason that the table shows."""


@dataclass(frozen=True)
class Child:
    """A running child process, the leader of a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    started_s: float

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def log_tail(self) -> str:
        """Return the end of what the process wrote, on one line."""
        lines = self.log.read_text(errors="replace").split("\n")
        return " ".join(line.strip() for line in lines if line.strip())[-_LOG_TAIL:]


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Give this process one core for a moment: what it starts meanwhile inherits it, with all its threads."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, core: int | None, log: Path
) -> Iterator[Child]:
    """Run a program until the block is left, in whatever way it is left; its output goes to `log`."""
    with log.open("wb") as output, pinned(core):
        started_s = time.monotonic()
        try:
            process = subprocess.Popen(
                list(command),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as exc:
            msg = f"cannot start {command[0]}: {exc.strerror}"
            raise StartError(msg) from exc
    try:
        yield Child(process, log, started_s)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process group that this process leads: SIGTERM first, SIGKILL for what is left after 8 s.

    The group is signalled once more after its leader has gone, because workers may outlive the leader.
    """
    try:
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TERM_LIMIT_S)
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    limit_s: float,
    core: int | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Run a program to its end and return its standard output; StartError when it fails or takes too long."""
    with pinned(core):
        try:
            process = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=None if env is None else dict(env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as exc:
            msg = f"cannot start {command[0]}: {exc.strerror}"
            raise StartError(msg) from exc
    try:
        output, errors = process.communicate(stdin, limit_s)
    except subprocess.TimeoutExpired as exc:
        msg = f"{' '.join(command[:4])} took longer than {limit_s:.0f} s"
        raise StartError(msg) from exc
    finally:
        if process.poll() is None:
            stop(process)
    if process.returncode != 0:
        reason = " ".join(errors.decode(errors="replace").split())[-_LOG_TAIL:]
        msg = f"{' '.join(command[:4])} failed ({process.returncode}): {reason}"
        raise StartError(msg)
    return output


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_ready(child: Child, port: int, path: str, *, limit_s: float, only_200: bool) -> float:
    """Return the seconds from the start of the child until `GET path` was answered; StartError otherwise.

    With `only_200` other statuses count as not ready yet, else any answer will do.
    """
    while time.monotonic() - child.started_s < limit_s:
        status = _status(port, path)
        if status == 200 or (status and not only_200):
            return time.monotonic() - child.started_s
        if child.process.poll() is not None:
            msg = f"ended with status {child.process.returncode} before it was ready: {child.log_tail()}"
            raise StartError(msg)
        time.sleep(_POLL_S)
    msg = f"not ready within {limit_s:.0f} s: {child.log_tail()}"
    raise StartError(msg)


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
