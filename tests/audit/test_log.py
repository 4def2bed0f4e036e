"""The audit log in a real database: one chain whoever writes, append-only, and honest about what cannot go on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from io import BytesIO

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit.chain import AuditKeys, Head
from gateway.audit.entry import AuditFilters
from gateway.audit.verify import verify
from gateway.errors import StorageUnavailable
from gateway.storage import audit
from gateway.storage.audit import AuditTable, append
from gateway.storage.database import Database
from tests.architecture.installation import REPOSITORY
from tests.audit.conftest import Intrude
from tests.audit.logs import KEYS, entry, found
from tests.audit.writer import write
from tests.gateway.edge import log_lines

IN_PROCESS, PROCESSES, EACH = 3, 2, 10


async def test_rows_come_back_as_they_were_written(table: AuditTable) -> None:
    """In order, whole, and as one chain."""
    entries = [entry(number)._replace(before={"é": None} if number else None) for number in range(3)]
    heads = [await table.record(one, KEYS) for one in entries]
    assert [head.count for head in heads] == [1, 2, 3]
    assert [row.mac async for row in table.rows()] == [head.mac for head in heads]
    assert [row.seq async for row in table.rows(from_seq=2)] == [2, 3]
    assert await table.head() == heads[-1]
    page = await table.page(AuditFilters(), 1, 10)
    assert page == ([(3, entries[2]), (2, entries[1]), (1, entries[0])], 3, heads[-1])
    assert (await verify(table.rows(), table.head, KEYS, heads[0])).is_intact


async def test_every_row_is_told_to_the_log_of_the_process(table: AuditTable, log: BytesIO) -> None:
    """With the head, which is what a truncated audit log is compared with."""
    head = await table.record(entry(), KEYS)
    (line,) = [line for line in log_lines(log) if line["event"] == "audit"]
    assert {name: line[name] for name in ("seq", "mac", "action", "actor", "target")} == {
        "seq": 1, "mac": head.mac, "action": "key.create", "actor": "ada", "target": "mobile",
    }  # fmt: skip
    assert Head(line["seq"], line["mac"]) == head


async def test_writers_of_several_databases_and_processes_make_one_chain(table: AuditTable, database_url: str) -> None:
    """Whoever appends locks the head, so that no two rows follow the same one."""
    command = (sys.executable, "-m", "tests.audit.writer", database_url, str(EACH))
    started = [
        await asyncio.create_subprocess_exec(*command, f"process-{number}", cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        for number in range(PROCESSES)
    ]
    await asyncio.gather(*(write(database_url, EACH, f"database-{number}") for number in range(IN_PROCESS)))
    assert [await process.wait() for process in started] == [0] * PROCESSES
    count = (IN_PROCESS + PROCESSES) * EACH
    result = await verify(table.rows(), table.head, KEYS)
    assert (result.findings, result.rows) == ((), count)
    told = [(row.target, row.at) async for row in table.rows()]
    assert len(set(told)) == count


async def test_a_transaction_that_fails_leaves_no_row(table: AuditTable, database: Database) -> None:
    """A key that was not created is not audited, and the other way round."""

    async def work(connection: AsyncConnection) -> None:
        await append(connection, entry(), KEYS)
        raise LookupError

    await table.record(entry(1), KEYS)
    with pytest.raises(LookupError):
        await database.write(work)
    await table.record(entry(2), KEYS)
    assert (await verify(table.rows(), table.head, KEYS)).rows == 2
    assert (await verify(table.rows(), table.head, KEYS)).is_intact


async def test_two_rows_in_one_transaction_follow_each_other(table: AuditTable, database: Database) -> None:
    """One act may do several things."""

    async def work(connection: AsyncConnection) -> list[Head]:
        return [await append(connection, entry(1), KEYS), await append(connection, entry(2), KEYS)]

    assert [head.count for head in await database.write(work)] == [1, 2]
    assert (await verify(table.rows(), table.head, KEYS)).is_intact


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'mallory'",
        "DELETE FROM audit_log WHERE seq = 1",
        "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log",
        "TRUNCATE audit_log",
    ],
)
async def test_the_database_itself_refuses_to_change_rows(
    table: AuditTable, database: Database, statement: str
) -> None:
    """A mistake in the gateway, or in a script of the operator, cannot rewrite history."""
    only = {"INSERT": "sqlite", "TRUNCATE": "postgresql"}.get(statement.split(maxsplit=1)[0], database.dialect)
    if only != database.dialect:
        pytest.skip(f"this statement is of {only}")
    await table.record(entry(), KEYS)
    with pytest.raises(DBAPIError, match="append-only"):
        await database.write(lambda connection: connection.execute(text(statement)))
    assert (await verify(table.rows(), table.head, KEYS)).is_intact


async def test_a_log_that_does_not_fit_its_head_is_not_continued(table: AuditTable, intrude: Intrude) -> None:
    """What must be audited cannot be done then; it must not start a second chain, nor pass for another error."""
    for number in range(3):
        await table.record(entry(number), KEYS)
    await intrude("UPDATE audit_head SET count = 1")
    with pytest.raises(StorageUnavailable, match="audit verify"):
        await table.record(entry(), KEYS)
    await intrude_again(table, "DELETE FROM audit_head")
    with pytest.raises(StorageUnavailable, match="audit verify"):
        await table.record(entry(), KEYS)
    assert await table.head() is None
    assert (await table.page(AuditFilters(), 1, 10)).head is None
    assert found(await verify(table.rows(), table.head, KEYS)) == [("head", 3, 3)]


async def intrude_again(table: AuditTable, statement: str) -> None:
    """Run one more statement where the triggers are gone already."""
    await table._database.write(lambda connection: connection.execute(text(statement)))


async def test_a_log_signed_with_changing_keys_is_one_chain(table: AuditTable) -> None:
    """The pepper is rotated, and then the log gets a key of its own."""
    generations = [("", "one", ""), ("", "two", "one"), ("own", "two", "one")]
    for generation in generations:
        for number in range(2):
            await table.record(entry(number), AuditKeys.derive(*generation))
    keys = AuditKeys.derive(*generations[-1])
    assert (await verify(table.rows(), table.head, keys)).is_intact
    forgot = await verify(table.rows(), table.head, AuditKeys.derive("own", "two", ""))
    assert (found(forgot), forgot.is_tampered) == ([("unknown_key", 1, 2)], False)


async def test_a_log_is_verified_in_portions_while_others_write(
    table: AuditTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No lock is held meanwhile, and rows that come late are verified too."""
    monkeypatch.setattr(audit, "ROWS_PER_READ", 4)
    for number in range(10):
        await table.record(entry(number), KEYS)
    writing = asyncio.gather(*(table.record(entry(number), KEYS) for number in range(10, 30)))
    assert (await verify(table.rows(), table.head, KEYS)).is_intact
    await writing
    assert (await verify(table.rows(), table.head, KEYS)).rows == 30


