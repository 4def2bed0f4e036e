"""A key that is changed or revoked in one process, seen from all of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.admin import call, change, new_key, read, revoke, until
from tests.e2e.client import LUNARBIT, MODES, SURFACES, WHOLES, Client, Mode, Seen, ask, assert_error, bearer
from tests.e2e.process import Process, gateway_process
from tests.e2e.server import Running
from tests.e2e.tables import embedded_url, records_of
from tests.upstream import Script, Upstream

BODY = json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()


@dataclass
class Pair:
    """Two gateways with one database."""

    one: Process
    two: Process
    url: str


@asynccontextmanager
async def pair_of(folder: Path, a: Upstream, url: str) -> AsyncIterator[Pair]:
    """Run two gateways on one database."""
    async with (
        gateway_process(folder, {"a": a}, name="one", DATABASE_URL=url) as one,
        gateway_process(folder, {"a": a}, name="two", DATABASE_URL=url) as two,
    ):
        yield Pair(one, two, url)


@pytest.fixture(params=["sqlite", "postgresql"])
async def pair(tmp_path: Path, a: Upstream, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Two gateways on one database of each kind."""
    sqlite = request.param == "sqlite"
    url = embedded_url(tmp_path / "data") if sqlite else request.getfixturevalue("postgres_url")
    async with pair_of(tmp_path, a, url) as gateways:
        yield gateways


async def status_with(gateway: Process, key: str) -> int:
    """Return how a gateway answers to a key."""
    return (await call(gateway, "GET", "/v1/models", key=key)).status


async def test_a_revocation_reaches_every_process_and_every_open_answer(pair: Pair, a: Upstream) -> None:
    """A stolen key has to end where it is used, which is not where it is revoked."""
    key, other_key = await new_key(pair.one, "stolen"), await new_key(pair.one, "other")
    for gateway in (pair.one, pair.two):
        assert await status_with(gateway, key) == 200
    places = [(gateway, mode) for gateway in (pair.one, pair.two) for mode in MODES]
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(Client(gateway)) for gateway in (pair.one, pair.two)]
        a.queue(*[Script.text("abcd", hold_after=1)] * len(others))
        for client in others:
            await client.ask(MODES[0], key=other_key)
            await client.reply(until=b'"a"')
        a.default = Script.stall_after(2)
        clients = [await stack.enter_async_context(Client(gateway)) for gateway, _ in places]
        for client, (_, mode) in zip(clients, places, strict=True):
            await client.ask(mode, key=key)
        await a.wait_for(lambda: a.in_flight == len(places) + len(others))
        for client, (_, mode) in zip(clients, places, strict=True):
            if mode.stream:
                await client.reply(until=b"tok1")

        await revoke(pair.one, "stolen")
        assert await status_with(pair.one, key) == 401
        for client, (_, mode) in zip(clients, places, strict=True):
            seen = Seen(mode, await client.reply())
            assert seen.reply.ending == "complete"
            assert_error(seen, 401, "KEY_REVOKED")
            assert not mode.stream or seen.text == "tok0 tok1 "
        assert await status_with(pair.two, key) == 401
        await a.wait_for(lambda: a.in_flight == len(others))
        assert all(call.disconnected.is_set() for call in a.chat_requests[len(others) :])

        a.release.set()
        for client in others:
            seen = Seen(MODES[0], await client.reply())
            assert (seen.text, seen.is_whole, seen.error) == ("abcd", True, None)
    records = await records_of(pair.url, "stolen", len(places))
    assert {record.error_code for record in records} == {"KEY_REVOKED"}
    # What had come until then was paid for.
    shown = sorted((record.route, record.status, record.completion_tokens > 0) for record in records)
    assert shown == sorted((mode.path, 200 if mode.stream else 401, mode.stream) for _, mode in places)


async def test_changes_and_rotations_reach_every_process(pair: Pair) -> None:
    """A process that goes on with what it knew would give away what was taken back."""
    key = await new_key(pair.one, "app")
    for gateway in (pair.one, pair.two):
        assert await status_with(gateway, key) == 200
    await change(pair.two, "app", permissions={"canUseAI": False})
    assert await status_with(pair.two, key) == 403
    await until(lambda: _has_status(pair.one, key, 403))
    await change(pair.one, "app", permissions={"canUseAI": True})
    await until(lambda: _has_status(pair.two, key, 200))
    rotated = await call(pair.one, "POST", "/admin/keys/app/rotate", {"overlap": "0"})
    assert await status_with(pair.one, key) == 401
    # A new key is looked up where it is seen for the first time.
    assert await status_with(pair.two, rotated.document["key"]) == 200
    await until(lambda: _has_status(pair.two, key, 401))


async def _has_status(gateway: Process, key: str, status: int) -> bool:
    return await status_with(gateway, key) == status


def head(path: str, key: str, length: int) -> bytes:
    """Return the head of a POST with a body of so many bytes."""
    headers = {**bearer(key), "content-type": "application/json", "content-length": str(length)}
    lines = [f"POST {path} HTTP/1.1", "host: gateway", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("path", SURFACES)
async def test_a_request_that_is_still_being_sent_when_its_key_is_revoked_gets_no_answer(
    one: Running, a: Upstream, path: str
) -> None:
    """Whoever sends slowly would otherwise begin an answer that nobody ends."""
    key = await new_key(one, "slow")
    async with Client(one) as client:
        await client.send_part(head(path, key, len(BODY)) + BODY[:10])
        await one.until(lambda: one.metric("lunarbit_http_requests_in_flight"))
        await revoke(one, "slow")
        await client.send_part(BODY[10:])
        seen = Seen(Mode(path, stream=True), await client.reply())
    assert_error(seen, 401, "KEY_REVOKED")
    assert a.chat_requests == []


async def test_another_keys_answers_do_not_end_with_a_revocation(one: Running, a: Upstream) -> None:
    """Only who is meant is hit, and a name that is used again is another key."""
    first = await new_key(one, "app")
    await revoke(one, "app")
    second = await new_key(one, "app")
    assert_error(await ask(one, WHOLES[0], key=first), 401, "KEY_REVOKED")
    seen = await ask(one, WHOLES[0], key=second)
    assert (seen.status, seen.mode.path) == (200, LUNARBIT)


async def test_an_administrator_whose_key_is_revoked_while_sending_creates_nothing(one: Running) -> None:
    """The first thing to do with a stolen key would be to make another one, in a request that is kept waiting."""
    permissions = {"canCreateKeys": True, "canUseAI": True}
    key = await new_key(one, "thief", permissions=permissions)
    body = json.dumps({"name": "heir", "permissions": permissions}).encode()
    async with Client(one) as client:
        await client.send_part(head("/admin/keys", key, len(body)) + body[:10])
        await one.until(lambda: one.metric("lunarbit_http_requests_in_flight"))
        await revoke(one, "thief")
        await client.send_part(body[10:])
        seen = Seen(WHOLES[0], await client.reply())
    assert_error(seen, 401, "KEY_REVOKED")
    assert [entry["name"] for entry in (await read(one, "/admin/keys"))["keys"]] == ["thief"]
