"""The analysis of a changelog by rules alone: what it breaks, how severe that is, and a summary."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from gateway.changelog.entries import Entry, Kind, entries_of
from gateway.changelog.markers import Break, break_of
from gateway.changelog.summary import breaks_told, summary_of


class Severity(StrEnum):
    """Which part of a version number the changes ask for (https://semver.org)."""

    MAJOR = "major"
    MINOR = "minor"
    PATCH = "patch"


class Analysis(NamedTuple):
    """What the rules make of a changelog. `declared` tells of the breaks that it marks as such; empty without any."""

    summary: str
    breaking: bool
    severity: Severity
    declared: str


_MINOR: Final = frozenset({Kind.ADDED, Kind.DEPRECATED})


def analyse(changelog: str) -> Analysis:
    """Return what the rules say. Any text has an answer."""
    judged = [(entry, break_of(entry)) for entry in entries_of(changelog)]
    breaks = [entry for entry, how in judged if how != Break.NONE]
    others = [entry for entry, how in judged if how == Break.NONE]
    declared = [entry for entry, how in judged if how == Break.DECLARED]
    told = breaks_told(declared) if declared else ""
    return Analysis(summary_of(others, breaks), bool(breaks), _severity(others, breaks), told)


def _severity(others: list[Entry], breaks: list[Entry]) -> Severity:
    if breaks:
        return Severity.MAJOR
    return Severity.MINOR if any(entry.kind in _MINOR for entry in others) else Severity.PATCH
