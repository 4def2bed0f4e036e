"""What questions about releases are answered with."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from gateway.openapi.scalars import (
    Address,
    BuildId,
    ChannelId,
    Count,
    FileName,
    Id,
    Markdown,
    Name,
    Page,
    Repository,
    Size,
    Text,
    Time,
    Version,
)
from gateway.releases.decision import Reason, Status
from gateway.releases.github_store import ReleaseState
from gateway.releases.model import Architecture, BuildState, Platform, Verification

Percent = Annotated[float, Meta(ge=0, le=100, examples=[100.0])]


class Checksum(TypedDict):
    """The digests that are known, in hexadecimal digits."""

    sha256: NotRequired[Annotated[str, Meta(examples=["5e" * 32])]]
    md5: NotRequired[str]
    sha512: NotRequired[str]


class ProjectSummary(TypedDict):
    """A project, as lists show it."""

    id: Id
    name: Name
    description: Text
    repository: Repository
    channels: list[ChannelId]
    created_at: Time
    updated_at: Time


class ProjectPage(TypedDict):
    """A page of projects."""

    projects: list[ProjectSummary]
    total: Count
    page: Page
    per_page: Page


class Channel(TypedDict):
    """A channel of a project."""

    id: ChannelId
    name: Name
    description: Text
    auto_update: bool


class ChannelSettings(TypedDict):
    """What only those are shown who may change it."""

    includes: list[ChannelId]


class ChannelDetail(Channel):
    """A channel, with its settings."""

    settings: ChannelSettings


class GithubSettings(TypedDict):
    """Where releases are taken over from."""

    repository: Repository
    tag_pattern: str | None
    channels: Annotated[dict[str, str], Meta(examples=[{"beta": "beta"}])]
    overrides: list[dict[str, Any]]
    settle_s: Annotated[float | None, Meta(examples=[60.0])]


class ProjectSettings(TypedDict):
    """How a project serves, for those who may change it."""

    default_channel: ChannelId
    verification: Verification
    public_updates: bool
    allow_rollback: bool
    arm64_runs_x64: bool
    github: GithubSettings | None
    channels: Annotated[dict[str, ChannelSettings], Meta(examples=[{"stable": {"includes": []}}])]


class Project(TypedDict):
    """A project; `settings` are shown to those who may change them."""

    id: Id
    name: Name
    description: Text
    repository: Repository
    homepage: Annotated[str, Meta(examples=["https://example.com/notes"])]
    channels: list[Channel]
    latest_version: Version | None
    total_downloads: Count
    created_at: Time
    updated_at: Time
    settings: NotRequired[ProjectSettings]


class VersionHead(TypedDict):
    """What every view of a version begins with."""

    id: Version
    name: Name
    description: Text
    release_notes: Markdown
    breaking_changes: bool
    published_at: Time
    downloads: Count


class VersionSummary(VersionHead):
    """A version, as lists show it."""

    build_count: Count


class VersionPage(TypedDict):
    """A page of versions."""

    versions: list[VersionSummary]
    total: Count
    page: Page
    per_page: Page


class BuildSummary(TypedDict):
    """A build, as its version shows it."""

    id: BuildId
    platform: Platform
    architecture: Architecture
    file_size: Size
    download_url: Address
    checksum: Checksum


class Withdrawal(TypedDict):
    """When and why a version was withdrawn."""

    at: Time
    reason: Text


class VersionSettings(TypedDict):
    """To whom a version is offered; `breaking_changes` is the publisher's word, null without one."""

    breaking_changes: bool | None
    required: bool
    min_launcher_version: Version | None
    rollout_percent: Percent


class VersionDetail(VersionHead):
    """A version; `settings` are shown to those who may change them."""

    builds: list[BuildSummary]
    yanked: NotRequired[Withdrawal]
    settings: NotRequired[VersionSettings]


