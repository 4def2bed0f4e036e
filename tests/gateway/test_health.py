"""Health, liveness and readiness: alive while the loop runs, ready while traffic may come."""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import asynccontextmanager, closing
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import anyio
import pytest

from gateway.app import Gateway, create_app
from gateway.drain import Drain
from gateway.errors import GatewayError, KeyRevoked, ShuttingDown
from gateway.storage.failures import DatabaseUnusable
from gateway.storage.sqlite_backend import SQLiteBackend
from gateway.stores import DATABASE_FILE
from gateway.version import VERSION
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import HELLO, KEY, asgi_client, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import httpx
    from starlette.types import Message


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient, Path]]:
    """Run a gateway; yield it, a client, and the path of its database."""
    app = create_app(settings_for(tmp_path))
    async with asgi_client(app) as client:
        yield app, client, tmp_path / "data" / DATABASE_FILE


async def test_health_is_the_document_of_the_page(client: httpx.AsyncClient) -> None:
    """Exactly its three fields, with the version of the package."""
    document = (await client.get("/health")).json()
    assert set(document) == {"status", "timestamp", "version"}
    assert document["status"] == "healthy"
    assert document["version"] == VERSION == version("lunarbit-gateway")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["timestamp"])


async def test_a_gateway_that_has_started_is_ready(tmp_path: Path) -> None:
    """The database is opened before the first request."""
    async with running(tmp_path) as (_, client, file):
        assert (await client.get("/health/ready")).json() == {"status": "ready"}
        assert file.exists()


async def test_a_draining_gateway_is_alive_but_not_ready(tmp_path: Path) -> None:
    """The load balancer looks elsewhere; nobody restarts the process; new chats are refused with Retry-After."""
    async with running(tmp_path) as (app, client, _):
        app.begin_drain()
        ready = await client.get("/health/ready")
        assert_canonical_error(ready, "SHUTTING_DOWN", 503)
        assert int(ready.headers["retry-after"]) >= 1
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health")).status_code == 200
        for path in ("/ai/chat", "/v1/chat/completions"):
            refused = await client.post(path, json=HELLO, headers=KEY)
            assert_canonical_error(refused, "SHUTTING_DOWN", 503)
            assert int(refused.headers["retry-after"]) >= 1


def _delete(file: Path) -> None:
    file.unlink()


def _delete_folder(file: Path) -> None:
    for other in file.parent.iterdir():
        other.unlink()
    file.parent.rmdir()


def _corrupt(file: Path) -> None:
    file.write_bytes(b"this is not a database" * 500)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _replace(file: Path) -> None:
    other = file.with_name("other")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (a)")
    other.replace(file)


@pytest.mark.parametrize("spoil", [_delete, _delete_folder, _corrupt, _empty, _replace])
async def test_a_gateway_whose_database_is_spoilt_is_not_ready(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """The pages in memory would still answer, so the file itself is asked."""
    async with running(tmp_path) as (_, client, file):
        assert (await client.get("/health/ready")).status_code == 200
        spoil(file)
        for _ in range(2):
            response = await client.get("/health/ready")
            assert_canonical_error(response, "STORAGE_UNAVAILABLE", 503)
            assert int(response.headers["retry-after"]) >= 1
        assert (await client.get("/health/live")).status_code == 200


async def test_a_writer_that_holds_its_lock_does_not_make_the_gateway_unready(tmp_path: Path) -> None:
    """In WAL mode readers never wait for the writer, so a long transaction elsewhere is no outage."""
    async with running(tmp_path) as (_, client, file):
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert (await client.get("/health/ready")).status_code == 200


async def test_a_database_that_does_not_answer_in_time_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs blocks one thread, however often somebody asks."""
    monkeypatch.setattr("gateway.storage.database.PING_TIMEOUT_S", 0.05)
    recovered = threading.Event()
    asked = 0

    def hang(_: SQLiteBackend) -> bool:
        nonlocal asked
        asked += 1
        return recovered.wait(20)

    monkeypatch.setattr(SQLiteBackend, "_read_anew", hang)
    async with running(tmp_path) as (_, client, _file):
        for _ in range(3):
            assert_canonical_error(await client.get("/health/ready"), "STORAGE_UNAVAILABLE", 503)
        assert asked == 1
        recovered.set()
        while (await client.get("/health/ready")).status_code != 200:
            await anyio.sleep(0.01)


def _a_file_for_a_folder(data: Path) -> None:
    data.write_text("a file where a folder should be")


def _no_database(data: Path) -> None:
    data.mkdir()
    (data / DATABASE_FILE).write_bytes(b"something else entirely" * 100)


@pytest.mark.parametrize("spoil", [_a_file_for_a_folder, _no_database])
async def test_a_database_that_cannot_be_opened_stops_the_start(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """Better no gateway than one that loses what it should keep. It says why in one line, and touches nothing."""
    spoil(tmp_path / "data")
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        told.append(message)

    with pytest.raises(DatabaseUnusable):
        await create_app(settings_for(tmp_path))({"type": "lifespan", "state": {}}, receive, send)
    (failed,) = told
    assert failed["type"] == "lifespan.startup.failed"
    assert DATABASE_FILE in failed["message"]
    assert "cannot be used" in failed["message"]
    assert "\n" not in failed["message"]
    found = tmp_path / "data"
    kept = found if found.is_file() else found / DATABASE_FILE
    assert kept.read_bytes().startswith((b"a file where", b"something else"))


async def test_calls_hear_of_the_end_of_the_grace_once() -> None:
    """Also one that begins to listen when the grace is over already."""
    drain = Drain(0.01)
    heard: list[GatewayError] = []
    drain.add(heard.append, "k")
    forgotten: list[GatewayError] = []
    drain.add(forgotten.append, "k")
    drain.remove(forgotten.append)
    drain.check()
    drain.begin()
    drain.begin()
    with pytest.raises(ShuttingDown) as caught:
        drain.check()
    assert int(caught.value.headers["retry-after"]) >= 1
    while not heard:
        await anyio.sleep(0.005)
    await anyio.sleep(0.05)
    assert [type(error) for error in heard] == [ShuttingDown]
    late: list[GatewayError] = []
    drain.add(late.append, "k")
    assert [type(error) for error in late] == [ShuttingDown]
    assert forgotten == []


def test_the_calls_of_one_key_can_be_ended_alone() -> None:
    """A revocation is nobody else's business; the others go on, and what has ended hears nothing."""
    drain = Drain(1.0)
    heard: list[str] = []
    bells = {name: partial(_ring, heard, name) for name in ("a1", "a2", "b", "anonymous")}
    for name, key_id in (("a1", "a"), ("a2", "a"), ("b", "b"), ("anonymous", "")):
        drain.add(bells[name], key_id)
    drain.remove(bells["a2"])
    drain.end_calls_of("a", KeyRevoked("revoked"))
    drain.end_calls_of("nobody", KeyRevoked("revoked"))
    assert heard == ["a1 KEY_REVOKED"]
    assert not drain.draining
    drain.check()


def _ring(heard: list[str], name: str, error: GatewayError) -> None:
    heard.append(f"{name} {error.code}")
