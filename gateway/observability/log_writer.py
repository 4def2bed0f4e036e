"""Writes the log's lines to a file or pipe without making a request wait for it.

A thread writes what has gathered, so that a line costs its request no system call, and a standard output that nobody
reads stops no request. What waits is bounded; lines beyond that are dropped, counted, and told of once there is room.
"""

from __future__ import annotations

import atexit
import select
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

# Lines of some 250 bytes, so that a minute's pause of whoever reads them loses none at 500 requests per second.
MAX_WAITING_BYTES: Final = 8 << 20
# POSIX keeps a write of this size to a pipe whole, so that the lines of several processes do not run into each other.
PIECE_BYTES: Final = 4096
# A thread that wakes up takes the interpreter from the event loop, so it writes the lines of many requests each time.
PAUSE_S: Final = 0.1
CLOSE_TIMEOUT_S: Final = 2.0
_RETRY_S: Final = 1.0


class LineWriter:
    """Takes lines from any thread and writes them to `stream`, in order. It is a logger in structlog's sense.

    Lines of requests are given to `msg`, and may wait for `PAUSE_S`; all others are written without delay.
    `told` is given the number of lines that were dropped and returns the line that says so.
    """

    def __init__(
        self, stream: BinaryIO, told: Callable[[int], bytes], *, max_waiting_bytes: int = MAX_WAITING_BYTES
    ) -> None:
        # A buffer of its own, with a lock, would have to be had at the interpreter's end, even if nobody reads.
        self._stream: Any = getattr(stream, "raw", stream)
        self._told = told
        self._max_waiting_bytes = max_waiting_bytes
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        self._unsaid = 0
        self.dropped = 0
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def msg(self, line: bytes) -> None:
        """Have a line written soon, or drop it when too many are waiting."""
        if self._closing.is_set():
            self._write_late(line)
            return
        with self._lock:
            if self._waiting_bytes > self._max_waiting_bytes:
                self._unsaid += 1
                self.dropped += 1
                return
            self._lines.append(line)
            self._waiting_bytes += len(line)
            is_first = len(self._lines) == 1
            if self._thread is None:
                # Made late, since a process that is forked has none of its parent's threads.
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        if is_first:
            self._wake.set()

    def info(self, line: bytes) -> None:
        """Have a line written at once, and those before it."""
        self.msg(line)
        self._hurry.set()

    debug = warning = error = critical = info

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Write what is left, for at most `timeout_s` seconds: nobody may be reading."""
        self._closing.set()
        self._wake.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _write_late(self, line: bytes) -> None:
        """Write a line of the process's last moments at once, unless those before it are still stuck."""
        if self._thread is None or not self._thread.is_alive():
            self._write(line + b"\n")

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._write_waiting()
            self._hurry.wait(PAUSE_S)
            self._hurry.clear()
        self._write_waiting()

    def _write_waiting(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
            unsaid, self._unsaid = self._unsaid, 0
        if unsaid:
            lines.append(self._told(unsaid))
        for piece, count in _pieces(lines):
            if not self._write(piece):
                with self._lock:
                    self._unsaid += count
                    self.dropped += count
        with self._lock:
            self._waiting_bytes = sum(map(len, self._lines))

    def _write(self, piece: bytes) -> bool:
        """Write all of `piece`, however long that takes; say whether that was possible."""
        try:
            while piece:
                written = self._stream.write(piece)
                if written is None:
                    # Another program that has this pipe open made it non-blocking.
                    select.select([], [self._stream], [], _RETRY_S)
                else:
                    piece = piece[written:]
        except (OSError, ValueError):
            # A full disk, a reader that has gone, or a closed file: the next lines may fare better.
            return False
        return True


def _pieces(lines: list[bytes]) -> Iterator[tuple[bytes, int]]:
    """Join lines to pieces of at most `PIECE_BYTES`, and say how many lines each has; a longer line is a piece."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if held and size > PIECE_BYTES:
            yield b"\n".join(held) + b"\n", len(held)
            held, size = [], len(line) + 1
        held.append(line)
    if held:
        yield b"\n".join(held) + b"\n", len(held)
