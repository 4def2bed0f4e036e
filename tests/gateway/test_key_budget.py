"""`budget` and `maxParallel`: what a key may cost in a period, and how much it may have open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import HELLO, KEY, asgi_client, served, until, upstream_toml
from tests.gateway.keyring import DAY_S, HOUR_S, Clock, clocked_app, make_key, path_of
from tests.gateway.test_metrics import scrape, value
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CHATS = ["/ai/chat", "/v1/chat/completions"]
# Seven tokens of prompt and five of completion then cost 1.7 USD.
PRICES = """
currency = "USD"
[models.gpt-4]
input = 100_000
output = 200_000
"""


class Rig(NamedTuple):
    """A gateway with prices, its provider and its clock."""

    client: httpx.AsyncClient
    up: Upstream
    clock: Clock

    async def key(self, name: str = "k", **limits: Any) -> dict[str, str]:
        """Make a key that may use AI, with these limits."""
        return await make_key(self.client, name, "canUseAI", **limits)

    async def chat(self, key: dict[str, str], path: str = "/ai/chat", **fields: Any) -> httpx.Response:
        """Ask for an answer."""
        return await self.client.post(path, json={**HELLO, **fields}, headers=key)

    async def statuses(self, key: dict[str, str], count: int) -> list[int]:
        """Ask again and again."""
        return [(await self.chat(key)).status_code for _ in range(count)]


def toml_with_prices(tmp_path: Path, up: Upstream) -> str:
    """Return the configuration of a gateway for which `gpt-4` has a price and nothing else."""
    (tmp_path / "prices.toml").write_text(PRICES, encoding="utf-8")
    toml = f"[providers.up]\nkind = 'openai'\nbase_url = '{up.base_url}'\nmodels = ['gpt-4', 'free']\n"
    return toml + f"[usage]\nprices = '{tmp_path / 'prices.toml'}'\n"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Run a gateway at ten in the morning of a Saturday, 2026-02-07."""
    clock = Clock()
    async with Upstream() as up, asgi_client(clocked_app(tmp_path, clock, toml_with_prices(tmp_path, up))) as client:
        yield Rig(client, up, clock)


def budget(amount: float, period: str = "day") -> dict[str, Any]:
    """Return a budget as it is sent."""
    return {"amount": amount, "currency": "USD", "period": period}


# Until when after the start of a test a period lasts, in seconds; the next Monday, and the first of March.
PERIODS = {"day": 14 * HOUR_S, "week": 38 * HOUR_S, "month": 21 * DAY_S + 14 * HOUR_S}


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("period", PERIODS)
async def test_a_budget_is_for_one_period(rig: Rig, path: str, period: str) -> None:
    """A request begins as long as some of it is left; when it is spent, asking again does not help until it is over."""
    key = await rig.key(budget=budget(3, period))
    assert [(await rig.chat(key, path)).status_code for _ in range(3)] == [200, 200, 429]
    refused = await rig.chat(key, path, stream=True)
    error = assert_canonical_error(refused, "BUDGET_EXCEEDED", 429)
    assert "retry-after" not in refused.headers
    if path == "/ai/chat":
        assert error["details"] == {"limit": 3.0, "currency": "USD", "period": period}
    else:
        assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
        assert refused.headers["x-should-retry"] == "false"
    assert "3 USD" in error["message"]
    rig.clock.turn(PERIODS[period] - 0.001)
    assert (await rig.chat(key, path)).status_code == 429
    rig.clock.turn(0.001)
    assert [(await rig.chat(key, path)).status_code for _ in range(3)] == [200, 200, 429]
    samples = await scrape(rig.client)
    assert value(samples, "lunarbit_rate_limit_refusals_total", scope="budget") == 4
    assert (await rig.client.get("/v1/models", headers=key)).status_code == 200


async def test_a_total_budget_does_not_come_back(rig: Rig) -> None:
    """Only a larger one helps."""
    key = await rig.key(budget=budget(1.71, "total"))
    assert await rig.statuses(key, 3) == [200, 200, 429]
    rig.clock.turn(400 * DAY_S)
    assert await rig.statuses(key, 1) == [429]
    await rig.client.patch(path_of("k"), json={"budget": budget(3.41, "total")}, headers=KEY)
    assert await rig.statuses(key, 2) == [200, 429]
    await rig.client.patch(path_of("k"), json={"budget": None}, headers=KEY)
    assert await rig.statuses(key, 1) == [200]


async def test_a_budget_that_is_spent_to_the_last_billionth_is_spent(rig: Rig) -> None:
    """And with one billionth left there is some left."""
    exact, more = await rig.key("exact", budget=budget(3.4)), await rig.key("more", budget=budget(3.400000001))
    assert await rig.statuses(exact, 3) == [200, 200, 429]
    assert await rig.statuses(more, 4) == [200, 200, 200, 429]


