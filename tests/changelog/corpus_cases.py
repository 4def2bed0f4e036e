"""The corpus of changelogs: texts as projects of all kinds write them, with what a reader makes of each."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from gateway.changelog.rules import Analysis, analyse

CORPUS = Path(__file__).parent / "corpus"


class Case(NamedTuple):
    """One changelog. `says` are words that its summary must have, whatever their case."""

    file: str
    name: str
    text: str
    breaking: bool
    severity: str
    says: tuple[str, ...]


class Score(NamedTuple):
    """How well the rules do: shares from 0 to 1."""

    cases: int
    precision: float
    recall: float
    severity: float
    summaries: float

    def __str__(self) -> str:
        return (
            f"{self.cases} changelogs: breaking precision {self.precision:.1%}, recall {self.recall:.1%}; "
            f"severity right in {self.severity:.1%}; summary with the expected words in {self.summaries:.1%}"
        )


def cases() -> list[Case]:
    """Return all cases, by file and in their order."""
    found = []
    for path in sorted(CORPUS.glob("*.toml")):
        for case in tomllib.loads(path.read_text("utf-8"))["case"]:
            says = tuple(case.get("says", ()))
            found.append(Case(path.stem, case["name"], case["text"], case["breaking"], case["severity"], says))
    return found


def score(chosen: Iterable[Case]) -> Score:
    """Return what the rules reach."""
    judged = [(case, analyse(case.text)) for case in chosen]
    alarms = [case for case, found in judged if found.breaking]
    breaks = [case for case, _ in judged if case.breaking]
    hits = [case for case in alarms if case.breaking]
    right = [case for case, found in judged if found.severity == case.severity]
    told = [case for case, found in judged if tells(case, found)]
    total = len(judged)
    return Score(total, len(hits) / len(alarms), len(hits) / len(breaks), len(right) / total, len(told) / total)


def tells(case: Case, found: Analysis) -> bool:
    """Whether a summary has the words that are expected of it."""
    return all(words.lower() in found.summary.lower() for words in case.says)
