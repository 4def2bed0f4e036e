"""Reads Markdown as far as the tests need it: fenced blocks, headings, links."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.architecture.installation import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OUTPUT_FOLLOWS = "<!-- output -->"
_FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*([\w+-]*)")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)")
_ANCHOR = re.compile(r"""<\w+\s[^>]*\b(?:id|name)=["']([^"']+)["']""")
_CODE_SPAN = re.compile(r"(`+)(.+?)\1")
_NOT_IN_SLUG = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language ("" when none is named), its text, and where it begins.

    `output` is the text of the next block when the comment `<!-- output -->` stands between the two.
    """

    document: Path
    line: int
    language: str
    text: str
    output: str | None = None

    @property
    def name(self) -> str:
        """The document and the line, as an editor opens it."""
        return f"{relative(self.document)}:{self.line}"


@dataclass(frozen=True)
class Link:
    """A link to something in the repository."""

    document: Path
    line: int
    target: str

    @property
    def name(self) -> str:
        """Where the link stands, and where it leads."""
        return f"{relative(self.document)}:{self.line} -> {self.target}"


def data_folder(folder: Path) -> Path:
    """Return where a gateway that was started in `folder` keeps its data; commands in examples use it too."""
    return folder / "data"


def relative(document: Path) -> str:
    """Return the path inside the repository."""
    return document.relative_to(REPOSITORY).as_posix()


def blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document in their order."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    body: list[str] = []
    start, output_next = 0, False
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opening is None:
            if fence:
                opening, body, start = fence, [], number
            elif line.strip():
                output_next = line.strip() == OUTPUT_FOLLOWS
        elif fence and fence[2].startswith(opening[2]) and not fence[3]:
            _add(found, Block(document, start, opening[3].lower(), _text(body, len(opening[1]))), output=output_next)
            opening, output_next = None, False
        else:
            body.append(line)
    assert opening is None, f"{relative(document)}:{start}: the fence is never closed"
    return found


def _text(lines: list[str], indent: int) -> str:
    """Return a block's text without the indentation of its fence, as inside a list."""
    return "\n".join(line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in lines) + "\n"


def _add(found: list[Block], block: Block, *, output: bool) -> None:
    if output:
        last = found[-1]
        found[-1] = Block(last.document, last.line, last.language, last.text, block.text)
    found.append(block)


def links(document: Path) -> list[Link]:
    """Return the links of a document that lead to files or anchors and not to other sites."""
    found: list[Link] = []
    for number, line in _prose(document):
        line = _CODE_SPAN.sub(" ", line)  # noqa: PLW2901 - what stands in a code span is no link.
        reference = _REFERENCE.match(line)
        targets = [reference[1]] if reference else _LINK.findall(line)
        found += [Link(document, number, target) for target in targets if not re.match(r"[a-z][a-z+.-]*:", target)]
    return found


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document: those of its headings as GitHub makes them, and those written as HTML."""
    seen: Counter[str] = Counter()
    found: set[str] = set()
    for _, line in _prose(document):
        found.update(_ANCHOR.findall(line))
        heading = _HEADING.match(line)
        if heading:
            slug = _slug(heading[1])
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found


def _slug(heading: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return _NOT_IN_SLUG.sub("", text.lower()).replace(" ", "-")


def _prose(document: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines outside fenced blocks with their numbers."""
    closing = ""
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if closing:
            if fence and fence[2].startswith(closing) and not fence[3]:
                closing = ""
        elif fence:
            closing = fence[2]
        else:
            yield number, line
