"""The catalogue of releases in the database: implements the interfaces of `gateway/releases/store.py`."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import BigInteger, Table, and_, bindparam, cast, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.releases.model import (
    Architecture,
    Build,
    BuildState,
    Channel,
    GithubSource,
    Platform,
    Project,
    Verification,
    Version,
)
from gateway.releases.store import BuildKey, Counted, ProjectChange
from gateway.storage import audit
from gateway.storage.github_tables import github_releases, github_repositories, github_versions
from gateway.storage.release_tables import (
    build_checks,
    build_downloads,
    release_builds,
    release_channels,
    release_projects,
    release_versions,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import ColumnElement, Executable, Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.audit.chain import AuditKeys, Head
    from gateway.audit.entry import AuditEntry
    from gateway.releases.store import CatalogTransaction
    from gateway.storage.database import Database

T = TypeVar("T")

# From the bottom up, as the foreign keys ask. What GitHub's releases were made into goes too, or else what is made anew
# under the same name would count as made of them.
_BELOW_CHANNEL = (build_downloads, build_checks, release_builds, release_versions, github_versions)
_BELOW_PROJECT = (*_BELOW_CHANNEL, release_channels, github_releases, github_repositories)


class CatalogTable:
    """The catalogue of one database. `audit_keys` sign what the audit log is told."""

    def __init__(self, database: Database, audit_keys: AuditKeys) -> None:
        self._database = database
        self._audit_keys = audit_keys

    async def administer(self, work: Callable[[CatalogTransaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction, after those of everybody else who changes something that is audited."""

        async def run(connection: AsyncConnection) -> T:
            await audit.lock_head(connection)
            return await work(_Transaction(connection, self._audit_keys))

        return await self._database.write(run)

    async def changes(self, since: int) -> tuple[int, list[ProjectChange]]:
        """Return the newest revision, and the whole of every project that changed after the revision `since`."""
        query = select(release_projects).where(release_projects.c.revision > since)

        async def work(connection: AsyncConnection) -> tuple[int, list[ProjectChange]]:
            rows = (await connection.execute(query.order_by(release_projects.c.revision))).all()
            found = [ProjectChange(row.id, await _whole(connection, row), row.revision) for row in rows]
            return (rows[-1].revision if rows else since), found

        return await self._database.read(work)

    async def add_downloads(self, counts: dict[Counted, int]) -> None:
        """Add to the download counts of the builds that there are.

        It is done in one order everywhere, so that two processes never wait for each other.
        """
        added = _adding(self._database.dialect)
        rows = [{**key._asdict(), "added": count} for key, count in sorted(counts.items())]
        await self._database.write(lambda connection: connection.execute(added, rows))

    async def downloads(self) -> dict[BuildKey, int]:
        """Return the download counts of all builds."""

        async def work(connection: AsyncConnection) -> dict[BuildKey, int]:
            return {BuildKey(*key): count for *key, count in await connection.execute(select(build_downloads))}

        return await self._database.read(work)


