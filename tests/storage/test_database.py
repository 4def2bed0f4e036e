"""Reads and writes, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from gateway.errors import StorageUnavailable
from gateway.storage.database import Database
from gateway.storage.tables import audit_head, audit_log, key_secrets, leases
from tests.storage.work import add_one, count, get, put

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

AUDIT_ROW = {
    **dict.fromkeys(("actor_id", "actor", "action", "target", "client_ip", "request_id", "key_id", "mac"), "x"),
    "seq": 1,
    "at": 1,
}


async def test_what_was_written_is_read(database: Database) -> None:
    """The answer of `work` is handed on, and a commit is seen by the next read."""
    await database.write(put("a", 7))
    assert await database.read(get("a")) == 7
    assert await database.write(add_one("a")) == 8
    assert await database.read(get("a")) == 8


async def test_a_write_that_raises_leaves_nothing_behind(database: Database) -> None:
    """Whatever it raises reaches the caller as it is."""

    async def half(connection: AsyncConnection) -> None:
        await put("a")(connection)
        raise LookupError("half way")

    with pytest.raises(LookupError, match="half way"):
        await database.write(half)
    assert await database.read(count) == 0


async def test_a_broken_rule_of_the_schema_is_the_callers_to_handle(database: Database) -> None:
    """A name that exists is no outage; also the rows before it are gone."""

    async def twice(connection: AsyncConnection) -> None:
        await put("a")(connection)
        await put("b")(connection)
        await put("a")(connection)

    with pytest.raises(IntegrityError):
        await database.write(twice)
    assert await database.read(count) == 0
    values = {"digest": "d", "key_id": "nobody", "prefix": "p", "pepper_id": "i", "created_at": 0}
    with pytest.raises(IntegrityError):
        await database.write(lambda connection: connection.execute(insert(key_secrets).values(values)))


async def test_an_error_does_not_show_what_was_to_be_written(database: Database) -> None:
    """Values may be digests of keys, and errors end up in logs."""
    await database.write(put("canary-4711"))
    with pytest.raises(IntegrityError) as caught:
        await database.write(put("canary-4711"))
    assert "canary-4711" not in str(caught.value).replace(str(caught.value.orig), "")


async def test_a_read_cannot_write(database: Database) -> None:
    """It would go past the one writer; and it is a mistake of the program, so it is not told as an outage."""
    with pytest.raises(DBAPIError):
        await database.read(put("a"))
    assert await database.read(count) == 0


async def test_a_read_sees_one_state_throughout(database: Database) -> None:
    """Two statements of a report must agree with each other although somebody writes in between."""

    async def twice(connection: AsyncConnection) -> tuple[int, int]:
        first = await count(connection)
        await database.write(put("meanwhile"))
        return first, await count(connection)

    assert await database.read(twice) == (0, 0)
    assert await database.read(count) == 1


async def test_many_writers_lose_no_update(database: Database) -> None:
    """Each reads, thinks and writes; none overwrites what another has written meanwhile."""
    await database.write(put("a"))
    answers = await asyncio.gather(*(database.write(add_one("a")) for _ in range(200)))
    assert sorted(answers) == list(range(1, 201))
    assert await database.read(get("a")) == 200


async def test_two_gateways_on_one_database_lose_no_update(database: Database, database_url: str) -> None:
    """Locks are the database's own, so that other processes obey them too."""
    other = Database(database_url)
    await other.open()
    try:
        await database.write(put("a"))
        await asyncio.gather(*(each.write(add_one("a")) for _ in range(50) for each in (database, other)))
        assert await other.read(get("a")) == await database.read(get("a")) == 100
    finally:
        await other.close()


