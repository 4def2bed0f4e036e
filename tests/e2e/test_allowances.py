"""Tokens, money and parallel requests of a key while many of its requests run at once and end in every way."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row

from gateway.limits.counters import Counters, Quota
from gateway.storage.tables import usage
from gateway.usage.recorder import DAY_MS, utc_day
from tests.e2e.admin import change, new_key, read, revoke
from tests.e2e.client import LUNARBIT, MODES, OPENAI, STREAMS, SURFACES, WHOLES, Client, Mode, Seen, ask
from tests.e2e.conftest import Start
from tests.e2e.server import Running, provider, serving, settings
from tests.e2e.tables import embedded_url, rows_of
from tests.upstream import Script, Upstream

CLIENTS = 50
USAGE = {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100}
# What is reserved for a prompt of two characters and an answer of at most fifty tokens.
MAX_TOKENS = 50
RESERVED = 55


@pytest.fixture(params=["memory", "redis"])
async def gateway(start: Start, a: Upstream, b: Upstream, request: pytest.FixtureRequest) -> Running:
    """A gateway that counts in this process, and one that counts in Redis."""
    redis = {} if request.param == "memory" else {"redis": {"url": request.getfixturevalue("redis_url")}}
    return await start({"a": provider(a), "b": provider(b)}, **redis)


def counters_of(gateway: Running) -> Counters:
    """Return what counts the tokens and slots of a gateway."""
    return gateway.app._wiring.counters


async def used_tokens(gateway: Running) -> int:
    """Return the tokens that the counters say were used by the only key of a test."""
    (key_id,) = {row.key_id for row in await ledger(gateway)}
    now = int(time.time() * 1000)
    # A test may run over midnight.
    quotas = [Quota(f"tokens:{key_id}:{utc_day(at)}", 0, now) for at in (now - DAY_MS, now)]
    return sum([await counters_of(gateway).used(quota) for quota in quotas])


async def ledger(gateway: Running) -> list[Row[Any]]:
    """Return the records of the AI requests so far."""
    await gateway.until(lambda: not any(gateway.in_flight()))
    await read(gateway, "/admin/keys/stats")
    return await rows_of(embedded_url(gateway.app.state.settings.data.dir), usage)


async def assert_settled(gateway: Running) -> int:
    """Hold that the counters say what the ledger says, and return it."""
    recorded = sum(int(row.prompt_tokens + row.completion_tokens) for row in await ledger(gateway))
    assert await used_tokens(gateway) == recorded
    return recorded


async def ask_at_once(gateway: Running, a: Upstream, key: str, admitted: int, **members: object) -> list[Seen]:
    """Have 50 clients ask at once; hold that so many are admitted together, then let them be answered."""
    calls, answers = len(a.chat_requests), len(gateway.requests_logged)
    gathered = asyncio.gather(*(ask(gateway, MODES[n % 4], key=key, **members) for n in range(CLIENTS)))
    await a.wait_for(lambda: a.in_flight >= admitted)
    await gateway.until(lambda: len(gateway.requests_logged) >= answers + CLIENTS - admitted)
    assert (len(a.chat_requests) - calls, a.in_flight) == (admitted, admitted)
    a.release.set()
    seen = await gathered
    a.release.clear()
    return seen


def codes(answers: list[Seen]) -> Counter[str | None]:
    """Return how often which error came, by the code of its surface in upper case; None for whole answers."""
    found = [(seen.error or {}).get("code") for seen in answers]
    return Counter(None if code is None else code.upper() for code in found)


async def test_parallel_requests_overshoot_the_tokens_of_a_day_by_at_most_one_answer_each(
    gateway: Running, a: Upstream
) -> None:
    """What is reserved is gone for everybody else, so fifty at once are no better off than one after the other."""
    a.default = Script.hold() + Script.text(usage=USAGE)
    key = await new_key(gateway, "user", tokensPerDay=1_000)
    # Eighteen reservations fit, and a nineteenth gets what is left.
    admitted = -(-1_000 // RESERVED)
    answers = await ask_at_once(gateway, a, key, admitted, max_tokens=MAX_TOKENS)
    assert Counter(seen.status for seen in answers) == {200: admitted, 429: CLIENTS - admitted}
    assert all(int(seen.headers["retry-after"]) >= 1 for seen in answers if seen.status == 429)
    assert await assert_settled(gateway) == admitted * USAGE["total_tokens"]
    assert (await ask(gateway, WHOLES[0], key=key)).status == 429


async def test_what_was_reserved_and_not_used_is_there_for_the_next(gateway: Running, a: Upstream) -> None:
    """Reserving must not cost anybody tokens: the last one admitted is the one that reaches the limit."""
    key = await new_key(gateway, "user", tokensPerDay=1_000)
    a.default = Script.text(usage={**USAGE, "prompt_tokens": 7, "completion_tokens": 5})
    statuses: list[int] = []
    while 429 not in statuses[-CLIENTS:]:
        answers = await asyncio.gather(*(ask(gateway, MODES[n % 4], key=key, max_tokens=5) for n in range(10)))
        statuses += [seen.status for seen in answers]
    # Twelve tokens each: after 83 of them there are four left.
    assert Counter(statuses)[200] == 84
    assert await assert_settled(gateway) == 84 * 12


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stream_that_has_used_up_the_tokens_of_its_key_ends_with_an_error(
    gateway: Running, a: Upstream, mode: Mode
) -> None:
    """One long answer must not be a way round the limit; three at once share what there is."""
    a.default = Script.endless(piece_bytes=40, interval_s=0.002)
    key = await new_key(gateway, "user", tokensPerDay=7_000)
    answers = await asyncio.gather(*(ask(gateway, mode, key=key) for _ in range(3)))
    for seen in answers:
        assert seen.status == 200
        assert seen.error is not None
        assert not seen.is_whole
        assert len(seen.text) > 400
    expected = "TOKEN_LIMIT_EXCEEDED" if mode.path == LUNARBIT else "RATE_LIMIT_EXCEEDED"
    assert codes(answers) == {expected: 3}
    await a.wait_for(lambda: a.in_flight == 0)
    assert all(call.disconnected.is_set() for call in a.chat_requests)
    # Ten tokens an event: a few may be on their way when the limit is reached.
    assert 7_000 <= await assert_settled(gateway) < 7_000 + 3 * 300
    assert (await ask(gateway, WHOLES[0], key=key)).status == 429


async def test_exactly_as_many_requests_as_allowed_run_at_once(gateway: Running, a: Upstream) -> None:
    """Neither one more nor one less, and when they are over there is room for as many again."""
    a.default = Script.hold() + Script.text()
    key = await new_key(gateway, "user", maxParallel=7)
    for _ in range(2):
        answers = await ask_at_once(gateway, a, key, 7)
        assert codes(answers) == {None: 7, "RATE_LIMIT_EXCEEDED": CLIENTS - 7}


async def _answered(gateway: Running, a: Upstream, key: str, mode: Mode) -> None:
    assert (await ask(gateway, mode, key=key)).is_whole


async def _failed(gateway: Running, a: Upstream, key: str, mode: Mode) -> None:
    a.default = Script.openai_error("context_length_exceeded")
    assert (await ask(gateway, mode, key=key)).status == 400


async def _failed_over(gateway: Running, a: Upstream, key: str, mode: Mode) -> None:
    a.default = Script.status(503)
    assert (await ask(gateway, mode, key=key)).headers["x-lunarbit-provider"] == "b"


async def _cut(gateway: Running, a: Upstream, key: str, mode: Mode) -> None:
    a.default = Script.reset_after(2)
    assert (await ask(gateway, mode, key=key)).is_whole is not mode.stream


async def _left(gateway: Running, a: Upstream, key: str, mode: Mode) -> None:
    a.default = Script.hang_after_headers()
    async with Client(gateway) as client:
        await client.ask(mode, key=key)
        await a.wait_for(lambda: a.in_flight)
        client.reset()
    await a.wait_for(lambda: not a.in_flight)


async def _left_midway(gateway: Running, a: Upstream, key: str, mode: Mode) -> None:
    a.default = Script.stall_after(2)
    async with Client(gateway) as client:
        await client.ask(mode, key=key)
        await a.wait_for(lambda: a.in_flight)
        if mode.stream:
            await client.reply(until=b"tok1")
    await a.wait_for(lambda: not a.in_flight)


ENDS: list[Callable[[Running, Upstream, str, Mode], Awaitable[None]]] = [
    *(_answered, _failed, _failed_over, _cut, _left, _left_midway),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))
async def test_tokens_and_slots_are_given_back_however_a_request_ends(
    gateway: Running, a: Upstream, end: Callable[[Running, Upstream, str, Mode], Awaitable[None]]
) -> None:
    """A slot that is lost stays lost, and a key whose slots are all lost is dead."""
    key = await new_key(gateway, "user", maxParallel=1, tokensPerDay=10**6)
    for mode in MODES:
        await end(gateway, a, key, mode)
        await gateway.until(lambda: not any(gateway.in_flight()))
    await assert_settled(gateway)
    a.default = Script.text("free")
    assert (await ask(gateway, WHOLES[0], key=key)).status == 200
    await assert_settled(gateway)


async def test_a_revoked_keys_answers_give_back_what_they_had(gateway: Running, a: Upstream) -> None:
    """The counters of a key outlive it until the end of the day."""
    a.default = Script.stall_after(2)
    key = await new_key(gateway, "user", maxParallel=4, tokensPerDay=10**6)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(gateway)) for _ in MODES]
        for client, mode in zip(clients, MODES, strict=True):
            await client.ask(mode, key=key)
        await a.wait_for(lambda: a.in_flight == len(MODES))
        for client, mode in zip(clients, MODES, strict=True):
            if mode.stream:
                await client.reply(until=b"tok1")
        await revoke(gateway, "user")
        for client in clients:
            await client.reply()
    assert await assert_settled(gateway) > 0


async def test_a_spent_budget_refuses_until_its_period_ends(tmp_path: Path, a: Upstream) -> None:
    """Money is counted when it is spent, also by a gateway that has started since."""
    (tmp_path / "prices.toml").write_text('currency = "EUR"\n[models."gpt-4"]\ninput = 100\noutput = 1000\n')
    configured = settings(tmp_path, {"a": provider(a)}, usage={"prices": tmp_path / "prices.toml"})
    # Seven tokens in and five out cost 0.0057.
    budget = {"amount": 0.05, "currency": "EUR", "period": "month"}
    async with serving(configured) as gateway:
        key = await new_key(gateway, "user", budget=budget)
        for number in range(9):
            assert (await ask(gateway, MODES[number % 4], key=key)).status == 200
        await assert_budget_is_spent(gateway, key)
    async with serving(configured) as gateway:
        await assert_budget_is_spent(gateway, key)
        (report,) = (await read(gateway, "/admin/usage?group_by=key"))["rows"]
    assert report["cost"] == pytest.approx(9 * 0.0057)
    assert (report["requests"], report["errors"]) == (9 + 2 * len(SURFACES), 2 * len(SURFACES))


async def assert_budget_is_spent(gateway: Running, key: str) -> None:
    """Hold that both surfaces refuse, and that SDKs are told not to try again."""
    for path in SURFACES:
        seen = await ask(gateway, Mode(path, stream=False), key=key)
        assert seen.status == 429
        assert (seen.error or {})["code"] == ("insufficient_quota" if path == OPENAI else "BUDGET_EXCEEDED")
        if path == OPENAI:
            assert seen.headers["x-should-retry"] == "false"


async def test_the_tokens_of_a_day_are_remembered_over_a_restart(tmp_path: Path, a: Upstream) -> None:
    """Otherwise every deployment would be a present."""
    configured = settings(tmp_path, {"a": provider(a)})
    async with serving(configured) as gateway:
        key = await new_key(gateway, "user", tokensPerDay=30)
        for _ in range(2):
            assert (await ask(gateway, WHOLES[0], key=key)).status == 200
    async with serving(configured) as gateway:
        assert (await ask(gateway, WHOLES[0], key=key)).status == 200
        assert (await ask(gateway, WHOLES[0], key=key)).status == 429


async def test_what_is_written_just_now_counts_once(one: Running) -> None:
    """The first request of a limited key adds what the ledger has to what waits to be written, and that may move."""
    key = await new_key(one, "user")
    for mode in MODES:
        assert (await ask(one, mode, key=key)).status == 200
    one.app.state.allowances._spent = Slow(one)
    await change(one, "user", tokensPerDay=10**6)
    assert (await ask(one, WHOLES[0], key=key)).status == 200
    assert await assert_settled(one) == 12 * (len(MODES) + 1)


class Slow:
    """The ledger, to which is written while somebody asks it for the first time."""

    def __init__(self, gateway: Running) -> None:
        self._recorder = gateway.app._wiring.recorder
        self._spent = gateway.app.state.allowances._spent
        self._asked = False

    async def tokens_used(self, key_id: str, day: str) -> int:
        """Write, and return what is written then."""
        if not self._asked:
            self._asked = True
            await self._recorder.flush()
        return await self._spent.tokens_used(key_id, day)

    async def spent_nano(self, key_id: str, from_day: str) -> int:
        """Return what the ledger says."""
        return await self._spent.spent_nano(key_id, from_day)
