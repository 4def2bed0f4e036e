"""Takes the markup away from a changelog: HTML, comments, fenced code, links, images and quotation marks."""

from __future__ import annotations

import html
import re
from typing import Final

_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG: Final = re.compile(r"</?(?P<name>[a-zA-Z][a-zA-Z0-9]{0,15})(?:\s[^<>]{0,500})?/?>")
_FENCE: Final = re.compile(r"\s{0,8}(?P<mark>`{3,20}|~{3,20})")
_IMAGE: Final = re.compile(r"!\[[^\[\]\n]{0,200}\]\([^()\s]{0,500}\)")
_LINK: Final = re.compile(r"\[(?P<text>[^\[\]\n]{1,300})\]\([^()\n]{0,500}\)")
_REFERENCE: Final = re.compile(r"\s*\[[^\[\]\n]{1,100}\]:\s+\S+\s*")
_CREDIT: Final = re.compile(r"\s+(?:by|thanks to|thanks) @[\w\[\]-]{1,60}(?: in \S{1,300})?\s*$", re.IGNORECASE)
_NUMBER: Final = re.compile(
    r"\s*\((?:(?:closes|fixes|refs?|see) )?(?:#\d{1,9}|[0-9a-f]{7,40})(?:,\s*(?:#\d{1,9}|[0-9a-f]{7,40}))*\)"
)
_QUOTE: Final = re.compile(r"\s{0,3}(?:>\s?)+")
_ALERT: Final = re.compile(r"\s*\[!\w{1,20}\]\s*")
# The tags that begin something new, and what stands for them in Markdown.
_OPENING: Final = {"li": "\n- ", **{f"h{level}": "\n## " for level in range(1, 7)}}
_LINES: Final = frozenset({"p", "br", "div", "ul", "ol", "tr", "hr", "li", "h1", "h2", "h3", "h4", "h5", "h6"})


def without_markup(text: str) -> str:
    """Return the text with headings, lists and inline code as in Markdown, and without what only decorates it.

    Fenced code is an example and no statement, unless there is nothing else, or its end is missing.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _COMMENT.sub("", text) if "-->" in text else text
    if "<" in text or "&" in text:
        text = html.unescape(_TAG.sub(_tag, text))
    lines = text.split("\n")
    told = _outside_fences(lines)
    if not any(line.strip() for line in told):
        told = [line for line in lines if not _FENCE.match(line)]
    return "\n".join(_plain(line) for line in told if not _REFERENCE.fullmatch(line))


def is_rule(line: str) -> bool:
    """Whether a line is a horizontal rule, or the underline of a heading."""
    signs = line.strip()
    return len(signs) >= 3 and signs[0] in "-=*_~" and not signs.strip(signs[0])


def _tag(found: re.Match[str]) -> str:
    name = found["name"].lower()
    if found[0].startswith("</") or name not in _OPENING:
        return "\n" if name in _LINES else ""
    return _OPENING[name]


def _outside_fences(lines: list[str]) -> list[str]:
    ends: dict[int, int] = {}
    start, mark = -1, ""
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if start < 0:
            start, mark = number, fence["mark"]
        elif fence["mark"].startswith(mark) and not line.strip().strip(mark[0]):
            ends[start] = number
            start = -1
    told, number = [], 0
    while number < len(lines):
        if number in ends:
            number = ends[number]
        else:
            told.append(lines[number])
        number += 1
    return told


def _plain(line: str) -> str:
    if line.lstrip().startswith("|"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        return "" if all(not cell.strip("-: ") for cell in cells) else ", ".join(filter(None, cells))
    line = _QUOTE.sub("", line, count=1) if line.lstrip().startswith(">") else line
    line = _ALERT.sub("", line) if line.lstrip().startswith("[!") else line
    if "](" in line:
        line = _LINK.sub(lambda found: found["text"], _IMAGE.sub("", line))
    return _CREDIT.sub("", _NUMBER.sub("", line))
