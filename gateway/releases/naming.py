"""From the names of a release's files to builds: which file is for which platform and processor, and which is none.

`classify` says what one name says. `map_assets` adds what only the other files of the release can tell, and chooses one
file for each platform and processor. What stays open is not guessed: it is left out with a reason, and an override of
the project decides. Names can lie; the verification of a build reads the executable's own header.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.releases.asset_files import FileType, Kind, file_type, not_a_build
from gateway.releases.asset_overrides import MAX_NAME_CHARS, Override
from gateway.releases.asset_words import WIN32, Libc, Reading, read_name
from gateway.releases.model import Architecture, Platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Target = tuple[Platform, Architecture]

_UNLABELLED = "the name says no processor"
# Packagers of desktop applications leave x64 out of these (electron-builder, Squirrel, update.electronjs.org). Archives
# and bare executables of command line tools are made for many processors, and what none is said of can be any.
_X64_IF_UNLABELLED: dict[Platform, frozenset[str]] = {
    Platform.WINDOWS: frozenset({"exe", "msi", "zip", "7z", "nsis.7z", "exe.zip", "msi.zip", "nsis.zip"}),
    Platform.MACOS: frozenset({"zip", "dmg", "app.zip", "app.tar.gz", "dmg.zip"}),
    Platform.LINUX: frozenset({"appimage", "appimage.tar.gz", "deb", "rpm", "snap", "pacman"}),
}
# Which kind of file a launcher is offered when there are several. On Windows the installer, since it also changes what
# lies around the program's own files; electron-updater and Tauri update with it. On macOS the packed bundle: that is
# what Squirrel.Mac, electron-updater and Tauri unpack, while a disk image needs a person. On Linux the AppImage, which
# runs on every distribution and needs no root, unlike a package. A bare executable comes before an archive, because its
# header can be verified.
_KINDS: dict[Platform, tuple[Kind, ...]] = {
    Platform.WINDOWS: (Kind.INSTALLER, Kind.EXECUTABLE, Kind.ARCHIVE),
    Platform.MACOS: (Kind.ARCHIVE, Kind.DISK_IMAGE, Kind.EXECUTABLE, Kind.INSTALLER),
    Platform.LINUX: (Kind.APP_IMAGE, Kind.EXECUTABLE, Kind.ARCHIVE, Kind.INSTALLER, Kind.PACKAGE),
}
_ENDINGS = (
    *("exe", "msi", "msix", "appx", "zip", "app.zip", "app.tar.gz"),
    *("tar.gz", "tgz", "tar.xz", "txz", "tar.zst", "tar.bz2", "gz", "xz", "7z", "deb", "rpm", "pacman", "snap"),
)
# Nothing said, then GNU (msvc on Windows), which desktops have; a build for musl may need a loader that they lack.
_LIBCS = (None, Libc.MSVC, Libc.GNU, Libc.MUSL)
_MACOS_FAMILIES: Final = {
    "all": Architecture.UNIVERSAL,
    "arm": Architecture.ARM64,
    "apple": Architecture.ARM64,
    "intel": Architecture.X64,
    "x86": Architecture.X64,
}
_NO_OVERRIDE: Final = 10_000


class _Unclear(Exception):
    """A file is no build, or its name contradicts itself; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a release. It is a build of `target` unless there is a `reason` why not.

    `undecided` says that the processor alone is missing, and `win32` that the name has this word, which is 32 bits only
    beside a 64-bit file. `of` is the name of the file that a signature or a checksum belongs to; no such file need
    exist. `rest` are the words that mean nothing to us, `override` is the number of the project's rule that fits, and
    `assumed` says that the processor came from the other files or from what packagers leave out.
    """

    name: str
    kind: Kind
    platform: Platform | None = None
    architecture: Architecture | None = None
    libc: Libc | None = None
    reason: str = ""
    of: str | None = None
    ending: str = ""
    rest: tuple[str, ...] = ()
    override: int | None = None
    undecided: bool = False
    win32: bool = False
    assumed: bool = False

    @property
    def target(self) -> Target | None:
        """What this is a build for."""
        if self.reason or self.platform is None or self.architecture is None:
            return None
        return self.platform, self.architecture


@dataclass(frozen=True, slots=True)
class AssetMap:
    """The files of one release: one build for each target, and all `others`, by name, with the reason of each."""

    builds: Mapping[Target, Asset]
    others: tuple[Asset, ...]

    def find(self, platform: Platform, architecture: Architecture) -> Asset | None:
        """Return the build for this platform and processor; on macOS a universal one fills both x64 and arm64."""
        found = self.builds.get((platform, architecture))
        if found is None and architecture in (Architecture.X64, Architecture.ARM64):
            return self.builds.get((platform, Architecture.UNIVERSAL))
        return found

    def beside(self, name: str, kind: Kind) -> tuple[Asset, ...]:
        """Return the signatures or checksums that belong to the file of this name."""
        return tuple(asset for asset in self.others if asset.kind is kind and asset.of == name)


def classify(name: str, *, project: str | Sequence[str], version: str, overrides: Sequence[Override] = ()) -> Asset:
    """Return what the name alone says about a file. Never raises.

    `project` is the project's name, or several (id, display name, repository). Sidecars are no builds whatever the
    overrides say, since a pattern that fits `app.zip` mostly fits `app.zip.sig` too.
    """
    if len(name) > MAX_NAME_CHARS:
        return Asset(name, Kind.OTHER, reason=f"the name is longer than {MAX_NAME_CHARS} characters")
    file = file_type(name)
    if not file.kind.is_build and file.kind is not Kind.OTHER:
        return _sidecar(name, file)
    reading = read_name(file.stem, (project,) if isinstance(project, str) else project, version)
    fitting = (number for number, override in enumerate(overrides) if override.pattern.search(name))
    number = next(fitting, None)
    return _read(name, file, reading, None if number is None else overrides[number], number)


def map_assets(
    names: Iterable[str], *, project: str | Sequence[str], version: str, overrides: Sequence[Override] = ()
) -> AssetMap:
    """Return which of a release's files is the build for which target. The order of `names` plays no part.

    Of several files for one target the first by this order is taken: what an override names (the first override
    first); the fewest words that mean nothing (an edition or another product); the kind (`_KINDS`); the C library; the
    ending. Two that are equal in all of it and still named differently are both left out, since they are different
    things.
    """
    assets = [classify(name, project=project, version=version, overrides=overrides) for name in sorted(set(names))]
    assets = _decide_by_siblings(assets)
    candidates: dict[Target, list[Asset]] = defaultdict(list)
    for asset in assets:
        if asset.target:
            candidates[asset.target].append(asset)
    builds: dict[Target, Asset] = {}
    others = [asset for asset in assets if not asset.target]
    for target, group in sorted(candidates.items()):
        chosen, left_out = _choose(group)
        if chosen:
            builds[target] = chosen
        others += left_out
    return AssetMap(builds, tuple(sorted(others, key=lambda asset: asset.name)))


def _sidecar(name: str, file: FileType) -> Asset:
    what = {Kind.SIGNATURE: "is a signature", Kind.CHECKSUMS: "holds checksums"}.get(file.kind, "goes with the builds")
    belongs = name[: -len(file.ending) - 1] if file.ending and file.kind is not Kind.SIDECAR else None
    if file.kind is Kind.CHECKSUMS and file.ending in ("txt", "sum"):
        belongs = None
    return Asset(name, file.kind, reason=f"the file {what}", of=belongs, ending=file.ending)


def _read(name: str, file: FileType, reading: Reading, override: Override | None, number: int | None) -> Asset:
    """Put together what the ending, the words and the project's own rule say; what the rule says counts."""
    asset = Asset(name, file.kind, ending=file.ending, override=number, win32=WIN32 in reading.families)
    if override and override.skip:
        return replace(asset, reason="an override leaves it out")
    platforms = reading.platforms | ({file.platform} if file.platform else set())
    if override and override.platform:
        platforms = {override.platform}
    try:
        if not (override and override.platform and override.architecture):
            _refuse(file, reading, platforms)
        (platform,) = platforms
        architecture = _processor(platform, reading, override)
    except _Unclear as unclear:
        return replace(asset, reason=str(unclear))
    # A mere `arm` counts as a word without a meaning, so that a file which says armv7 comes first.
    vague = architecture is Architecture.ARMV7 and "arm" in reading.families and not reading.architectures
    return replace(
        asset,
        platform=platform,
        architecture=architecture,
        libc=min(reading.libcs, default=None),
        reason="" if architecture else _UNLABELLED,
        rest=(*reading.rest, "arm") if vague else tuple(reading.rest),
        undecided=architecture is None,
    )


