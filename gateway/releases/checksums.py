"""Reading the checksum files that lie beside a release's files: SHA256SUMS, checksums.txt, app.zip.sha256.

Three ways to write a line are known: that of GNU coreutils (digest, blank, blank or asterisk, name), the tagged one of
BSD (`SHA256 (name) = digest`, also as `openssl dgst` writes it), and a digest alone. A file with any other line is
refused as a whole: half a list would look like a whole one in which files are missing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CHARS: Final = 1_048_576
MAX_LINES: Final = 10_000
MAX_LINE_CHARS: Final = 1_024
_DIGITS: Final = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_GNU = re.compile(r"([0-9A-Fa-f]{32,128})[ \t]+\*?(\S.*)", re.ASCII)
_BSD = re.compile(r"([A-Za-z0-9/-]{2,20}) ?\((.+)\) ?= ?([0-9A-Fa-f]{32,128})", re.ASCII)
_CHANGED = re.compile(r"[^A-Za-z0-9_-]+")
_BARE = re.compile(r"[0-9A-Fa-f]{32,128}", re.ASCII)


class InvalidChecksums(ValueError):
    """A checksum file that cannot be read; the text says where and why."""


def parse_checksums(text: str, *, name: str | None = None, algorithm: str = "sha256") -> dict[str, str]:
    """Return the digests of one algorithm, in lower case, by file name without folders.

    `name` is the file that a digest alone is of. Lines of another algorithm are read and passed over; a line without a
    tag is told by its length. Blank lines, lines that begin with `#`, a byte order mark and Windows' line ends are
    taken. Raises `InvalidChecksums`, also for two different digests of one name.
    """
    if algorithm not in _DIGITS:
        raise InvalidChecksums(f"{algorithm} is none of {', '.join(_DIGITS)}")
    if len(text) > MAX_CHARS:
        raise InvalidChecksums(f"The file has more than {MAX_CHARS} characters")
    lines = text.removeprefix("\ufeff").split("\n")
    if len(lines) > MAX_LINES:
        raise InvalidChecksums(f"The file has more than {MAX_LINES} lines")
    digests: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        found = _read_line(line.rstrip("\r \t"), number, name, algorithm)
        if found is None:
            continue
        file, digest = found
        if digests.setdefault(file, digest) != digest:
            raise InvalidChecksums(f"Line {number}: another digest than before of {file}")
    return digests


def digest_of(digests: Mapping[str, str], asset_name: str) -> str | None:
    """Return the digest of a release's file, whose name GitHub may have changed after the list was written.

    GitHub puts dots in place of blanks and other special characters. Two files that become one name that way have no
    digest.
    """
    if asset_name in digests:
        return digests[asset_name]
    changed = _CHANGED.sub(".", asset_name)
    found = {digest for name, digest in digests.items() if _CHANGED.sub(".", name).strip(".") == changed}
    return found.pop() if len(found) == 1 else None


def _read_line(line: str, number: int, name: str | None, algorithm: str) -> tuple[str, str] | None:
    """Return the file name and digest of a line, or None when it has none of this algorithm."""
    if len(line) > MAX_LINE_CHARS:
        raise InvalidChecksums(f"Line {number} has more than {MAX_LINE_CHARS} characters")
    if not line or line.startswith("#"):
        return None
    file, digest, tag = _parts(line, number, name)
    if tag is not None and tag not in _DIGITS:
        return None
    if len(digest) not in _DIGITS.values() or (tag is not None and _DIGITS[tag] != len(digest)):
        raise InvalidChecksums(f"Line {number}: a digest of {len(digest)} digits is none of {tag or 'any we know'}")
    if len(digest) != _DIGITS[algorithm]:
        return None
    return _without_folders(file, number), digest.lower()


def _parts(line: str, number: int, name: str | None) -> tuple[str, str, str | None]:
    """Return the file, the digest and the tag, which only BSD's lines have."""
    tagged = _BSD.fullmatch(line)
    if tagged:
        return tagged[2], tagged[3], tagged[1].lower().replace("sha2-", "sha").replace("sha-", "sha")
    plain = _GNU.fullmatch(line)
    if plain:
        return plain[2], plain[1], None
    if not _BARE.fullmatch(line):
        raise InvalidChecksums(f"Line {number} is no checksum line")
    if name is None:
        raise InvalidChecksums(f"Line {number} has a digest but no file name")
    return name, line, None


def _without_folders(file: str, number: int) -> str:
    last = re.split(r"[/\\]", file)[-1]
    if last in ("", ".", "..") or not last.isprintable():
        raise InvalidChecksums(f"Line {number} names no file")
    return last
