"""Small pieces of database work that the tests share; they use the table of leases as a place for numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select, update

from gateway.storage.tables import leases

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

SOMEBODY = "somebody"


def put(name: str, number: int = 0) -> Callable[[AsyncConnection], Awaitable[None]]:
    """Insert a number under a new name."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(insert(leases).values(name=name, holder=SOMEBODY, expires_at=number))

    return work


def add_one(name: str) -> Callable[[AsyncConnection], Awaitable[int]]:
    """Read a number, lock its row, and write one more, as a program does that has to think in between."""

    async def work(connection: AsyncConnection) -> int:
        query = select(leases.c.expires_at).where(leases.c.name == name).with_for_update()
        number = int((await connection.execute(query)).scalar_one()) + 1
        await connection.execute(update(leases).where(leases.c.name == name).values(expires_at=number))
        return number

    return work


def get(name: str) -> Callable[[AsyncConnection], Awaitable[int | None]]:
    """Read a number; None when there is none of that name."""

    async def work(connection: AsyncConnection) -> int | None:
        found: int | None = await connection.scalar(select(leases.c.expires_at).where(leases.c.name == name))
        return found

    return work


async def count(connection: AsyncConnection) -> int:
    """Count the numbers."""
    return int(await connection.scalar(select(func.count()).select_from(leases)) or 0)


async def nothing(connection: AsyncConnection) -> None:
    """Use the connection without an effect."""
    await connection.execute(select(1))
