"""`allowedModels`: what a key may not use does not exist for it, in lists, in requests and in error details."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import HELLO, KEY, edge_client
from tests.gateway.keyring import make_key, path_of
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

ROUTES = """
[routing.routes.chat]
targets = ["one/gpt-4", "two/gpt-4"]
[routing.routes.cheap]
targets = ["two/small", "one/mini"]
"""
ALL = ["chat", "cheap", "gpt-4", "mini", "org/model", "small"]


class Rig(NamedTuple):
    """A gateway before two providers."""

    client: httpx.AsyncClient
    one: Upstream
    two: Upstream

    async def key(self, allowed: list[str] | None) -> dict[str, str]:
        """Make a key for these models."""
        return await make_key(self.client, "k", "canUseAI", allowedModels=allowed)

    async def listed(self, key: dict[str, str]) -> dict[str, list[str]]:
        """Return the models of the list with their providers."""
        document = (await self.client.get("/v1/models", headers=key)).json()
        return {model["id"]: model["providers"] for model in document["data"]}

    async def asked(self, key: dict[str, str], model: str | None) -> str:
        """Ask for a model on every surface; return which `provider/model` answered, nothing for a 404."""
        body = HELLO if model is None else {**HELLO, "model": model}
        answers = [
            await self.client.post(path, json={**body, "stream": stream}, headers=key)
            for path in ("/ai/chat", "/v1/chat/completions")
            for stream in (False, True)
        ]
        (status,) = {answer.status_code for answer in answers}
        told = {(a.headers.get("x-lunarbit-provider"), a.headers.get("x-lunarbit-model")) for a in answers}
        assert len(told) == 1
        if status == 404:
            assert_canonical_error(answers[0], "MODEL_NOT_FOUND", 404)
            error = assert_canonical_error(answers[2], "MODEL_NOT_FOUND", 404)
            assert (error["code"], error["param"]) == ("model_not_found", "model")
            return NOBODY
        assert status == 200
        provider, name = told.pop()
        return f"{provider}/{name}"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Run both providers: what they serve overlaps."""
    async with Upstream() as one, Upstream() as two:
        toml = f"""
            [providers.one]
            kind = "openai"
            base_url = "{one.base_url}"
            models = ["gpt-4", "mini", "org/model"]
            priority = 1
            [providers.two]
            kind = "openai"
            base_url = "{two.base_url}"
            models = ["gpt-4", "small"]
            priority = 2
            {ROUTES}"""
        async with edge_client(tmp_path, toml) as client:
            yield Rig(client, one, two)


NOBODY = ""
# What is allowed, what the list then shows, and who answers to some names (None: no model named).
CASES: list[tuple[list[str] | None, dict[str, list[str]], dict[str | None, str]]] = [
    (
        None,
        {"chat": ["one", "two"], "cheap": ["two", "one"], "gpt-4": ["one", "two"], "mini": ["one"]}
        | {"org/model": ["one"], "small": ["two"]},
        {None: "one/gpt-4", "two/gpt-4": "two/gpt-4", "org/model": "one/org/model", "nothing": NOBODY},
    ),
    (
        ["gpt-4"],
        {"chat": ["one", "two"], "gpt-4": ["one", "two"]},
        {None: "one/gpt-4", "gpt-4": "one/gpt-4", "two/gpt-4": "two/gpt-4", "chat": "one/gpt-4", "cheap": NOBODY}
        | {"mini": NOBODY, "one/mini": NOBODY, "org/model": NOBODY},
    ),
    (
        ["two/gpt-4"],
        {"chat": ["two"], "gpt-4": ["two"]},
        {None: "two/gpt-4", "gpt-4": "two/gpt-4", "two/gpt-4": "two/gpt-4", "one/gpt-4": NOBODY, "chat": "two/gpt-4"},
    ),
    (
        ["cheap"],
        {"cheap": ["two", "one"]},
        {"cheap": "two/small", None: NOBODY, "small": NOBODY, "two/small": NOBODY, "mini": NOBODY, "gpt-4": NOBODY},
    ),
    (
        ["mini", "org/model"],
        {"cheap": ["one"], "mini": ["one"], "org/model": ["one"]},
        {None: NOBODY, "small": NOBODY, "chat": NOBODY, "cheap": "one/mini", "mini": "one/mini", "one/mini": "one/mini"}
        | {"org/model": "one/org/model", "one/org/model": "one/org/model"},
    ),
    (
        ["GPT-4", "gpt-4 ", "one/*", "*", "one"],
        {},
        {"gpt-4": NOBODY, "one/gpt-4": NOBODY, None: NOBODY, "GPT-4": NOBODY},
    ),
]


