"""Leases: which of several processes does a job that must be done by one of them at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.storage.database import Database

_TAKE = text(
    "INSERT INTO leases (name, holder, expires_at) VALUES (:name, :holder, :expires_at) "
    "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at "
    "WHERE leases.holder = excluded.holder OR leases.expires_at <= :now RETURNING name"
)
_RELEASE = text("DELETE FROM leases WHERE name = :name AND holder = :holder")
_POSTGRES_NOW = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")


class Leases:
    """The leases in a database. On PostgreSQL its clock decides, so that the processes' own may differ."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take or renew a lease for `ttl_s` from the call on; False when somebody else has it.

        `holder` names one process. Raises `StorageUnavailable`; who gets that for a lease it has, has it until the time
        it knows of.
        """

        async def take(connection: AsyncConnection) -> bool:
            now = await self._now(connection)
            values = {"name": name, "holder": holder, "now": now, "expires_at": now + round(ttl_s * 1000)}
            return (await connection.execute(_TAKE, values)).first() is not None

        return await self._database.write(take)

    async def release(self, name: str, holder: str) -> None:
        """Give a lease back; nothing happens when `holder` does not have it. Raises `StorageUnavailable`."""

        async def give_back(connection: AsyncConnection) -> None:
            await connection.execute(_RELEASE, {"name": name, "holder": holder})

        await self._database.write(give_back)

    async def _now(self, connection: AsyncConnection) -> int:
        """Return Unix milliseconds."""
        if self._database.dialect == "sqlite":
            return time.time_ns() // 1_000_000
        return int(await connection.scalar(_POSTGRES_NOW) or 0)
