"""The site of the documents: it has every page, builds without a warning, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.architecture.installation import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

LIMIT_S = 110.0
# What a browser would fetch by itself; links that people follow are something else.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\ssrc=["']?(?:https?:)?//"""
    r"""|<link\b[^>]*rel=["']?(?:stylesheet|icon|preconnect|preload)[^>]*href=["']?(?:https?:)?//"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//|url\(["']?(?:https?:)?//"""
)
# Pages outside docs/ that belong to the guide.
OTHERS = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"}


def entries(nav: list[dict[str, object]]) -> Iterator[str]:
    """Yield the pages of a navigation, with those of its sections."""
    for entry in nav:
        for value in entry.values():
            if isinstance(value, list):
                yield from entries(value)
            else:
                yield str(value)


def test_every_page_is_in_the_navigation() -> None:
    """Once, and nothing else is: the builder itself would leave a page out without a word."""
    settings = tomllib.loads((REPOSITORY / "zensical.toml").read_text(encoding="utf-8"))
    shown = list(entries(settings["project"]["nav"]))
    pages = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md")} | OTHERS
    assert len(shown) == len(set(shown))
    assert set(shown) == pages


def test_the_site_builds_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    """`scripts/docs` stops at a link or an anchor that leads nowhere; fonts and scripts come with the site."""
    site = tmp_path / "site"
    done = subprocess.run(
        (REPOSITORY / "scripts" / "docs", str(site)),
        env={**os.environ, "CI": "false"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    for page in ("index.html", "docs/index.html", "docs/quick-start.html", "benchmarks/index.html", "openapi.yaml"):
        assert (site / page).is_file(), page
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css"}]
    assert [path.name for path in files if FETCHED.search(path.read_text(encoding="utf-8"))] == []