class _Transaction:
    """The present transaction; see `gateway.releases.store.CatalogTransaction`."""

    def __init__(self, connection: AsyncConnection, audit_keys: AuditKeys) -> None:
        self._connection = connection
        self._audit_keys = audit_keys

    async def project(self, project_id: str) -> Project | None:
        query = select(release_projects).where(
            release_projects.c.id == project_id, release_projects.c.deleted_at.is_(None)
        )
        row = (await self._connection.execute(query)).first()
        if row is None:
            return None
        return _project(row, [_channel(channel, ()) for channel in await _channels(self._connection, project_id)])

    async def version(self, project_id: str, channel_id: str, version_id: str) -> Version | None:
        table = release_versions.c
        where = and_(table.project_id == project_id, table.channel_id == channel_id, table.id == version_id)
        row = (await self._connection.execute(select(release_versions).where(where))).first()
        if row is None:
            return None
        inside = release_builds.c.channel_id == channel_id, release_builds.c.version_id == version_id
        builds = await _builds(self._connection, project_id, *inside)
        return _version(row, [build_of(build) for build in builds])

    async def audit(self, entry: AuditEntry) -> Head:
        return await audit.append(self._connection, entry, self._audit_keys)

    async def put_project(self, project: Project) -> None:
        values = _values(project, "channels", "github")
        values |= {
            "verification": str(project.verification),
            "deleted_at": None,
            "github": _source_text(project.github),
        }
        where = release_projects.c.id == project.id
        await self._put(release_projects, where, {**values, "revision": await _next_revision(self._connection)})

    async def delete_project(self, project_id: str, now_ms: int) -> None:
        for table in _BELOW_PROJECT:
            await self._connection.execute(delete(table).where(table.c.project_id == project_id))
        where = release_projects.c.id == project_id
        await self._connection.execute(update(release_projects).where(where).values(deleted_at=now_ms))
        await touch(self._connection, project_id)

    async def put_channel(self, project_id: str, channel: Channel) -> None:
        where = and_(release_channels.c.project_id == project_id, release_channels.c.id == channel.id)
        values = _values(channel, "versions", "includes") | {"includes": json.dumps(channel.includes)}
        position = await self._position(release_channels, where, release_channels.c.project_id == project_id)
        await self._put(release_channels, where, {**values, "project_id": project_id, "position": position})
        await touch(self._connection, project_id)

    async def delete_channel(self, project_id: str, channel_id: str) -> None:
        for table in _BELOW_CHANNEL:
            inside = table.c.project_id == project_id, table.c.channel_id == channel_id
            await self._connection.execute(delete(table).where(*inside))
        where = release_channels.c.project_id == project_id, release_channels.c.id == channel_id
        await self._connection.execute(delete(release_channels).where(*where))
        await touch(self._connection, project_id)

    async def put_version(self, project_id: str, channel_id: str, version: Version) -> None:
        table = release_versions.c
        where = and_(table.project_id == project_id, table.channel_id == channel_id, table.id == version.id)
        values = {**_values(version, "builds"), "project_id": project_id, "channel_id": channel_id}
        await self._put(release_versions, where, values)
        await touch(self._connection, project_id)

    async def put_build(self, key: BuildKey, build: Build) -> None:
        table = release_builds.c
        inside = and_(table.project_id == key.project_id, table.channel_id == key.channel_id)
        inside = and_(inside, table.version_id == key.version_id)
        position = await self._position(release_builds, is_build(key), inside)
        place = {"project_id": key.project_id, "channel_id": key.channel_id, "version_id": key.version_id}
        kinds = {name: str(getattr(build, name)) for name in ("platform", "architecture", "state")}
        await self._put(release_builds, is_build(key), {**_values(build), **kinds, **place, "position": position})
        await touch(self._connection, key.project_id)

    async def _put(self, table: Table, where: ColumnElement[bool], values: dict[str, Any]) -> None:
        """Replace the row, or add it; nobody else writes meanwhile."""
        changed = await self._connection.execute(update(table).where(where).values(values))
        if changed.rowcount == 0:
            await self._connection.execute(insert(table).values(values))

    async def _position(self, table: Table, where: ColumnElement[bool], inside: ColumnElement[bool]) -> int:
        """Return the place of a row among its siblings: its present one, or the next free one."""
        present = await self._connection.scalar(select(table.c.position).where(where))
        if present is not None:
            return int(present)
        last = await self._connection.scalar(select(func.max(table.c.position)).where(inside))
        return 0 if last is None else int(last) + 1


def _adding(dialect: str) -> Executable:
    """Return the statement that adds to the download count of a build if that is still there, or begins it."""
    table, build = build_downloads, release_builds.c
    columns = list(table.primary_key.columns)
    key = (build.project_id, build.channel_id, build.version_id, build.id)
    wanted = (*key, release_versions.c.rollout_salt)
    counted = (
        select(*key, cast(bindparam("added"), BigInteger))
        .join_from(release_builds, release_versions)
        .where(*(column == bindparam(name) for column, name in zip(wanted, Counted._fields, strict=True)))
    )
    if dialect == "sqlite":
        new = sqlite.insert(table).from_select([*columns, table.c.downloads], counted)
        return new.on_conflict_do_update(columns, set_={"downloads": table.c.downloads + new.excluded.downloads})
    begun = postgresql.insert(table).from_select([*columns, table.c.downloads], counted)
    sums = {"downloads": table.c.downloads + begun.excluded.downloads}
    return begun.on_conflict_do_update(index_elements=columns, set_=sums)


