"""What release notes say about breaking changes, by the markers that people and tools write."""

from __future__ import annotations

import re
from typing import Final

# Whatever a line of Markdown may begin with before its words: hashes, bullets, quotes, stars.
_LEAD: Final = r"^[^\w\n]{0,20}"
# Many notes have such a heading over nothing.
_NOT_NONE: Final = r"(?!\W{0,12}(?i:none|nothing|n/a)\b)"

# Each with words in lower case that it cannot do without, since most notes have none of them.
_MARKERS: Final = (
    # The footer of a conventional commit: BREAKING CHANGE, but not "NO BREAKING CHANGES".
    ("breaking", re.compile(r"(?<![Nn][Oo] )\bBREAKING[ -]CHANGES?\b" + _NOT_NONE)),
    # "Breaking: ..." and "### Breaking changes".
    (
        "breaking",
        re.compile(_LEAD + r"(?i:breaking(?:[ -]changes?)?)[^\w\n:]{0,5}(?::|$)" + _NOT_NONE, re.MULTILINE),
    ),
    # The header of a conventional commit, "feat(api)!: ...", with the abbreviated hash that some tools put before it.
    ("!: ", re.compile(_LEAD + r"(?:[0-9a-f]{7,40}:? )?[a-z]{2,20}(?:\([^()\n]{0,60}\))?!: ", re.MULTILINE)),
    # "Removed Node 14 support", "drops support for Windows 7"; a full stop ends the search, one inside 14.2 does not.
    (
        "support",
        re.compile(r"\b(?i:remov(?:e|es|ed|ing)|drop(?:s|ped|ping)?)\b(?:[^.\n]|\.(?=\w)){0,80}?\b(?i:support)\b"),
    ),
)


def has_breaking_marker(notes: str) -> bool:
    """Whether the notes announce a breaking change. Takes time in proportion to their length."""
    lower = notes.lower()
    return any(words in lower and marker.search(notes) for words, marker in _MARKERS)
