"""What the synchronisation with GitHub remembers, in the database: `gateway/releases/github_store.py`'s interfaces."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import and_, delete, func, insert, or_, select, update

from gateway.releases.github_store import Due, Mark, OutOfTurn, Owned, ReleaseState, Seen, Watched
from gateway.storage import audit
from gateway.storage.catalog import _Transaction as CatalogTransaction
from gateway.storage.catalog import is_build, touch
from gateway.storage.github_tables import github_deliveries, github_releases, github_repositories, github_versions
from gateway.storage.release_tables import build_checks, release_builds, release_projects

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.audit.chain import AuditKeys
    from gateway.releases.github_store import GithubTransaction
    from gateway.releases.model import Project
    from gateway.releases.store import BuildKey
    from gateway.storage.database import Database

T = TypeVar("T")

_MOST_DUE = 200
_HAS_SOURCE = and_(release_projects.c.github.is_not(None), release_projects.c.deleted_at.is_(None))


class GithubTable:
    """What one database holds of it. `audit_keys` sign what the audit log is told."""

    def __init__(self, database: Database, audit_keys: AuditKeys) -> None:
        self._database = database
        self._audit_keys = audit_keys

    async def due(self, now_ms: int) -> Due:
        """Return what has to be looked at now; a project whose source was changed is due at once."""
        repositories, releases = github_repositories.c, github_releases.c
        is_due = or_(repositories.next_at <= now_ms, repositories.source != release_projects.c.github)
        not_held = repositories.held_until <= now_ms
        joined = release_projects.outerjoin(github_repositories, repositories.project_id == release_projects.c.id)
        # A project that was never looked at has no row, and is held as the others are.
        new = and_(
            repositories.project_id.is_(None),
            ~select(github_repositories).where(repositories.held_until > now_ms).correlate(None).exists(),
        )
        projects = (
            select(release_projects.c.id).select_from(joined).where(_HAS_SOURCE, or_(new, and_(is_due, not_held)))
        )
        known = joined.join(github_releases, releases.project_id == release_projects.c.id)
        single = select(releases.project_id, releases.release_id).select_from(known)
        single = single.where(_HAS_SOURCE, not_held, releases.due_at <= now_ms).order_by(releases.due_at)

        async def work(connection: AsyncConnection) -> Due:
            whole = (
                (await connection.execute(projects.order_by(release_projects.c.id).limit(_MOST_DUE))).scalars().all()
            )
            some = (await connection.execute(single.limit(_MOST_DUE))).all()
            return Due(list(whole), [(row.project_id, row.release_id) for row in some if row.project_id not in whole])

        return await self._database.read(work)

    async def begin(self, project_id: str) -> tuple[Project, Watched] | None:
        """Begin a look at a project, which ends everybody else's; None if there is nothing to look at."""

        async def work(connection: AsyncConnection) -> tuple[Project, Watched] | None:
            await audit.lock_head(connection)
            project = await _Transaction(connection, self._audit_keys).project(project_id)
            if project is None or project.github is None:
                return None
            source = await connection.scalar(
                select(release_projects.c.github).where(release_projects.c.id == project_id)
            )
            row = await _repository(connection, project_id)
            if row is None:
                watched = Watched(project_id, turn=1, configured=project.github.repository)
                values = {**_repository_values(watched), "source": source}
                await connection.execute(insert(github_repositories).values(values))
                return project, watched
            changes = {"turn": row.turn + 1, "source": source}
            await connection.execute(update(github_repositories).where(_is_repository(project_id)).values(changes))
            return project, _watched(row, turn=row.turn + 1)

        return await self._database.write(work)

    async def all_seen(self, project_id: str) -> dict[int, Seen]:
        """Return every release that is remembered of a project, by its number."""
        query = select(github_releases).where(github_releases.c.project_id == project_id)

        async def work(connection: AsyncConnection) -> dict[int, Seen]:
            return {row.release_id: _seen(row) for row in await connection.execute(query)}

        return await self._database.read(work)

    async def administer(self, project_id: str, turn: int, work: Callable[[GithubTransaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction, after those of everybody else. Raises `OutOfTurn`."""

        async def run(connection: AsyncConnection) -> T:
            await audit.lock_head(connection)
            await _check_turn(connection, project_id, turn)
            return await work(_Transaction(connection, self._audit_keys))

        return await self._database.write(run)

    async def finish(self, watched: Watched) -> None:
        """Remember how a look has ended. Raises `OutOfTurn`."""

        async def work(connection: AsyncConnection) -> None:
            await audit.lock_head(connection)
            await _check_turn(connection, watched.project_id, watched.turn)
            # Somebody may have asked to hold meanwhile.
            values = {name: value for name, value in _repository_values(watched).items() if name != "held_until"}
            await connection.execute(
                update(github_repositories).where(_is_repository(watched.project_id)).values(values)
            )

        await self._database.write(work)

    async def hold(self, until_ms: int) -> None:
        """Have nobody ask GitHub for anything before this time."""
        later = github_repositories.c.held_until < until_ms
        held = update(github_repositories).where(later).values(held_until=until_ms)
        await self._database.write(lambda connection: connection.execute(held))

    async def take_delivery(
        self, delivery_id: str, repository_id: int | None, repository: str, release: tuple[int, str] | None, now_ms: int
    ) -> int | None:
        """Note a delivery, and that the projects of its repository are to be looked at; None if it came before."""

        async def work(connection: AsyncConnection) -> int | None:
            # Two processes may be given the same delivery at once.
            await audit.lock_head(connection)
            there = select(github_deliveries.c.id).where(github_deliveries.c.id == delivery_id)
            if await connection.scalar(there) is not None:
                return None
            projects = await _projects_of(connection, repository_id, repository)
            if repository_id is not None:
                same = github_repositories.c.repository_id == repository_id
                await connection.execute(update(github_repositories).where(same).values(repository=repository))
            if projects:
                values = {"id": delivery_id, "received_at": now_ms}
                await connection.execute(insert(github_deliveries).values(values))
            for project_id in projects:
                if release is None:
                    soon = update(github_repositories).where(_is_repository(project_id)).values(next_at=now_ms)
                    await connection.execute(soon)
                else:
                    await _hint(connection, project_id, release, now_ms)
            return len(projects)

        return await self._database.write(work)

    async def prune_deliveries(self, before_ms: int) -> None:
        """Forget the deliveries that came before this time."""
        old = delete(github_deliveries).where(github_deliveries.c.received_at < before_ms)
        await self._database.write(lambda connection: connection.execute(old))

    async def watched(self, project_id: str) -> Watched | None:
        """Return the repository of a project; None if nobody has looked yet."""

        async def work(connection: AsyncConnection) -> Watched | None:
            row = await _repository(connection, project_id)
            return None if row is None else _watched(row)

        return await self._database.read(work)

    async def page(self, project_id: str, page: int, per_page: int) -> tuple[list[Seen], int]:
        """Return a page of a project's releases, the newest first, and how many there are."""
        mine = github_releases.c.project_id == project_id
        query = select(github_releases).where(mine).order_by(github_releases.c.release_id.desc())
        count = select(func.count()).select_from(github_releases).where(mine)

        async def work(connection: AsyncConnection) -> tuple[list[Seen], int]:
            rows = await connection.execute(query.limit(per_page).offset((page - 1) * per_page))
            return [_seen(row) for row in rows], int(await connection.scalar(count) or 0)

        return await self._database.read(work)

    async def count_states(self) -> dict[str, int]:
        """Return how many releases are in each state."""
        of_project = github_releases.join(release_projects, release_projects.c.id == github_releases.c.project_id)
        query = select(github_releases.c.state, func.count()).select_from(of_project).where(_HAS_SOURCE)
        query = query.group_by(github_releases.c.state)

        async def work(connection: AsyncConnection) -> dict[str, int]:
            found = {row[0]: int(row[1]) for row in await connection.execute(query)}
            return {str(state): found.get(str(state), 0) for state in ReleaseState}

        return await self._database.read(work)


class _Transaction(CatalogTransaction):
    """The present transaction; see `gateway.releases.github_store.GithubTransaction`."""

    async def seen(self, project_id: str, release_id: int) -> Seen | None:
        row = (
            await self._connection.execute(select(github_releases).where(_is_release(project_id, release_id)))
        ).first()
        return None if row is None else _seen(row)

    async def put_seen(self, project_id: str, seen: Seen) -> None:
        values = {**asdict(seen), "project_id": project_id, "state": str(seen.state)}
        await self._put(github_releases, _is_release(project_id, seen.release_id), values)

    async def forget(self, project_id: str, release_id: int | None = None) -> None:
        where = github_releases.c.project_id == project_id
        if release_id is not None:
            where = _is_release(project_id, release_id)
        await self._connection.execute(delete(github_releases).where(where))

    async def owned(self, project_id: str, release_id: int) -> list[Owned]:
        table = github_versions.c
        query = select(github_versions).where(table.project_id == project_id, table.release_id == release_id)
        return [_owned(row) for row in await self._connection.execute(query)]

    async def owned_at(self, project_id: str, channel_id: str, version_id: str) -> Owned | None:
        where = _is_version(project_id, channel_id, version_id)
        row = (await self._connection.execute(select(github_versions).where(where))).first()
        return None if row is None else _owned(row)

    async def put_owned(self, project_id: str, owned: Owned) -> None:
        builds = json.dumps({name: list(mark) for name, mark in owned.builds.items()})
        values = {field.name: getattr(owned, field.name) for field in fields(owned)}
        where = _is_version(project_id, owned.channel_id, owned.version_id)
        await self._put(github_versions, where, {**values, "builds": builds, "project_id": project_id})

    async def delete_build(self, key: BuildKey) -> None:
        await self._connection.execute(delete(release_builds).where(is_build(key)))
        checks = build_checks.c
        place = and_(checks.project_id == key.project_id, checks.channel_id == key.channel_id)
        which = and_(checks.version_id == key.version_id, checks.build_id == key.build_id)
        await self._connection.execute(delete(build_checks).where(place, which))
        await touch(self._connection, key.project_id)


def _is_repository(project_id: str) -> ColumnElement[bool]:
    return github_repositories.c.project_id == project_id


def _is_release(project_id: str, release_id: int) -> ColumnElement[bool]:
    return and_(github_releases.c.project_id == project_id, github_releases.c.release_id == release_id)


def _is_version(project_id: str, channel_id: str, version_id: str) -> ColumnElement[bool]:
    table = github_versions.c
    return and_(table.project_id == project_id, table.channel_id == channel_id, table.version_id == version_id)


async def _repository(connection: AsyncConnection, project_id: str) -> Row[Any] | None:
    return (await connection.execute(select(github_repositories).where(_is_repository(project_id)))).first()


async def _check_turn(connection: AsyncConnection, project_id: str, turn: int) -> None:
    present = await connection.scalar(select(github_repositories.c.turn).where(_is_repository(project_id)))
    if present != turn:
        raise OutOfTurn


async def _projects_of(connection: AsyncConnection, repository_id: int | None, repository: str) -> list[str]:
    """Return the projects that follow a repository, by its number, its name, or a name that it had."""
    table = github_repositories.c
    name = repository.lower()
    same = or_(func.lower(table.repository) == name, func.lower(table.configured) == name)
    if repository_id is not None:
        # A name without the number can be that of another repository by now.
        same = or_(table.repository_id == repository_id, and_(table.repository_id.is_(None), same))
    return list((await connection.execute(select(table.project_id).where(same).order_by(table.project_id))).scalars())


async def _hint(connection: AsyncConnection, project_id: str, release: tuple[int, str], now_ms: int) -> None:
    """Note that a release has to be looked at."""
    release_id, tag = release
    where = _is_release(project_id, release_id)
    changed = await connection.execute(update(github_releases).where(where).values(due_at=now_ms))
    if changed.rowcount == 0:
        seen = Seen(release_id, tag, "", now_ms, ReleaseState.NEW, due_at=now_ms)
        values = {**asdict(seen), "project_id": project_id, "state": str(seen.state)}
        await connection.execute(insert(github_releases).values(values))


def _repository_values(watched: Watched) -> dict[str, Any]:
    return {**asdict(watched), "etags": json.dumps(watched.etags)}


def _watched(row: Row[Any], **changes: Any) -> Watched:
    values = {field.name: getattr(row, field.name) for field in fields(Watched)}
    return Watched(**{**values, "etags": tuple(json.loads(row.etags)), **changes})


def _seen(row: Row[Any]) -> Seen:
    values = {field.name: getattr(row, field.name) for field in fields(Seen)}
    return Seen(**{**values, "state": ReleaseState(row.state)})


def _owned(row: Row[Any]) -> Owned:
    builds = {name: Mark(*mark) for name, mark in json.loads(row.builds).items()}
    values = {field.name: getattr(row, field.name) for field in fields(Owned)}
    return Owned(**{**values, "builds": builds})