async def _next_revision(connection: AsyncConnection) -> int:
    """Return a revision above all others; the lock that the transaction holds keeps it for itself."""
    newest = await connection.scalar(select(func.coalesce(func.max(release_projects.c.revision), 0)))
    return int(newest or 0) + 1


async def touch(connection: AsyncConnection, project_id: str) -> int:
    """Have every process read the project again, and return its new revision."""
    revision = await _next_revision(connection)
    await connection.execute(
        update(release_projects).where(release_projects.c.id == project_id).values(revision=revision)
    )
    return revision


async def _channels(connection: AsyncConnection, project_id: str) -> Sequence[Row[Any]]:
    query = select(release_channels).where(release_channels.c.project_id == project_id)
    return (await connection.execute(query.order_by(release_channels.c.position))).all()


async def _builds(connection: AsyncConnection, project_id: str, *more: ColumnElement[bool]) -> Sequence[Row[Any]]:
    query = select(release_builds).where(release_builds.c.project_id == project_id, *more)
    return (await connection.execute(query.order_by(release_builds.c.position))).all()


async def _whole(connection: AsyncConnection, row: Row[Any]) -> Project | None:
    """Return a project with everything that is in it; None for a deleted one."""
    if row.deleted_at is not None:
        return None
    builds: dict[tuple[str, str], list[Build]] = {}
    for build in await _builds(connection, row.id):
        builds.setdefault((build.channel_id, build.version_id), []).append(build_of(build))
    versions: dict[str, list[Version]] = {}
    for version in await connection.execute(select(release_versions).where(release_versions.c.project_id == row.id)):
        found = builds.get((version.channel_id, version.id), [])
        versions.setdefault(version.channel_id, []).append(_version(version, found))
    channels = await _channels(connection, row.id)
    return _project(row, [_channel(channel, tuple(versions.get(channel.id, ()))) for channel in channels])


def is_build(key: BuildKey) -> ColumnElement[bool]:
    """Return what holds for the row of one build."""
    table = release_builds.c
    inside = and_(table.project_id == key.project_id, table.channel_id == key.channel_id)
    return and_(inside, table.version_id == key.version_id, table.id == key.build_id)


def _values(item: Project | Channel | Version | Build, *left_out: str) -> dict[str, Any]:
    return {field.name: getattr(item, field.name) for field in fields(item) if field.name not in left_out}


def _fields_of(kind: type[Any], row: Row[Any]) -> dict[str, Any]:
    """Return the columns of `row` that are fields of `kind`."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in row._mapping.items() if name in names}  # noqa: SLF001 - its public name.


def _project(row: Row[Any], channels: list[Channel]) -> Project:
    values = _fields_of(Project, row) | {"verification": Verification(row.verification), "github": _source(row.github)}
    return Project(**values, channels=tuple(channels))


def _source_text(source: GithubSource | None) -> str | None:
    return None if source is None else json.dumps(asdict(source))


def _source(text: str | None) -> GithubSource | None:
    if text is None:
        return None
    values = json.loads(text)
    channels = tuple((word, channel) for word, channel in values.pop("channels"))
    return GithubSource(**{**values, "channels": channels, "overrides": tuple(values["overrides"])})


def _channel(row: Row[Any], versions: tuple[Version, ...]) -> Channel:
    values = _fields_of(Channel, row) | {"includes": tuple(json.loads(row.includes))}
    return Channel(**values, versions=versions)


def _version(row: Row[Any], builds: list[Build]) -> Version:
    return Version(**_fields_of(Version, row), builds=tuple(builds))


def build_of(row: Row[Any]) -> Build:
    """Return the build of a row."""
    kinds = {
        "platform": Platform(row.platform),
        "architecture": Architecture(row.architecture),
        "state": BuildState(row.state),
    }
    return Build(**_fields_of(Build, row) | kinds)