def _refuse(file: FileType, reading: Reading, platforms: set[Platform]) -> None:
    """Raise `_Unclear` for a file that is no build, or for no platform that we have."""
    if file.kind is Kind.OTHER:
        raise _Unclear(f"a file .{file.ending} is nothing that a launcher installs")
    no_build = not_a_build(reading.rest)
    if no_build:
        raise _Unclear(f"the file {no_build}")
    # Android first: its files say linux as well.
    foreign = [*reading.foreign, *(["android"] if file.ending == "apk" and Platform.LINUX not in platforms else [])]
    if foreign:
        raise _Unclear(f"{foreign[0]} is no platform or processor of this catalogue")
    if not platforms:
        raise _Unclear("the name says no platform")
    if len(platforms) > 1 or len(reading.libcs) > 1:
        said = platforms if len(platforms) > 1 else reading.libcs
        raise _Unclear(f"the name says {' and '.join(sorted(said))}")
    if Libc.MUSL in reading.libcs and Platform.LINUX not in platforms:
        raise _Unclear(f"musl is no C library of {next(iter(platforms))}")


def _processor(platform: Platform, reading: Reading, override: Override | None) -> Architecture | None:
    """Return the processor by the project's own rule or by the name. Raises `_Unclear`."""
    found = (override.architecture if override else None) or _architecture(platform, reading)
    if found is Architecture.UNIVERSAL and platform is not Platform.MACOS:
        raise _Unclear("universal builds are macOS' alone")
    return found


