"""Migrations: they make the tables of `tables.py`, once, whoever starts and however many start at the same moment."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, text

from gateway.storage import github_tables, migrate, release_tables
from gateway.storage.database import Database, DatabaseTooNew, DatabaseUnusable, Upgrade, sqlite_url
from gateway.storage.migrations import HEAD
from gateway.storage.tables import api_keys, metadata
from tests.storage.work import count, put

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

PROCESSES = 6

OPEN = """
import asyncio, sys
from gateway.storage.database import Database
from tests.storage.work import put

async def main():
    database = Database(sys.argv[1])
    await database.open()
    await database.write(put(sys.argv[2]))
    await database.close()
    print("alembic" in sys.modules)

asyncio.run(main())
"""


async def test_the_tables_are_those_of_the_program(database: Database) -> None:
    """A change of `tables.py` needs a migration, on both databases."""

    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, metadata)

    # These add themselves to the same metadata when they are imported.
    assert release_tables.release_projects.metadata is metadata is github_tables.github_releases.metadata
    assert await database.read(lambda connection: connection.run_sync(differences)) == []


async def test_the_live_name_of_a_key_is_unique_and_a_revoked_one_is_free(database: Database) -> None:
    """The comparison above does not look at the condition of an index."""
    texts = dict.fromkeys(("name", "description", "permissions", "tags"), "x")

    def key(name: str, revoked_at: int | None) -> dict[str, object]:
        return {**texts, "id": name, "created_at": 1, "revision": 1, "revoked_at": revoked_at}

    async def both(connection: AsyncConnection) -> None:
        await connection.execute(insert(api_keys), [key("a", 1), key("b", 2), key("c", None)])

    await database.write(both)
    with pytest.raises(Exception, match=r"(?i)unique"):
        await database.write(lambda connection: connection.execute(insert(api_keys).values(key("d", None))))


def test_the_revision_that_a_start_compares_with_is_the_newest() -> None:
    """Otherwise a start would think that everything is up to date."""
    assert migrate.revisions().heads == (HEAD,)


async def test_upgrading_says_what_it_did(database_url: str) -> None:
    """And does nothing the second time."""
    database = Database(database_url)
    assert await database.upgrade() == Upgrade(before=None, after=HEAD)
    assert await database.upgrade() == Upgrade(before=HEAD, after=HEAD)
    await database.open()
    assert await database.read(count) == 0
    await database.close()


async def test_a_start_with_nothing_to_do_does_not_load_alembic(database: Database, database_url: str) -> None:
    """It would cost every start time and memory."""
    assert await _run(database_url, "a") == "False"


async def test_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    """The others wait, and then find that there is nothing to do; all of them work afterwards."""
    loaded = await asyncio.gather(*(_run(database_url, str(number)) for number in range(PROCESSES)))
    assert "True" in loaded
    database = Database(database_url)
    await database.open()
    assert await database.read(count) == PROCESSES
    heads = text("SELECT count(*) FROM audit_head")
    assert await database.read(lambda connection: connection.scalar(heads)) == 1
    await database.close()


async def test_several_in_one_process_migrate_once(database_url: str) -> None:
    """Alembic's usual way has one state for the whole process, which this must not depend on."""
    databases = [Database(database_url) for _ in range(4)]
    await asyncio.gather(*(database.open() for database in databases))
    for number, database in enumerate(databases):
        await database.write(put(str(number)))
        await database.close()


async def test_a_database_of_a_newer_version_is_left_alone(database: Database, database_url: str) -> None:
    """An older program cannot know what its tables mean now."""
    await database.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    other = Database(database_url)
    for attempt in (other.open, other.upgrade):
        with pytest.raises(DatabaseTooNew, match=r"revision 9999, .* newer"):
            await attempt()
    assert await other.ping() is False
    assert await database.read(count) == 0


async def test_a_migration_that_fails_leaves_everything_as_it_was(database_url: str) -> None:
    """All of it is one transaction, so that it can be tried again when the cause is gone."""
    database = Database(database_url)
    await database.upgrade()
    await database.open()
    # As if somebody had made tables of the same names: all but the last exist, and the revision is lost.
    await database.write(lambda connection: connection.execute(text("DROP TABLE leases")))
    await database.write(lambda connection: connection.execute(text("DELETE FROM alembic_version")))
    other = Database(database_url)
    with pytest.raises(DatabaseUnusable, match=r"api_keys.* already exists"):
        await other.open()
    with pytest.raises(Exception, match="leases"):
        await database.read(count)
    await database.close()


async def test_the_empty_file_of_the_first_version_is_upgraded(tmp_path: Path) -> None:
    """It had a file in WAL mode without any table."""
    path = tmp_path / "lunarbit.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    database = Database(sqlite_url(path))
    assert await database.upgrade() == Upgrade(before=None, after=HEAD)
    await database.open()
    assert await database.ping()
    await database.close()


async def _run(url: str, name: str) -> str:
    """Open the database in a process of its own; return whether that has loaded Alembic."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", OPEN, url, name, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().split()[-1]
