"""What only a server can do: refuse, restart, crash, stop answering, and be reached by many kinds of address."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from gateway.errors import StorageUnavailable
from gateway.storage.database import Database, DatabaseUnusable
from tests.services.postgres import PASSWORD, USER
from tests.storage.work import add_one, count, get, nothing, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from io import BytesIO

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.services.postgres import PostgresServer

pytestmark = pytest.mark.slow

PATIENCE_S = 3.0


@pytest_asyncio.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """Open an empty database that has been used, so that there are connections."""
    opened = Database(postgres_url, patience_s=PATIENCE_S)
    await opened.open()
    await opened.write(put("a"))
    yield opened
    await opened.close()


async def test_sessions_are_set_up_for_a_gateway(database: Database) -> None:
    """Nothing may take for ever, and an administrator sees whose session it is."""

    async def settings(connection: AsyncConnection) -> dict[str, Any]:
        names = ["application_name", "statement_timeout", "lock_timeout", "synchronous_commit"]
        names += ["transaction_isolation", "transaction_read_only"]
        return {name: await connection.scalar(text(f"SHOW {name}")) for name in names}

    common = {"application_name": "lunarbit", "statement_timeout": "3s", "lock_timeout": "1500ms"}
    common |= {"synchronous_commit": "on"}
    writing = {"transaction_isolation": "read committed", "transaction_read_only": "off"}
    reading = {"transaction_isolation": "repeatable read", "transaction_read_only": "on"}
    assert await database.write(settings) == {**common, **writing}
    assert await database.read(settings) == {**common, **reading}


async def test_the_address_may_say_otherwise(postgres_url: str) -> None:
    """An operator may want another name or another limit."""
    database = Database(f"{postgres_url}?application_name=mine&statement_timeout=1234&sslmode=disable")
    await database.open()
    try:
        show = text("SELECT current_setting('application_name'), current_setting('statement_timeout')")
        answer = await database.read(lambda connection: connection.execute(show))
        assert answer.all() == [("mine", "1234ms")]
    finally:
        await database.close()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_server_that_is_gone_is_an_outage_until_it_is_back(
    database: Database, postgres: PostgresServer, end: str, log: BytesIO
) -> None:
    """Nobody has to restart the gateway because the database was restarted or has crashed."""
    assert await database.ping()
    getattr(postgres, end)()
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            await database.write(add_one("a"))
        with pytest.raises(StorageUnavailable):
            await database.read(count)
        assert await database.ping() is False
    postgres.start()
    assert await database.ping()
    assert await database.write(add_one("a")) == 1
    assert await database.read(get("a")) == 1
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert len([line for line in lines if line["event"] == "storage_unavailable"]) == 1
    assert PASSWORD not in log.getvalue().decode()


async def test_a_restart_between_two_calls_is_not_noticed(database: Database, postgres: PostgresServer) -> None:
    """A connection that was cut while nobody used it is replaced before it is used."""
    await asyncio.gather(*(database.write(nothing) for _ in range(20)))
    postgres.restart()
    answers = await asyncio.gather(*(database.write(add_one("a")) for _ in range(20)))
    assert sorted(answers) == list(range(1, 21))


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_transaction_that_is_cut_fails_as_an_outage(
    database: Database, postgres: PostgresServer, end: str
) -> None:
    """And its part that was done is undone."""

    async def work(connection: AsyncConnection) -> None:
        await add_one("a")(connection)
        await asyncio.to_thread(getattr(postgres, end))
        await add_one("a")(connection)

    with pytest.raises(StorageUnavailable):
        await database.write(work)
    postgres.start()
    assert await database.read(get("a")) == 0


async def test_a_lock_that_another_session_holds_is_an_outage_for_who_needs_it(
    database: Database, postgres_url: str
) -> None:
    """Waiting is bounded; others go on meanwhile."""
    other, held, finish = Database(postgres_url), asyncio.Event(), asyncio.Event()
    await other.open()

    async def hold(connection: AsyncConnection) -> None:
        await add_one("a")(connection)
        held.set()
        await finish.wait()

    holder = asyncio.create_task(other.write(hold))
    await held.wait()
    with pytest.raises(StorageUnavailable):
        await database.write(add_one("a"))
    await database.write(put("b"))
    finish.set()
    await holder
    assert await database.write(add_one("a")) == 2
    await other.close()


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(database: Database) -> None:
    """The caller is told, and the connection is free for others."""
    sleep = text("SELECT pg_sleep(60)")
    told = await asyncio.gather(
        *(database.read(lambda connection: connection.execute(sleep)) for _ in range(8)), return_exceptions=True
    )
    assert [type(answer) for answer in told] == [StorageUnavailable] * 8
    assert await database.read(count) == 1


async def test_a_deadlock_is_an_outage_for_one_of_both(database: Database) -> None:
    """The other one goes through, and the same call made again would too."""
    await database.write(put("b"))
    both = asyncio.Barrier(2)

    async def cross(connection: AsyncConnection, first: str, second: str) -> None:
        await add_one(first)(connection)
        await both.wait()
        await add_one(second)(connection)

    told = await asyncio.gather(
        database.write(lambda connection: cross(connection, "a", "b")),
        database.write(lambda connection: cross(connection, "b", "a")),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in told) == ["NoneType", "StorageUnavailable"]
    assert (await database.read(get("a")), await database.read(get("b"))) == (1, 1)


async def test_a_server_that_stops_answering_is_an_outage(database: Database, postgres: PostgresServer) -> None:
    """No packet comes back, as behind a firewall that has lost its state; nothing waits longer than it should."""
    await database.read(nothing)
    backends = [
        int(pid) for pid in postgres.sql("SELECT pid FROM pg_stat_activity WHERE datname ~ '^lunarbit_'").split()
    ]
    with _frozen([*backends, postgres.pid]):
        with pytest.raises(StorageUnavailable):
            await database.write(add_one("a"))
        assert await database.ping() is False
        with pytest.raises(StorageUnavailable):
            await database.read(count)
    async with asyncio.timeout(60):
        while not await database.ping():
            await asyncio.sleep(0.05)
    assert await database.read(count) == 1


async def test_a_table_that_is_gone_makes_the_gateway_unready(database: Database, postgres: PostgresServer) -> None:
    """As when the database was made anew behind the gateway's back."""
    name = await database.read(lambda connection: connection.scalar(text("SELECT current_database()")))
    postgres.sql("DROP TABLE audit_head", str(name))
    assert await database.ping() is False


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("postgresql://", "postgres://"),
        lambda url: url.replace("postgresql://", "postgresql+asyncpg://"),
        lambda url: f"{url}?sslmode=disable",
        lambda url: f"{url}?sslmode=prefer",
        lambda url: url.replace("127.0.0.1", "localhost"),
    ],
)
async def test_every_usual_form_of_address_works(postgres_url: str, change: Callable[[str], str]) -> None:
    """Also with a password full of characters that mean something in addresses."""
    database = Database(change(postgres_url))
    await database.open()
    assert await database.ping()
    await database.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda url: url.replace("s3cret", "wr0ng"), f'password authentication failed for user "{USER}"'),
        (lambda url: f"{url}_not", "does not exist"),
        (lambda url: f"{url}?sslmode=require", "SSL"),
        (lambda url: url.replace("%2F", "/"), "address"),
        (lambda url: f"{url}?target_session_attrs=canary", "address"),
    ],
)
async def test_what_is_wrong_with_an_address_is_told_without_its_password(
    postgres_url: str, change: Callable[[str], str], told: str
) -> None:
    """The message is printed and logged."""
    database = Database(change(postgres_url))
    with pytest.raises(DatabaseUnusable, match=told) as caught:
        await database.open()
    assert "\n" not in str(caught.value)
    for secret in ("s3cret", "wr0ng", "canary", "pass"):
        assert secret not in str(caught.value).replace("password authentication", "")
    assert await database.ping() is False


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg2://u:s3cret@h/d", "postgresql://u:s3cret@h/d?sslmode=s3cret", "postgresql://h/d?s3cret"]
)
def test_an_address_that_cannot_work_is_refused_before_anything_is_asked(url: str) -> None:
    """A mistake in the configuration is known before the start."""
    with pytest.raises(DatabaseUnusable, match=r"database\.url") as caught:
        Database(url)
    assert "s3cret" not in str(caught.value)


async def test_a_server_that_is_not_there_stops_the_start() -> None:
    """The message says which address was tried."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        database = Database(f"postgresql://u:s3cret@127.0.0.1:{port}/d")
        with pytest.raises(DatabaseUnusable, match=f"127.0.0.1.*{port}") as caught:
            await database.open()
    assert "s3cret" not in str(caught.value)


@contextmanager
def _frozen(pids: list[int]) -> Iterator[None]:
    """Stop processes; let them go on at the end, or soon if the test hangs."""

    def thaw() -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(60, thaw)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        thaw()