async def test_what_costs_nothing_spends_nothing(rig: Rig) -> None:
    """A model without a price, a request that failed, another key."""
    key, other = await rig.key(budget=budget(1)), await rig.key("other", budget=budget(1))
    for _ in range(5):
        assert (await rig.chat(key, model="free")).status_code == 200
    rig.up.queue(*[Script.status(400)] * 5)
    assert await rig.statuses(key, 5) == [400] * 5
    assert await rig.statuses(other, 2) == [200, 429]
    assert await rig.statuses(key, 2) == [200, 429]


async def test_a_restart_forgets_no_cost(tmp_path: Path) -> None:
    """The ledger knows what was spent in the period, also before this day."""
    clock = Clock()
    async with Upstream() as up:
        toml = toml_with_prices(tmp_path, up)
        async with asgi_client(clocked_app(tmp_path, clock, toml)) as client:
            key = await make_key(client, "k", "canUseAI", budget=budget(3, "month"))
            assert (await client.post("/ai/chat", json=HELLO, headers=key)).status_code == 200
        clock.turn(2 * DAY_S)
        async with asgi_client(clocked_app(tmp_path, clock, toml)) as client:
            answers = [await client.post("/ai/chat", json=HELLO, headers=key) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [200, 429]
            asked = {"group_by": "key", "from": "2026-02-01", "to": "2026-02-28"}
            rows = (await client.get("/admin/usage", params=asked, headers=KEY)).json()["rows"]
    assert [(row["key"], row["requests"], row["cost"]) for row in rows] == [("k", 3, 3.4)]


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_only_so_many_requests_are_open_at_once(rig: Rig, path: str, stream: bool) -> None:
    """One more is told to wait a second; when one has ended, there is room at once."""
    key, other = await rig.key(maxParallel=2), await rig.key("other", maxParallel=1)
    rig.up.default = Script.hold() + Script.text("ok")
    waiting = [asyncio.create_task(rig.chat(key, path, stream=stream)) for _ in range(2)]
    await until(lambda: rig.up.in_flight == 2)
    for _ in range(3):
        refused = await rig.chat(key, path, stream=stream)
        error = assert_canonical_error(refused, "RATE_LIMIT_EXCEEDED", 429)
        assert refused.headers["retry-after"] == "1"
        if path == "/ai/chat":
            assert error["details"] == {"limit": 2, "window": None, "scope": "parallel"}
    assert (await rig.client.get("/v1/models", headers=key)).status_code == 200
    others = asyncio.create_task(rig.chat(other, path, stream=stream))
    await until(lambda: rig.up.in_flight == 3)
    rig.up.release.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting, others)} == {200}
    for _ in range(3):
        assert (await rig.chat(key, path, stream=stream)).status_code == 200
    samples = await scrape(rig.client)
    assert value(samples, "lunarbit_rate_limit_refusals_total", scope="parallel") == 3


async def test_a_request_that_fails_leaves_its_place(rig: Rig) -> None:
    """Whatever it failed of."""
    key = await rig.key(maxParallel=1, tokensPerDay=1000, maxTokensPerRequest=100)
    refused: list[dict[str, Any]] = [{"model": "nothing"}, {"max_tokens": 101}, {"messages": []}]
    rig.up.queue(Script.status(400), Script.status(422), Script.status(200, "no json"))
    for fields in [*refused, {}, {}, {}]:
        assert (await rig.chat(key, **fields)).status_code in {400, 404, 502}
    assert await rig.statuses(key, 2) == [200, 200]


async def test_who_is_refused_for_its_tokens_leaves_its_place(rig: Rig) -> None:
    """It was taken before the tokens were asked for."""
    key = await rig.key(maxParallel=1, tokensPerDay=1)
    assert await rig.statuses(key, 3) == [200, 429, 429]
    await rig.client.patch(path_of("k"), json={"tokensPerDay": 1000}, headers=KEY)
    assert await rig.statuses(key, 1) == [200]


@pytest.mark.parametrize("path", CHATS)
async def test_a_client_that_leaves_leaves_its_place(tmp_path: Path, path: str) -> None:
    """A whole answer that nobody waits for, and a stream that nobody reads."""
    async with Upstream() as up:
        up.default = Script.text("a b c d", hold_after=2)
        async with served(clocked_app(tmp_path, Clock(), upstream_toml(up.base_url))) as gateway:
            key = await make_key(gateway.client, "k", "canUseAI", maxParallel=1)
            for _ in range(3):
                for stream in (False, True):
                    task = asyncio.create_task(gateway.client.post(path, json={**HELLO, "stream": stream}, headers=key))
                    await until(lambda: up.in_flight == 1)
                    assert (await gateway.client.post(path, json=HELLO, headers=key)).status_code == 429
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    await until(lambda: up.in_flight == 0)
            up.default = Script.text("ok")
            async with asyncio.timeout(20):
                while (await gateway.client.post(path, json=HELLO, headers=key)).status_code != 200:
                    await asyncio.sleep(0.01)
