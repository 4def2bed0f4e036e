"""What differs between the databases behind `Database`, and the way from an address to one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import parse_qs, quote, unquote, urlsplit

from gateway.storage.failures import DatabaseUnusable

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncEngine

_SQLITE_SCHEMES = ("sqlite", "sqlite+aiosqlite")
_POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# How long a start waits for another process that is changing the tables.
MIGRATION_LOCK_S = 60.0


class Backend(Protocol):
    """One kind of database. `writers` and `readers` say how many transactions of each kind run at once."""

    # What it is called in a message.
    title: str
    writers: int
    readers: int

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        """SQLAlchemy's name for it."""
        ...

    def prepare(self) -> None:
        """Make what must be there before the first connection; blocks. Raises `OSError` or `sqlite3.Error`."""
        ...

    def engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        """Return the engine for writing and the one for reading, whose transactions see one state throughout."""
        ...

    def migrator(self) -> tuple[AsyncEngine, Executable]:
        """Return an engine for one migration and the first statement to run on it, which takes the lock."""
        ...

    async def verify(self) -> None:
        """Raise `OSError` when the store is not the one that was opened."""
        ...

    async def answers(self, reader: AsyncEngine) -> bool:
        """Say whether the store answers. Not bounded, never raises."""
        ...


def backend_for(url: str, patience_s: float) -> Backend:
    """Return what an address leads to. Raises `DatabaseUnusable`, which does not repeat the address."""
    scheme = url.partition("://")[0]
    if scheme in _SQLITE_SCHEMES:
        from gateway.storage.sqlite_backend import SQLiteBackend

        return SQLiteBackend(sqlite_path(url), patience_s)
    if scheme in _POSTGRES_SCHEMES:
        from gateway.storage.postgres_backend import PostgresBackend

        return PostgresBackend(postgres_dsn(url), patience_s)
    msg = f"database.url must begin with one of {', '.join(_SQLITE_SCHEMES + _POSTGRES_SCHEMES)}, each followed by ://"
    raise DatabaseUnusable(msg)


def sqlite_url(path: Path) -> str:
    """Return the address of a file."""
    return "sqlite:///" + quote(str(path.absolute()), safe="/\\: ")


def sqlite_path(url: str) -> Path:
    """Return the file of an address: `sqlite:///relative` or `sqlite:////absolute`. Raises `DatabaseUnusable`."""
    rest = url.partition("://")[2]
    path = unquote(rest[1:])
    if not rest.startswith("/") or path in ("", ":memory:") or "?" in rest:
        raise DatabaseUnusable(
            "database.url must name a file without options: sqlite:///relative or sqlite:////absolute"
        )
    return Path(path)


def postgres_dsn(url: str) -> str:
    """Return the address as libpq and asyncpg know it. Raises `DatabaseUnusable`."""
    dsn = "postgresql://" + url.partition("://")[2]
    try:
        options = parse_qs(urlsplit(dsn).query, strict_parsing=bool(urlsplit(dsn).query))
    except ValueError:
        raise DatabaseUnusable("database.url cannot be read; special characters in it are written as %XX") from None
    if options.get("sslmode", ["prefer"])[-1] not in _SSL_MODES:
        raise DatabaseUnusable(f"sslmode in database.url must be one of {', '.join(_SSL_MODES)}")
    return dsn
