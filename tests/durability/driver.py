"""Kills writers at random moments: `python -m tests.durability.driver working|opening URL FOLDER KILLS SEED`.

Everything is imported once, and each writer is a fork of this process, from before there is any event loop or thread in
it; so a kill costs some milliseconds and not a start of Python. Prints every acknowledged act.
"""

from __future__ import annotations

import asyncio
import os
import random
import selectors
import signal
import sys
import time
from pathlib import Path

from gateway.observability import logs
from gateway.settings import Settings
from tests.durability.writer import Ack, administer, settings_for

WRITERS = 2
# Most kills hit a writer at work, some milliseconds after one of its first acts; some hit one that is only opening the
# database.
_MOST_ACTS = 15
_MOST_AFTER_S = 0.015
_MOST_OPENING_S = 0.1
_KILLED_OPENING = 0.2
_MOST_MIGRATING_S = 0.2
ENOUGH_ACTS = 3
_NEVER = float("inf")


class Victim:
    """A writer, and when it will be killed."""

    def __init__(self, settings: Settings, name: str, randomly: random.Random) -> None:
        self._acts = randomly.randint(0, _MOST_ACTS)
        self._after_s = randomly.uniform(0, _MOST_AFTER_S)
        opening = randomly.random() < _KILLED_OPENING
        self.dies_at = time.monotonic() + randomly.uniform(0, _MOST_OPENING_S) if opening else _NEVER
        self.lines, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _write_for_ever(settings, name, theirs)
        os.close(theirs)
        self.said = b""

    def read(self) -> bool:
        """Take what it says, and return whether it may say more."""
        data = os.read(self.lines, 65_536)
        self.said += data
        if self.dies_at == _NEVER and self.said.count(b"\n") > self._acts:
            self.dies_at = time.monotonic() + self._after_s
        return bool(data)

    def kill(self) -> bytes:
        """Kill it, and return all that it has said, to the end."""
        os.kill(self.pid, signal.SIGKILL)
        while self.read():
            pass
        os.close(self.lines)
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(f"a writer ended by itself, with {status}")
        return self.said


def _write_for_ever(settings: Settings, name: str, pipe: int) -> None:
    def say(ack: Ack) -> None:
        os.write(pipe, ack.line())

    try:
        asyncio.run(administer(settings, name, say))
    finally:
        # Nothing of what the parent would do at its end.
        os._exit(1)


def kill_working(settings: Settings, kills: int, randomly: random.Random) -> None:
    """Kill writers of one database, of which two run at any time, so that each dies while another one works."""
    selector = selectors.DefaultSelector()
    for number in range(kills):
        while len(selector.get_map()) < WRITERS:
            victim = Victim(settings, f"w{number}-{len(selector.get_map())}", randomly)
            selector.register(victim.lines, selectors.EVENT_READ, victim)
        victim = _next_to_die(selector)
        selector.unregister(victim.lines)
        sys.stdout.buffer.write(victim.kill())
    for key in list(selector.get_map().values()):
        sys.stdout.buffer.write(key.data.kill())


def kill_opening(settings: Settings, name: str, randomly: random.Random) -> None:
    """Kill a writer that makes the tables of an empty database; the next one must be able to work."""
    first = Victim(settings, f"{name}-first", randomly)
    time.sleep(randomly.uniform(0, _MOST_MIGRATING_S))
    sys.stdout.buffer.write(first.kill())
    second = Victim(settings, f"{name}-second", randomly)
    while second.said.count(b"\n") <= ENOUGH_ACTS:
        if not second.read():
            sys.exit("the writer after the killed one ended by itself")
    sys.stdout.buffer.write(second.kill())


def main(mode: str, url: str, folder: str, kills: int, seed: int) -> None:
    """Kill so many writers, and print what they said; `{}` in `url` makes databases of their own for those opening."""
    logs.configure("error", "json", sys.stderr.buffer)
    randomly = random.Random(seed)
    if mode == "working":
        kill_working(settings_for(url, Path(folder)), kills, randomly)
        return
    for number in range(kills):
        kill_opening(settings_for(url.format(number), Path(folder)), str(number), randomly)


def _next_to_die(selector: selectors.BaseSelector) -> Victim:
    """Wait until the time of one writer has come."""
    while True:
        for key, _ in selector.select(0.001):
            if not key.data.read():
                sys.exit("a writer ended by itself")
        now = time.monotonic()
        for key in list(selector.get_map().values()):
            victim: Victim = key.data
            if victim.dies_at <= now:
                return victim


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
