"""Leases: one holder at a time, also when several processes want one at the same moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import update

from gateway.storage.database import Database
from gateway.storage.leases import Leases
from gateway.storage.tables import leases as table
from tests.storage.work import count

if TYPE_CHECKING:
    import pytest

LONG_S = 3600.0


async def test_a_lease_has_one_holder_who_can_renew_it(database: Database) -> None:
    """Others get it after it was given back, and leases of other names are none of its business."""
    leases = Leases(database)
    assert await leases.acquire("job", "a", LONG_S)
    assert not await leases.acquire("job", "b", LONG_S)
    assert await leases.acquire("job", "a", LONG_S)
    assert await leases.acquire("other job", "b", LONG_S)
    await leases.release("job", "b")
    assert not await leases.acquire("job", "b", LONG_S)
    await leases.release("job", "a")
    assert await leases.acquire("job", "b", LONG_S)


async def test_a_lease_that_has_run_out_goes_to_the_next(database: Database) -> None:
    """Its holder was killed; and when it was only slow, it gets to know that it has lost the lease."""
    leases = Leases(database)
    assert await leases.acquire("job", "a", 0.0)
    assert await leases.acquire("job", "b", LONG_S)
    assert not await leases.acquire("job", "a", LONG_S)
    await leases.release("job", "a")
    assert not await leases.acquire("job", "a", LONG_S)


async def test_one_of_many_gets_a_lease(database: Database, database_url: str) -> None:
    """At every round, whoever comes first and whether the lease is new or has run out."""
    other = Database(database_url)
    await other.open()
    try:
        for _ in range(10):
            both = (Leases(database), Leases(other))
            won = await asyncio.gather(
                *(
                    leases.acquire("job", f"{number}-{place}", LONG_S)
                    for number in range(10)
                    for place, leases in enumerate(both)
                )
            )
            assert sorted(won) == [False] * 19 + [True]
            await database.write(lambda connection: connection.execute(update(table).values(expires_at=0)))
        assert await database.read(count) == 1
    finally:
        await other.close()


async def test_the_clock_of_the_server_decides(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is wrong would otherwise take everybody's leases."""
    monkeypatch.setattr("time.time_ns", lambda: 0)
    database = Database(postgres_url)
    await database.open()
    assert await Leases(database).acquire("job", "a", LONG_S)
    expires_at = await database.read(
        lambda connection: connection.scalar(table.select().with_only_columns(table.c.expires_at))
    )
    assert int(expires_at or 0) > 1_700_000_000_000
    await database.close()
