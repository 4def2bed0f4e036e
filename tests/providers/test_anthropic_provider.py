"""The Anthropic adapter on the wire: addresses, headers, discovery, what it repairs, and the type of each failure."""

from __future__ import annotations

from typing import Any

import pytest

from providers import errors
from providers.anthropic.provider import API_VERSION, DEFAULT_ORIGIN, AnthropicProvider
from providers.base import CompletionRequest, StreamEvent, events_of
from providers.config import ModelOptions, ProviderConfig
from providers.registry import ProviderSetupError, build
from providers.transport import Transport
from tests.providers.support import KEY, collect, question, text_of
from tests.upstream import Script, Upstream, messages
from tests.upstream.answers import TRICKY_TEXT
from tests.upstream.anthropic_frames import MODEL as TOLD_MODEL

MODEL = "claude-sonnet-4-5"


def adapter(up: Upstream, transport: Transport, **settings: Any) -> AnthropicProvider:
    """Return an adapter for `up`; `settings` are those of `ProviderConfig`."""
    values = {"name": "a", "kind": "anthropic", "base_url": up.origin, "api_key": KEY, **settings}
    return AnthropicProvider(ProviderConfig(**values), transport)


def asked(**fields: Any) -> CompletionRequest:
    """Return a small request."""
    return question(MODEL, **fields)


