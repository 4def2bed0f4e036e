"""What the synchronisation with GitHub remembers, and where: `gateway/storage/github.py` implements the interface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from gateway.releases.store import BuildKey, CatalogTransaction

if TYPE_CHECKING:
    from gateway.releases.model import Project

T = TypeVar("T")


class ReleaseState(StrEnum):
    """What became of a release. `new`: a webhook named it, and nobody has looked at it yet."""

    NEW = "new"
    SKIPPED = "skipped"
    WAITING = "waiting"
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Seen:
    """A release as it was last looked at. Times are Unix milliseconds.

    `changed_at` is when its `fingerprint` was first seen. `due_at` is when it has to be looked at by itself, None if
    the next poll is soon enough. `channel_id` and `version_id` say which version it is in the catalogue, if it is one.
    """

    release_id: int
    tag: str
    fingerprint: str
    changed_at: int
    state: ReleaseState
    reason: str = ""
    channel_id: str | None = None
    version_id: str | None = None
    last_modified: str | None = None
    due_at: int | None = None


class Mark(NamedTuple):
    """What the synchronisation wrote of a build: the number, address, size and expected SHA-256 of its asset."""

    asset_id: int
    url: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Owned:
    """A version that the synchronisation has made, and what it last wrote of it.

    What differs from that by now was changed by a person and is left alone. `withdrawn_at` is the version's `yanked_at`
    if the synchronisation has withdrawn it.
    """

    channel_id: str
    version_id: str
    release_id: int
    written: str
    builds: Mapping[str, Mark]
    withdrawn_at: int | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """The repository of a project, as far as it is known. Times are Unix milliseconds.

    `configured` is the name that led to `repository_id`, `repository` the name that GitHub itself gives. `etags` are
    those of the pages of the list. `applied` stands for the configuration that all releases were last judged by.
    `turn` counts the looks: who has an older one must not write any more.
    """

    project_id: str
    turn: int
    configured: str = ""
    repository: str = ""
    repository_id: int | None = None
    etags: tuple[str, ...] = ()
    applied: str = ""
    polled_at: int | None = None
    next_at: int = 0
    held_until: int = 0
    problem: str = ""


class Due(NamedTuple):
    """What has to be looked at now: projects whole, and single releases of projects."""

    projects: Sequence[str]
    releases: Sequence[tuple[str, int]]


class OutOfTurn(Exception):
    """Somebody else looks at this project by now; nothing was written."""


class GithubTransaction(CatalogTransaction, Protocol):
    """A change of the catalogue together with what is remembered of GitHub."""

    async def seen(self, project_id: str, release_id: int) -> Seen | None:
        """Return what is known of a release."""
        ...

    async def put_seen(self, project_id: str, seen: Seen) -> None:
        """Remember a release."""
        ...

    async def forget(self, project_id: str, release_id: int | None = None) -> None:
        """Forget a release, or all of a project's."""
        ...

    async def owned(self, project_id: str, release_id: int) -> list[Owned]:
        """Return the versions that were made of a release."""
        ...

    async def owned_at(self, project_id: str, channel_id: str, version_id: str) -> Owned | None:
        """Return what was written of a version, None for one that people made."""
        ...

    async def put_owned(self, project_id: str, owned: Owned) -> None:
        """Remember what was written of a version."""
        ...

    async def delete_build(self, key: BuildKey) -> None:
        """Remove a build; its downloads stay counted."""
        ...


class GithubStore(Protocol):
    """Where it is remembered. Every method raises `StorageUnavailable` when the store does not answer."""

    async def due(self, now_ms: int) -> Due:
        """Return what has to be looked at now."""
        ...

    async def begin(self, project_id: str) -> tuple[Project, Watched] | None:
        """Begin a look at a project, which ends everybody else's; None if there is nothing to look at."""
        ...

    async def all_seen(self, project_id: str) -> dict[int, Seen]:
        """Return every release that is remembered of a project, by its number."""
        ...

    async def administer(self, project_id: str, turn: int, work: Callable[[GithubTransaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction, which is durable when this returns. Raises `OutOfTurn`."""
        ...

    async def finish(self, watched: Watched) -> None:
        """Remember how a look has ended. Raises `OutOfTurn`."""
        ...

    async def hold(self, until_ms: int) -> None:
        """Have nobody ask GitHub for anything before this time."""
        ...

    async def take_delivery(
        self, delivery_id: str, repository_id: int | None, repository: str, release: tuple[int, str] | None, now_ms: int
    ) -> int | None:
        """Note a webhook's delivery, and that the projects of the repository are to be looked at.

        `release` is the number and tag of the release that it tells of, None for the whole repository. Returns how many
        projects there are, or None for a delivery that has come before.
        """
        ...

    async def prune_deliveries(self, before_ms: int) -> None:
        """Forget the deliveries that came before this time."""
        ...

    async def watched(self, project_id: str) -> Watched | None:
        """Return the repository of a project; None if nobody has looked yet."""
        ...

    async def page(self, project_id: str, page: int, per_page: int) -> tuple[list[Seen], int]:
        """Return a page of a project's releases, the newest first, and how many there are."""
        ...

    async def count_states(self) -> dict[str, int]:
        """Return how many releases are in which state."""
        ...


class LeaseHolder(Protocol):
    """Lets one of several processes do a job; see `gateway/storage/leases.py`."""

    async def acquire(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take or renew a lease."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give a lease back."""
        ...
