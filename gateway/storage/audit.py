"""The audit log in the database. Writers come one after the other: whoever appends has locked the head."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.audit.chain import AuditKeys, AuditRow, Head, mac
from gateway.audit.entry import AuditEntry, AuditFilters, AuditPage, log_head
from gateway.errors import StorageUnavailable
from gateway.storage.tables import audit_head, audit_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.storage.database import Database

HEAD_ID = 1
ROWS_PER_READ = 1000
_DAMAGED = "The audit log cannot be continued, so nothing that it must tell of can be done; see `lunarbit audit verify`"


async def lock_head(connection: AsyncConnection) -> Head:
    """Return the head, and let no other transaction append before this one has ended.

    On SQLite, `BEGIN IMMEDIATE` has locked the whole database already. Raises `StorageUnavailable` when there is none.
    """
    head = await _head(connection, for_update=True)
    if head is None:
        raise StorageUnavailable(_DAMAGED)
    return head


async def append(connection: AsyncConnection, entry: AuditEntry, keys: AuditKeys) -> Head:
    """Add a row within the transaction of `connection`, which is one that writes, and return the new head.

    After the commit the caller tells `gateway.audit.entry.log_head` of it. Raises `StorageUnavailable` when the log
    does not fit its head, since somebody has then changed one of them.
    """
    head = await lock_head(connection)
    unsigned = _row(head.count + 1, entry, keys.current_id)
    row = unsigned._replace(mac=mac(keys.current, head.mac, unsigned))
    try:
        await connection.execute(insert(audit_log).values(row._asdict()))
    except IntegrityError as exc:
        raise StorageUnavailable(_DAMAGED) from exc
    await connection.execute(update(audit_head).where(audit_head.c.id == HEAD_ID).values(count=row.seq, mac=row.mac))
    return Head(row.seq, row.mac)


class AuditTable:
    """The audit log of one database. Every method raises `StorageUnavailable` when that does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, entry: AuditEntry, keys: AuditKeys) -> Head:
        """Add a row in a transaction of its own, for an act that changes nothing else in the database."""
        head = await self._database.write(lambda connection: append(connection, entry, keys))
        log_head(entry, head)
        return head

    async def head(self) -> Head | None:
        """Return the number of rows and the last one's MAC, or None when someone has removed them."""
        return await self._database.read(_head)

    async def rows(self, from_seq: int = 1) -> AsyncIterator[AuditRow]:
        """Yield the rows from number `from_seq` on, in order, also those that are added meanwhile.

        They are read in portions, each in a transaction of its own, so that no lock is held for long.
        """
        last = from_seq - 1
        while True:
            portion = await self._database.read(partial(_portion, after=last))
            for row in portion:
                yield row
            if not portion:
                return
            last = portion[-1].seq

    async def page(self, filters: AuditFilters, page: int, per_page: int) -> AuditPage:
        """Return a page of the rows that pass the filters, the newest first; pages begin with 1."""
        conditions = _conditions(filters)
        rows = select(audit_log).where(*conditions).order_by(audit_log.c.seq.desc())
        rows = rows.limit(per_page).offset((page - 1) * per_page)
        count = select(func.count()).select_from(audit_log).where(*conditions)

        async def work(connection: AsyncConnection) -> AuditPage:
            found = [AuditRow(*row) for row in await connection.execute(rows)]
            total = (await connection.execute(count)).scalar_one()
            return AuditPage([(row.seq, _entry(row)) for row in found], total, await _head(connection))

        return await self._database.read(work)


async def _head(connection: AsyncConnection, *, for_update: bool = False) -> Head | None:
    query = select(audit_head.c.count, audit_head.c.mac).where(audit_head.c.id == HEAD_ID)
    row = (await connection.execute(query.with_for_update() if for_update else query)).first()
    return None if row is None else Head(*row)


async def _portion(connection: AsyncConnection, after: int) -> Sequence[AuditRow]:
    query = select(audit_log).where(audit_log.c.seq > after).order_by(audit_log.c.seq).limit(ROWS_PER_READ)
    return [AuditRow(*row) for row in await connection.execute(query)]


def _conditions(filters: AuditFilters) -> list[ColumnElement[bool]]:
    columns = audit_log.c
    exact = {columns.actor: filters.actor, columns.action: filters.action, columns.target: filters.target}
    conditions: list[ColumnElement[bool]] = [column == value for column, value in exact.items() if value is not None]
    if filters.from_ms is not None:
        conditions.append(columns.at >= filters.from_ms)
    if filters.until_ms is not None:
        conditions.append(columns.at < filters.until_ms)
    return conditions


def _row(seq: int, entry: AuditEntry, key_id: str) -> AuditRow:
    """Return the row of `entry`, without its MAC."""
    return AuditRow(
        seq=seq,
        **{**entry._asdict(), "before": _json(entry.before), "after": _json(entry.after)},
        key_id=key_id,
        mac="",
    )


def _entry(row: AuditRow) -> AuditEntry:
    values = {name: getattr(row, name) for name in AuditEntry._fields}
    return AuditEntry(**{**values, "before": _parsed(row.before), "after": _parsed(row.after)})


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _parsed(text: str | None) -> dict[str, Any] | None:
    """Return what `_json` wrote. A row that was tampered with is still to be seen, so nothing is raised."""
    try:
        value = None if text is None else json.loads(text)
    except (TypeError, ValueError):
        value = {"unreadable": str(text)}
    return value
