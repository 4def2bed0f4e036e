"""`maxTokensPerRequest` and `tokensPerDay`: what the provider is asked for, what is refused, and what is cut off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import HELLO, KEY, asgi_client, served, until, upstream_toml
from tests.gateway.keyring import DAY_S, HOUR_S, Clock, clocked_app, make_key, path_of
from tests.gateway.test_metrics import scrape, value
from tests.upstream import Script, Upstream
from tests.upstream.frames import chunk, event
from tests.upstream.steps import Head, Repeat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

CHATS = ["/ai/chat", "/v1/chat/completions"]
# What every answer of the upstream reports.
ANSWER_TOKENS = 12


class Rig(NamedTuple):
    """A gateway, its provider and its clock."""

    client: httpx.AsyncClient
    up: Upstream
    clock: Clock

    async def key(self, name: str = "k", **limits: Any) -> dict[str, str]:
        """Make a key that may use AI, with these limits."""
        return await make_key(self.client, name, "canUseAI", **limits)

    async def chat(self, key: dict[str, str], path: str = "/ai/chat", **fields: Any) -> httpx.Response:
        """Ask for an answer."""
        return await self.client.post(path, json={**HELLO, **fields}, headers=key)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Run a gateway at ten in the morning."""
    clock = Clock()
    async with Upstream() as up, asgi_client(clocked_app(tmp_path, clock, upstream_toml(up.base_url))) as client:
        yield Rig(client, up, clock)


# The surface, what the client sends, and what the provider is asked for with a key's limit of 50.
SENT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/ai/chat", {}, {"max_tokens": 50}),
    ("/ai/chat", {"max_tokens": None}, {"max_tokens": 50}),
    ("/ai/chat", {"max_tokens": 50}, {"max_tokens": 50}),
    ("/ai/chat", {"max_tokens": 1}, {"max_tokens": 1}),
    ("/v1/chat/completions", {}, {"max_tokens": 50}),
    ("/v1/chat/completions", {"max_tokens": 50}, {"max_tokens": 50}),
    ("/v1/chat/completions", {"max_completion_tokens": 50}, {"max_completion_tokens": 50}),
    (
        "/v1/chat/completions",
        {"max_tokens": 7, "max_completion_tokens": 9},
        {"max_tokens": 7, "max_completion_tokens": 9},
    ),
    ("/v1/chat/completions", {"n": 2, "max_tokens": 25}, {"max_tokens": 25}),
    ("/v1/chat/completions", {"n": 3}, {"max_tokens": 16}),
]


