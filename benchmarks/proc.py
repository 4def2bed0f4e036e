"""Reads CPU time and memory of a process tree from /proc (Linux only)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

# Positions in /proc/<pid>/stat after the parenthesised command name, see proc_pid_stat(5).
_PPID: Final = 1
_UTIME: Final = 11
_CSTIME: Final = 14


class Stat(NamedTuple):
    """What the benchmark needs from one /proc/<pid>/stat line."""

    ppid: int
    cpu_s: float


def parse_stat(line: str) -> Stat:
    """Parse one stat line; CPU is utime + stime and that of children already waited for.

    The command name may hold spaces and parentheses, so the fields are counted from the last `)`.
    """
    fields = line[line.rindex(")") + 2 :].split()
    ticks = sum(int(field) for field in fields[_UTIME : _CSTIME + 1])
    return Stat(int(fields[_PPID]), ticks / _TICKS_PER_S)


def read_stat(pid: int) -> Stat | None:
    """Return the stat of one process, or None when it does not exist any more."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def tree(pid: int) -> dict[int, Stat]:
    """Return the process and every living descendant of it."""
    stats: dict[int, Stat] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and (stat := read_stat(int(entry.name))) is not None:
            stats[int(entry.name)] = stat
    members = {pid: stats[pid]} if pid in stats else {}
    grew = bool(members)
    while grew:
        found = {child: stat for child, stat in stats.items() if stat.ppid in members and child not in members}
        members.update(found)
        grew = bool(found)
    return members


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds used so far by the process and its children; the resolution is one clock tick."""
    return sum(stat.cpu_s for stat in tree(pid).values())


def tree_rss_bytes(pid: int) -> int:
    """Return the resident memory of the process and its children; pages shared between them count twice."""
    total = 0
    for member in tree(pid):
        try:
            total += int((PROC / str(member) / "statm").read_text().split()[1]) * _PAGE_BYTES
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def core_busy_s(core: int) -> float:
    """Return the seconds that a core has spent on anything but idling since boot, stolen time included."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            # user nice system idle iowait irq softirq steal, see proc_stat(5); guest time is part of user time.
            ticks = [int(field) for field in fields[:8]]
            return (sum(ticks) - ticks[3] - ticks[4]) / _TICKS_PER_S
    return 0.0


def cpu_model() -> str:
    """Return the processor's name as the kernel reports it."""
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def memory_gib() -> float:
    """Return the machine's memory in GiB."""
    return os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES / 2**30
