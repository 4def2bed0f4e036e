"""What a release on GitHub means for the catalogue. Nothing here asks anybody or writes anything.

`assess` says what a release is: a draft, nothing for this project, unfinished, or a version with its builds.
`is_settled` says whether it has been left alone long enough. `version_changes` says what differs from the catalogue.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.field_rules import without_hidden
from gateway.releases.asset_files import Kind, is_file_name
from gateway.releases.asset_overrides import compile_overrides
from gateway.releases.checksums import digest_of
from gateway.releases.github_release import UPLOADED, GithubAsset, newest_ms, time_ms
from gateway.releases.github_store import Mark, ReleaseState
from gateway.releases.model import Build, BuildState, Channel, Version
from gateway.releases.naming import map_assets
from gateway.releases.tags import DEFAULT_CHANNELS, channel_of, read_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.releases.github_release import GithubRelease
    from gateway.releases.github_store import Owned, Seen
    from gateway.releases.model import GithubSource, Project
    from gateway.releases.naming import AssetMap, Target

# A release that is seen for the first time is complete if nobody has touched it for so long.
LONG_AGO_MS: Final = 3_600_000
MAX_NOTES_CHARS: Final = 200_000
_MAX_NAME_CHARS: Final = 200
_MAX_REASON_CHARS: Final = 1_000
_LISTED: Final = 10
# Each includes those before it.
_ON_DEMAND: Final = ("stable", "beta", "dev")
_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/[!-~]*", re.ASCII)
_MAX_URL_CHARS: Final = 1_000
# Some 300 bytes of text, as Tauri writes it in base64.
MAX_SIGNATURE_BYTES: Final = 4_096
_MINISIGN_ENDINGS: Final = (".sig", ".minisig")
_SHA256: Final = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE | re.ASCII)


class WantedBuild(NamedTuple):
    """An asset that is the build for a target. `sha256` is empty as long as nobody has said it."""

    id: str
    target: Target
    asset: GithubAsset
    sha256: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a release is. `state` is published for one that can be, if it is settled; a draft has None.

    `reason` says why not, or what of it was left out. `sums` are its files with checksums that have to be read, because
    GitHub knows none of some build; a name that it is of goes with each, None for a list. `signatures` are files that
    may hold minisign's, each with the name of its build.
    """

    state: ReleaseState | None
    reason: str = ""
    channel_id: str | None = None
    version_id: str | None = None
    builds: tuple[WantedBuild, ...] = ()
    sums: tuple[tuple[GithubAsset, str | None], ...] = ()
    signatures: tuple[tuple[GithubAsset, str], ...] = ()


def configuration(project: Project) -> str:
    """Return what stands for all that a project's releases are judged by."""
    source = None if project.github is None else asdict(project.github)
    return _hash(
        [source, project.id, project.created_at, project.name, sorted(channel.id for channel in project.channels)]
    )


def assess(release: GithubRelease, project: Project, source: GithubSource) -> Assessment:
    """Return what a release is for this project."""
    if release.draft:
        return Assessment(None, "the release is a draft")
    names = (project.id, project.name, source.repository.rpartition("/")[2])
    reading = read_tag(release.tag_name, source.tag_pattern, project=names)
    if reading.version is None:
        return Assessment(ReleaseState.SKIPPED, _cut(reading.reason))
    mapping = dict(source.channels)
    channel_id = channel_of(reading.version, prerelease_flag=release.prerelease, mapping=mapping)
    if project.channel(channel_id) is None and (channel_id in mapping.values() or channel_id not in _ON_DEMAND):
        return Assessment(ReleaseState.SKIPPED, f"the project has no channel {channel_id!r}")
    open_names = sorted(asset.name for asset in release.assets if asset.state != UPLOADED)
    if open_names:
        reason = _cut(f"still being uploaded: {_listed(open_names)}")
        return Assessment(ReleaseState.WAITING, reason, channel_id, reading.version)
    return _with_builds(release, names, source, channel_id, reading.version)


