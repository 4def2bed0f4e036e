"""Backups of a database that is in use: one consistent state in one file that only its owner can read."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from gateway.storage.backends import postgres_dsn, sqlite_path

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEBIAN = Path("/usr/lib/postgresql")
# What an address may say beside the server and the database, and the environment variable for it
# (https://www.postgresql.org/docs/current/libpq-envars.html).
_VARIABLES = {
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "database": "PGDATABASE",
}


class BackupFailed(Exception):
    """There is no backup. The message is one line for the operator, and holds no secret."""


class BackupResult(NamedTuple):
    """A finished backup: for SQLite a database file, for PostgreSQL an archive for `pg_restore`."""

    path: Path
    size_bytes: int


async def backup(url: str, target: Path) -> BackupResult:
    """Write a backup of the database at `url` to the new file `target`.

    The file appears when it is whole, checked and on the disk. Raises `BackupFailed`, also when `target` exists, and
    `DatabaseUnusable` for an address that leads nowhere.
    """
    is_sqlite = url.startswith("sqlite")
    source = sqlite_path(url) if is_sqlite else postgres_dsn(url)
    # In a thread, which a cancelled caller does not cancel, so that what was begun is always tidied up.
    return await asyncio.to_thread(_write, source, target)


def _write(source: Path | str, target: Path) -> BackupResult:
    if os.path.lexists(target):
        raise BackupFailed(f"{target} exists already; backups do not replace files")
    if isinstance(source, Path) and not source.is_file():
        raise BackupFailed(f"There is no database {source}")
    try:
        # mkstemp makes a file that only its owner can read.
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            if isinstance(source, Path):
                _copy_sqlite(source, temporary)
            else:
                _dump_postgres(source, temporary)
            _synchronise(temporary)
            _name(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        _synchronise(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"The backup {target} could not be made: {error}") from error
    return BackupResult(target, target.stat().st_size)


def _name(temporary: Path, target: Path) -> None:
    """Give a finished file its name. Raises `OSError`, also when there is a file of that name."""
    try:
        # Unlike a rename, a link never takes the place of a file that has come meanwhile.
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # Some network file systems have no links.
        temporary.rename(target)


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy in one step, in which writers go on, since in WAL mode a reader keeps its state."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as origin,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        origin.backup(copy)
        # One file is all of it: nothing of it stays in a log beside it.
        copy.execute("PRAGMA journal_mode=DELETE")
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise BackupFailed(f"The database is damaged, so there is no backup: {found}")


def _dump_postgres(dsn: str, target: Path) -> None:
    parts = urlsplit(dsn)
    server = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    command = [_pg_dump(), "--format=custom", "--no-password", f"--file={target}", f"--dbname={server}"]
    environment = {**os.environ, **_environment(dsn)}
    # Other users see the arguments of a command, so the password is in the environment.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - the program is pg_dump, and its arguments are no shell's.
    if done.returncode != 0:
        raise BackupFailed(" ".join(done.stderr.split()) or f"pg_dump ended with {done.returncode}")


def _environment(dsn: str) -> Mapping[str, str]:
    """Return what an address says of the user and the connection, as libpq's environment variables."""
    parts = urlsplit(dsn)
    told = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    told.update({name: unquote(text) for name, text in (("user", user), ("password", password)) if text})
    return {_VARIABLES[name]: text for name, text in told.items() if name in _VARIABLES}


def _pg_dump() -> str:
    """Return the newest pg_dump: an older one refuses to work with a newer server."""
    debian = sorted(_DEBIAN.glob("*/bin/pg_dump"), key=lambda path: [int(part) for part in path.parts[-3].split(".")])
    found = str(debian[-1]) if debian else shutil.which("pg_dump")
    if found is None:
        raise BackupFailed("pg_dump is not installed; it comes with PostgreSQL's client programs (postgresql-client)")
    return found


def _synchronise(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
