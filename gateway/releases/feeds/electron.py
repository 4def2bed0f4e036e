"""The update file of electron-updater's generic provider (https://www.electron.build/auto-update), written as JSON.

JSON is YAML too, but for a few control characters, which no text in the catalogue has.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from gateway.releases.feeds.kinds import Kind, fits
from gateway.releases.model import Architecture, Platform
from gateway.releases.targets import UnknownTarget, parse_architecture, parse_os_version
from gateway.releases.versions import without_metadata
from gateway.releases.views import time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.releases.decision import Offer
    from gateway.releases.model import Build, Version

# The client puts its own idea of a channel before it (`latest` unless configured), which is not ours.
_FILE: Final = re.compile(r".+?(?P<platform>-mac|-linux(?:-(?P<architecture>[a-z0-9_]+))?)?\.yml", re.ASCII)
# What the client calls its own processor, and looks for in addresses.
_NODE_NAMES: Final = {Architecture.X86: "ia32", Architecture.ARMV7: "arm"}
# Without a match the client takes the first: x64 runs on Windows for ARM too, and universal on every Mac.
_ORDER: Final = (
    Architecture.UNIVERSAL,
    Architecture.X64,
    Architecture.ARM64,
    Architecture.X86,
    Architecture.ARMV7,
)
_PROCESSOR: Final = re.compile("(arm6|x6|ia3)([24])")


class Asked(NamedTuple):
    """Whom a file is for. But for Linux, the file is the same for all processors."""

    platform: Platform
    architecture: Architecture


def read_file_name(name: str) -> Asked | None:
    """Return whom a file is for, by its name: `{anything}.yml`, `-mac.yml`, `-linux.yml`, `-linux-arm64.yml`."""
    match = _FILE.fullmatch(name)
    if match is None:
        return None
    if match["platform"] is None:
        return Asked(Platform.WINDOWS, Architecture.UNIVERSAL)
    if match["platform"] == "-mac":
        return Asked(Platform.MACOS, Architecture.UNIVERSAL)
    try:
        return Asked(Platform.LINUX, parse_architecture(match["architecture"] or "x64"))
    except UnknownTarget:
        return None


def builds_for(version: Version, offer: Offer) -> list[Build]:
    """Return the builds of the offered version that its file lists, in the order in which clients should take them."""
    wanted = offer.build
    found = [
        build
        for build in version.builds
        if fits(Kind.ELECTRON, build)
        and build.platform is wanted.platform
        and wanted.architecture in (Architecture.UNIVERSAL, build.architecture)
    ]
    return sorted(found, key=_rank)


def _rank(build: Build) -> tuple[int, bool, bool]:
    """Return the place of a build: an installer comes before a portable program, which cannot be installed."""
    name = build.file_name.lower()
    return _ORDER.index(build.architecture), "portable" in name, not ("setup" in name or "install" in name)


def update_file(offer: Offer, builds: Sequence[Build], place: str) -> bytes:
    """Return the file for a version whose files are to be had below `place`."""
    told: dict[str, Any] = {
        "version": without_metadata(offer.key),
        "files": [_file(build, place) for build in builds],
        "releaseDate": time_text(offer.version.published_at),
        "releaseName": offer.version.name,
        "releaseNotes": offer.version.release_notes,
    }
    lowest = _minimum_system(builds)
    return msgspec.json.encode(told | ({"minimumSystemVersion": lowest} if lowest else {}))


def no_update() -> bytes:
    """Return the file for a client that may take no version yet: one that is older than any, and runs nowhere.

    An empty answer and 404 are errors to the client. The minimum keeps those from it that would also go back.
    """
    return msgspec.json.encode({"version": "0.0.0", "files": [], "minimumSystemVersion": "999999.0.0"})


def _file(build: Build, place: str) -> dict[str, Any]:
    if build.sha512:
        digest = {"sha512": base64.b64encode(bytes.fromhex(build.sha512)).decode()}
    else:
        digest = {"sha2": build.sha256}
    return {"url": _address(build, place), **digest, "size": build.file_size}


def _address(build: Build, place: str) -> str:
    """Return the address of a build's file as the client needs it.

    It takes the file's name from the end, and looks for the name of its own processor anywhere, also in the names of
    hosts and products: box64 would be one. So that is escaped but in the one part that tells the truth.
    """
    before, name = (
        _PROCESSOR.sub(r"\1%3\2", text)
        for text in (f"{place}/{quote(build.id, safe='')}", quote(build.file_name, safe=""))
    )
    return f"{before}/{_NODE_NAMES.get(build.architecture, build.architecture)}/{name}"


def _minimum_system(builds: Sequence[Build]) -> str | None:
    """Return the lowest system that any of the builds asks for, as the client compares it: by the kernel's version."""
    found = [parse_os_version(build.min_os_version) if build.min_os_version else None for build in builds]
    needed = [each for each in found if each is not None]
    if len(needed) < len(found) or not needed:
        return None
    lowest = min(needed)
    if builds[0].platform is Platform.MACOS:
        lowest = (_darwin(lowest),)
    return ".".join(str(number) for number in (*lowest, 0, 0)[:3])


def _darwin(macos: tuple[int, ...]) -> int:
    """Return the major version of the kernel of a macOS: 10.15 has 19, 11 to 15 have 20 to 24, and 26 has 25."""
    major, minor = (*macos, 0)[:2]
    if major <= 10:
        return minor + 4
    return major + 9 if major < 26 else major - 1
