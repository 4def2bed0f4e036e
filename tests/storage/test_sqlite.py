"""What only a file can have: locks of other programs, a full disk, and somebody who moves it away."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from gateway.errors import StorageUnavailable
from gateway.storage.database import Database, DatabaseUnusable, sqlite_url
from gateway.storage.sqlite_backend import SQLiteBackend
from tests.storage.work import add_one, count, get, nothing, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from io import BytesIO
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

PATIENCE_S = 2.0
NO_DATABASE = b"something else entirely" * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is: in a folder that is not there yet, with a name that means something in addresses."""
    return tmp_path / "a folder" / "50%?#&.sqlite3"


@pytest_asyncio.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    """Open a new file."""
    opened = Database(sqlite_url(path), patience_s=PATIENCE_S)
    await opened.open()
    yield opened
    await opened.close()


async def test_the_file_is_where_it_was_asked_for_and_closed_to_others(database: Database, path: Path) -> None:
    """It holds digests of keys, so only its owner may read it and the files beside it."""
    await database.write(put("a"))
    names = {file.name for file in path.parent.iterdir()}
    assert names == {path.name, f"{path.name}-wal", f"{path.name}-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    await database.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_connections_are_set_up_so_that_a_commit_is_on_the_disk(database: Database) -> None:
    """In WAL mode, `synchronous=FULL` (2) is what makes a commit survive a loss of power."""

    async def pragmas(connection: AsyncConnection) -> dict[str, Any]:
        names = ("journal_mode", "synchronous", "foreign_keys", "query_only", "busy_timeout")
        return {name: await connection.scalar(text(f"PRAGMA {name}")) for name in names}

    busy_ms = PATIENCE_S * 500
    common = {"journal_mode": "wal", "busy_timeout": busy_ms}
    assert await database.write(pragmas) == {**common, "synchronous": 2, "foreign_keys": 1, "query_only": 0}
    assert {**common, "query_only": 1}.items() <= (await database.read(pragmas)).items()


async def test_writes_run_one_after_the_other_on_one_connection(database: Database) -> None:
    """SQLite has one writer at a time; who waits for it in a queue of ours never meets a lock."""
    inside, most, connections = 0, 0, set()

    async def work(connection: AsyncConnection) -> None:
        nonlocal inside, most
        inside, most = inside + 1, max(most, inside + 1)
        connections.add(id((await connection.get_raw_connection()).driver_connection))
        await nothing(connection)
        inside -= 1

    await asyncio.gather(*(database.write(work) for _ in range(50)))
    assert (most, len(connections)) == (1, 1)


async def test_a_write_has_its_lock_before_it_reads(database: Database, path: Path) -> None:
    """A transaction that reads first and writes later would fail when another program wrote in between."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:

        async def work(connection: AsyncConnection) -> None:
            await nothing(connection)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")

        await database.write(work)


async def test_a_lock_of_another_program_is_an_outage_until_it_is_gone(
    database: Database, path: Path, log: BytesIO
) -> None:
    """Writes fail after a bounded time, reads go on, and nobody has to restart anything."""
    await database.write(put("a"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = await asyncio.gather(*(database.write(add_one("a")) for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in told] == [StorageUnavailable] * 3
        assert await database.read(get("a")) == 0
        assert await database.ping()
    assert await database.write(add_one("a")) == 1
    (line,) = [entry for entry in _lines(log) if entry["event"] == "storage_unavailable"]
    assert line["error_type"] == "OperationalError"


_TAKE_LOCK = """
import fcntl, os, sys
try:
    fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
except OSError:
    sys.exit(7)
"""


async def test_opening_a_file_again_does_not_lose_its_locks(database: Database, path: Path) -> None:
    """A process that closes a file loses its locks on it, and then others damage the database.

    The bytes are those of SQLite's shared lock (https://www.sqlite.org/fileformat2.html, 1.5).
    """
    await database.write(put("a"))
    other = Database(sqlite_url(path))
    await other.upgrade()
    await other.open()
    await other.close()
    await database.ping()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _TAKE_LOCK, path)
    assert await process.wait() == 7


async def test_a_short_lock_of_another_program_is_waited_for(database: Database, path: Path) -> None:
    """The command line writes too while the server runs."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, other.execute, ["COMMIT"])
        timer.start()
        await database.write(put("a"))
        timer.join()


async def test_a_full_database_is_an_outage_for_writes_only(database: Database) -> None:
    """What is there can be read, and writes work again as soon as there is room."""
    await database.write(put("a"))

    async def fill(connection: AsyncConnection) -> None:
        pages = int(await connection.scalar(text("PRAGMA page_count")) or 0)
        await connection.execute(text(f"PRAGMA max_page_count={pages + 2}"))
        await put("large" * 10_000)(connection)

    with pytest.raises(StorageUnavailable):
        await database.write(fill)
    assert await database.read(count) == 1
    await database.write(put("b"))
    assert await database.read(count) == 2


_DISK_FULL = """
import asyncio, resource, sys
from gateway.errors import StorageUnavailable
from gateway.storage.database import Database
from tests.storage.work import add_one, count, get, put

async def main():
    database = Database(sys.argv[1])
    await database.open()
    await database.write(put("a"))
    # The kernel refuses to let any file grow, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    failed = 0
    for number in range(30):
        try:
            await database.write(put(f"{number}" + "x" * 5000))
        except StorageUnavailable:
            failed += 1
    assert failed >= 29, failed
    assert await database.read(get("a")) == 0
    assert await database.ping()
    kept = await database.read(count)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert await database.write(add_one("a")) == 1
    for number in range(30):
        await database.write(put(f"again-{number}" + "x" * 5000))
    assert await database.read(count) == kept + 30
    await database.close()

asyncio.run(main())
"""


async def test_a_full_disk_is_an_outage_until_there_is_room(path: Path) -> None:
    """Errors of the operating system while writing leave the file whole, and need no restart."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _DISK_FULL, sqlite_url(path))
    assert await process.wait() == 0
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _delete(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _exchange(path: Path) -> None:
    other = path.with_name("other")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE leases (name, holder, expires_at)")
    other.replace(path)


@pytest.mark.parametrize("spoil", [_delete, _empty, _exchange])
async def test_a_file_that_is_not_the_one_that_was_opened_takes_no_writes(
    database: Database, path: Path, spoil: Callable[[Path], None]
) -> None:
    """The old file is still open, and what is written to it would be gone at the next start without a word."""
    await database.write(put("a"))
    spoil(path)
    with pytest.raises(StorageUnavailable):
        await database.write(put("b"))
    # Also no reads: in another file a valid key would be unknown.
    with pytest.raises(StorageUnavailable):
        await database.read(count)
    assert await database.ping() is False
    with pytest.raises(StorageUnavailable):
        await database.write(put("c"))


async def test_a_file_that_was_overwritten_makes_the_gateway_unready(database: Database, path: Path) -> None:
    """Its log may still hold a good copy of the first page."""
    await database.write(put("a"))
    with path.open("r+b") as file:
        file.write(NO_DATABASE)
    assert [await database.ping() for _ in range(3)] == [False] * 3


async def test_a_file_that_is_put_back_is_used_again(database: Database, path: Path) -> None:
    """A folder that was moved away for a moment, or a network folder that was lost for one, needs no restart."""
    await database.write(put("a"))
    hidden = _renamed(path, "hidden")
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            await database.write(put("b"))
    assert path.name not in {file.name for file in path.parent.iterdir()}
    _renamed(hidden, path.name)
    assert await database.ping()
    await database.write(put("c"))
    assert await database.read(count) == 2


async def test_a_disk_that_hangs_holds_one_probe(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness is asked again and again, and must not use up a thread each time."""
    monkeypatch.setattr("gateway.storage.database.PING_TIMEOUT_S", 0.02)
    recovered, asked = threading.Event(), 0

    def hang(_: SQLiteBackend) -> bool:
        nonlocal asked
        asked += 1
        return recovered.wait(20)

    monkeypatch.setattr(SQLiteBackend, "_read_anew", hang)
    assert [await database.ping() for _ in range(3)] == [False] * 3
    assert asked == 1
    recovered.set()
    async with asyncio.timeout(20):
        while not await database.ping():
            await asyncio.sleep(0.01)


async def test_a_disk_that_hangs_does_not_keep_the_gateway_from_stopping(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write in flight is given up, and everybody who waits is told."""
    monkeypatch.setattr("gateway.storage.lanes._CANCEL_S", 0.2)
    recovered = threading.Event()

    def hang(_: SQLiteBackend) -> None:
        recovered.wait(20)

    monkeypatch.setattr(SQLiteBackend, "_check_file", hang)
    callers = [asyncio.create_task(database.write(put(str(number)))) for number in range(3)]
    await asyncio.sleep(0)
    await database.close()
    told = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(answer) for answer in told] == [StorageUnavailable] * 3
    recovered.set()


async def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """Better no gateway than one that loses what it should keep."""
    with pytest.raises(DatabaseUnusable, match="unable to open database file"):
        await Database(sqlite_url(tmp_path)).open()


async def test_a_folder_that_cannot_be_used_stops_the_start(path: Path) -> None:
    """The message names the file."""
    path.parent.write_text("a file where a folder should be")
    database = Database(sqlite_url(path))
    with pytest.raises(DatabaseUnusable, match=r"50%\?#&\.sqlite3 cannot be used: .*(File exists|Not a directory)"):
        await database.open()
    assert await database.ping() is False
    await database.close()


async def test_a_file_that_is_no_database_stops_the_start(path: Path) -> None:
    """It is left as it is, for whoever put it there."""
    _write(path, NO_DATABASE)
    with pytest.raises(DatabaseUnusable, match="file is not a database"):
        await Database(sqlite_url(path)).open()
    assert _read(path) == NO_DATABASE


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?mode=ro", "mysql://a/b"])
def test_an_address_that_names_no_file_is_refused(url: str) -> None:
    """A database in memory would forget every key at the next start."""
    with pytest.raises(DatabaseUnusable):
        Database(url)


async def test_addresses_are_relative_or_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes are relative to the working folder and four absolute, as SQLAlchemy has it."""
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///relative/a.db", f"sqlite+aiosqlite:///{tmp_path}/absolute.db"):
        database = Database(url)
        await database.open()
        assert await database.ping()
        await database.close()
    assert (tmp_path / "relative/a.db").is_file()
    assert (tmp_path / "absolute.db").is_file()


def _lines(log: BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def _renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)


def _read(path: Path) -> bytes:
    return path.read_bytes()
