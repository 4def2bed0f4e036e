"""The table of real names: `data/asset_names.txt`, which says in its head how it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class Release(NamedTuple):
    """Some files of one release, each with what is expected of its name."""

    packager: str
    project: str
    version: str
    rows: tuple[tuple[str, str], ...]


def _read(text: str) -> list[Release]:
    parts = re.split(r"^\[(.*)\]$", text, flags=re.MULTILINE)[1:]
    releases = []
    for head, lines in zip(parts[::2], parts[1::2], strict=True):
        packager, project, version = head.split(" | ")
        rows = tuple(_row(line) for line in lines.splitlines() if line and line[0] != "#")
        releases.append(Release(packager, project, version, rows))
    return releases


def _row(line: str) -> tuple[str, str]:
    name, expected = re.split(r" {2,}", line, maxsplit=1)
    return name, expected


RELEASES = _read((Path(__file__).parent / "data" / "asset_names.txt").read_text())
