"""Backups: one consistent state, taken while others write, in a file that can be used."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from gateway.storage import backup as module
from gateway.storage.backup import BackupFailed, backup
from gateway.storage.database import Database, sqlite_url
from gateway.storage.tables import leases
from tests.services.postgres import PASSWORD
from tests.storage.work import add_one, put

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.services.postgres import PostgresServer

BEFORE = 200


async def _both(connection: AsyncConnection) -> None:
    """Write in two places that agree with each other in every state that was committed."""
    number = await add_one("a")(connection)
    await put(f"row-{number}" + "x" * 500, number)(connection)


async def _state(connection: AsyncConnection) -> tuple[int, int, int]:
    """Return the counter, and the number and the largest number of the rows."""
    counter = select(leases.c.expires_at).where(leases.c.name == "a")
    rows = select(func.count(), func.max(leases.c.expires_at)).where(leases.c.name != "a")
    found = (await connection.execute(rows)).one()
    return int(await connection.scalar(counter) or 0), int(found[0]), int(found[1])


async def _backup_while_writing(database: Database, url: str, target: Path) -> None:
    """Fill a database, and back it up while it is written to."""
    await database.write(put("a"))
    for _ in range(BEFORE):
        await database.write(_both)
    task = asyncio.create_task(backup(url, target))
    written = 0
    while not task.done():
        await database.write(_both)
        written += 1
    result = await task
    assert result.path == target
    assert result.size_bytes > BEFORE
    assert written >= 1


async def test_a_backup_of_a_file_under_writes_is_consistent(tmp_path: Path) -> None:
    """It is a database of its own, with what was committed at one moment and nothing else."""
    url, target = sqlite_url(tmp_path / "data.sqlite3"), tmp_path / "backup.sqlite3"
    database = Database(url)
    await database.open()
    await _backup_while_writing(database, url, target)
    await database.close()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert _names(tmp_path) == ["backup.sqlite3", "data.sqlite3"]
    restored = Database(sqlite_url(target))
    await restored.open()
    counter, rows, largest = await restored.read(_state)
    assert counter == rows == largest >= BEFORE
    await restored.write(_both)
    await restored.close()


async def test_a_backup_of_a_server_under_writes_is_consistent(
    postgres_url: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    """It can be restored with pg_restore into an empty database, triggers and all."""
    target = tmp_path / "backup.dump"
    database = Database(postgres_url)
    await database.open()
    await _backup_while_writing(database, postgres_url, target)
    await database.close()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert _names(tmp_path) == ["backup.dump"]
    url = postgres.new_database()
    postgres.client("pg_restore", "--exit-on-error", f"--dbname={url.rpartition('/')[2]}", str(target))
    restored = Database(url)
    await restored.open()
    counter, rows, largest = await restored.read(_state)
    assert counter == rows == largest >= BEFORE
    await restored.write(_both)
    await restored.close()
    postgres.drop_database(url)


async def test_a_file_that_exists_is_not_replaced(database: Database, database_url: str, tmp_path: Path) -> None:
    """It may be the only other backup; nor is one that comes while the backup is made."""
    target = tmp_path / "backup"
    target.write_text("precious")
    with pytest.raises(BackupFailed, match="exists already"):
        await backup(database_url, target)
    assert target.read_text() == "precious"
    finished = tmp_path / "finished"
    finished.touch()
    with pytest.raises(FileExistsError):
        module._name(finished, target)


async def test_a_folder_that_is_not_there_is_told(database: Database, database_url: str, tmp_path: Path) -> None:
    """Also a disk that is full, and so on: in one line, and without a file that looks like a backup."""
    with pytest.raises(BackupFailed, match="No such file or directory"):
        await backup(database_url, tmp_path / "nowhere" / "backup")


async def test_a_backup_works_where_there_are_no_links(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backups often go to network folders, and not all of those have them."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    result = await backup(database_url, tmp_path / "backup")
    assert result.size_bytes > 1000
    assert result.path.is_file()


async def test_a_damaged_database_gives_no_backup(tmp_path: Path) -> None:
    """A backup that cannot be used is worse than none, since somebody would rely on it."""
    path, target = tmp_path / "data.sqlite3", tmp_path / "backup"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a UNIQUE)")
        connection.executemany("INSERT INTO t VALUES (?)", [(f"{number}" * 50,) for number in range(2000)])
        connection.commit()
    content = bytearray(path.read_bytes())
    for page in range(4, 20):
        content[page * 4096 + 100 : page * 4096 + 3000] = b"\0" * 2900
    path.write_bytes(content)
    with pytest.raises(BackupFailed):
        await backup(sqlite_url(path), target)
    assert _names(tmp_path) == ["data.sqlite3"]


async def test_a_database_that_is_not_there_gives_no_backup(tmp_path: Path, postgres_url: str) -> None:
    """Above all, no new empty one is made to be backed up; and no password is shown."""
    with pytest.raises(BackupFailed, match=r"no database .*data\.sqlite3"):
        await backup(sqlite_url(tmp_path / "data.sqlite3"), tmp_path / "backup")
    with pytest.raises(BackupFailed, match="does not exist") as caught:
        await backup(f"{postgres_url}_not", tmp_path / "backup")
    assert PASSWORD not in str(caught.value)
    assert _names(tmp_path) == []


async def test_a_missing_pg_dump_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container image does not have it, for example."""
    monkeypatch.setattr(module, "_DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupFailed, match="pg_dump is not installed"):
        await backup("postgresql://u:p@127.0.0.1/d", tmp_path / "backup")


async def test_the_password_is_not_among_the_arguments_of_pg_dump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every user of a machine can see those; and what the address says of TLS is obeyed here too."""
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/arguments\nenv >{tmp_path}/environment\nexit 1\n')
    program.chmod(0o700)
    monkeypatch.setattr(module, "_DEBIAN", tmp_path / "nothing")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    url = "postgresql+asyncpg://us%40er:s3cr%2Fet@127.0.0.1:5433/name?sslmode=verify-full&sslrootcert=/ca.pem&x=1"
    with pytest.raises(BackupFailed, match="ended with 1"):
        await backup(url, tmp_path / "backup")
    arguments = (tmp_path / "arguments").read_text()
    assert "--dbname=postgresql://127.0.0.1:5433/name\n" in arguments
    assert "s3cr" not in arguments
    environment = (tmp_path / "environment").read_text().splitlines()
    expected = {"PGUSER=us@er", "PGPASSWORD=s3cr/et", "PGSSLMODE=verify-full", "PGSSLROOTCERT=/ca.pem"}
    assert expected <= set(environment)


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())