class BuildSettings(TypedDict):
    """What a build brings along for feeds, and what it asks for."""

    signature: str | None
    ed_signature: str | None
    min_os_version: Annotated[str | None, Meta(examples=["10.0.19045"])]


class Build(TypedDict):
    """A build, with what its verification found; `settings` are shown to those who may change them."""

    id: BuildId
    version: Version
    platform: Platform
    architecture: Architecture
    file_name: FileName
    file_size: Size
    download_url: Address
    checksum: Checksum
    created_at: Time
    downloads: Count
    status: BuildState
    status_reason: Annotated[str | None, Meta(examples=[""])]
    status_at: Time | None
    settings: NotRequired[BuildSettings]


class Rollback(TypedDict):
    """The version to go back to from one that was withdrawn."""

    version: Version
    download_url: Address
    file_size: Size
    checksum: Checksum


class UpdateEdges(TypedDict):
    """What is only said where there is something to say."""

    status: Status
    known: Annotated[bool, Meta(description="Whether the installed version is one of the channel's.")]
    reason: NotRequired[Reason]
    newest_version: NotRequired[str]
    newest_reason: NotRequired[Reason]
    blocked_by: NotRequired[str]
    current_yanked: NotRequired[bool]
    rollback: NotRequired[Rollback]


class Explanation(TypedDict):
    """Why one version is offered or is not."""

    version: Version
    channel: ChannelId
    reason: Reason


class UpdateAvailable(UpdateEdges):
    """There is an update."""

    update_available: Literal[True]
    current_version: Version
    latest_version: Version
    breaking_changes: bool
    release_notes: Markdown
    download_url: Address
    file_size: Size
    checksum: Checksum
    published_at: Time
    breaking_versions: list[Version]
    highest_non_breaking: Version | None
    path: list[Version]
    explain: NotRequired[list[Explanation]]


class NoUpdate(UpdateEdges):
    """There is no update."""

    update_available: Literal[False]
    current_version: Version
    latest_version: Version
    message: Annotated[str, Meta(examples=["You are running the latest version"])]
    explain: NotRequired[list[Explanation]]


class LauncherUpdate(TypedDict):
    """What there is for the launcher itself."""

    available: bool
    current: Version
    latest: Version
    download_url: NotRequired[Address]


class ItemError(TypedDict):
    """Why one product could not be answered for."""

    code: Annotated[str, Meta(examples=["PROJECT_NOT_FOUND"])]
    message: Text


class ProductUpdate(TypedDict):
    """The answer for one product of the list."""

    project_id: Id
    update_available: bool
    current_version: Version
    latest_version: NotRequired[Version]
    breaking_changes: NotRequired[bool]
    download_url: NotRequired[Address]
    file_size: NotRequired[Size]
    checksum: NotRequired[Checksum]
    path: NotRequired[list[Version]]
    status: NotRequired[Status]
    known: NotRequired[bool]
    reason: NotRequired[Reason]
    newest_version: NotRequired[str]
    newest_reason: NotRequired[Reason]
    blocked_by: NotRequired[str]
    current_yanked: NotRequired[bool]
    rollback: NotRequired[Rollback]
    error: NotRequired[ItemError]


class UpdateList(TypedDict):
    """The answer for a launcher and all that it has installed, in the order of its list."""

    updates_available: bool
    launcher_update: LauncherUpdate
    project_updates: list[ProductUpdate]


class GithubRelease(TypedDict):
    """A release on GitHub, and what became of it."""

    id: Annotated[int, Meta(examples=[123456])]
    tag: Annotated[str, Meta(examples=["v1.2.3"])]
    state: ReleaseState
    reason: str
    channel: str | None
    version: str | None


class GithubStatus(TypedDict):
    """The repository of a project as it was last seen, and a page of its releases."""

    project_id: Id
    repository: Repository
    last_poll: Time | None
    next_poll: Time | None
    held_until: Time | None
    problem: str | None
    releases: list[GithubRelease]
    total: Count
    page: Page
    per_page: Page
