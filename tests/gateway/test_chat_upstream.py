"""What a chat is upstream: the page's defaults and what becomes of refused ones, and the headers in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.tokens import estimated_tokens, estimated_usage
from providers.base import CompletionRequest
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import HELLO, KEY, edge_client, upstream_toml
from tests.gateway.settings_files import GOOD_KEY
from tests.upstream import Script, Upstream, completion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

PROVIDER_KEY = "provider-key-of-the-tests"


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """A provider that takes one key only."""
    async with Upstream() as running:
        running.require_key = PROVIDER_KEY
        yield running


@pytest.fixture
async def chat(tmp_path: Path, up: Upstream) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway in front of `up`."""
    toml = upstream_toml(up.base_url, more=f"api_key = '{PROVIDER_KEY}'")
    async with edge_client(tmp_path, toml) as running:
        yield running


async def test_the_answer_has_the_fields_of_the_page(chat: httpx.AsyncClient) -> None:
    """The page's four, and what the shared page adds."""
    response = await chat.post("/ai/chat", json=HELLO, headers=KEY)
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == {
        "response",
        "model",
        "tokens_used",
        "processing_time_ms",
        "provider",
        "finish_reason",
        "usage",
    }
    usage = answer["usage"]
    assert answer["tokens_used"] == usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert (answer["model"], answer["provider"], answer["finish_reason"]) == ("gpt-4", "up", "stop")
    assert answer["response"] == "Hello world"
    assert isinstance(answer["processing_time_ms"], int)
    assert response.headers["x-lunarbit-provider"] == "up"
    assert response.headers["x-lunarbit-model"] == "gpt-4"
    assert response.headers["x-lunarbit-attempts"] == "1"


async def test_defaults_are_sent_and_given_values_kept(chat: httpx.AsyncClient, up: Upstream) -> None:
    """Temperature 0.7 and 2000 tokens, unless the client says otherwise."""
    await chat.post("/ai/chat", json=HELLO, headers=KEY)
    await chat.post(
        "/ai/chat", json={**HELLO, "temperature": 0, "max_tokens": 5, "top_p": 0.5, "stop": "X"}, headers=KEY
    )
    first, second = (call.json for call in up.chat_requests)
    assert (first["temperature"], first["max_tokens"]) == (0.7, 2000)
    assert {"top_p", "stop"}.isdisjoint(first)
    assert (second["temperature"], second["max_tokens"], second["top_p"], second["stop"]) == (0, 5, 0.5, "X")


async def test_a_refused_default_is_dropped_and_asked_once_more(chat: httpx.AsyncClient, up: Upstream) -> None:
    """Reasoning models refuse a temperature that the client never asked for."""
    up.queue(Script.openai_error("unsupported_value", message="Unsupported value: 'temperature'", param="temperature"))
    response = await chat.post("/ai/chat", json=HELLO, headers=KEY)
    assert response.status_code == 200
    assert "temperature" in up.chat_requests[0].json
    assert "temperature" not in up.chat_requests[1].json
    assert up.chat_requests[1].json["max_tokens"] == 2000


async def test_a_refused_default_is_renamed_when_the_refusal_says_how(chat: httpx.AsyncClient, up: Upstream) -> None:
    """OpenAI's newer models want `max_completion_tokens`; both defaults may be refused, one after the other."""
    message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    up.queue(
        Script.openai_error("unsupported_parameter", message=message, param="max_tokens"),
        Script.openai_error("unsupported_value", message="Unsupported value", param="temperature"),
    )
    response = await chat.post("/ai/chat", json=HELLO, headers=KEY)
    assert response.status_code == 200
    last = up.chat_requests[2].json
    assert last["max_completion_tokens"] == 2000
    assert {"max_tokens", "temperature"}.isdisjoint(last)
    assert len(up.chat_requests) == 3


async def test_a_refused_value_of_the_client_is_the_clients_error(chat: httpx.AsyncClient, up: Upstream) -> None:
    """What it asked for is never changed behind its back."""
    up.queue(Script.openai_error("unsupported_value", message="Unsupported value", param="temperature"))
    response = await chat.post("/ai/chat", json={**HELLO, "temperature": 0.5}, headers=KEY)
    error = assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert error["details"]["errors"][0]["field"] == "temperature"
    assert len(up.chat_requests) == 1


async def test_the_openai_surface_sends_no_defaults(chat: httpx.AsyncClient, up: Upstream) -> None:
    """It passes requests through as they are, but for the model."""
    await chat.post("/v1/chat/completions", json={**HELLO, "unknown": [1]}, headers=KEY)
    assert up.chat_requests[0].json == {**HELLO, "unknown": [1], "model": "gpt-4"}


NEVER_UP: dict[str, str] = {
    "x-api-key": "canary-x-api-key",
    "api-key": "canary-api-key",
    "cookie": "session=canary-cookie",
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-host": "canary.example",
    "x-forwarded-proto": "https",
    "x-real-ip": "203.0.113.10",
    "forwarded": "for=203.0.113.11",
    "referer": "https://canary.example/page",
    "origin": "https://canary.example",
    "user-agent": "canary-agent/1",
    "openai-organization": "org-canary",
    "x-custom": "canary-custom",
    "proxy-authorization": "Basic canary",
    "accept-language": "xx-canary",
}