async def test_a_cancelled_caller_does_not_cancel_the_write(database: Database) -> None:
    """A cancelled operation would leave the connection in the middle of something."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        began.set()
        await go_on.wait()
        await put("slow")(connection)

    running = asyncio.create_task(database.write(slow))
    await began.wait()
    waiting = [asyncio.create_task(database.write(put(f"waiting-{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    for caller in (running, *waiting):
        caller.cancel()
    assert all(caller.cancelled() for caller in await _ended(running, *waiting))
    go_on.set()
    await _until(database, 21)


async def test_cancelled_readers_leave_no_answer_for_others(database: Database) -> None:
    """Every caller gets its own answer, however many before it have left at any moment."""
    for number in range(10):
        await database.write(put(str(number), number))
    for round_ in range(20):
        callers = [asyncio.create_task(database.read(get(str(number)))) for number in range(10)]
        for _ in range(round_):
            await asyncio.sleep(0)
        for caller in callers[::2]:
            caller.cancel()
        ended = await _ended(*callers)
        assert [caller.result() for caller in ended if not caller.cancelled()][-5:] == [1, 3, 5, 7, 9]


async def test_work_that_was_cancelled_from_inside_stops_nobody_else(database: Database) -> None:
    """What a piece of work waits for may be cancelled by others; the task that runs it has to live on."""

    async def hopeless(connection: AsyncConnection) -> None:
        await put("hopeless")(connection)
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    for _ in range(20):
        with pytest.raises(asyncio.CancelledError):
            await database.write(hopeless)
        with pytest.raises(asyncio.CancelledError):
            await database.read(lambda _: _cancelled())
    await database.write(put("a"))
    assert await database.read(count) == 1


async def test_a_write_that_takes_too_long_is_given_up_and_not_done_later(
    database: Database, database_url: str
) -> None:
    """Whoever was told that a write failed may try again, so the first one must not come true afterwards."""
    hasty = Database(database_url, patience_s=0.3)
    await hasty.open()
    finish = asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        await finish.wait()
        await put("slow")(connection)

    # More than there are writers, so that some give up before they were begun.
    told = await asyncio.gather(*(hasty.write(slow) for _ in range(10)), return_exceptions=True)
    assert [type(answer) for answer in told] == [StorageUnavailable] * 10
    finish.set()
    await hasty.close()
    await database.write(put("last"))
    assert await database.read(count) == 1


async def test_a_queue_that_is_full_refuses_at_once(database: Database) -> None:
    """Memory is bounded, and a caller that cannot be served in time need not wait to hear it."""
    finish = asyncio.Event()

    async def hold(_: AsyncConnection) -> None:
        await finish.wait()

    held = [asyncio.create_task(database.write(hold)) for _ in range(1100)]
    done, _ = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
    assert all(isinstance(caller.exception(), StorageUnavailable) for caller in done)
    finish.set()
    await _ended(*held)
    refused = [caller for caller in held if caller.exception()]
    assert 1 <= len(refused) <= 100
    await database.write(put("a"))


async def test_closing_finishes_what_was_asked_for(database: Database, database_url: str) -> None:
    """An orderly stop loses nothing; afterwards the database is not there, and it can be opened again."""
    callers = [asyncio.create_task(database.write(put(str(number)))) for number in range(50)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*callers)
    assert await database.ping() is False
    with pytest.raises(StorageUnavailable):
        await database.write(put("late"))
    with pytest.raises(StorageUnavailable):
        await database.read(count)
    await database.open()
    assert await database.read(count) == 50


@pytest.mark.parametrize(
    "statement",
    [
        update(audit_log).values(actor="nobody"),
        delete(audit_log),
        text(
            "INSERT INTO audit_log SELECT * FROM audit_log WHERE true ON CONFLICT (seq) DO UPDATE SET actor = 'nobody'"
        ),
        text("REPLACE INTO audit_log SELECT * FROM audit_log"),
        text("TRUNCATE audit_log"),
    ],
    ids=["update", "delete", "upsert", "replace", "truncate"],
)
async def test_rows_of_the_audit_log_stay_as_they_are(database: Database, statement: Executable) -> None:
    """The database itself refuses to change them, whatever the program asks for."""
    await database.write(lambda connection: connection.execute(insert(audit_log).values(AUDIT_ROW)))
    with pytest.raises(DBAPIError) as caught:
        await database.write(lambda connection: connection.execute(statement))
    assert "append-only" in str(caught.value) or "syntax error" in str(caught.value)
    rows = await database.read(lambda connection: connection.execute(select(audit_log.c.actor)))
    assert rows.scalars().all() == ["x"]


async def test_the_audit_log_has_a_head_from_the_start(database: Database) -> None:
    """Whoever appends locks this row, so it has to be there."""
    rows = await database.read(lambda connection: connection.execute(select(audit_head)))
    assert rows.all() == [(1, 0, "")]


async def test_a_database_that_was_not_opened_does_not_answer(database_url: str) -> None:
    """Its callers get the same error as in an outage."""
    database = Database(database_url)
    assert await database.ping() is False
    with pytest.raises(StorageUnavailable):
        await database.read(count)
    await database.close()


async def test_a_statement_that_is_wrong_is_no_outage(database: Database) -> None:
    """It has to be seen as the mistake that it is."""
    with pytest.raises(DBAPIError):
        await database.read(lambda connection: connection.execute(text("SELECT nothing FROM nowhere")))
    assert await database.ping()
    await database.write(lambda connection: connection.execute(delete(leases)))


async def _cancelled() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def _ended(*callers: asyncio.Task[T]) -> list[asyncio.Task[T]]:
    await asyncio.wait(callers)
    return list(callers)


async def _until(database: Database, wanted: int) -> None:
    async with asyncio.timeout(30):
        while await database.read(count) != wanted:
            await asyncio.sleep(0.01)
