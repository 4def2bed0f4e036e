"""What a catalogue holds: projects, their channels, the versions of a channel, and the builds of a version.

Everything here is immutable, so that a snapshot can be read while the next one is made. Times are Unix milliseconds in
UTC. Download counts are no part of it: they change all the time, and no answer's validator may depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

# The channel that people follow who have not asked for pre-releases.
STABLE: Final = "stable"


class Platform(StrEnum):
    """The operating systems that builds are for."""

    WINDOWS = "windows"
    MACOS = "macos"
    LINUX = "linux"


class Architecture(StrEnum):
    """The processors that builds are for; `universal` is macOS' for both of its own."""

    X64 = "x64"
    ARM64 = "arm64"
    X86 = "x86"
    ARMV7 = "armv7"
    UNIVERSAL = "universal"


class BuildState(StrEnum):
    """What verification knows of a build; see `Verification` for which of them may be served."""

    PENDING = "pending"
    VERIFIED = "verified"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


class Verification(StrEnum):
    """A project's policy: serve verified builds only, or all but those that are sure to be wrong."""

    REQUIRED = "required"
    TRUSTED = "trusted"

    def serves(self, state: BuildState) -> bool:
        """Whether a build in this state may be handed to anybody."""
        if self is Verification.TRUSTED:
            return state is not BuildState.FAILED
        return state is BuildState.VERIFIED


@dataclass(frozen=True, slots=True)
class Build:
    """One file for one platform and architecture.

    `signature` is the text of a minisign file, for Tauri; `ed_signature` is an Ed25519 signature in base64, for
    Sparkle. Checksums are lower-case hexadecimal; `sha256` is empty until the first verification if nobody has declared
    it. `min_os_version` is the lowest operating system that it runs on, in dotted
    numbers.
    """

    id: str
    platform: Platform
    architecture: Architecture
    file_name: str
    file_size: int
    download_url: str
    sha256: str
    md5: str | None = None
    sha512: str | None = None
    sha1: str | None = None
    signature: str | None = None
    min_os_version: str | None = None
    created_at: int = 0
    state: BuildState = BuildState.PENDING
    state_reason: str = ""
    state_at: int | None = None
    ed_signature: str | None = None


@dataclass(frozen=True, slots=True)
class GithubSource:
    """Where a project's releases are taken over from.

    `repository` is `owner/name`. `tag_pattern` has `{version}` in it; None takes tags as they usually are.
    `channels` says into which channel the versions of a kind go (see `tags.DEFAULT_CHANNELS`), and `overrides` are the
    rules of `asset_overrides.compile_overrides` as JSON. A release is taken over when its assets have not changed for
    `settle_s` seconds.
    """

    repository: str
    tag_pattern: str | None = None
    channels: tuple[tuple[str, str], ...] = ()
    overrides: tuple[str, ...] = ()
    settle_s: float = 45.0


@dataclass(frozen=True, slots=True)
class Version:
    """One release of a channel; `id` is its SemVer 2.0 version without a leading v.

    `breaking` is the publisher's own word, None when there is none and the notes and numbers decide. A `required`
    version is not skipped by an update that passes it. `min_launcher_version` has to be there before this version can
    be taken. `rollout_percent` is the share of installations, 0 to 100, that are offered it, chosen with
    `rollout_salt`.
    """

    id: str
    name: str = ""
    description: str = ""
    release_notes: str = ""
    published_at: int = 0
    breaking: bool | None = None
    required: bool = False
    min_launcher_version: str | None = None
    rollout_percent: float = 100.0
    rollout_salt: str = ""
    yanked_at: int | None = None
    yank_reason: str = ""
    builds: tuple[Build, ...] = ()


@dataclass(frozen=True, slots=True)
class Channel:
    """One stream of versions. Who follows it also sees the versions of the channels that it `includes`.

    A channel named `stable` does not offer its own pre-releases; a channel that includes it does.
    """

    id: str
    name: str = ""
    description: str = ""
    auto_update: bool = False
    includes: tuple[str, ...] = ()
    versions: tuple[Version, ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """One product. `public_updates` lets its update checks, feeds and downloads do without a key.

    `allow_rollback` offers who runs a yanked version a lower one. `arm64_runs_x64` offers an arm64 machine the x64
    build where it has none of its own.
    """

    id: str
    name: str = ""
    description: str = ""
    repository: str = ""
    homepage: str = ""
    default_channel: str = STABLE
    verification: Verification = Verification.REQUIRED
    public_updates: bool = False
    allow_rollback: bool = False
    arm64_runs_x64: bool = False
    created_at: int = 0
    updated_at: int = 0
    github: GithubSource | None = None
    channels: tuple[Channel, ...] = field(default=())

    def channel(self, channel_id: str) -> Channel | None:
        """Return the channel of that id."""
        return next((channel for channel in self.channels if channel.id == channel_id), None)