@pytest.mark.parametrize(("path", "fields", "sent"), SENT, ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_longest_answer_is_asked_for(
    rig: Rig, path: str, fields: dict[str, Any], sent: dict[str, Any], stream: bool
) -> None:
    """It is put into a request that names none, and leaves alone what is within it."""
    key = await rig.key(maxTokensPerRequest=50)
    assert (await rig.chat(key, path, stream=stream, **fields)).status_code == 200
    (call,) = rig.up.chat_requests
    assert {name: call.json[name] for name in call.json if name.startswith("max_")} == sent


TOO_MUCH: list[tuple[str, dict[str, Any], str]] = [
    ("/ai/chat", {"max_tokens": 51}, "max_tokens"),
    ("/ai/chat", {"max_tokens": 2000}, "max_tokens"),
    ("/v1/chat/completions", {"max_tokens": 51}, "max_tokens"),
    ("/v1/chat/completions", {"max_completion_tokens": 51}, "max_completion_tokens"),
    ("/v1/chat/completions", {"max_tokens": 5, "max_completion_tokens": 100_000}, "max_completion_tokens"),
    # What some providers take for no limit at all, or read as a number.
    ("/v1/chat/completions", {"max_tokens": -1}, "max_tokens"),
    ("/v1/chat/completions", {"max_tokens": 0}, "max_tokens"),
    ("/v1/chat/completions", {"max_tokens": 1e9}, "max_tokens"),
    ("/v1/chat/completions", {"max_tokens": "100000"}, "max_tokens"),
    ("/v1/chat/completions", {"max_tokens": True}, "max_tokens"),
    ("/v1/chat/completions", {"max_completion_tokens": [9]}, "max_completion_tokens"),
    ("/v1/chat/completions", {"n": 2, "max_tokens": 26}, "max_tokens"),
    ("/v1/chat/completions", {"n": 51}, "n"),
]


@pytest.mark.parametrize(("path", "fields", "field"), TOO_MUCH, ids=str)
async def test_a_longer_answer_is_400(rig: Rig, path: str, fields: dict[str, Any], field: str) -> None:
    """What the client asked for is not changed behind its back; and nobody is asked."""
    key = await rig.key(maxTokensPerRequest=50)
    error = assert_canonical_error(await rig.chat(key, path, **fields), "INVALID_REQUEST", 400)
    if path == "/ai/chat":
        assert [entry["field"] for entry in error["details"]["errors"]] == [field]
    else:
        assert error["param"] == field
    assert rig.up.chat_requests == []


async def test_a_key_without_such_a_limit_changes_nothing(rig: Rig) -> None:
    """The page's default, and on the compatible surface what was sent."""
    key = await rig.key(tokensPerDay=10**6)
    large = await rig.key("large", maxTokensPerRequest=5000)
    for one in (key, large):
        await rig.chat(one)
        await rig.chat(one, max_tokens=4000)
    await rig.chat(key, "/v1/chat/completions", max_tokens=-1)
    asked = [call.json["max_tokens"] for call in rig.up.chat_requests]
    assert asked == [2000, 4000, 2000, 4000, -1]


async def test_a_provider_that_has_another_name_for_it_gets_the_limit_under_that(rig: Rig) -> None:
    """The limit was filled in and not asked for, so it may be renamed."""
    key = await rig.key(maxTokensPerRequest=50)
    message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    rig.up.queue(Script.openai_error("unsupported_parameter", message=message, param="max_tokens"))
    assert (await rig.chat(key, "/v1/chat/completions")).status_code == 200
    last = rig.up.chat_requests[-1].json
    assert last["max_completion_tokens"] == 50
    assert "max_tokens" not in last


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_day_has_its_tokens(rig: Rig, path: str, stream: bool) -> None:
    """A request begins as long as one is left, so the limit is passed by one answer at most; the next day is new."""
    key, other = await rig.key(tokensPerDay=30), await rig.key("other", tokensPerDay=30)
    for _ in range(2):
        assert [(await rig.chat(key, path, stream=stream)).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = await rig.chat(key, path, stream=stream)
        error = assert_canonical_error(refused, "TOKEN_LIMIT_EXCEEDED", 429)
        assert int(refused.headers["retry-after"]) == 14 * HOUR_S
        if path == "/ai/chat":
            assert error["details"] == {"limit": 30, "window": 86_400, "scope": "tokens"}
        else:
            assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
        assert (await rig.chat(other, path)).status_code == 200
        # What is no AI request costs no token.
        assert (await rig.client.get("/v1/models", headers=key)).status_code == 200
        rig.clock.turn(14 * HOUR_S - 0.001)
        refused = await rig.chat(key, path, stream=stream)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        rig.clock.turn(10 * HOUR_S + 0.001)
    samples = await scrape(rig.client)
    assert value(samples, "lunarbit_rate_limit_refusals_total", scope="tokens") == 6


async def test_what_failed_gives_its_reservation_back(rig: Rig) -> None:
    """Refused by the provider, by us, or without any provider: nothing was used."""
    key = await rig.key(tokensPerDay=10)
    rig.up.queue(Script.status(400), Script.status(413), Script.status(422), Script.status(200, "no json"))
    refused: list[dict[str, Any]] = [{"model": "nothing"}, {"max_tokens": 0}]
    for fields in [{}, {}, {}, {}, *refused]:
        assert (await rig.chat(key, **fields)).status_code in {400, 404, 413, 502}
    assert [(await rig.chat(key)).status_code for _ in range(2)] == [200, 429]


async def test_requests_at_the_same_time_share_what_is_left(rig: Rig) -> None:
    """Each reserves its prompt and its longest answer before it begins, so that together they pass the limit little."""
    key = await rig.key(tokensPerDay=100)
    rig.up.default = Script.hold() + Script.text("ok")
    waiting = [asyncio.create_task(rig.chat(key, max_tokens=40)) for _ in range(6)]
    await until(lambda: rig.up.in_flight == 3 and sum(task.done() for task in waiting) == 3)
    # 6 tokens of the prompt and 40 of the answer twice, and the 8 that are left then.
    rig.up.release.set()
    statuses = [answer.status_code for answer in await asyncio.gather(*waiting)]
    assert sorted(statuses) == [200, 200, 200, 429, 429, 429]
    rig.up.default = Script.text("ok")
    more = 0
    while (await rig.chat(key)).status_code == 200:
        more += 1
    assert (3 + more) * ANSWER_TOKENS >= 100
    assert (3 + more - 1) * ANSWER_TOKENS < 100


async def test_a_raised_limit_holds_at_once(rig: Rig) -> None:
    """With what was used already; and a lowered one too."""
    key = await rig.key(tokensPerDay=10)
    assert [(await rig.chat(key)).status_code for _ in range(2)] == [200, 429]
    await rig.client.patch(path_of("k"), json={"tokensPerDay": 20}, headers=KEY)
    assert [(await rig.chat(key)).status_code for _ in range(2)] == [200, 429]
    await rig.client.patch(path_of("k"), json={"tokensPerDay": 1000}, headers=KEY)
    assert (await rig.chat(key)).status_code == 200
    await rig.client.patch(path_of("k"), json={"tokensPerDay": 36}, headers=KEY)
    assert (await rig.chat(key)).status_code == 429


async def test_a_restart_forgets_no_token(tmp_path: Path) -> None:
    """The ledger knows what was used before."""
    clock = Clock()
    async with Upstream() as up:
        app = clocked_app(tmp_path, clock, upstream_toml(up.base_url))
        async with asgi_client(app) as client:
            key = await make_key(client, "k", "canUseAI", tokensPerDay=20)
            for _ in range(2):
                assert (await client.post("/ai/chat", json=HELLO, headers=key)).status_code == 200
        for _ in range(2):
            async with asgi_client(clocked_app(tmp_path, clock, upstream_toml(up.base_url))) as client:
                refused = await client.post("/ai/chat", json=HELLO, headers=key)
                assert_canonical_error(refused, "TOKEN_LIMIT_EXCEEDED", 429)
        clock.turn(DAY_S)
        async with asgi_client(clocked_app(tmp_path, clock, upstream_toml(up.base_url))) as client:
            assert (await client.post("/ai/chat", json=HELLO, headers=key)).status_code == 200


def _endless(delta: dict[str, Any]) -> Script:
    return Script.steps(Head(), Repeat(event(chunk(delta=delta)), 0.001))


ENDLESS = {
    "text": _endless({"content": "four" * 4}),
    "reasoning": _endless({"reasoning_content": "four" * 4}),
    "tool call": _endless({"tool_calls": [{"index": 0, "function": {"arguments": "four" * 4}}]}),
}


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("kind", ENDLESS)
async def test_a_stream_that_uses_up_the_day_ends_with_an_error(tmp_path: Path, path: str, kind: str) -> None:
    """A typed one, as the last event: an answer that was cut is never shown as whole. The provider is let go."""
    clock = Clock()
    async with Upstream() as up:
        up.default = ENDLESS[kind]
        async with served(clocked_app(tmp_path, clock, upstream_toml(up.base_url))) as gateway:
            key = await make_key(gateway.client, "k", "canUseAI", tokensPerDay=400)
            response = await gateway.client.post(path, json={**HELLO, "stream": True, "max_tokens": 50}, headers=key)
            assert response.status_code == 200
            events = [part for part in response.text.split("\n\n") if part and not part.startswith(":")]
            assert "TOKEN_LIMIT_EXCEEDED" in events[-1] or '"code":"rate_limit_exceeded"' in events[-1]
            assert events[-1].startswith("event: error" if path == "/ai/chat" else 'data: {"error":')
            assert "[DONE]" not in response.text
            assert "event: done" not in response.text
            await up.chat_requests[0].disconnected.wait()
            refused = await gateway.client.post(path, json=HELLO, headers=key)
            assert_canonical_error(refused, "TOKEN_LIMIT_EXCEEDED", 429)
            stats = (await gateway.client.get("/admin/keys/stats", headers=KEY)).json()["keys"][0]
    assert (stats["requests"], stats["errors"]) == (2, 2)
    # The estimate: what was reserved, and little more than one step of it.
    assert 400 <= stats["tokens"]["total"] < 1000


@pytest.mark.parametrize("path", CHATS)
async def test_a_stream_that_stays_within_the_day_ends_whole(tmp_path: Path, path: str) -> None:
    """Also one that needs more than was reserved at its beginning."""
    async with Upstream() as up:
        up.default = Script.text("four" * 300, 100, usage=None)
        async with served(clocked_app(tmp_path, Clock(), upstream_toml(up.base_url))) as gateway:
            key = await make_key(gateway.client, "k", "canUseAI", tokensPerDay=10_000)
            response = await gateway.client.post(path, json={**HELLO, "stream": True, "max_tokens": 5}, headers=key)
            assert ("event: done" if path == "/ai/chat" else "[DONE]") in response.text
            assert "error" not in response.text
            stats = (await gateway.client.get("/admin/keys/stats", headers=KEY)).json()["keys"][0]
    assert stats["tokens"] == {"prompt": 6, "completion": 300, "total": 306}
