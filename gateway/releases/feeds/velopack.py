"""The feed of Velopack (https://docs.velopack.io): `releases.{channel}.json`, a list of assets.

Its client compares versions itself and takes the highest full package of the list. Names are bare, since it writes a
package under the very name that the list has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from gateway.releases.asset_files import MAX_FILE_NAME
from gateway.releases.asset_words import read_name
from gateway.releases.feeds.packages import read_package
from gateway.releases.model import Architecture, Platform
from gateway.releases.versions import parse_version, without_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.releases.decision import Decision, Offer
    from gateway.releases.feeds.packages import Package
    from gateway.releases.model import Build, Version

T = TypeVar("T")

_FAMILIES = {"x86": Architecture.X86, "arm": Architecture.ARMV7}


def read_channel(name: str) -> tuple[Platform | None, Architecture | None]:
    """Read platform and processor from the words of a Velopack channel, such as `linux` or `win-x64-beta`.

    A longer name than any file has says neither; to take its words apart would hold up everybody else.
    """
    if len(name) > MAX_FILE_NAME:
        return None, None
    reading = read_name(name, (), "")
    architectures = set(reading.architectures)
    if not architectures:
        architectures = {_FAMILIES[family] for family in reading.families if family in _FAMILIES}
    if not architectures and 64 in reading.bits:
        architectures = {Architecture.X64}
    return _only(reading.platforms), _only(architectures)


def offered_package(decision: Decision) -> Offer | None:
    """Return the full package to list: an update, what the client runs, or what it is to go back to.

    Nothing else is listed, because a client that allows downgrades takes anything that is lower.
    """
    if decision.offered is not None:
        return decision.offered
    if decision.rollback is not None:
        return decision.rollback
    latest, current = decision.latest, decision.current
    is_installed = latest is not None and current is not None and without_metadata(latest.key) == current.text
    return latest if is_installed else None


def feed(offer: Offer | None, deltas: Iterable[Package]) -> dict[str, Any]:
    """Return the list: the full package of an offer and the deltas that lead to it."""
    if offer is None:
        return {"Assets": []}
    full = _asset(offer.version, offer.build) | {"NotesMarkdown": offer.version.release_notes}
    return {"Assets": [full, *(_asset(step.version, step.build) for step in deltas)]}


def _asset(version: Version, build: Build) -> dict[str, Any]:
    name = read_package(build.file_name)
    asset: dict[str, Any] = {
        "PackageId": name.package_id if name else "",
        "Version": without_metadata(parse_version(version.id)),
        "Type": "Delta" if name and name.is_delta else "Full",
        "FileName": build.file_name,
        "SHA256": build.sha256.upper(),
        "Size": build.file_size,
    }
    return asset | ({"SHA1": build.sha1.upper()} if build.sha1 else {})


def _only(found: set[T]) -> T | None:
    return next(iter(found)) if len(found) == 1 else None
