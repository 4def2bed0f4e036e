"""What kind of file a release's file is by the ending of its name, and which platform the ending alone tells."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.releases.asset_words import knows, words_of
from gateway.releases.model import Platform


class Kind(StrEnum):
    """The kinds of files in a release. Builds are the first six."""

    INSTALLER = "installer"
    DISK_IMAGE = "disk_image"
    APP_IMAGE = "app_image"
    PACKAGE = "package"
    EXECUTABLE = "executable"
    ARCHIVE = "archive"
    SIGNATURE = "signature"
    CHECKSUMS = "checksums"
    SIDECAR = "sidecar"
    OTHER = "other"

    @property
    def is_build(self) -> bool:
        """Whether files of this kind can be what a user installs or runs."""
        return self in _BUILDS


_BUILDS = frozenset({Kind.INSTALLER, Kind.DISK_IMAGE, Kind.APP_IMAGE, Kind.PACKAGE, Kind.EXECUTABLE, Kind.ARCHIVE})

MAX_FILE_NAME: Final = 255
# What parts of a path have between them on any system, and the drives and streams of Windows.
_IN_PATHS: Final = re.compile(r"[/\\:]")


class FileType(NamedTuple):
    """A name taken apart: `stem` and `ending` in lower case, without the dot between them."""

    stem: str
    ending: str
    kind: Kind
    platform: Platform | None = None


_ENDINGS: tuple[tuple[Kind, Platform | None, str], ...] = (
    (Kind.EXECUTABLE, Platform.WINDOWS, "exe"),
    (Kind.INSTALLER, Platform.WINDOWS, "msi msix msixbundle appx appxbundle"),
    (Kind.DISK_IMAGE, Platform.MACOS, "dmg"),
    (Kind.INSTALLER, Platform.MACOS, "pkg mpkg"),
    (Kind.APP_IMAGE, Platform.LINUX, "appimage"),
    (Kind.PACKAGE, Platform.LINUX, "deb rpm snap flatpak pacman pkg.tar.zst pkg.tar.xz"),
    (Kind.PACKAGE, None, "apk"),
    (Kind.INSTALLER, Platform.LINUX, "run"),
    (Kind.INSTALLER, None, "sh"),
    (Kind.EXECUTABLE, None, "bin elf"),
    (Kind.ARCHIVE, None, "zip 7z rar tar tar.gz tgz tar.xz txz tar.bz2 tbz tbz2 tar.zst tzst tar.lz tar.lzma tar.br"),
    (Kind.ARCHIVE, None, "gz xz zst bz2"),
    (Kind.SIGNATURE, None, "sig asc minisig gpg pgp p7s sigstore sigstore.json"),
    (Kind.CHECKSUMS, None, "sha1 sha224 sha256 sha384 sha512 md5 b2 b3 digest sum md5sum sha1sum sha256sum sha512sum"),
    (Kind.CHECKSUMS, None, "sha1.txt sha256.txt sha512.txt md5.txt sha256sum.txt sha512sum.txt md5sum.txt"),
    (
        Kind.SIDECAR,
        None,
        "blockmap yml yaml json txt md nupkg sbom spdx cdx jsonl pem crt cer pub bundle xml zsync html",
    ),
    (
        Kind.SIDECAR,
        None,
        "pdf rb toml log atom rss torrent metalink delta patch bsdiff diff pdb ddeb ps1 bat cmd csv att",
    ),
    (Kind.SIDECAR, None, "provenance attestation intoto sarif"),
)
_TYPES: dict[str, tuple[Kind, Platform | None]] = {
    ending: (kind, platform) for kind, platform, endings in _ENDINGS for ending in endings.split()
}
_MOST_PARTS = 3
# An archive of something that only one platform has: Tauri's .app.tar.gz, electron-builder's .nsis.7z.
_PACKED: dict[str, Platform] = {
    **dict.fromkeys(("exe", "msi", "msix", "appx", "nsis"), Platform.WINDOWS),
    **dict.fromkeys(("app", "dmg"), Platform.MACOS),
    **dict.fromkeys(("appimage", "deb", "rpm"), Platform.LINUX),
}
_SUMS = re.compile(
    r"(?<![a-z])(?:(?:sha|md5|b2|b3|blake)[0-9-]*sums?(?:[0-9]+)?|sha-?(?:1|256|384|512)|checksums?|hashes)(?![a-z0-9])"
)
_SUMS_ALONE = re.compile(rf"(?:.*[-_. ])?{_SUMS.pattern}")
_PAPERS = re.compile(r"releases(?:[-_].*)?|(?:licen[sc]e|readme|notice|changelog|copying|authors)(?:[-_][a-z0-9.]+)?")
_NOT_BUILDS: Final = {
    **dict.fromkeys(("src", "source", "sources", "sourcecode", "sdist"), "is source code"),
    **dict.fromkeys(
        ("dbgsym", "debuginfo", "debugsource", "debugsymbols", "symbols", "pdb", "pdbs", "dsym", "dsyms"),
        "holds symbols for debugging",
    ),
}
SETUP: Final = ("setup", "install")
PORTABLE: Final = re.compile(r"portable|no[-_. ]install")


def file_type(name: str) -> FileType:
    """Return what the ending of `name` tells. A name without a known ending may be that of a bare executable."""
    lower = name.lower()
    parts = lower.split(".")
    for count in range(min(_MOST_PARTS, len(parts) - 1), 0, -1):
        ending = ".".join(parts[-count:])
        if ending in _TYPES:
            return _typed(parts, count, *_TYPES[ending])
    if _SUMS_ALONE.fullmatch(lower):
        return FileType(lower, "", Kind.CHECKSUMS)
    if _PAPERS.fullmatch(lower):
        return FileType(lower, "", Kind.SIDECAR)
    if len(parts) == 1 or parts[-1][:1].isdigit() or all(knows(word) for word in words_of(parts[-1])):
        return FileType(lower, "", Kind.EXECUTABLE)
    return FileType(".".join(parts[:-1]), parts[-1], Kind.OTHER)


def is_file_name(name: str) -> bool:
    """Whether a name is that of a file and leads nowhere else: launchers save files under the names that they are told.

    A name that is a path would also break the addresses of feeds, which end in it.
    """
    is_plain = name.isprintable() and not _IN_PATHS.search(name)
    return is_plain and len(name) <= MAX_FILE_NAME and bool(name.strip(". "))


def not_a_build(words: list[str]) -> str:
    """Return why a file with these words without a meaning in its name is no build, or nothing."""
    return next((_NOT_BUILDS[word] for word in words if word in _NOT_BUILDS), "")


def _typed(parts: list[str], count: int, kind: Kind, platform: Platform | None) -> FileType:
    stem, ending = ".".join(parts[:-count]), ".".join(parts[-count:])
    if kind is Kind.ARCHIVE and count < len(parts) - 1 and parts[-count - 1] in _PACKED:
        packed = parts[-count - 1]
        return FileType(stem[: -len(packed) - 1], f"{packed}.{ending}", kind, _PACKED[packed])
    if ending == "exe" and any(word in stem for word in SETUP) and not PORTABLE.search(stem):
        kind = Kind.INSTALLER
    if kind is Kind.SIDECAR and ending == "txt" and _SUMS.search(stem):
        kind = Kind.CHECKSUMS
    return FileType(stem, ending, kind, platform)
