"""A whole gateway that is killed, or stopped, while its clients are at work."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.auth.bootstrap import ADMIN
from gateway.context import CLIENT_GONE
from gateway.settings import Settings
from gateway.storage.tables import audit_log, key_days, usage
from gateway.stores import DATABASE_FILE
from tests.durability.evidence import assert_file_is_sound, assert_nothing_lost, opened
from tests.durability.load import ADMINISTRATORS, USERS, Answered, keep_busy
from tests.durability.writer import Ack
from tests.e2e.admin import new_key
from tests.e2e.process import PEPPER, Process, gateway_process
from tests.e2e.tables import embedded_url, rows_of
from tests.upstream import Upstream

pytestmark = pytest.mark.slow

FULL = os.environ.get("LUNARBIT_TEST_FULL") == "1"
KILLS = 5 if FULL else 3
KILLS_POSTGRES = 2 if FULL else 1
# The gateway may lose a second. To write usage takes as long as an act does, and waits for as much before it, which is
# long on a machine that is busy with other tests.
MOST_LOST_S = 1.5
BUSY_S = (1.7, 2.5)
ENDED_S = 60.0


def settings_of(folder: Path, url: str) -> Settings:
    """Return settings that open the stores of the gateway of `folder`."""
    return Settings(data={"dir": folder / "data"}, database={"url": url}, auth={"pepper": PEPPER})


async def busy_until(process: Process, sent: signal.Signals, name: str, key: str, answered: Answered) -> float:
    """Keep a gateway busy, send it a signal, and return when that was (monotonic seconds)."""
    clients = asyncio.create_task(keep_busy(process, name, key, answered))
    await asyncio.sleep(random.uniform(*BUSY_S))
    assert not clients.done(), clients.exception()
    process.program.send_signal(sent)
    sent_at = time.monotonic()
    async with asyncio.timeout(ENDED_S):
        await process.stopped()
        await clients
    return sent_at


async def ledger(url: str) -> Counter[str]:
    """Return the ids of the AI requests in the ledger, after holding that the counters of the days agree with it."""
    records = await rows_of(url, usage)
    days = [day for day in await rows_of(url, key_days) if day.key_id != ADMIN.id]
    errors = [record for record in records if record.status != CLIENT_GONE and record.error_code is not None]
    assert sum(day.requests for day in days) == len(records)
    assert sum(day.errors for day in days) == len(errors)
    assert sum(day.prompt_tokens for day in days) == sum(record.prompt_tokens for record in records)
    assert sum(day.completion_tokens for day in days) == sum(record.completion_tokens for record in records)
    return Counter(record.request_id for record in records)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_killed_gateway_has_kept_every_act_and_all_usage_but_the_last_second(
    tmp_path: Path, a: Upstream, kind: str, request: pytest.FixtureRequest
) -> None:
    """Whoever was told that a key is revoked can rely on it, and whoever is billed can too."""
    url = embedded_url(tmp_path / "data") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    answered, lost, key = Answered(), [], ""
    for number in range(KILLS if kind == "sqlite" else KILLS_POSTGRES):
        async with gateway_process(tmp_path, {"a": a}, DATABASE_URL=url) as process:
            if not key:
                key = await new_key(process, "user")
                answered.acts += await created(url, key)
            before = len(answered.chats)
            killed_at = await busy_until(process, signal.SIGKILL, f"r{number}", key, answered)
        recorded = await ledger(url)
        assert set(recorded.values()) == {1}
        chats = list(answered.chats.items())[before:]
        assert len(chats) > USERS
        lost += [killed_at - at for request_id, at in chats if request_id not in recorded]
    assert max(lost, default=0.0) < MOST_LOST_S + 2 * answered.slowest_s
    async with opened(settings_of(tmp_path, url)) as stores:
        await assert_nothing_lost(stores, answered.acts, KILLS * ADMINISTRATORS)
    if kind == "sqlite":
        assert_file_is_sound(tmp_path / "data" / DATABASE_FILE)


async def created(url: str, key: str) -> list[Ack]:
    """Return the act that made the first key, whose request's id the gateway chose."""
    (row,) = await rows_of(url, audit_log)
    return [Ack(row.action, row.target, row.request_id, key)]


async def test_a_stopped_gateway_has_kept_all_usage(tmp_path: Path, a: Upstream) -> None:
    """A restart in order must cost nothing: what was answered is in the ledger, once."""
    url, answered = embedded_url(tmp_path / "data"), Answered()
    async with gateway_process(tmp_path, {"a": a}) as process:
        key = await new_key(process, "user")
        await busy_until(process, signal.SIGTERM, "r", key, answered)
        assert await process.stopped() == 0
    recorded = await ledger(url)
    assert set(recorded.values()) == {1}
    assert answered.chats.keys() <= recorded.keys()
    assert len(answered.chats) <= len(recorded) <= len(answered.chats) + USERS