def _architecture(platform: Platform, reading: Reading) -> Architecture | None:
    """Return the processor that a name says, None if it says none. Raises `_Unclear` if it contradicts itself."""
    said = sorted(reading.architectures)
    if len(said) > 1:
        raise _Unclear(f"the name says {' and '.join(said)}")
    if said:
        return _checked(said[0], reading.families)
    if platform is Platform.MACOS:
        return _on_macos(reading)
    if "all" in reading.families:
        raise _Unclear("the file is for every processor")
    return _by_halves(platform, reading)


def _checked(said: Architecture, families: set[str]) -> Architecture:
    """Return the processor that a name says outright, unless something else in the name speaks against it."""
    if "arm" in families and said not in (Architecture.ARM64, Architecture.ARMV7):
        raise _Unclear(f"the name says arm and {said}")
    if "x86" in families and said is not Architecture.X86:
        raise _Unclear(f"the name says x86 and {said}")
    if "intel" in families and said in (Architecture.ARM64, Architecture.ARMV7):
        raise _Unclear(f"the name says intel and {said}")
    return said


def _on_macos(reading: Reading) -> Architecture | None:
    """Read a mere `arm`, `x86`, `intel` or `apple`: macOS never had 32 bits of ARM, and has none of x86 any more."""
    said = {_MACOS_FAMILIES[family] for family in reading.families if family in _MACOS_FAMILIES}
    if not said and reading.bits:
        said = {Architecture.X64 if bits == 64 else Architecture.X86 for bits in reading.bits}
    if len(said) > 1:
        raise _Unclear(f"the name says {' and '.join(sorted(said))}")
    return next(iter(said), None)


def _by_halves(platform: Platform, reading: Reading) -> Architecture | None:
    """Put together a family and a number of bits that may stand apart: `arm-win64`, `x86-linux32`."""
    family = reading.families & {"arm", "x86"}
    if len(family) > 1 or len(reading.bits) > 1:
        raise _Unclear("the name says several processors")
    bits = next(iter(reading.bits), 0)
    if "arm" in family:
        if bits == 0 and platform is Platform.WINDOWS:
            raise _Unclear("arm on Windows can have 32 or 64 bits")
        return Architecture.ARM64 if bits == 64 else Architecture.ARMV7
    if bits == 64:
        return Architecture.X64
    return Architecture.X86 if bits == 32 or family else None


def _decide_by_siblings(assets: Sequence[Asset]) -> list[Asset]:
    """Give the files without a processor the one that the others imply, if they do.

    Only files of the same platform and ending are looked at: electron-builder leaves x64 out of an AppImage, but never
    out of the .deb beside it.
    """
    labelled: dict[tuple[Platform | None, str], set[Architecture]] = defaultdict(set)
    for asset in assets:
        if asset.target:
            labelled[asset.platform, asset.ending].add(asset.target[1])
    return [_decided(asset, labelled[asset.platform, asset.ending]) for asset in assets]


def _decided(asset: Asset, siblings: set[Architecture]) -> Asset:
    if not asset.undecided or asset.platform is None:
        return asset
    if siblings & {Architecture.X64, Architecture.UNIVERSAL}:
        if asset.win32 and Architecture.X64 in siblings:
            return replace(asset, architecture=Architecture.X86, reason="", undecided=False, assumed=True)
        return replace(asset, reason=f"{_UNLABELLED}, and a file beside it is for x64: it can be for another")
    if siblings or asset.ending in _X64_IF_UNLABELLED[asset.platform]:
        return replace(asset, architecture=Architecture.X64, reason="", undecided=False, assumed=True)
    return asset


def _choose(group: Sequence[Asset]) -> tuple[Asset | None, list[Asset]]:
    """Return the file that is taken for a target, and the others with the reason of each."""
    ranked = sorted(group, key=lambda asset: (_rank(asset), len(asset.name), asset.name))
    first = ranked[0]
    equals = [asset for asset in ranked if _rank(asset) == _rank(first)]
    if any(asset.rest != first.rest for asset in equals):
        names = ", ".join(asset.name for asset in equals[:3])
        why = f"an override has to choose for {first.platform} {first.architecture} among: {names}"
        return None, [replace(asset, reason=why) for asset in ranked]
    return first, [replace(asset, reason=f"{first.name} comes first") for asset in ranked[1:]]


def _rank(asset: Asset) -> tuple[int, ...]:
    """Return what the files of one target are ordered by; see `map_assets`."""
    kinds = _KINDS[asset.platform] if asset.platform else ()
    return (
        _NO_OVERRIDE if asset.override is None else asset.override,
        sum(not word[0].isdigit() for word in asset.rest),
        kinds.index(asset.kind) if asset.kind in kinds else len(kinds),
        _LIBCS.index(asset.libc),
        _ENDINGS.index(asset.ending) if asset.ending in _ENDINGS else len(_ENDINGS),
        asset.assumed,
    )