async def test_a_whole_answer(up: Upstream, transport: Transport) -> None:
    """With the vendor's limits and its id of the request, which may go to the client."""
    up.default = messages.text(TRICKY_TEXT)
    up.extra_headers = {
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:00Z",
        "request-id": "req_vendor",
        "set-cookie": "a=b",
        "anthropic-organization-id": "org-secret",
    }
    answer = await adapter(up, transport).chat_completion(asked(max_tokens=10))
    assert (answer.content, answer.model, answer.finish_reason) == (TRICKY_TEXT, TOLD_MODEL, "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 12
    assert answer.headers == {
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:00Z",
        "x-lunarbit-upstream-request-id": "req_vendor",
    }
    (call,) = up.chat_requests
    assert call.json == {
        "model": MODEL,
        "max_tokens": 10,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


@pytest.mark.parametrize("script", [messages.text(TRICKY_TEXT), messages.split_every_byte(TRICKY_TEXT)])
async def test_a_streamed_answer(up: Upstream, transport: Transport, script: Script) -> None:
    """However its bytes are cut."""
    up.default = script
    events = await collect(adapter(up, transport), asked())
    assert text_of(events) == TRICKY_TEXT
    assert [event.finish_reason for event in events if event.finish_reason] == ["stop"]
    counted = [event.usage for event in events if event.usage]
    assert (counted[-1].prompt_tokens, counted[-1].completion_tokens, counted[-1].estimated) == (7, 5, False)
    assert up.chat_requests[0].json["stream"] is True


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_the_address_may_end_in_v1_or_not(up: Upstream, transport: Transport, suffix: str) -> None:
    """People give either."""
    up.default = messages.text()
    provider = adapter(up, transport, base_url=up.origin + suffix)
    await provider.chat_completion(asked())
    assert await provider.is_healthy()
    assert [call.path for call in up.requests] == ["/v1/messages", "/v1/models"]


async def test_without_an_address_it_is_anthropics_own(transport: Transport) -> None:
    """A key alone is enough."""
    provider = AnthropicProvider(ProviderConfig("a", "anthropic", api_key=KEY), transport)
    assert provider.chat_url(MODEL) == f"{DEFAULT_ORIGIN}/v1/messages"


async def test_headers_carry_the_key_the_version_and_what_is_configured(up: Upstream, transport: Transport) -> None:
    """The version may be replaced by the operator as well."""
    up.default = messages.text()
    await adapter(up, transport, headers={"Anthropic-Beta": "files-api-2025-04-14"}).chat_completion(asked())
    await adapter(up, transport, api_key="", headers={"anthropic-version": "2030-01-01"}).chat_completion(asked())
    first, second = (call.headers for call in up.chat_requests)
    assert (first["x-api-key"], first["anthropic-version"]) == (KEY, API_VERSION)
    assert first["anthropic-beta"] == "files-api-2025-04-14"
    assert "authorization" not in first
    assert "x-api-key" not in second
    assert second["anthropic-version"] == "2030-01-01"


async def test_models_are_read_page_by_page(up: Upstream, transport: Transport) -> None:
    """In the vendor's order, the newest first."""
    up.models = [f"claude-{number}" for number in range(7)]
    up.models_per_page = 3
    assert await adapter(up, transport).get_models() == up.models
    assert [call.query for call in up.requests] == [
        "limit=1000",
        "limit=1000&after_id=claude-2",
        "limit=1000&after_id=claude-5",
    ]


async def test_a_list_without_end_is_left_at_some_point(up: Upstream, transport: Transport) -> None:
    """A server that ignores `after_id` says for ever that there is more."""
    up.models_script = Script.status(200, '{"data":[{"id":"m"}],"has_more":true,"last_id":"m"}')
    assert await adapter(up, transport).get_models() == ["m"]
    assert len(up.requests) == 20


@pytest.mark.parametrize("body", ["{}", "[]", '{"data":[{"name":"m"}]}', "<html>"])
async def test_a_list_that_is_none_is_unreadable(up: Upstream, transport: Transport, body: str) -> None:
    """The health monitor logs it."""
    up.models_script = Script.status(200, body)
    with pytest.raises(errors.UnreadableAnswer):
        await adapter(up, transport).get_models()


async def test_the_list_of_models_tells_lengths(up: Upstream, transport: Transport) -> None:
    """The context decides where a long prompt can go, the maximum is sent when the client names none."""
    known = '{"id":"m","max_input_tokens":200000,"max_tokens":64000}'
    up.models_script = Script.status(200, f'{{"data":[{known},{{"id":"old"}}],"has_more":false}}')
    up.default = messages.text()
    provider = adapter(up, transport)
    assert provider.context_length("m") is None
    await provider.get_models()
    assert [provider.context_length(model) for model in ("m", "old", "other")] == [200_000, None, None]
    for model in ("m", "old"):
        await provider.chat_completion(question(model))
    await adapter(up, transport, options={"max_tokens": 500}).chat_completion(question("m"))
    assert [call.json["max_tokens"] for call in up.chat_requests] == [64_000, 4_096, 500]


async def test_a_maximum_that_only_the_gateway_had_put_in_is_one_that_the_model_takes(
    up: Upstream, transport: Transport
) -> None:
    """A key may allow longer answers than the model can write, and the client asked for none of them."""
    up.default = messages.text()
    request = asked(max_tokens=100_000)
    request.defaulted = frozenset({"max_tokens"})
    await adapter(up, transport).chat_completion(request)
    await adapter(up, transport).chat_completion(asked(max_tokens=100_000))
    assert [call.json["max_tokens"] for call in up.chat_requests] == [4_096, 100_000]


async def test_an_option_of_the_wrong_kind_names_itself(transport: Transport) -> None:
    """At the start, and not with the first request."""
    with pytest.raises(ProviderSetupError, match=r"options\.max_tokens"):
        build(ProviderConfig("a", "anthropic", options={"max_tokens": "many"}), transport)


@pytest.mark.parametrize(
    ("status", "healthy"), [(200, True), (404, True), (429, True), (401, False), (403, False), (500, False)]
)
async def test_health_is_asked_of_the_list_of_models(
    up: Upstream, transport: Transport, status: int, healthy: bool
) -> None:
    """A server without such a list is there all the same."""
    up.models_script = messages.error(status, "error")
    assert await adapter(up, transport).is_healthy() is healthy


async def test_params_that_the_operator_omits_are_not_sent(up: Upstream, transport: Transport) -> None:
    """The way to let clients go on that always send a seed."""
    up.default = messages.text()
    provider = adapter(up, transport, defaults=ModelOptions(omit_params=("seed", "temperature")))
    await provider.chat_completion(asked(seed=1, temperature=0.3))
    assert "temperature" not in up.chat_requests[0].json


@pytest.mark.parametrize(
    "message",
    ["`temperature` is deprecated for this model.", "temperature: may only be set to 1 when thinking is enabled"],
)
async def test_a_temperature_that_only_the_gateway_had_put_in_is_taken_out(
    up: Upstream, transport: Transport, message: str
) -> None:
    """`/ai/chat` always has one, and some models take none."""
    up.queue(messages.error(400, "invalid_request_error", message))
    up.default = messages.text("ok")
    request = asked(temperature=0.7, max_tokens=2000)
    request.defaulted = frozenset({"temperature", "max_tokens"})
    assert (await adapter(up, transport).chat_completion(request)).content == "ok"
    first, second = (call.json for call in up.chat_requests)
    assert first == {**second, "temperature": 0.7}


async def test_a_refused_field_of_the_clients_is_its_own_to_change(up: Upstream, transport: Transport) -> None:
    """And `max_tokens` is never taken out, since nothing goes without it."""
    up.default = messages.error(400, "invalid_request_error", "temperature and max_tokens: no")
    provider = adapter(up, transport)
    with pytest.raises(errors.RequestRefused):
        await provider.chat_completion(asked(temperature=0.7))
    request = asked(max_tokens=2000)
    request.defaulted = frozenset({"max_tokens"})
    with pytest.raises(errors.RequestRefused):
        await provider.chat_completion(request)
    assert len(up.chat_requests) == 2


async def test_what_cannot_be_expressed_is_not_sent(up: Upstream, transport: Transport) -> None:
    """The provider never hears of it."""
    provider = adapter(up, transport)
    with pytest.raises(errors.NotExpressible, match=r"^n cannot"):
        await provider.chat_completion(asked(n=2))
    with pytest.raises(errors.NotExpressible, match=r"^n cannot"):
        await collect(provider, asked(n=2))
    assert not up.requests


FAULTS: dict[str, tuple[Script, type[errors.ProviderError], type[errors.ProviderError]]] = {
    "overloaded": (messages.error(529, "overloaded_error"), errors.Overloaded, errors.Overloaded),
    "overloaded inside a 200": (messages.error_event(0), errors.Overloaded, errors.Overloaded),
    "limited": (messages.error(429, "rate_limit_error"), errors.RateLimited, errors.RateLimited),
    "refused": (messages.error(413, "request_too_large"), errors.RequestRefused, errors.RequestRefused),
    "our key": (messages.error(401, "authentication_error"), errors.CredentialRefused, errors.CredentialRefused),
    "unknown model": (messages.error(404, "not_found_error"), errors.ModelNotServed, errors.ModelNotServed),
    "HTML": (Script.html(), errors.UnreadableAnswer, errors.UnreadableAnswer),
    "not JSON": (Script.invalid_json(), errors.UnreadableAnswer, errors.UnreadableAnswer),
    "OpenAI's dialect": (Script.text(), errors.UnreadableAnswer, errors.UnreadableAnswer),
    "garbage": (messages.malformed_event(0, then_complete=False), errors.ServerFailed, errors.UnreadableAnswer),
    "RST": (messages.reset_after(0), errors.ServerFailed, errors.StreamBroken),
    "cut": (messages.cut_after(0), errors.ServerFailed, errors.StreamBroken),
    "end": (messages.eof_after(0), errors.UnreadableAnswer, errors.StreamBroken),
    "nothing": (Script.close_before_headers(), errors.ConnectionDropped, errors.ConnectionDropped),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_has_its_type(up: Upstream, transport: Transport, fault: str) -> None:
    """The router decides from the type alone."""
    up.default, whole, streamed = FAULTS[fault]
    provider = adapter(up, transport)
    with pytest.raises(errors.ProviderError) as raised:
        await provider.chat_completion(asked())
    assert type(raised.value) is whole
    with pytest.raises(errors.ProviderError) as raised:
        await collect(provider, asked())
    assert type(raised.value) is streamed


BROKEN: dict[str, tuple[Script, type[errors.ProviderError]]] = {
    "overloaded": (messages.error_event(2), errors.Overloaded),
    "the server's fault": (messages.error_event(2, "api_error"), errors.ServerFailed),
    "RST": (messages.reset_after(2), errors.StreamBroken),
    "cut": (messages.cut_after(2), errors.StreamBroken),
    "end": (messages.eof_after(2), errors.StreamBroken),
    "garbage, then the end": (messages.malformed_event(2, then_complete=False), errors.StreamBroken),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_stream_that_breaks_is_told_from_a_whole_one(up: Upstream, transport: Transport, fault: str) -> None:
    """What came before is handed on, then the error."""
    up.default, kind = BROKEN[fault]
    seen: list[StreamEvent] = []

    async def read() -> None:
        async for item in adapter(up, transport).stream_completion(asked()):
            seen.extend(events_of(item))

    with pytest.raises(errors.ProviderError) as raised:
        await read()
    assert type(raised.value) is kind
    assert text_of(seen) == "tok0 tok1 "


async def test_garbage_in_the_middle_of_a_complete_stream_is_left_out(up: Upstream, transport: Transport) -> None:
    """Nothing of the answer was lost."""
    up.default = messages.malformed_event(2, then_complete=True)
    assert text_of(await collect(adapter(up, transport), asked())) == "tok0 tok1 after "


async def test_leaving_a_stream_closes_the_connection(up: Upstream, transport: Transport) -> None:
    """So that the vendor stops writing, and billing."""
    up.default = messages.endless(0.01)
    stream = adapter(up, transport).stream_completion(asked())
    async for item in stream:
        if any(event.commits for event in events_of(item)):
            break
    await stream.aclose()  # type: ignore[attr-defined]
    await up.wait_for(up.chat_requests[0].disconnected.is_set)


async def test_the_wait_of_a_limit_is_kept(up: Upstream, transport: Transport) -> None:
    """The router cools the target down for as long."""
    up.default = messages.error(429, "rate_limit_error", headers={"retry-after": "17"})
    with pytest.raises(errors.RateLimited) as raised:
        await adapter(up, transport).chat_completion(asked())
    assert raised.value.retry_after_s == 17