def _with_builds(
    release: GithubRelease, names: Sequence[str], source: GithubSource, channel_id: str, version_id: str
) -> Assessment:
    usable = {asset.name: asset for asset in release.assets if asset.size > 0 and _is_usable(asset)}
    overrides = compile_overrides([json.loads(text) for text in source.overrides])
    found = map_assets(usable, project=names, version=version_id, overrides=overrides)
    left_out = [f"{other.name}: {other.reason}" for other in found.others if other.kind.is_build]
    left_out += [f"{asset.name}: it is empty" for asset in release.assets if asset.size <= 0]
    reason = _cut(f"left out: {_listed(left_out)}") if left_out else ""
    if not found.builds:
        return Assessment(ReleaseState.SKIPPED, _cut(f"no asset is a build; {reason}" if reason else "it has no build"))
    builds = tuple(
        WantedBuild(f"{target[0]}-{target[1]}", target, usable[asset.name], _declared(usable[asset.name]))
        for target, asset in sorted(found.builds.items())
    )
    sums, signatures = _sums(found, usable, builds), _signatures(found, usable, builds)
    return Assessment(ReleaseState.PUBLISHED, reason, channel_id, version_id, builds, sums, signatures)


def _sums(
    found: AssetMap, usable: Mapping[str, GithubAsset], builds: Sequence[WantedBuild]
) -> tuple[tuple[GithubAsset, str | None], ...]:
    """Return the checksum files that may know the builds of which GitHub knows no digest."""
    unknown = {build.asset.name for build in builds if not build.sha256}
    files = [
        asset for asset in found.others if asset.kind is Kind.CHECKSUMS and (asset.of is None or asset.of in unknown)
    ]
    known_kinds = [asset for asset in files if "512" not in asset.name and not asset.name.lower().endswith("md5")]
    return tuple((usable[asset.name], asset.of) for asset in known_kinds[:_LISTED]) if unknown else ()


def _signatures(
    found: AssetMap, usable: Mapping[str, GithubAsset], builds: Sequence[WantedBuild]
) -> tuple[tuple[GithubAsset, str], ...]:
    """Return the files beside the builds that may be what Tauri asks for; others of that ending are too long."""
    beside = [(file, build.asset.name) for build in builds for file in found.beside(build.asset.name, Kind.SIGNATURE)]
    return tuple(
        (usable[file.name], of)
        for file, of in beside
        if file.name.lower().endswith(_MINISIGN_ENDINGS) and usable[file.name].size <= MAX_SIGNATURE_BYTES
    )


def with_files(assessment: Assessment, digests: Mapping[str, str], signatures: Mapping[str, str]) -> Assessment:
    """Return an assessment with what the files beside its builds say of them, by the names of the builds' files."""
    builds = tuple(
        build._replace(
            sha256=build.sha256 or digest_of(digests, build.asset.name) or "",
            signature=signatures.get(build.asset.name),
        )
        for build in assessment.builds
    )
    return replace(assessment, builds=builds, sums=(), signatures=())


def changed_at(release: GithubRelease, mark: str, seen: Seen | None, github_now_ms: int, now_ms: int) -> int:
    """Return since when a release is as it is now, as far as we know: Unix milliseconds, 0 for long ago.

    Of one that is seen for the first time only GitHub can know, by its own clock. Later on nothing counts but what was
    seen, since an asset that was deleted leaves no time behind.
    """
    if seen is None or seen.state is ReleaseState.NEW:
        touched = newest_ms(release)
        return 0 if touched is not None and github_now_ms - touched >= LONG_AGO_MS else now_ms
    return seen.changed_at if seen.fingerprint == mark else now_ms


def missing_channels(project: Project, channel_id: str) -> list[Channel]:
    """Return the channels to be made for a version to go into `channel_id`: that one, and those that it includes."""
    if project.channel(channel_id) is not None or channel_id not in DEFAULT_CHANNELS.values():
        return []
    upto = _ON_DEMAND[: _ON_DEMAND.index(channel_id) + 1]
    return [
        Channel(id=name, name=name.capitalize(), auto_update=True, includes=tuple(reversed(upto[:number])))
        for number, name in enumerate(upto)
        if project.channel(name) is None
    ]


class VersionChange(NamedTuple):
    """What has to be written: a version, None if its own fields stay; builds, of which `removed` names those that go.

    `owned` is what is remembered of it then, and `left` names the builds that people have changed.
    """

    version: Version | None
    builds: tuple[Build, ...]
    removed: tuple[str, ...]
    builds_of: Mapping[str, Mark]
    written: str
    left: tuple[str, ...]
    restored: bool = False


def new_version(release: GithubRelease, assessment: Assessment, salt: str, now_ms: int) -> VersionChange:
    """Return what publishes a release."""
    name, notes = _texts(release, assessment)
    builds = tuple(_build(wanted, None, now_ms) for wanted in assessment.builds)
    version = Version(
        id=assessment.version_id or "",
        name=name,
        release_notes=notes,
        published_at=time_ms(release.published_at) or now_ms,
        rollout_salt=salt,
        builds=builds,
    )
    marks = {wanted.id: _mark(wanted) for wanted in assessment.builds}
    return VersionChange(version, builds, (), marks, _written(name, notes), ())


