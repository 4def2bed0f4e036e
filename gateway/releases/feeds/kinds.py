"""Which builds each kind of launcher can install, and the decisions over those alone.

A feed must never offer a file that its client cannot install. So each kind decides on a catalogue in which there are
no other builds, and whoever has no build that fits is offered the highest version that has one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gateway.releases.feeds.packages import is_full, squirrel_reads, velopack_reads
from gateway.releases.feeds.tauri import signature_of
from gateway.releases.model import Architecture, BuildState, Platform
from gateway.releases.updates import CompiledChannel, compile_project

if TYPE_CHECKING:
    from gateway.releases.model import Build, Project, Version
    from gateway.releases.snapshot import ProjectSnapshot


class Kind(StrEnum):
    """The kinds of launchers, by what they can install."""

    ELECTRON = "electron"  # electron-updater: installers, and archives on macOS.
    TAURI = "tauri"  # Whatever has a minisign signature.
    PACKAGE = "package"  # A full .nupkg with its SHA-256, for Velopack.
    SQUIRREL_WINDOWS = "squirrel-windows"  # A full .nupkg with its SHA-1, and a name that it reads.
    SPARKLE = "sparkle"  # On macOS, whatever has an Ed25519 signature.
    SQUIRREL_MAC = "squirrel-mac"  # A .zip on macOS.


# What electron-updater looks for by the ending of the name, on each platform.
_ELECTRON_ENDINGS: Final = {
    Platform.WINDOWS: (".exe",),
    Platform.MACOS: (".zip",),
    Platform.LINUX: (".appimage", ".deb", ".rpm", ".pacman"),
}


def fits(kind: Kind, build: Build) -> bool:
    """Whether launchers of this kind can install the build, whatever its state is."""
    if not build.download_url:
        return False
    name = build.file_name.lower()
    if kind is Kind.ELECTRON:
        return name.endswith(_ELECTRON_ENDINGS[build.platform])
    if kind is Kind.TAURI:
        return signature_of(build) is not None
    if kind in (Kind.PACKAGE, Kind.SQUIRREL_WINDOWS):
        # Deltas are added to what was decided on; see `packages.deltas_to`.
        return is_full(build.file_name) and (velopack_reads(build) if kind is Kind.PACKAGE else squirrel_reads(build))
    is_macos = build.platform is Platform.MACOS
    if kind is Kind.SPARKLE:
        return is_macos and bool(build.ed_signature)
    return is_macos and name.endswith(".zip")


async def compiled_for(found: ProjectSnapshot, channel_id: str, kind: Kind) -> CompiledChannel:
    """Return the decisions of a channel over the builds that fit the kind. Raises `ChannelNotFound`.

    Worked out once for a snapshot, in a thread; who is cancelled meanwhile leaves it to the others. The clients of
    `Kind.ELECTRON` have to be asked for by `electron_architecture`.
    """
    found.channel(channel_id)
    task = found.feeds.get(kind)
    if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
        # Ten thousand versions take about a second, for which nobody else should wait.
        task = asyncio.create_task(asyncio.to_thread(_compile, found.project, kind))
        found.feeds[kind] = task
    if not task.done():
        await asyncio.wait({task})
    return task.result()[channel_id]


def electron_architecture(platform: Platform, architecture: Architecture) -> Architecture:
    """Return what stands for a processor in the decisions of `Kind.ELECTRON`.

    One file answers all processors of Windows, and one those of macOS; on Linux each has its own.
    """
    return architecture if platform is Platform.LINUX else Architecture.UNIVERSAL


def _compile(project: Project, kind: Kind) -> dict[str, CompiledChannel]:
    channels = tuple(
        replace(channel, versions=tuple(_fitting(project, version, kind) for version in channel.versions))
        for channel in project.channels
    )
    return compile_project(replace(project, channels=channels))


def _fitting(project: Project, version: Version, kind: Kind) -> Version:
    """Return the version with those builds only that fit."""
    builds = tuple(build for build in version.builds if fits(kind, build))
    if kind is Kind.ELECTRON:
        builds = _all_or_none(project, builds)
    return version if builds == version.builds else replace(version, builds=builds)


def _all_or_none(project: Project, builds: tuple[Build, ...]) -> tuple[Build, ...]:
    """Return one build for each answer of electron-updater's.

    It may be served if all that the answer lists may be: of a list that lacks its own, a client would take another
    processor's.
    """
    found: dict[tuple[Platform, Architecture], Build] = {}
    for build in builds:
        target = (build.platform, electron_architecture(build.platform, build.architecture))
        # The client refuses a whole file in which one build has no checksum.
        servable = project.verification.serves(build.state) and bool(build.sha512 or build.sha256)
        if target not in found or not servable:
            state = build.state if servable else BuildState.FAILED
            found[target] = replace(build, architecture=target[1], state=state)
    return tuple(found.values())
