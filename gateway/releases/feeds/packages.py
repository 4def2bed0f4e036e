"""Packages of Velopack and of Squirrel.Windows (.nupkg): what their names say, which one a client gets, and its deltas.

Both write `{PackageId}-{Version}[-{channel}]-full.nupkg`, and `-delta.nupkg` for what leads from the version before it
to this one (Velopack's `vpk pack`; Squirrel's `--releasify`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.releases.asset_files import MAX_FILE_NAME
from gateway.releases.model import Architecture, Platform
from gateway.releases.versions import listing_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gateway.releases.decision import Offer
    from gateway.releases.model import Build, Version
    from gateway.releases.offers import Target
    from gateway.releases.snapshot import ProjectSnapshot
    from gateway.releases.versions import VersionKey

# Both clients take the full package when there are more steps than this.
MAX_DELTAS: Final = 10
# The characters are those of NuGet's ids and of versions, so a name never needs an escape in an address or in a list.
_NAME: Final = re.compile(r"(\w[\w.+-]*?)-\d+\.\d+\.\d+[\w.+-]*-(full|delta)\.nupkg", re.ASCII | re.IGNORECASE)
# Squirrel.Windows reads the version at the end of a name, and knows neither dots in pre-releases nor metadata: it takes
# 1.0.0-beta.1 for 1 (its VersionExtensions), so electron-winstaller writes 1.0.0-beta1.
_SQUIRREL: Final = re.compile(r".+?-\d+\.\d+\.\d+(-[a-z][0-9a-z-]*)?-(full|delta)\.nupkg", re.ASCII | re.IGNORECASE)
# What a client that names no processor gets. A file without a label is for x64 by custom.
_BY_CUSTOM: Final = (
    Architecture.UNIVERSAL,
    Architecture.X64,
    Architecture.ARM64,
    Architecture.X86,
    Architecture.ARMV7,
)


class PackageName(NamedTuple):
    """What the name of a package says."""

    package_id: str
    is_delta: bool


class Package(NamedTuple):
    """A package of a version."""

    version: Version
    build: Build


class AmbiguousPlatform(ValueError):
    """There are packages for several platforms, and the client has not said which it is; `platforms` names them."""

    def __init__(self, platforms: list[Platform]) -> None:
        super().__init__("names no platform")
        self.platforms = platforms


def read_package(file_name: str) -> PackageName | None:
    """Read the name of a package; None for a name that is not made as both tools make it."""
    # The pattern's time grows with the square of the length, and whoever asks for a package chooses its name.
    match = _NAME.fullmatch(file_name) if len(file_name) <= MAX_FILE_NAME else None
    return PackageName(match[1], match[2].lower() == "delta") if match else None


def is_full(file_name: str) -> bool:
    """Whether this is the name of a package that needs no other one."""
    name = read_package(file_name)
    return name is not None and not name.is_delta


def squirrel_reads(build: Build) -> bool:
    """Whether Squirrel.Windows can check a package and read its name; nobody else needs SHA-1."""
    return bool(build.sha1 and read_package(build.file_name) and _SQUIRREL.fullmatch(build.file_name))


def velopack_reads(build: Build) -> bool:
    """Whether Velopack can check a package and read its name."""
    return bool(build.sha256 and read_package(build.file_name))


def choose_target(
    targets: Collection[Target], platform: Platform | None, architecture: Architecture | None
) -> Target | None:
    """Return what to decide on for a client that says only a part of what it is, given what there are packages for.

    None where there is none for its platform. Raises `AmbiguousPlatform`.
    """
    platforms = sorted({found for found, _ in targets})
    if platform is None and len(platforms) > 1:
        raise AmbiguousPlatform(platforms)
    platform = platform or next(iter(platforms), None)
    if platform is None or architecture is not None:
        return None if platform is None or architecture is None else (platform, architecture)
    return next(((platform, usual) for usual in _BY_CUSTOM if (platform, usual) in targets), None)


def deltas_to(
    found: ProjectSnapshot, offer: Offer, current: VersionKey | None, usable: Callable[[Build], bool]
) -> tuple[Package, ...]:
    """Return the deltas from the installed version to the offered one, the lowest first; none if one is missing.

    A delta fits on the version before it in the same channel only. So nothing is said of deltas to a client that runs
    a version of another channel, nor where a step was withdrawn, is not rolled out to all, or may not be served.
    """
    entries = found.channel(offer.channel_id).entries
    end = bisect_right(entries, listing_order(offer.key), key=lambda entry: listing_order(entry.key))
    steps: list[Package] = []
    for place in range(end - 1, -1, -1):
        version = entries[place].version
        if current is None or len(steps) > MAX_DELTAS or entries[place].key < current:
            break
        if version.id == current.text:
            return tuple(reversed(steps)) if len(steps) <= MAX_DELTAS else ()
        packages = [build for build in version.builds if _same_target(build, offer.build)]
        if not any(is_full(build.file_name) for build in packages):
            continue
        delta = next((each for each in packages if _is_delta(each) and usable(each)), None)
        complete = version.id == offer.version.id or version.rollout_percent >= 100
        if delta is None or not complete or version.yanked_at is not None:
            break
        steps.append(Package(version, delta))
    return ()


def _is_delta(build: Build) -> bool:
    name = read_package(build.file_name)
    return name is not None and name.is_delta


def _same_target(build: Build, other: Build) -> bool:
    return build.platform is other.platform and build.architecture is other.architecture
