"""A PostgreSQL that is stopped, that crashes, or that hangs, under a gateway that has to go on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway.storage.tables import key_days, usage
from tests.e2e.admin import Answer, call, new_key, until
from tests.e2e.client import MODES, STREAMS, WHOLES, Client, Mode, Seen, ask
from tests.e2e.process import Process, gateway_process, status_of
from tests.e2e.tables import rows_of
from tests.services.postgres import PostgresServer
from tests.upstream import Script, Upstream

pytestmark = pytest.mark.slow

# The gateway waits 10 s for its database; a request that has nothing to ask there waits for none of it.
SOON_S = 5.0
BACK_S = 60.0
# Keys that are known have to go on for a minute at least.
LONG_S = 65.0 if os.environ.get("LUNARBIT_TEST_FULL") == "1" else 0.0
BUDGET = {"amount": 1000, "currency": "USD", "period": "day"}


@contextmanager
def outage(server: PostgresServer, kind: str) -> Iterator[None]:
    """Take the database away, and bring it back."""
    if kind == "hangs":
        with hung(server):
            yield
        return
    if kind == "is stopped":
        server.stop()
    else:
        server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def hung(server: PostgresServer) -> Iterator[None]:
    """Keep every process of the server from running; connections stay open, and new ones are taken by the kernel."""
    assert server._process is not None
    parent = server._process.pid
    os.kill(parent, signal.SIGSTOP)
    pids = [parent, *children_of(parent)]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def children_of(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    return [
        int(pid) for task in Path(f"/proc/{parent}/task").iterdir() for pid in (task / "children").read_text().split()
    ]


class Clients:
    """Asks a gateway with keys of all kinds, and counts what should stand in its ledger."""

    def __init__(self, gateway: Process) -> None:
        self.gateway = gateway
        self.asked = 0

    async def chat(self, key: str, mode: Mode) -> float:
        """Hold that a chat is answered whole, and return how long that took (s)."""
        self.asked += 1
        started = time.monotonic()
        seen = await ask(self.gateway, mode, key=key, headers={"x-request-id": f"chat-{self.asked}"})
        assert (seen.status, seen.is_whole, seen.error) == (200, True, None), seen.reply.body
        return time.monotonic() - started

    async def chats(self, key: str) -> float:
        """Hold that every kind of chat is answered, and return the longest time (s)."""
        return max([await self.chat(key, mode) for mode in MODES])


@pytest.fixture
async def gateway(tmp_path: Path, a: Upstream, postgres_url: str) -> AsyncIterator[Process]:
    """A gateway on PostgreSQL, whose provider may pause for longer than any outage here."""
    toml = "[providers.a.timeouts]\nidle_s = 300\n"
    async with gateway_process(tmp_path, {"a": a}, toml=toml, DATABASE_URL=postgres_url) as process:
        yield process


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["is stopped", "crashes", "hangs"])
async def test_traffic_goes_on_and_nothing_is_lost_while_the_database(
    gateway: Process, a: Upstream, postgres: PostgresServer, postgres_url: str, kind: str
) -> None:
    """Users must not notice, nobody may be told that a good key is bad, and the bill must be right afterwards."""
    clients = Clients(gateway)
    known, fresh = await new_key(gateway, "known"), await new_key(gateway, "fresh")
    limited = await new_key(gateway, "limited", tokensPerDay=10**6, budget=BUDGET, maxParallel=100)
    await clients.chats(known)
    assert (await call(gateway, "GET", "/v1/models", key=limited)).status == 200
    async with Client(gateway) as open_stream:
        a.queue(Script.text("abcd", hold_after=2))
        clients.asked += 1
        await open_stream.ask(STREAMS[0], key=known, headers={"x-request-id": "open"})
        await open_stream.reply(until=b'"b"')
        with outage(postgres, kind):
            assert await clients.chats(known) < SOON_S
            # Of the key that has limits nothing is known yet: it is let through, and pays for asking once at most.
            times = [await clients.chat(limited, mode) for mode in MODES]
            assert sum(times) < SOON_S
            await assert_refused_for_now(gateway, fresh)
            assert await status_of(gateway, "/health/live") == 200
            await until(lambda: _metric_is(gateway, "lunarbit_database_up", 0), BACK_S)
            await until(lambda: _queues(gateway, 2 * len(MODES)), BACK_S)
            await asyncio.sleep(LONG_S)
            assert await clients.chats(known) < SOON_S
            assert await clients.chats(limited) < SOON_S
            a.release.set()
            seen = Seen(STREAMS[0], await open_stream.reply())
            assert (seen.text, seen.is_whole) == ("abcd", True)
    await until(lambda: _is_back(gateway), BACK_S)
    await clients.chat(fresh, WHOLES[0])
    await new_key(gateway, "later")
    await until(lambda: _metric_is(gateway, "lunarbit_usage_records_pending", 0), BACK_S)
    assert await gateway.metric("lunarbit_usage_records_dropped_total") == 0
    await assert_ledger_is_complete(postgres_url, clients)
    complaints = {line["event"] for line in gateway.log if line["level"] == "error"}
    assert complaints <= {"storage_unavailable", "usage_not_written_yet"}


async def assert_refused_for_now(gateway: Process, fresh: str) -> None:
    """Hold that what cannot be known or kept now is refused for now, and never as if it were wrong."""

    async def chat(mode: Mode) -> Answer:
        seen = await ask(gateway, mode, key=fresh, timeout_s=BACK_S)
        return Answer(seen.status, seen.document, seen.headers)

    answers = await asyncio.gather(
        *(chat(mode) for mode in MODES),
        call(gateway, "POST", "/admin/keys", {"name": "too early"}),
        call(gateway, "PATCH", "/admin/keys/known", {"description": "changed"}),
        call(gateway, "DELETE", "/admin/keys/known"),
        call(gateway, "GET", "/admin/usage"),
        call(gateway, "GET", "/health/ready"),
    )
    assert {answer.status for answer in answers} == {503}
    assert {str(answer.code).upper() for answer in answers} == {"STORAGE_UNAVAILABLE"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)


async def _metric_is(gateway: Process, name: str, value: float) -> bool:
    return await gateway.metric(name) == value


async def _queues(gateway: Process, records: int) -> bool:
    return await gateway.metric("lunarbit_usage_records_pending") >= records


async def _is_back(gateway: Process) -> bool:
    return await status_of(gateway, "/health/ready") == 200 and await _metric_is(gateway, "lunarbit_database_up", 1)


async def assert_ledger_is_complete(url: str, clients: Clients) -> None:
    """Hold that every chat is in the ledger once, and that the counters of the days say the same."""
    records = await rows_of(url, usage)
    assert Counter(record.request_id for record in records) == Counter(
        ["open", *(f"chat-{number}" for number in range(1, clients.asked + 1) if number != len(MODES) + 1)]
    )
    tokens, counted = Counter[str](), Counter[str]()
    for record in records:
        tokens[record.key_id] += record.prompt_tokens + record.completion_tokens
    for day in await rows_of(url, key_days):
        counted[day.key_id] += day.prompt_tokens + day.completion_tokens
    assert +counted == tokens


async def test_a_gateway_whose_database_hangs_can_still_be_stopped(gateway: Process, postgres: PostgresServer) -> None:
    """An operator who restarts what is stuck must not have to kill it; what could not be written is in the log."""
    key = await new_key(gateway, "known")
    assert (await ask(gateway, WHOLES[0], key=key)).status == 200
    with hung(postgres):
        for _ in range(3):
            assert (await ask(gateway, WHOLES[0], key=key)).status == 200
        gateway.program.send_signal(signal.SIGTERM)
        assert await gateway.stopped() == 0
    (lost,) = [line for line in gateway.log if line["event"] == "usage_not_written"]
    assert lost["records"] >= 3
