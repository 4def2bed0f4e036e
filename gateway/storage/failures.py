"""What can go wrong with a database: what stops the start, and what means that it is not there just now."""

from __future__ import annotations

import sqlite3
import time

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from gateway.errors import CannotStart, StorageUnavailable
from gateway.observability.logs import exception_fields, get_logger

RETRY_AFTER_S = 5.0
LOG_EVERY_S = 60.0

# Result codes of SQLite (https://www.sqlite.org/rescode.html) that say nothing against the statement.
_SQLITE_OUTAGES = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOTADB,
    }
)
# Classes and states of PostgreSQL (https://www.postgresql.org/docs/current/errcodes-appendix.html): connection,
# transaction rollback (deadlock), resources, operator intervention, system and internal errors; lock timeout.
_POSTGRES_OUTAGE_CLASSES = frozenset({"08", "40", "53", "57", "58", "XX"})
_POSTGRES_LOCK_TIMEOUT = "55P03"
_POSTGRES_READ_ONLY = "25006"


class DatabaseUnusable(CannotStart):
    """The database cannot be opened. The message is one line for the operator, and holds no secret."""


class DatabaseTooNew(DatabaseUnusable):
    """A newer gateway has changed the tables, and this one does not know how."""


def is_outage(error: Exception, *, writing: bool) -> bool:
    """Say whether `error` means that the store is down, full, locked or slow, and not that a statement was wrong.

    A refused write is an outage where writes belong (a file system or a server that turned read-only); inside a read
    it is a mistake in the program.
    """
    # Drivers raise the errors of sockets as they are.
    if isinstance(error, NoFreeConnection | OSError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    told = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(told, "sqlite_errorcode", None)
    if code is not None:
        primary = code & 0xFF
        return primary in _SQLITE_OUTAGES or (writing and primary == sqlite3.SQLITE_READONLY)
    state = getattr(told, "sqlstate", None) or ""
    if state == _POSTGRES_READ_ONLY:
        return writing
    return state[:2] in _POSTGRES_OUTAGE_CLASSES or state == _POSTGRES_LOCK_TIMEOUT


def reason(error: Exception) -> str:
    """Return in one line why a database cannot be opened."""
    # The text of SQLAlchemy's own error has the statement in it.
    told = error.driver_exception if isinstance(error, DBAPIError) else error
    return " ".join(str(told).split()) or type(told).__name__


class Complaints:
    """Makes the error that callers see; the log gets the cause, once a minute at most."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._silent_until = 0.0
        self._untold = 0

    def unavailable(self, cause: Exception) -> StorageUnavailable:
        """Return the error to raise because of `cause`."""
        now = time.monotonic()
        if now >= self._silent_until:
            get_logger().error(
                "storage_unavailable", dialect=self._dialect, also_failed=self._untold, **exception_fields(cause)
            )
            self._silent_until, self._untold = now + LOG_EVERY_S, 0
        else:
            self._untold += 1
        return StorageUnavailable("The database does not answer; try again later", retry_after_s=RETRY_AFTER_S)