@pytest.mark.parametrize("path", ["/ai/chat", "/v1/chat/completions"])
async def test_only_headers_of_the_allow_list_go_upstream(chat: httpx.AsyncClient, up: Upstream, path: str) -> None:
    """Above all not the client's key, cookies and addresses; the provider's own key goes instead."""
    wanted = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "openai-beta": "x=1", "idempotency-key": "k1"}
    response = await chat.post(path, json=HELLO, headers={**NEVER_UP, **wanted, **KEY, "x-request-id": "mine"})
    assert response.status_code == 200, response.text
    sent = up.chat_requests[0].headers
    for name, value in NEVER_UP.items():
        assert sent.get(name) != value, name
    assert not [value for value in sent.values() if "canary" in value or GOOD_KEY in value or "203.0.113" in value]
    assert sent["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert {name: sent[name] for name in wanted} == wanted
    assert sent["x-request-id"] == "mine"
    assert sent["accept-encoding"] == "identity"


@pytest.mark.parametrize("path", ["/ai/chat", "/v1/chat/completions"])
async def test_only_headers_of_the_allow_list_come_down(chat: httpx.AsyncClient, up: Upstream, path: str) -> None:
    """Rate limits, Retry-After and the vendor's request id do; cookies and everything else do not.

    `X-RateLimit-*` are the gateway's own, whatever the provider sends under these names.
    """
    up.set_cookie = True
    up.extra_headers = {
        "retry-after": "7",
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "99",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "990",
        "x-ratelimit-reset-tokens": "6m0s",
        "x-request-id": "req-of-the-vendor",
        "server": "cloudflare-canary",
        "openai-organization": "org-canary",
        "x-ratelimit-limit": "canary",
        "x-ratelimit-remaining": "canary",
        "x-ratelimit-reset": "canary",
        "ratelimit": "canary",
        "ratelimit-policy": "canary",
        "x-lunarbit-provider": "canary",
        "x-lunarbit-error-code": "canary",
        "access-control-allow-origin": "*",
        "content-security-policy": "canary",
        "strict-transport-security": "canary",
        "x-internal": "canary",
        "alt-svc": "canary",
    }
    response = await chat.post(path, json=HELLO, headers=KEY)
    assert response.status_code == 200
    got = response.headers
    for name in ("limit", "remaining", "reset"):
        for kind in ("requests", "tokens"):
            assert got[f"x-ratelimit-{name}-{kind}"] == up.extra_headers[f"x-ratelimit-{name}-{kind}"]
    assert got["retry-after"] == "7"
    assert got["x-lunarbit-upstream-request-id"] == "req-of-the-vendor"
    assert got["x-request-id"].startswith("req_")
    assert {"set-cookie", "server", "alt-svc", "x-internal", "openai-organization"}.isdisjoint(got)
    assert {"access-control-allow-origin", "x-lunarbit-error-code"}.isdisjoint(got)
    names = [name.lower() for name, _ in got.multi_items()]
    for name in ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy"):
        assert names.count(name) == 1, name
    assert (got["x-ratelimit-limit"], got["x-ratelimit-remaining"]) == ("1000000", "999999")
    assert not [value for value in got.values() if "canary" in value]


async def test_cookies_of_the_provider_are_not_kept_for_others(chat: httpx.AsyncClient, up: Upstream) -> None:
    """One caller's session at the provider is no other caller's."""
    up.set_cookie = True
    for _ in range(3):
        await chat.post("/ai/chat", json=HELLO, headers=KEY)
    assert all("cookie" not in call.headers for call in up.requests)


async def test_tokens_that_the_provider_does_not_count_are_estimated(chat: httpx.AsyncClient, up: Upstream) -> None:
    """And the answer says so."""
    up.queue(Script.status(200, completion("four tokens of text", usage=None)))
    answer = (await chat.post("/ai/chat", json=HELLO, headers=KEY)).json()
    assert answer["usage_estimated"] is True
    assert answer["tokens_used"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(("chars", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_an_estimate_is_a_quarter_of_the_characters(chars: int, tokens: int) -> None:
    """Rounded up, so that a short text is never free."""
    assert estimated_tokens(chars) == tokens


CONTENTS: list[tuple[Any, int]] = [
    ("12345678", 2),
    ("", 0),
    (None, 0),
    (7, 0),
    ([{"type": "text", "text": "1234"}, {"type": "text", "text": "56"}, {"type": "image_url"}, "x", {"text": 1}], 2),
]


@pytest.mark.parametrize(("content", "tokens"), CONTENTS)
def test_an_estimate_reads_every_form_of_content(content: Any, tokens: int) -> None:
    """Parts with text count, images do not, and nothing that is odd raises."""
    usage = estimated_usage(CompletionRequest.of("m", [{"role": "user", "content": content}]), 9)
    assert usage.estimated
    assert usage.prompt_tokens == tokens + 4
    assert usage.completion_tokens == 3
