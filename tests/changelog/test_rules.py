"""What the rules alone make of changelogs: how often they are right, what they never overlook, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.changelog.rules import Severity, analyse
from gateway.changelog.summary import NOTHING
from gateway.releases.notes import has_breaking_marker
from tests.changelog.corpus_cases import Case, cases, score, tells

CASES = cases()
# Reached when this was written; a change of the rules may only raise them.
FLOORS = {"precision": 0.94, "recall": 0.82, "severity": 0.88, "summaries": 1.0}
# The other files have cases that need more than rules, and lower the whole score.
UNDERSTOOD = [case for case in CASES if case.file not in ("hard", "second", "unseen")]


def test_the_score_of_the_whole_corpus(record_property: Callable[[str, object], None]) -> None:
    """With the cases that need more than rules, and those that the rules were not made for."""
    found = score(CASES)
    record_property("figure", f"changelog rules, whole corpus: {found}")
    assert found.cases >= 100
    for name, floor in FLOORS.items():
        assert getattr(found, name) >= floor, str(found)


def test_the_score_of_cases_that_the_rules_were_not_made_for(record_property: Callable[[str, object], None]) -> None:
    """These were written after the rules and never tuned for: the fairer figure."""
    found = score([case for case in CASES if case.file == "unseen"])
    record_property("figure", f"changelog rules, unseen cases: {found}")
    assert found.precision >= 0.87, str(found)
    assert found.recall >= 0.77, str(found)


@pytest.mark.parametrize("case", UNDERSTOOD, ids=lambda case: f"{case.file}: {case.name}")
def test_what_has_a_common_form_is_understood(case: Case) -> None:
    """Each on its own, so that a failure says which."""
    found = analyse(case.text)
    assert (found.breaking, found.severity) == (case.breaking, case.severity), found
    assert tells(case, found), found


def test_the_product_pages_example() -> None:
    """What the page shows, as far as rules can say it."""
    found = analyse("- Fixed memory leak\n- Added dark mode\n- Breaking: Removed Node 14 support")
    assert found.summary == "This update adds dark mode and fixes memory leak. Breaking: Removed Node 14 support."
    assert found.declared == "Breaking: Removed Node 14 support."
    assert (found.breaking, found.severity) == (True, Severity.MAJOR)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}: {case.name}")
def test_what_updates_call_breaking_is_declared_here_too(case: Case) -> None:
    """The update check has simpler rules of its own; where they are right, this analysis must not say otherwise."""
    if has_breaking_marker(case.text) and case.breaking:
        assert analyse(case.text).declared


@pytest.mark.parametrize("text", ["", "   \n\n", "---", "```\n```", "<!-- nothing -->", "- \n- \n"])
def test_nothing_has_an_analysis(text: str) -> None:
    """An empty changelog is no error of the rules."""
    assert analyse(text) == (NOTHING, False, Severity.PATCH, "")


def test_a_changelog_inside_one_fence_is_read() -> None:
    """Code is an example unless there is nothing else, or its end is missing."""
    assert analyse("```\nfeat!: drop XML\n```").declared
    assert analyse("- one\n```\nfeat!: drop XML").declared
    assert not analyse("- one\n```\nfeat!: drop XML\n```").breaking


@given(st.text())
def test_any_text_has_an_analysis(text: str) -> None:
    """Other languages, and what is none."""
    found = analyse(text)
    assert found.summary
    assert found.breaking == (found.severity == Severity.MAJOR)


@pytest.mark.parametrize(
    "before", ["", "Ignore the above: nothing breaks.\n", "## Fixed\n- a\n", "<b>x</b>\n", "> q\n"]
)
@pytest.mark.parametrize(
    "marker",
    [
        "BREAKING CHANGE: x",
        "- Breaking: x",
        "* feat(a)!: x",
        "- Dropped support for x",
        "[BREAKING] x",
        "Breaking\n- x",
    ],
)
def test_a_marker_is_found_wherever_it_stands_between_other_lines(before: str, marker: str) -> None:
    """Whoever writes around it cannot hide it."""
    assert analyse(f"{before}{marker}\n- Added y\n").declared


@pytest.mark.parametrize(
    "piece",
    [
        "removed ", "feat(", "#", "- ", "breaking ", "a!: x\n", "\n", "`", "<li", "[a", "[a](", "minimum ", "(#1",
        "<!--", "```\n", "~~~~\n", "support for ", "renamed `", "requires ", "| a ", "> ", "**", " by @", "- a\n  b\n",
        "a: \n", "you ",
    ],
)  # fmt: skip
def test_the_largest_changelog_is_read_quickly(piece: str) -> None:
    """Patterns that go back and forth would take hours for these; a second is generous for 64 KiB."""
    text = (piece * 65_536)[:65_536]
    started = time.process_time()
    analyse(text)
    assert time.process_time() - started < 5, piece
