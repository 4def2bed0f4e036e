"""What the feeds of updaters are, in their own formats."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from gateway.openapi.scalars import Address, FileName, Markdown, Name, Size, Time, Version


class ElectronFile(TypedDict):
    """A file of an update, with one digest."""

    url: Address
    sha512: NotRequired[str]
    sha2: NotRequired[str]
    sha256: NotRequired[str]
    size: Size


class ElectronUpdate(TypedDict):
    """What electron-updater reads."""

    version: Version
    files: list[ElectronFile]
    releaseDate: NotRequired[Time]
    releaseName: NotRequired[Name]
    releaseNotes: NotRequired[Markdown]
    minimumSystemVersion: NotRequired[str]


class TauriUpdate(TypedDict):
    """What Tauri's updater reads."""

    version: Version
    url: Address
    signature: str
    notes: Markdown
    pub_date: Time
    breaking_changes: bool
    breaking_versions: list[Version]


class SquirrelMacUpdate(TypedDict):
    """What Squirrel.Mac reads."""

    url: Address
    name: Name
    notes: Markdown
    pub_date: Time


class VelopackAsset(TypedDict):
    """A package of Velopack."""

    PackageId: str
    Version: Version
    Type: Literal["Full", "Delta"]
    FileName: FileName
    SHA256: str
    Size: Size
    SHA1: NotRequired[str]
    NotesMarkdown: NotRequired[Markdown]


class VelopackReleases(TypedDict):
    """What Velopack reads."""

    Assets: list[VelopackAsset]
