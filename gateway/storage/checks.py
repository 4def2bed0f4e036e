"""What checks of builds found out, in the database: implements `gateway.releases.examiner.CheckStore`."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.releases.check_rules import CheckRecord
from gateway.releases.examiner import Written
from gateway.releases.store import BuildKey
from gateway.storage import audit
from gateway.storage.catalog import build_of, is_build, touch
from gateway.storage.release_tables import build_checks, release_builds

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.audit.chain import AuditKeys
    from gateway.audit.entry import AuditEntry
    from gateway.releases.check_rules import Finding
    from gateway.releases.model import Build
    from gateway.storage.database import Database

_KEY = BuildKey._fields


class CheckTable:
    """The checks of one database. `audit_keys` sign what the audit log is told."""

    def __init__(self, database: Database, audit_keys: AuditKeys) -> None:
        self._database = database
        self._audit_keys = audit_keys

    async def load(self) -> dict[BuildKey, CheckRecord]:
        """Return what is remembered of every build."""
        names = *_KEY, *CheckRecord._fields
        query = select(*(build_checks.c[name] for name in names))

        async def work(connection: AsyncConnection) -> dict[BuildKey, CheckRecord]:
            rows = await connection.execute(query)
            return {BuildKey(*row[: len(_KEY)]): CheckRecord(*row[len(_KEY) :]) for row in rows}

        return await self._database.read(work)

    async def write(self, key: BuildKey, seen: Build, finding: Finding, entry: AuditEntry | None) -> Written | None:
        """Write what a check found out; None when the build is gone or not exactly as it was seen any more."""
        changed = _changed(seen, finding.build)

        async def work(connection: AsyncConnection) -> Written | None:
            if changed:
                # Everybody who changes the catalogue locks this first, so the build stays as it is found now.
                await audit.lock_head(connection)
            row = (await connection.execute(select(release_builds).where(is_build(key)))).first()
            if row is None or build_of(row) != seen:
                return None
            revision = head = None
            if changed:
                await connection.execute(update(release_builds).where(is_build(key)).values(changed))
                revision = await touch(connection, key.project_id)
            if entry is not None:
                head = await audit.append(connection, entry, self._audit_keys)
            await connection.execute(_put(self._database.dialect), {**key._asdict(), **finding.record._asdict()})
            return Written(revision, head)

        return await self._database.write(work)


def _changed(before: Build, after: Build) -> dict[str, Any]:
    """Return the columns that differ, with their new values."""
    values = ((field.name, getattr(after, field.name), getattr(before, field.name)) for field in fields(before))
    return {name: str(new) if isinstance(new, StrEnum) else new for name, new, old in values if new != old}


def _put(dialect: str) -> Executable:
    """Return the statement that adds a row, or replaces that of the same build."""
    columns = list(build_checks.primary_key.columns)
    if dialect == "sqlite":
        new = sqlite.insert(build_checks)
        return new.on_conflict_do_update(columns, set_={name: new.excluded[name] for name in CheckRecord._fields})
    begun = postgresql.insert(build_checks)
    replaced = {name: begun.excluded[name] for name in CheckRecord._fields}
    return begun.on_conflict_do_update(index_elements=columns, set_=replaced)
