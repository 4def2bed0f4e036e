"""The benchmark of the update check, run so small that its figures mean nothing."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import updates

README = Path(updates.__file__).parent / "README.md"


def test_a_tiny_run_fills_every_cell() -> None:
    """Whoever runs it on a quiet machine should not be the first to find that it does not run."""
    plan = updates.Plan(few=3, many=12, rounds=1, window_s=0.3, connections=2, questions=8, core=None)
    text = updates.measure(plan)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "versions" not in line.split("|")[2]]
    assert len(rows) == 5, text
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")[1:]]
        assert len(cells) == 4
        assert all(re.fullmatch(r"\d+\.\d+", cell) for cell in cells), row
    assert "12 versions" in text


def test_the_readme_has_a_place_for_the_result() -> None:
    """`--write-readme` only replaces what is between the marks."""
    head, found, rest = README.read_text().partition(updates.BEGIN)
    assert found
    assert updates.END in rest
    assert updates.END not in head