@pytest.mark.parametrize(("allowed", "shown", "answers"), CASES, ids=lambda value: str(value)[:30])
async def test_a_key_finds_what_it_may_use_and_nothing_else(
    rig: Rig, allowed: list[str] | None, shown: dict[str, list[str]], answers: dict[str | None, str]
) -> None:
    """A route's name stands for its targets; a model's for every provider; `provider/model` for that one alone."""
    key = await rig.key(allowed)
    assert await rig.listed(key) == shown
    for model, expected in answers.items():
        assert await rig.asked(key, model) == expected, model


async def test_a_404_tells_only_of_what_the_key_may_see(rig: Rig) -> None:
    """Existence is not told: the answer is the same as for what nobody has."""
    key = await rig.key(["mini"])
    told = []
    for model in ("gpt-4", "two/gpt-4", "no-such-model", "two/no-such-model"):
        response = await rig.client.post("/ai/chat", json={**HELLO, "model": model}, headers=key)
        error = assert_canonical_error(response, "MODEL_NOT_FOUND", 404)
        assert error["details"] == {"available_models": ["cheap", "mini"]}
        told.append(error["message"].replace(model, "MODEL"))
        openai = await rig.client.post("/v1/chat/completions", json={**HELLO, "model": model}, headers=key)
        assert not [name for name in ALL if f"'{name}'" in openai.text and name not in {model, "cheap", "mini"}]
    assert len(set(told)) == 1
    assert rig.one.chat_requests == rig.two.chat_requests == []


async def test_failover_stays_within_what_is_allowed(rig: Rig) -> None:
    """Better no answer than one of a model that somebody has ruled out."""
    rig.one.default = Script.status(503)
    assert await rig.asked(await rig.key(None), "chat") == "two/gpt-4"
    one_only = await make_key(rig.client, "one-only", "canUseAI", allowedModels=["one/gpt-4"])
    before = len(rig.two.chat_requests)
    response = await rig.client.post("/ai/chat", json={**HELLO, "model": "chat"}, headers=one_only)
    assert_canonical_error(response, "PROVIDER_ERROR", 502)
    assert len(rig.two.chat_requests) == before


async def test_a_provider_without_a_closed_list_keeps_to_it(tmp_path: Path) -> None:
    """There any name is tried, but for a key with a list only those that stand in it."""
    async with Upstream() as up:
        toml = f"[providers.up]\nkind = 'openai'\nbase_url = '{up.base_url}'\n"
        async with edge_client(tmp_path, toml) as client:
            key = await make_key(client, "k", "canUseAI", allowedModels=["up/new-model", "gpt-4"])
            for model, status in (("up/new-model", 200), ("gpt-4", 200), ("up/other", 404), ("new-model", 404)):
                response = await client.post("/ai/chat", json={**HELLO, "model": model}, headers=key)
                assert response.status_code == status, model
            assert {call.model for call in up.chat_requests} == {"new-model", "gpt-4"}
            document = (await client.get("/v1/models", headers=key)).json()
            assert [model["id"] for model in document["data"]] == ["gpt-4"]


async def test_a_changed_list_holds_for_the_next_request(rig: Rig) -> None:
    """What was planned before is not remembered for other lists; nor are the lists of two keys mixed up."""
    key = await rig.key(["gpt-4"])
    other = await make_key(rig.client, "other", "canUseAI", allowedModels=["mini"])
    for _ in range(2):
        assert await rig.asked(key, "gpt-4") == "one/gpt-4"
        assert await rig.asked(other, "gpt-4") == NOBODY
    await rig.client.patch(path_of("k"), json={"allowedModels": ["mini"]}, headers=KEY)
    assert await rig.asked(key, "gpt-4") == NOBODY
    assert await rig.asked(key, "mini") == "one/mini"
    await rig.client.patch(path_of("k"), json={"allowedModels": None}, headers=KEY)
    assert sorted(await rig.listed(key)) == ALL


async def test_what_one_key_may_use_does_not_narrow_what_another_one_gets(rig: Rig) -> None:
    """Whoever asked first."""
    narrow = await rig.key(["two/gpt-4"])
    wide = await make_key(rig.client, "wide", "canUseAI")
    for _ in range(2):
        assert await rig.asked(narrow, "gpt-4") == "two/gpt-4"
        assert await rig.asked(wide, "gpt-4") == "one/gpt-4"
        assert await rig.asked(narrow, "chat") == "two/gpt-4"
        assert await rig.asked(wide, "chat") == "one/gpt-4"


async def test_what_is_out_of_reach_leaves_a_record_without_a_model(rig: Rig) -> None:
    """It was an AI request of this key, and an error; nothing was asked."""
    key = await rig.key(["mini"])
    await rig.client.post("/ai/chat", json={**HELLO, "model": "gpt-4"}, headers=key)
    report = (await rig.client.get("/admin/usage", params={"group_by": "model"}, headers=KEY)).json()
    assert [(row["model"], row["requests"], row["errors"]) for row in report["rows"]] == [(None, 1, 1)]
