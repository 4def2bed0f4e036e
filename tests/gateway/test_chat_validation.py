"""What `POST /ai/chat` takes: the fields of the product page, `top_p` and `stop`, each within its bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.dialects.lunarbit import DEFAULT_MAX_TOKENS, DEFAULT_TEMPERATURE, parse_request
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import HELLO, KEY

if TYPE_CHECKING:
    import httpx

USER = {"role": "user", "content": "hello"}

BAD: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": 1}, "messages"),
    ({"messages": ["hello"]}, "messages[0]"),
    ({"messages": [None]}, "messages[0]"),
    ({"messages": [USER, []]}, "messages[1]"),
    ({"messages": [{"content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "User", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": None, "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": ["user"], "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": {"a": 1}, "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "a", "name": "x"}]}, "messages[0].name"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": []}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": "10"}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"stream": "true"}, "stream"),
    ({"stream": 1}, "stream"),
    ({"stream": {}}, "stream"),
    ({"model": ""}, "model"),
    ({"model": 1}, "model"),
    ({"model": ["gpt-4"]}, "model"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_p": "1"}, "top_p"),
    ({"top_p": False}, "top_p"),
    ({"stop": 1}, "stop"),
    ({"stop": ""}, "stop"),
    ({"stop": [""]}, "stop"),
    ({"stop": [1]}, "stop"),
    ({"stop": {}}, "stop"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"tools": []}, "tools"),
    ({"n": 1}, "n"),
    ({"seed": None}, "seed"),
    ({"Messages": [USER]}, "Messages"),
    ({"": 1}, ""),
]


@pytest.mark.parametrize(("fields", "field"), BAD)
async def test_a_bad_field_is_named(client: httpx.AsyncClient, fields: dict[str, Any], field: str) -> None:
    """Exactly that field, in the details and in the message."""
    response = await client.post("/ai/chat", json={**HELLO, **fields}, headers=KEY)
    error = assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert [entry["field"] for entry in error["details"]["errors"]] == [field]
    assert field in error["message"]


GOOD: list[dict[str, Any]] = [
    {"messages": [{"role": "system", "content": "s"}, USER, {"role": "assistant", "content": "a"}]},
    {"temperature": 0},
    {"temperature": 2},
    {"temperature": 1.25},
    {"max_tokens": 1},
    {"max_tokens": 1_000_000},
    {"stream": False},
    {"model": "echo-1"},
    {"model": "echo/echo-1"},
    {"top_p": 0},
    {"top_p": 1},
    {"stop": "END"},
    {"stop": ["a", "b", "c", "d"]},
]


@pytest.mark.parametrize("fields", GOOD)
async def test_a_good_field_passes(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    """The bounds themselves belong to the allowed range."""
    response = await client.post("/ai/chat", json={**HELLO, **fields}, headers=KEY)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("field", ["temperature", "max_tokens", "stream", "model", "top_p", "stop"])
async def test_null_stands_for_an_absent_optional_field(client: httpx.AsyncClient, field: str) -> None:
    """Most client libraries write it for what was not set."""
    response = await client.post("/ai/chat", json={**HELLO, field: None}, headers=KEY)
    assert response.status_code == 200, response.text


async def test_missing_messages_are_named(client: httpx.AsyncClient) -> None:
    """It is the one required field."""
    response = await client.post("/ai/chat", json={"model": "echo-1"}, headers=KEY)
    error = assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert error["details"]["errors"] == [{"field": "messages", "message": "is required"}]


async def test_every_problem_is_told_at_once(client: httpx.AsyncClient) -> None:
    """A caller should not need one request for each of its mistakes."""
    body = {
        "messages": [{"role": "robot", "content": ""}, "x", {"role": "user", "content": "a", "b": 1, "a": 2}],
        "temperature": 9,
        "max_tokens": 0,
        "stream": "no",
        "colour": "blue",
    }
    error = assert_canonical_error(await client.post("/ai/chat", json=body, headers=KEY), "INVALID_REQUEST", 400)
    assert [entry["field"] for entry in error["details"]["errors"]] == [
        "colour",
        "messages[0].role",
        "messages[0].content",
        "messages[1]",
        "messages[2].b",
        "messages[2].a",
        "temperature",
        "max_tokens",
        "stream",
    ]


async def test_a_million_mistakes_do_not_make_a_large_answer(client: httpx.AsyncClient) -> None:
    """The answer must not be larger than the question, nor repeat a name of megabytes."""
    many = await client.post("/ai/chat", json={"messages": [0] * 100_000}, headers=KEY)
    assert_canonical_error(many, "INVALID_REQUEST", 400)
    assert len(many.content) < 20_000
    long = await client.post("/ai/chat", json={**HELLO, "x" * 1_000_000: 1}, headers=KEY)
    assert_canonical_error(long, "INVALID_REQUEST", 400)
    assert len(long.content) < 2000


OPENAI_BAD: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "a"}, "messages"),
    ({"messages": [1]}, "messages[0]"),
    ({"messages": [USER, {"content": "a"}]}, "messages[1]"),
    ({"messages": [{"role": 1}]}, "messages[0]"),
    ({"model": 1}, "model"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": 1}, "stream_options"),
    ({"stream_options": []}, "stream_options"),
]


@pytest.mark.parametrize(("fields", "param"), OPENAI_BAD)
async def test_the_openai_surface_names_the_bad_field_in_param(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    """There it is `param`, where OpenAI's clients look for it."""
    response = await client.post("/v1/chat/completions", json={**HELLO, **fields}, headers=KEY)
    error = assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


async def test_the_openai_surface_leaves_everything_else_to_the_provider(client: httpx.AsyncClient) -> None:
    """Fields that the gateway does not know, and values out of our own bounds, pass."""
    body = {**HELLO, "temperature": 9, "anything": {"at": ["all"]}, "tools": [{"type": "function"}], "stream": None}
    response = await client.post("/v1/chat/completions", json=body, headers=KEY)
    assert response.status_code == 200, response.text


def test_the_defaults_are_those_of_the_product_page() -> None:
    """Temperature 0.7 and 2000 tokens, marked as the gateway's own."""
    model, request = parse_request(b'{"messages":[{"role":"user","content":"a"}],"temperature":null}')
    assert model is None
    assert (request.get("temperature"), request.get("max_tokens")) == (0.7, 2000)
    assert (DEFAULT_TEMPERATURE, DEFAULT_MAX_TOKENS) == (0.7, 2000)
    assert request.defaulted == {"temperature", "max_tokens"}
    assert request.stream is False


def test_given_values_are_not_defaults() -> None:
    """What the client said is never dropped."""
    body = b'{"messages":[{"role":"user","content":"a"}],"temperature":0,"max_tokens":5,"model":"m","stream":true}'
    model, request = parse_request(body)
    assert model == "m"
    assert (request.get("temperature"), request.get("max_tokens")) == (0, 5)
    assert request.defaulted == frozenset()
    assert request.stream is True
