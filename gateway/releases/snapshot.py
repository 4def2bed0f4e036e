"""The catalogue as it is read: compiled once, never changed, swapped whole; no request ever sees half of a change."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import BuildNotFound, ChannelNotFound, ProjectNotFound, StorageUnavailable, VersionNotFound
from gateway.releases.updates import CompiledChannel, compile_project, read_versions
from gateway.releases.versions import VersionKey, is_breaking_bump, listing_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from gateway.releases.feeds.kinds import Kind
    from gateway.releases.model import Build, Channel, Project, Version
    from gateway.releases.store import BuildKey, CatalogStore, Counted

# What an error lists of what there is instead.
_LISTED = 50
_VERSION_PARTS = 3
Allowed = frozenset[str] | None
# A version by the ids of its project, its channel and its own.
VersionPlace = tuple[str, str, str]


class Entry(NamedTuple):
    """A version of a channel, and whether it breaks something compared with the one before it there."""

    version: Version
    key: VersionKey
    breaking: bool


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """A channel: its own versions, the lowest first, and what decides on updates in it."""

    channel: Channel
    entries: tuple[Entry, ...]
    by_id: dict[str, Entry]
    compiled: CompiledChannel


@dataclass(frozen=True, slots=True)
class ProjectSnapshot:
    """A project; `revision` grows with every change of anything in it.

    `feeds` holds what `gateway.releases.feeds.kinds` has worked out, and goes with the snapshot.
    """

    project: Project
    revision: int
    channels: dict[str, ChannelSnapshot]
    feeds: dict[Kind, asyncio.Task[dict[str, CompiledChannel]]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def latest_version(self) -> str | None:
        """The highest version of the default channel, whatever it is for."""
        default = self.channels.get(self.project.default_channel)
        latest = default.compiled.latest if default is not None else None
        return None if latest is None else latest.key.text

    def channel(self, channel_id: str) -> ChannelSnapshot:
        """Return a channel. Raises `ChannelNotFound`."""
        found = self.channels.get(channel_id)
        if found is None:
            msg = f"Project {self.project.id!r} has no channel {channel_id[:64]!r}"
            details = {"channel": channel_id[:64], "available_channels": list(self.channels)}
            raise ChannelNotFound(msg, details=details)
        return found

    def version(self, channel_id: str, version_id: str) -> Entry:
        """Return a version by its id, with or without a leading v. Raises `ChannelNotFound`, `VersionNotFound`."""
        channel = self.channel(channel_id)
        found = channel.by_id.get(version_id) or channel.by_id.get(version_id.removeprefix("v"))
        if found is None:
            msg = f"Channel {channel_id!r} of {self.project.id!r} has no version {version_id[:100]!r}"
            newest = [entry.version.id for entry in reversed(channel.entries[-_LISTED:])]
            raise VersionNotFound(msg, details={"version": version_id[:100], "available_versions": newest})
        return found

    def build(self, channel_id: str, version_id: str, build_id: str) -> tuple[Entry, Build]:
        """Return a build. Raises the `NotFound` of what is missing."""
        entry = self.version(channel_id, version_id)
        for build in entry.version.builds:
            if build.id == build_id:
                return entry, build
        msg = f"Version {entry.version.id} of {self.project.id!r} has no build {build_id[:64]!r}"
        details = {"build": build_id[:64], "available_builds": [build.id for build in entry.version.builds]}
        raise BuildNotFound(msg, details=details)


class Catalogue:
    """All projects at one moment. `kept` has what readers made of it and want again while it is the present one."""

    def __init__(self, revision: int = 0, projects: dict[str, ProjectSnapshot] | None = None) -> None:
        self.revision = revision
        self.projects = projects or {}
        self.kept: dict[Any, Any] = {}

    def visible(self, allowed: Allowed) -> list[ProjectSnapshot]:
        """Return the projects that a caller may see, by id."""
        return [found for name, found in self.projects.items() if allowed is None or name in allowed]

    def project(self, project_id: str, allowed: Allowed) -> ProjectSnapshot:
        """Return a project. Raises `ProjectNotFound`, also for one that the caller may not see."""
        found = self.projects.get(project_id)
        if found is None or (allowed is not None and project_id not in allowed):
            names = [other.project.id for other in self.visible(allowed)[:_LISTED]]
            details = {"project": project_id[:64], "available_projects": names}
            raise ProjectNotFound(f"Project {project_id[:64]!r} not found", details=details)
        return found


class CatalogueReader:
    """Holds the present catalogue. `refresh` it again and again; `now` may be read at any time.

    `forget` is told of the versions that were removed, even if there is another one of the same name by now.
    """

    def __init__(self, store: CatalogStore, forget: Callable[[AbstractSet[VersionPlace]], None] | None = None) -> None:
        self._store = store
        self._forget = forget
        self._reading = asyncio.Lock()
        self.now = Catalogue()

    async def refresh(self) -> bool:
        """Take in what changed since the last look; whether there was anything. Raises `StorageUnavailable`."""
        async with self._reading:
            before = self.now
            revision, changes = await self._store.changes(before.revision)
            if not changes:
                return False
            projects = dict(before.projects)
            gone: set[VersionPlace] = set()
            for project_id, project, changed_at in changes:
                old = projects.pop(project_id, None)
                if project is not None:
                    # Ten thousand versions take about a second, for which nobody else should wait.
                    projects[project_id] = await asyncio.to_thread(compiled, project, changed_at)
                gone |= await asyncio.to_thread(_removed, old, projects.get(project_id))
            if self._forget is not None:
                self._forget(gone)
            self.now = Catalogue(revision, dict(sorted(projects.items())))
            return True


def _removed(before: ProjectSnapshot | None, after: ProjectSnapshot | None) -> set[VersionPlace]:
    """Return the versions that are gone. One that was published anew has another salt, and counts as gone too."""
    left = _salts(after)
    return {place for place, salt in _salts(before).items() if left.get(place) != salt}


def _salts(found: ProjectSnapshot | None) -> dict[VersionPlace, str]:
    if found is None:
        return {}
    project = found.project
    return {(project.id, channel.id, v.id): v.rollout_salt for channel in project.channels for v in channel.versions}


def compiled(project: Project, revision: int) -> ProjectSnapshot:
    """Work out what can be worked out of a project beforehand."""
    held = read_versions(project)
    decisions = compile_project(project, held)
    channels = {}
    for channel in project.channels:
        entries = []
        previous: VersionKey | None = None
        for each in sorted(held[channel.id], key=lambda each: listing_order(each.key)):
            bump = previous is not None and is_breaking_bump(previous, each.key)
            entries.append(Entry(each.version, each.key, bump if each.breaks is None else each.breaks))
            previous = each.key
        by_id = {entry.version.id: entry for entry in entries}
        channels[channel.id] = ChannelSnapshot(channel, tuple(entries), by_id, decisions[channel.id])
    return ProjectSnapshot(project, revision, channels)


class Downloads:
    """How often each build was downloaded: what the database said last, and what was counted here since.

    `count` is cheap and waits for nobody; `flush` writes, and a count is lost only if the process dies before it.
    """

    def __init__(self, store: CatalogStore) -> None:
        self._store = store
        self._new: dict[Counted, int] = {}
        # What is being written; it counts as new until that has been done.
        self._leaving: dict[Counted, int] = {}
        self._by_parent: dict[tuple[str, ...], int] = {}
        self._writing: asyncio.Task[None] | None = None

    def count(self, key: Counted) -> None:
        """Count one download."""
        self._new[key] = self._new.get(key, 0) + 1

    def of(self, *parents: str) -> int:
        """Return the downloads of a project, of a version (with its channel), or of a build (with both)."""
        waiting = (*self._new.items(), *self._leaving.items())
        new = sum(count for key, count in waiting if key[: len(parents)] == parents)
        return self._by_parent.get(parents, 0) + new

    def forget(self, gone: AbstractSet[VersionPlace]) -> None:
        """Drop what was counted of versions that were removed, so that a new one of the same name begins at 0."""
        if not gone:
            return
        for counts in (self._new, self._leaving):
            for key in [key for key in counts if key[:3] in gone]:
                del counts[key]
        for parents in [parents for parents in self._by_parent if parents[:3] in gone]:
            count = self._by_parent.pop(parents)
            if len(parents) == _VERSION_PARTS:
                self._by_parent[parents[:1]] -= count

    async def flush(self) -> None:
        """Write what was counted. Raises `StorageUnavailable`, and keeps what could not be written.

        Who is cancelled meanwhile leaves the write to go on, since what is written twice would count twice.
        """
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await asyncio.wait({self._writing})
        self._writing.result()

    async def _write(self) -> None:
        if not self._new:
            return
        # What is counted meanwhile waits for the next time.
        self._leaving, self._new = self._new, {}
        try:
            await self._store.add_downloads(dict(self._leaving))
        except BaseException:
            for key, count in self._leaving.items():
                self._new[key] = self._new.get(key, 0) + count
            self._leaving = {}
            raise
        _add(self._by_parent, self._leaving)
        self._leaving = {}

    async def aclose(self) -> None:
        """Write what is left. Does not raise when that cannot be done now."""
        with suppress(StorageUnavailable):
            if self._writing is not None:
                await asyncio.wait({self._writing})
            await self.flush()

    async def load(self) -> None:
        """Read all counts anew. Raises `StorageUnavailable`."""
        sums: dict[tuple[str, ...], int] = {}
        _add(sums, await self._store.downloads())
        self._by_parent = sums


def _add(sums: dict[tuple[str, ...], int], counts: Mapping[BuildKey, int] | Mapping[Counted, int]) -> None:
    """Add the counts of builds to those of their projects and versions, and to their own."""
    for key, count in counts.items():
        for length in (1, _VERSION_PARTS, 4):
            sums[key[:length]] = sums.get(key[:length], 0) + count
