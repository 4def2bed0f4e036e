"""The log's writer: lines whole and in order, nobody waits for them, and what could not be written is told of."""

from __future__ import annotations

import io
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import pytest

from gateway.observability import log_writer
from gateway.observability.log_writer import PIECE_BYTES, LineWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def told(count: int) -> bytes:
    """Return the line that tells of dropped ones."""
    return b"dropped %d" % count


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("that never happened")


class Recorder(io.RawIOBase):
    """A file that keeps every single write, and fails while it is told to."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.error: OSError | None = None
        self.taken = 1 << 30

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Take at most `taken` bytes."""
        if self.error is not None:
            raise self.error
        self.writes.append(bytes(data[: self.taken]))
        return len(self.writes[-1])


@pytest.fixture
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    """Return the two ends of a pipe; the end to write to is a file."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as file:
        yield reading, file
        os.close(reading)


def test_lines_of_many_threads_come_whole_and_in_the_order_of_each() -> None:
    """Requests log from the event loop, and libraries from threads of their own."""
    stream = io.BytesIO()
    writer = LineWriter(stream, told)

    def log(name: int) -> None:
        for number in range(500):
            writer.msg(b"%d %d" % (name, number))

    threads = [threading.Thread(target=log, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    lines = [tuple(map(int, line.split())) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2000
    for name in range(4):
        assert [number for who, number in lines if who == name] == list(range(500))
    assert writer.dropped == 0


def test_one_write_holds_whole_lines_and_no_more_than_a_pipe_keeps_together() -> None:
    """Several processes write to one standard output, and their lines must not run into each other."""
    stream = Recorder()
    writer = LineWriter(stream, told)  # type: ignore[arg-type]
    for number in range(300):
        writer.msg(b"%03d " % number + b"x" * 96)
    writer.msg(b"y" * (PIECE_BYTES + 50))
    writer.close()

    assert all(write.endswith(b"\n") for write in stream.writes)
    assert all(len(write) <= PIECE_BYTES for write in stream.writes if b"y" not in write)
    assert b"".join(stream.writes).count(b"\n") == 301


def test_what_a_write_leaves_is_written_next() -> None:
    """A write to a pipe or a nearly full disk may take only a part."""
    stream = Recorder()
    stream.taken = 7
    writer = LineWriter(stream, told)  # type: ignore[arg-type]
    writer.msg(b"a line that is longer than that")
    writer.close()
    assert b"".join(stream.writes) == b"a line that is longer than that\n"


def test_an_output_that_nobody_reads_stops_nobody_and_what_is_dropped_is_told(pipe: tuple[int, BinaryIO]) -> None:
    """A supervisor that hangs must not take the gateway with it, and its operator has to know what is missing."""
    reading, file = pipe
    writer = LineWriter(file, told, max_waiting_bytes=200_000)
    for _ in range(10_000):
        writer.msg(b"x" * 99)
    # The pipe holds 64 KiB, and some 200 kB wait.
    assert 6_000 < writer.dropped < 9_000

    got, news = bytearray(), 0
    while b"dropped" not in got:
        writer.msg(b"news")
        news += 1
        got += os.read(reading, 65_536)
    writer.close()
    os.set_blocking(reading, False)
    with suppress(BlockingIOError):
        while piece := os.read(reading, 65_536):
            got += piece
    lines = bytes(got).splitlines()
    counts = [int(line.removeprefix(b"dropped ")) for line in lines if line.startswith(b"dropped")]
    assert sum(counts) == writer.dropped
    assert len(lines) - len(counts) + writer.dropped == 10_000 + news


def test_closing_gives_up_on_an_output_that_nobody_reads(pipe: tuple[int, BinaryIO]) -> None:
    """A gateway that is stopped has to stop."""
    _, file = pipe
    writer = LineWriter(file, told)
    for _ in range(3_000):
        writer.msg(b"x" * 99)
    writer.close(timeout_s=0.2)
    writer.msg(b"the last words of the process, which would wait for ever")


def test_a_pipe_that_another_program_made_non_blocking_loses_nothing(pipe: tuple[int, BinaryIO]) -> None:
    """The flag belongs to the pipe, so whoever shares it can set it."""
    reading, file = pipe
    os.set_blocking(file.fileno(), False)
    writer = LineWriter(file, told)
    for number in range(3_000):
        writer.msg(b"%099d" % number)
    got = bytearray()
    while got.count(b"\n") < 3_000:
        got += os.read(reading, 65_536)
    assert [int(line) for line in bytes(got).splitlines()] == list(range(3_000))
    writer.close()


def test_lines_that_could_not_be_written_are_counted_and_told_of() -> None:
    """A full disk is no reason to stop, nor to say nothing of it later."""
    stream = Recorder()
    stream.error = OSError(28, "No space left on device")
    writer = LineWriter(stream, told)  # type: ignore[arg-type]
    writer.msg(b"lost")
    eventually(lambda: writer.dropped == 1)
    stream.error = None
    writer.msg(b"kept")
    writer.close()
    assert b"".join(stream.writes).splitlines() == [b"kept", b"dropped 1"]


def test_what_is_logged_after_the_end_is_written_at_once() -> None:
    """Other parts of the process may have something to say while it ends."""
    stream = io.BytesIO()
    writer = LineWriter(stream, told)
    writer.msg(b"before")
    writer.close()
    writer.msg(b"after")
    assert stream.getvalue() == b"before\nafter\n"


def test_only_lines_of_requests_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head of the audit log, say, should be out before the process can be killed."""
    monkeypatch.setattr(log_writer, "PAUSE_S", 3600.0)
    stream = Recorder()
    writer = LineWriter(stream, told)  # type: ignore[arg-type]
    writer.msg(b"the first")
    eventually(lambda: len(stream.writes) == 1)
    writer.msg(b"a request")
    time.sleep(0.05)
    assert len(stream.writes) == 1
    writer.info(b"an act")
    eventually(lambda: b"".join(stream.writes) == b"the first\na request\nan act\n")
    writer.close()