def version_changes(
    release: GithubRelease, assessment: Assessment, version: Version, owned: Owned, now_ms: int
) -> VersionChange:
    """Return what differs between a release and the version that was made of it, without what people have changed."""
    name, notes = _texts(release, assessment)
    after = version
    written = owned.written
    if owned.written == _written(version.name, version.release_notes):
        after = replace(after, name=name, release_notes=notes)
        written = _written(name, notes)
    restored = owned.withdrawn_at is not None and version.yanked_at == owned.withdrawn_at
    if restored:
        after = replace(after, yanked_at=None, yank_reason="")
    there = {build.id: build for build in version.builds}
    builds, marks, left = _changed_builds(assessment, there, owned, now_ms)
    wanted = {build.id for build in assessment.builds}
    gone = [build_id for build_id in owned.builds if build_id not in wanted and build_id in there]
    removed = tuple(build_id for build_id in gone if there[build_id].download_url == owned.builds[build_id].url)
    left += [build_id for build_id in gone if build_id not in removed]
    return VersionChange(
        after if after != version else None, tuple(builds), removed, marks, written, tuple(left), restored
    )


def _changed_builds(
    assessment: Assessment, there: Mapping[str, Build], owned: Owned, now_ms: int
) -> tuple[list[Build], dict[str, Mark], list[str]]:
    """Return the builds to write, the marks of all that are ours then, and those that people have changed."""
    builds: list[Build] = []
    marks: dict[str, Mark] = {}
    left: list[str] = []
    for wanted in assessment.builds:
        before, mark = there.get(wanted.id), owned.builds.get(wanted.id)
        if before is not None and (mark is None or before.download_url != mark.url):
            left.append(wanted.id)
            continue
        marks[wanted.id] = _mark(wanted)
        after = _build(wanted, before if mark is not None and _same_file(wanted, mark, before) else None, now_ms)
        if after != before:
            builds.append(after)
    return builds, marks, left


def _same_file(wanted: WantedBuild, mark: Mark, before: Build | None) -> bool:
    """Whether an asset is the file that it was. An asset that was uploaded again has another number."""
    known = mark.sha256 or ("" if before is None else before.sha256)
    said_otherwise = bool(wanted.sha256 and known and wanted.sha256 != known)
    return wanted.asset.id == mark.asset_id and wanted.asset.size == mark.size and not said_otherwise


def _build(wanted: WantedBuild, before: Build | None, now_ms: int) -> Build:
    """Return a build; one that is the same file as before keeps what its verification has found."""
    asset = wanted.asset
    if before is not None:
        return replace(
            before,
            download_url=asset.browser_download_url,
            sha256=wanted.sha256 or before.sha256,
            signature=wanted.signature or before.signature,
        )
    platform, architecture = wanted.target
    return Build(
        id=wanted.id,
        platform=platform,
        architecture=architecture,
        file_name=asset.name,
        file_size=asset.size,
        download_url=asset.browser_download_url,
        sha256=wanted.sha256,
        signature=wanted.signature,
        created_at=now_ms,
        state=BuildState.PENDING,
    )


def _mark(wanted: WantedBuild) -> Mark:
    asset = wanted.asset
    return Mark(asset.id, asset.browser_download_url, asset.size, wanted.sha256)


def _declared(asset: GithubAsset) -> str:
    found = _SHA256.fullmatch(asset.digest or "")
    return found[1].lower() if found else ""


def _is_usable(asset: GithubAsset) -> bool:
    url = asset.browser_download_url
    return len(url) <= _MAX_URL_CHARS and _ADDRESS.fullmatch(url) is not None and is_file_name(asset.name)


def _texts(release: GithubRelease, assessment: Assessment) -> tuple[str, str]:
    """Return the name and the notes of a version, without what may not stand in a text."""
    name = "".join(char for char in release.name or "" if char.isprintable()).strip()[:_MAX_NAME_CHARS]
    notes = without_hidden((release.body or "").replace("\r\n", "\n"))
    return name or f"v{assessment.version_id}", notes[:MAX_NOTES_CHARS]


def _written(name: str, notes: str) -> str:
    return _hash([name, notes])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return "; ".join(names[:_LISTED]) + more


def _cut(reason: str) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in reason)
    return printable[:_MAX_REASON_CHARS]
