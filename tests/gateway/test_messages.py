"""`POST /v1/messages` at the edge: keys, what is refused and how, limits of a key, and the simplest answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import KEY
from tests.gateway.settings_files import GOOD_KEY

if TYPE_CHECKING:
    from io import BytesIO

    import httpx

PATH = "/v1/messages"
ASKED: dict[str, Any] = {"model": "echo-1", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
COUNT = f"{PATH}/count_tokens"
CANARY = "canary-7f3a91"


async def test_any_provider_answers(client: httpx.AsyncClient) -> None:
    """Even the one that only repeats what was said, under the prefix and with a query too."""
    for path in (PATH, f"{PATH}?beta=true", f"/api/v2{PATH}"):
        response = await client.post(path, json=ASKED, headers={"x-api-key": GOOD_KEY})
        message = response.json()
        assert (response.status_code, message["content"]) == (200, [{"type": "text", "text": "Hello"}])
        assert message["id"] == f"msg_{response.headers['x-request-id']}"
        assert response.headers["request-id"] == response.headers["x-request-id"]
        assert response.headers["x-lunarbit-provider"] == "echo"
        assert "x-ratelimit-limit" in response.headers


async def test_a_stream_of_any_provider(client: httpx.AsyncClient) -> None:
    """In the documented order, each event with its name."""
    response = await client.post(PATH, json={**ASKED, "stream": True}, headers=KEY)
    events = [part.split("\n") for part in response.text.split("\n\n") if part]
    kinds = [name.removeprefix("event: ") for name, _ in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    data = [json.loads(line.removeprefix("data: ")) for _, line in events]
    assert [one["type"] for one in data] == kinds
    assert "".join(one["delta"]["text"] for one in data if one["type"] == "content_block_delta") == "Hello"
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["request-id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("path", [PATH, COUNT])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": CANARY},
        {"x-api-key": CANARY, "authorization": f"Bearer {GOOD_KEY}"},
        {"x-api-key": GOOD_KEY, "authorization": f"Bearer {CANARY}"},
        {"x-api-key": GOOD_KEY, "authorization": f"Basic {GOOD_KEY}"},
    ],
)
async def test_a_key_that_is_missing_wrong_or_not_the_only_one(
    client: httpx.AsyncClient, log: BytesIO, path: str, headers: dict[str, str]
) -> None:
    """Two keys that differ are refused, because either may allow what the other does not; none of it is logged."""
    response = await client.post(path, json=ASKED, headers=headers)
    assert_canonical_error(response, "UNAUTHORIZED", 401)
    assert CANARY not in response.text
    assert CANARY.encode() not in log.getvalue()
    assert GOOD_KEY.encode() not in log.getvalue()


async def test_the_same_key_twice(client: httpx.AsyncClient) -> None:
    """Some clients send both."""
    response = await client.post(PATH, json=ASKED, headers={**KEY, "x-api-key": GOOD_KEY})
    assert response.status_code == 200


async def test_the_header_is_read_on_every_route_when_it_is_the_only_one(client: httpx.AsyncClient) -> None:
    """Anthropic's packages list the models with it; beside a bearer token, other surfaces do not look at it."""
    assert (await client.get("/v1/models", headers={"x-api-key": GOOD_KEY})).status_code == 200
    assert (await client.get("/v1/models", headers={"x-api-key": CANARY})).status_code == 401
    assert (await client.get("/v1/models", headers={**KEY, "x-api-key": CANARY})).status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages.0"),
        ({"messages": ["x"]}, "messages.0"),
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"top_k": 5}, "top_k"),
        ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "messages.0.content.0.type"),
    ],
)
async def test_a_bad_body_is_refused_by_field(client: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    """By the gateway where it needs the field itself, by the translation for the rest."""
    for stream in ({}, {"stream": True}):
        response = await client.post(PATH, json={**ASKED, **stream, **change}, headers=KEY)
        error = assert_canonical_error(response, "INVALID_REQUEST", 400)
        assert error["message"].startswith(f"{field}: ")


async def test_models_that_nobody_serves(client: httpx.AsyncClient) -> None:
    """404 in this dialect, for counting too."""
    for path in (PATH, COUNT):
        response = await client.post(path, json={**ASKED, "model": "nobody/knows"}, headers=KEY)
        assert_canonical_error(response, "MODEL_NOT_FOUND", 404)


async def test_without_a_model_the_default_answers(client: httpx.AsyncClient) -> None:
    """As on the other surfaces."""
    response = await client.post(PATH, json={**ASKED, "model": None}, headers=KEY)
    assert response.json()["model"] == "echo-1"


async def test_probes_of_agents_get_a_clear_no(client: httpx.AsyncClient) -> None:
    """Some ask with HEAD whether anybody is there."""
    assert (await client.head(PATH, headers=KEY)).status_code == 405
    assert (await client.head("/api/hello", headers=KEY)).status_code == 404
    assert (await client.head("/", headers=KEY)).status_code == 200


async def test_tokens_are_estimated_where_nobody_counts(client: httpx.AsyncClient) -> None:
    """Longer prompts have more, tools and instructions among them; no field but the messages is needed."""
    short = await client.post(COUNT, json={"messages": ASKED["messages"]}, headers=KEY)
    assert short.json() == {"input_tokens": 6, "usage_estimated": True}
    assert short.headers["request-id"] == short.headers["x-request-id"]
    more = {"system": "Be short." * 10, "tools": [{"name": "a", "input_schema": {}}], "top_k": 5}
    long = await client.post(COUNT, json={**ASKED, **more}, headers=KEY)
    assert long.json()["input_tokens"] > 30


async def test_a_keys_own_limits(client: httpx.AsyncClient) -> None:
    """Its longest answer, its models, and its count of AI requests, to which counting tokens does not add."""
    body = {
        "name": "agent",
        "permissions": {"canUseAI": True},
        "maxTokensPerRequest": 40,
        "allowedModels": ["echo-1"],
        "aiRateLimit": 1,
        "tokensPerDay": 1000,
    }
    secret = (await client.post("/admin/keys", json=body, headers=KEY)).json()["key"]
    own = {"x-api-key": secret}
    assert (await client.post(COUNT, json=ASKED, headers=own)).status_code == 200
    refused = await client.post(PATH, json=ASKED, headers=own)
    error = assert_canonical_error(refused, "INVALID_REQUEST", 400)
    assert error["message"].startswith("max_tokens: ")
    limited = await client.post(PATH, json={**ASKED, "max_tokens": 40}, headers=own)
    error = assert_canonical_error(limited, "RATE_LIMIT_EXCEEDED", 429)
    assert error["type"] == "rate_limit_error"
    assert int(limited.headers["retry-after"]) >= 1
