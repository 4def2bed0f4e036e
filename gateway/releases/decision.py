"""The question that a launcher asks, and its answer, before anybody makes JSON of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.releases.model import Architecture, Build, Platform, Version
from gateway.releases.versions import Precedence, VersionKey


class Status(StrEnum):
    """What comes of it, in one word."""

    UPDATE = "update"  # There is a higher version for this client.
    CURRENT = "current"  # It runs the highest that it may take.
    AHEAD = "ahead"  # It runs a higher one than it may take now.
    NONE = "none"  # There is no version at all that it may take.


class Reason(StrEnum):
    """Why a version is offered to a client or is not; the first that applies, in this order."""

    YANKED = "yanked"
    PRERELEASE = "prerelease"  # Of the channel `stable`, whose followers have not asked for any.
    NO_BUILD_FOR_TARGET = "no_build_for_target"
    BUILD_NOT_VERIFIED = "build_not_verified"
    ROLLOUT = "rollout"  # The client is not yet among those who get it.
    LAUNCHER = "launcher"  # The launcher is older than the version asks for.
    OS_VERSION = "os_version"  # The operating system is older than the build asks for.
    OFFERED = "offered"
    ROLLBACK = "rollback"  # Offered instead of the yanked version that is installed.
    INSTALLED = "installed"  # Of the same precedence as what the client runs.
    OLDER = "older"  # Than what the client runs.
    SUPERSEDED = "superseded"  # By the version that is offered.
    WATERSHED = "watershed"  # A required version has to be taken first.
    NO_VERSIONS = "no_versions"  # Only of a decision: the channel offers none.


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, and what runs there.

    `platform` and `architecture` are None where there can be no build for them, `current` where nothing is installed
    or a feed's client does not say. `launcher_version` and `os_version` are None where the client does not tell them,
    and an `os_version` that does not begin with dotted numbers counts as not told; then nothing is held back for their
    sake. `staging_id` is what the client calls itself for staged rollouts.
    """

    platform: Platform | None
    architecture: Architecture | None
    current: VersionKey | None = None
    os_version: str | None = None
    launcher_version: VersionKey | None = None
    staging_id: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version of the channel `channel_id`, with what was read of it.

    `salt` is that of its rollout. `breaks` is what its publisher says, or else, if its notes announce a breaking
    change, True; None leaves it to its number.
    """

    version: Version
    key: VersionKey
    channel_id: str
    salt: str
    min_launcher: Precedence | None
    breaks: bool | None

    @property
    def yanked(self) -> bool:
        """Whether the version was withdrawn."""
        return self.version.yanked_at is not None


@dataclass(frozen=True, slots=True)
class Offer(Candidate):
    """A version with the build of it that the client gets."""

    build: Build
    min_os: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A version, and why it is offered or is not."""

    version: Version
    key: VersionKey
    channel_id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Decision:
    """What a client is told.

    `latest` is the offered version, or, if there is no update, the highest that this client may take, which may be
    lower than its own. `newest` is a version higher than that and than the client's own which it may not take yet,
    with the reason. `blocked` is what keeps the client from going further: a required version that it may not take,
    or the highest one that only its launcher or operating system is too old for. `reason` says why there is no update
    although the client does not run the newest version.

    `path` are the versions to take one after the other, the first of which is offered and the last of which is the
    target; if there are more than `offers.PATH_LIMIT`, only the first of them. `breaking_versions` are the ids of
    those in (current, offered] that break something, the lowest first, and at most `breaking.IDS_LIMIT`.
    `highest_non_breaking` is the highest version that the client may take without any of them, if there is one.

    `installed` is the catalogue's own version for what the client runs, None if it does not know it. `yanked` says that
    it was withdrawn, and `rollback` is a lower version to go back to, where the project allows that and there is no
    update.
    """

    status: Status
    current: VersionKey | None
    latest: Offer | None
    newest: Verdict | None
    blocked: Verdict | None
    reason: Reason | None
    path: tuple[Offer, ...] = ()
    breaking_versions: tuple[str, ...] = ()
    highest_non_breaking: Offer | None = None
    installed: Version | None = None
    yanked: bool = False
    rollback: Offer | None = None

    @property
    def offered(self) -> Offer | None:
        """The update, or None if there is none."""
        return self.latest if self.status is Status.UPDATE else None

    @property
    def update_available(self) -> bool:
        """Whether there is a higher version that this client may take now."""
        return self.status is Status.UPDATE

    @property
    def ahead(self) -> bool:
        """Whether the client runs a higher version than it may take now."""
        return self.status is Status.AHEAD

    @property
    def known(self) -> bool:
        """Whether the catalogue has the version that the client runs."""
        return self.installed is not None

    @property
    def breaking_changes(self) -> bool:
        """Whether the update breaks something."""
        return bool(self.breaking_versions)

    @property
    def blocked_by(self) -> Reason | None:
        """`launcher` or `os_version`, if the client gets further once that is newer."""
        reason = self.blocked.reason if self.blocked else None
        return reason if reason in (Reason.LAUNCHER, Reason.OS_VERSION) else None
