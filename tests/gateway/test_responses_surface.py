"""`POST /v1/responses` at the edge: keys, methods, what is refused and how, and the simplest answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import KEY

if TYPE_CHECKING:
    import httpx

PATH = "/v1/responses"
ASKED: dict[str, Any] = {"model": "echo-1", "input": "Hello"}


async def test_any_provider_answers(client: httpx.AsyncClient) -> None:
    """Even the one that only repeats what was said, under the prefix too, and without a model."""
    for path, asked in ((PATH, ASKED), (f"/api/v2{PATH}", ASKED), (PATH, {"input": "Hello"})):
        answer = await client.post(path, json=asked, headers=KEY)
        response = answer.json()
        assert (answer.status_code, response["output"][0]["content"][0]["text"]) == (200, "Hello")
        assert response["id"] == f"resp_{answer.headers['x-request-id']}"
        assert answer.headers["x-lunarbit-provider"] == "echo"
        assert "x-ratelimit-limit" in answer.headers


async def test_a_stream_of_any_provider(client: httpx.AsyncClient) -> None:
    """In the documented order, numbered, each event with its name, and no other end."""
    answer = await client.post(PATH, json={**ASKED, "stream": True}, headers=KEY)
    events = [part.split("\n") for part in answer.text.split("\n\n") if part]
    data = [json.loads(line.removeprefix("data: ")) for _, line in events]
    assert [f"event: {one['type']}" for one in data] == [name for name, _ in events]
    assert [one["sequence_number"] for one in data] == list(range(len(data)))
    assert (data[0]["type"], data[-1]["type"]) == ("response.created", "response.completed")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer nobody"}, {"x-api-key": "nobody"}])
async def test_a_key_is_needed(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """In OpenAI's shape."""
    answer = await client.post(PATH, json=ASKED, headers=headers)
    assert_canonical_error(answer, "UNAUTHORIZED", 401)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", PATH, 405, "METHOD_NOT_ALLOWED"),
        ("GET", f"{PATH}/resp_1", 404, "NOT_FOUND"),
        ("DELETE", f"{PATH}/resp_1", 404, "NOT_FOUND"),
        ("POST", f"{PATH}/resp_1/cancel", 404, "NOT_FOUND"),
    ],
)
async def test_nothing_is_kept(client: httpx.AsyncClient, method: str, path: str, status: int, code: str) -> None:
    """So there is nothing to fetch, delete or cancel."""
    assert_canonical_error(await client.request(method, path, headers=KEY), code, status)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"background": True}, "background"),
        ({"background": 0}, "background"),
        ({"previous_response_id": "resp_req_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
    ],
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    """By the gateway where it knows, else by the translation."""
    answer = await client.post(PATH, json={**ASKED, **fields}, headers=KEY)
    assert_canonical_error(answer, "INVALID_REQUEST", 400)
    assert answer.json()["error"]["param"] == param
