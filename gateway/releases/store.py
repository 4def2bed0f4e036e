"""Where the catalogue is kept: the interface that the services of this package use and `gateway/storage` implements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from gateway.audit.chain import Head
    from gateway.audit.entry import AuditEntry
    from gateway.releases.model import Build, Channel, Project, Version

T = TypeVar("T")


class BuildKey(NamedTuple):
    """Which build."""

    project_id: str
    channel_id: str
    version_id: str
    build_id: str


class Counted(NamedTuple):
    """A build that is downloaded: which, and the salt of its version's rollout.

    With that a version is told from another one of the same name that was published after it was removed.
    """

    project_id: str
    channel_id: str
    version_id: str
    build_id: str
    salt: str


class ProjectChange(NamedTuple):
    """A project that has changed, None for one that was deleted; and the revision of its last change."""

    project_id: str
    project: Project | None
    revision: int


class CatalogTransaction(Protocol):
    """One change of the catalogue, from the look at the present state to the commit; they run one after the other."""

    async def project(self, project_id: str) -> Project | None:
        """Return a project with its channels, but without their versions."""
        ...

    async def version(self, project_id: str, channel_id: str, version_id: str) -> Version | None:
        """Return one version with its builds."""
        ...

    async def audit(self, entry: AuditEntry) -> Head:
        """Append to the audit log."""
        ...

    async def put_project(self, project: Project) -> None:
        """Add a project or replace its fields; channels are not touched."""
        ...

    async def delete_project(self, project_id: str, now_ms: int) -> None:
        """Remove a project with all that is in it."""
        ...

    async def put_channel(self, project_id: str, channel: Channel) -> None:
        """Add a channel or replace its fields; versions are not touched."""
        ...

    async def delete_channel(self, project_id: str, channel_id: str) -> None:
        """Remove a channel with all that is in it."""
        ...

    async def put_version(self, project_id: str, channel_id: str, version: Version) -> None:
        """Add a version or replace its fields; builds are not touched."""
        ...

    async def put_build(self, key: BuildKey, build: Build) -> None:
        """Add a build or replace it."""
        ...


class CatalogStore(Protocol):
    """The stored catalogue. Every method raises `StorageUnavailable` when the store does not answer."""

    async def administer(self, work: Callable[[CatalogTransaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction, which is durable when this returns."""
        ...

    async def changes(self, since: int) -> tuple[int, list[ProjectChange]]:
        """Return the newest revision, and the whole of every project that changed after the revision `since`."""
        ...

    async def add_downloads(self, counts: dict[Counted, int]) -> None:
        """Add to the download counts of those builds that are still there."""
        ...

    async def downloads(self) -> dict[BuildKey, int]:
        """Return the download counts of all builds."""
        ...
