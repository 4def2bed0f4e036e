"""Semantic versions: read once, compared as tuples ever after.

The grammar is that of SemVer 2.0 (https://semver.org), as the `semver` library reads it. Precedence is its section 11:
build metadata plays no part in it, numbers are unbounded, and dates are never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import semver

MAX_CHARS: Final = 256
_CACHED: Final = 4096
# What the interface's description says of a version (https://semver.org, "suggested regular expression").
VERSION_SCHEMA: Final = {
    "type": "string",
    "maxLength": MAX_CHARS,
    "pattern": (
        r"^v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
        r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
        r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
    ),
    "examples": ["1.2.3"],
}

# A part of a pre-release or of build metadata: a number comes before any word, and numbers compare as numbers.
Identifier = tuple[int, int, str]
# Major, minor, patch, then 1 for a release, or 0 and the identifiers of a pre-release. Tuples of this make compare as
# SemVer says, and a shorter one with the same beginning comes first.
Precedence = tuple[int | Identifier, ...]


class InvalidVersion(ValueError):
    """A text that is not a version of SemVer 2.0, or longer than `MAX_CHARS`."""


@dataclass(frozen=True, slots=True, order=True)
class VersionKey:
    """A version that was read. Comparison, equality and hash follow precedence alone, so 1.2.5+1 equals 1.2.5+2.

    `text` is the version as it was written, without a leading v; it tells two of equal precedence apart.
    """

    precedence: Precedence
    text: str = field(compare=False)

    def __str__(self) -> str:
        return self.text

    @property
    def is_prerelease(self) -> bool:
        """Whether something follows a hyphen, as in 1.0.0-rc.1."""
        return self.precedence[3] == 0

    @property
    def metadata(self) -> str:
        """What follows the plus sign, or nothing."""
        return self.text.partition("+")[2]


@lru_cache(maxsize=_CACHED)
def parse_version(text: str) -> VersionKey:
    """Read a version; a leading v is dropped. Raises `InvalidVersion`.

    The last few thousand are remembered, since most clients of a product run one of few versions.
    """
    if len(text) > MAX_CHARS:
        raise InvalidVersion(f"A version has at most {MAX_CHARS} characters")
    written = text.removeprefix("v")
    try:
        read = semver.Version.parse(written)
    except ValueError as exc:
        raise InvalidVersion(f"{text!r} is not a version of SemVer 2.0 (https://semver.org)") from exc
    numbers = (read.major, read.minor, read.patch)
    if read.prerelease is None:
        return VersionKey((*numbers, 1), written)
    return VersionKey((*numbers, 0, *_identifiers(read.prerelease)), written)


def parse_query_version(text: str) -> VersionKey:
    """Read a version from an address, where clients forget to escape the plus sign and it arrives as a space."""
    return parse_version(text.replace(" ", "+"))


def without_metadata(key: VersionKey) -> str:
    """Return a version without its build metadata, on whose meaning the launchers that exist do not agree."""
    return key.text.partition("+")[0]


def is_breaking_bump(old: VersionKey, new: VersionKey) -> bool:
    """Whether the numbers alone announce a breaking change: a higher major, or below 1.0 a higher minor."""
    return new.precedence >= next_breaking(old)


def next_breaking(key: VersionKey) -> Precedence:
    """Return what every version that `is_breaking_bump` from this one reaches, and no other does."""
    major, minor = key.precedence[:2]
    if isinstance(major, tuple) or isinstance(minor, tuple):
        raise TypeError("A version begins with its numbers")
    return (major + 1,) if major else (0, minor + 1)


def listing_order(key: VersionKey) -> tuple[Precedence, bool, tuple[Identifier, ...], str]:
    """Order versions by precedence, and those of equal precedence by metadata, so that every order is one and the same.

    SemVer leaves the second part open. Metadata is taken to count up like a pre-release, and none at all comes first.
    """
    metadata = key.metadata
    return key.precedence, bool(metadata), _identifiers(metadata), key.text


def _identifiers(dotted: str) -> tuple[Identifier, ...]:
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in dotted.split("."))