@pytest.mark.parametrize(
    ("filters", "seqs"),
    [
        (AuditFilters(), [4, 3, 2, 1]),
        (AuditFilters(actor="ada"), [3, 2, 1]),
        (AuditFilters(actor="Ada"), []),
        (AuditFilters(action="key.revoke"), [4]),
        (AuditFilters(target="b"), [4, 2]),
        (AuditFilters(actor="ada", target="b"), [2]),
        (AuditFilters(from_ms=2_000), [4, 3, 2]),
        (AuditFilters(from_ms=2_000, until_ms=4_000), [3, 2]),
        (AuditFilters(until_ms=1_000), []),
    ],
)
async def test_filters_choose_rows_and_pages_cut_them(
    table: AuditTable, filters: AuditFilters, seqs: list[int]
) -> None:
    """All filters hold at once; the total counts what matches, and the head the whole log."""
    for number, target in enumerate("abab", 1):
        one = entry(number, target)._replace(at=number * 1_000)
        await table.record(one if number < 4 else one._replace(actor="eve", action="key.revoke"), KEYS)
    whole = await table.page(filters, 1, 10)
    assert ([seq for seq, _ in whole.entries], whole.total) == (seqs, len(seqs))
    second = await table.page(filters, 2, 2)
    assert ([seq for seq, _ in second.entries], second.total) == (seqs[2:4], len(seqs))
    assert second.head == await table.head() == whole.head
