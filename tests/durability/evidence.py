"""What must be true of a database after its writers were killed, whatever they had acknowledged."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit.chain import AuditRow
from gateway.audit.verify import verify
from gateway.settings import Settings
from gateway.storage.tables import api_keys, audit_head, key_secrets
from gateway.stores import Stores
from tests.durability.writer import Ack

_EFFECTS = {"key.create", "key.rotate", "key.revoke"}


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Stores]:
    """Open the stores of a gateway."""
    stores = Stores(settings)
    await stores.database.open()
    try:
        yield stores
    finally:
        await stores.database.close()


async def assert_nothing_lost(stores: Stores, acks: Sequence[Ack], most_unacknowledged: int) -> None:
    """Hold that every acknowledged act is in the database, whole, and that the audit log is what it was.

    Acts that were not acknowledged may be there too, as many as may have been under way, but only whole.
    """
    rows = [row async for row in stores.audit.rows()]
    await _assert_audited(stores, rows, acks, most_unacknowledged)
    await _assert_acts_are_whole(stores, rows)
    revoked = {row.target for row in rows if row.action == "key.revoke"}
    for ack in acks:
        if ack.secret is not None:
            found = await stores.keys.find(stores.peppers.digests(ack.secret))
            assert found is not None, f"the secret of {ack.name} is lost"
            assert (found.key.name, found.key.revoked_at is not None) == (ack.name, ack.name in revoked)


async def _assert_audited(stores: Stores, rows: list[AuditRow], acks: Sequence[Ack], most_unacknowledged: int) -> None:
    log = await verify(stores.audit.rows(), stores.audit.head, stores.audit_keys)
    assert log.is_intact, log.findings
    assert log.rows == len(rows)
    written = Counter((row.action, row.target, row.request_id) for row in rows)
    assert set(written.values()) <= {1}
    acknowledged = {ack[:3] for ack in acks}
    assert len(acknowledged) == len(acks)
    lost = sorted(acknowledged - written.keys())
    assert not lost, f"lost {len(lost)} acts, for example {lost[:5]}"
    assert len(written) - len(acknowledged) <= most_unacknowledged


async def _assert_acts_are_whole(stores: Stores, rows: list[AuditRow]) -> None:
    """Hold that the tables are what the acts in the audit log have made of them, and nothing else."""
    acts = Counter(row.action for row in rows)
    assert acts.keys() <= _EFFECTS
    expected = (acts["key.create"], acts["key.revoke"], acts["key.create"] + acts["key.rotate"], len(rows), len(rows))
    assert await stores.database.read(_counts) == expected


async def _counts(connection: AsyncConnection) -> tuple[int | None, ...]:
    columns = (
        select(func.count()).select_from(api_keys),
        select(func.count()).where(api_keys.c.revoked_at.is_not(None)),
        select(func.count()).select_from(key_secrets),
        select(audit_head.c.count),
        # The newest change of a key has the number of the last act.
        select(func.coalesce(func.max(api_keys.c.revision), 0)),
    )
    return tuple([await connection.scalar(column) for column in columns])


def assert_file_is_sound(path: Path) -> None:
    """Hold that SQLite finds nothing wrong with a file."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
