"""A disk that takes nothing more: no file of the gateway may grow beyond what its database's log has reached."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.audit.verify import verify
from gateway.settings import Settings
from gateway.storage.tables import usage
from gateway.stores import DATABASE_FILE, Stores
from tests.e2e.admin import call, new_key, read, until
from tests.e2e.client import MODES, Client, Mode, Seen, ask
from tests.e2e.process import PEPPER, Process, gateway_process, status_of
from tests.e2e.tables import embedded_url, rows_of
from tests.upstream import Script, Upstream

BACK_S = 60.0

needs_prlimit = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux's prlimit")


@contextmanager
def full_disk(gateway: Process, data: Path) -> Iterator[None]:
    """Keep the database's log from growing, and with it everything that is longer; what was written can be read."""
    size = (data / f"{DATABASE_FILE}-wal").stat().st_size
    # The gateway's own log must stay shorter than that.
    assert size > 100_000
    before = resource.prlimit(gateway.program.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.program.pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(gateway.program.pid, resource.RLIMIT_FSIZE, before)


async def chat(gateway: Process, key: str, mode: Mode, request_id: str) -> None:
    """Hold that a chat is answered whole."""
    seen = await ask(gateway, mode, key=key, headers={"x-request-id": request_id})
    assert (seen.status, seen.is_whole, seen.error) == (200, True, None), seen.reply.body


@needs_prlimit
async def test_a_full_disk_stops_administration_and_nothing_else(tmp_path: Path, a: Upstream) -> None:
    """Users go on, nothing is half done, and when there is room again all that was used is written down."""
    async with gateway_process(tmp_path, {"a": a}) as gateway:
        known, fresh = await new_key(gateway, "known"), await new_key(gateway, "fresh")
        limited = await new_key(gateway, "limited", tokensPerDay=10**6, maxParallel=5)
        chats = [(key, mode) for key in (known, fresh, limited) for mode in MODES]
        await chat(gateway, known, MODES[0], "before")
        await read(gateway, "/admin/keys/stats")
        async with Client(gateway) as open_stream:
            a.queue(Script.text("abcd", hold_after=2))
            await open_stream.ask(MODES[0], key=known, headers={"x-request-id": "open"})
            await open_stream.reply(until=b'"b"')
            with full_disk(gateway, tmp_path / "data"):
                for number, (key, mode) in enumerate(chats):
                    await chat(gateway, key, mode, f"during-{number}")
                await assert_administration_is_refused(gateway)
                assert await status_of(gateway, "/health/live") == 200
                await until(lambda: _queues(gateway, len(chats)), BACK_S)
                a.release.set()
                seen = Seen(MODES[0], await open_stream.reply())
                assert (seen.text, seen.is_whole) == ("abcd", True)
        await until(lambda: _is_written(gateway), BACK_S)
        listed = (await read(gateway, "/admin/keys"))["keys"]
        assert [(key["name"], key["status"]) for key in listed] == [
            (name, "active") for name in ("known", "fresh", "limited")
        ]
        await new_key(gateway, "later")
        assert await gateway.metric("lunarbit_usage_records_dropped_total") == 0
    await assert_sound(tmp_path, ["before", "open", *(f"during-{number}" for number in range(len(chats)))])


async def assert_administration_is_refused(gateway: Process) -> None:
    """Hold that what must be kept, and cannot be, is refused for now."""
    answers = [
        await call(gateway, "POST", "/admin/keys", {"name": "too much"}),
        await call(gateway, "POST", "/admin/keys/known/rotate", {}),
        await call(gateway, "PATCH", "/admin/keys/known", {"description": "changed"}),
        await call(gateway, "DELETE", "/admin/keys/known"),
    ]
    assert [(answer.status, answer.code) for answer in answers] == [(503, "STORAGE_UNAVAILABLE")] * len(answers)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)


async def _queues(gateway: Process, records: int) -> bool:
    return await gateway.metric("lunarbit_usage_records_pending") >= records


async def _is_written(gateway: Process) -> bool:
    return await gateway.metric("lunarbit_usage_records_pending") == 0


async def assert_sound(folder: Path, request_ids: list[str]) -> None:
    """Hold that the ledger has these requests once each, and that the audit log has the acts that succeeded."""
    url = embedded_url(folder / "data")
    records = await rows_of(url, usage)
    assert Counter(record.request_id for record in records) == Counter(request_ids)
    stores = Stores(Settings(data={"dir": folder / "data"}, auth={"pepper": PEPPER}))
    await stores.database.open()
    try:
        log = await verify(stores.audit.rows(), stores.audit.head, stores.audit_keys)
        acts = [(row.action, row.target) async for row in stores.audit.rows()]
    finally:
        await stores.database.close()
    assert log.is_intact, log.findings
    assert acts == [("key.create", name) for name in ("known", "fresh", "limited", "later")]
