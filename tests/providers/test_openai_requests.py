"""What the OpenAI adapter sends: the client's request with as little changed as possible."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from providers import errors
from providers.base import CompletionRequest
from providers.config import ModelOptions, ProviderConfig
from providers.openai import DEFAULT_BASE_URL, OpenAIProvider
from providers.transport import Transport
from tests.providers.support import KEY, MODEL, collect, openai, question
from tests.upstream import Script, Upstream

BIG_IMAGE = "data:image/png;base64," + "A" * (4 << 20)
UNKNOWN: dict[str, Any] = {
    "reasoning_effort": "high",
    "logit_bias": {"50256": -100},
    "metadata": {"text": "\u2028 naïve 日本語 🌍"},
    "prediction": {"type": "content", "content": None},
    "vendor_field": [1, 2.5, {"deep": [True, None]}],
}


def defaulted(*names: str, **fields: Any) -> CompletionRequest:
    """Return a request of which the gateway itself filled in the fields called `names`."""
    request = question(**fields)
    return CompletionRequest(MODEL, request.fields, defaulted=frozenset(names))


async def test_the_credential_and_the_account_go_in_headers(up: Upstream, transport: Transport) -> None:
    """The names are OpenAI's; extra headers are the operator's."""
    provider = openai(up, transport, organization="org-1", project="proj-1", headers={"X-Title": "LunarBit"})
    await provider.chat_completion(question())
    await collect(provider)
    await provider.get_models()
    for call in up.requests:
        assert call.headers["authorization"] == f"Bearer {KEY}"
        assert call.headers["openai-organization"] == "org-1"
        assert call.headers["openai-project"] == "proj-1"
        assert call.headers["x-title"] == "LunarBit"
        assert call.headers["accept-encoding"] == "identity"
        assert call.headers["host"] == f"127.0.0.1:{up.port}"
    assert {call.headers["content-type"] for call in up.chat_requests} == {"application/json"}
    assert {int(call.headers["content-length"]) == len(call.body) for call in up.chat_requests} == {True}


async def test_without_a_key_no_credential_is_sent(up: Upstream, transport: Transport) -> None:
    """Local servers need none, and an empty bearer token confuses some."""
    await openai(up, transport, api_key="").chat_completion(question())
    headers = up.requests[0].headers
    assert not {"authorization", "openai-organization", "openai-project"} & headers.keys()


async def test_the_operators_headers_win_over_the_adapters(up: Upstream, transport: Transport) -> None:
    """A proxy in front of the vendor may want another form of credential."""
    provider = openai(up, transport, headers={"Authorization": "Basic abc"})
    await provider.chat_completion(question())
    assert up.requests[0].headers["authorization"] == "Basic abc"


async def test_the_requests_own_headers_are_added(up: Upstream, transport: Transport) -> None:
    """Request id and trace reach the vendor, so that both sides' logs can be joined."""
    request = CompletionRequest(MODEL, question().fields, headers={"x-request-id": "req_1", "traceparent": "00-abc"})
    provider = openai(up, transport)
    await provider.chat_completion(request)
    assert up.requests[0].headers["x-request-id"] == "req_1"
    assert up.requests[0].headers["traceparent"] == "00-abc"
    await provider.chat_completion(question())
    assert "x-request-id" not in up.requests[1].headers


def test_openai_itself_is_the_default_address(transport: Transport) -> None:
    """Nothing but a key is needed for it."""
    provider = OpenAIProvider(ProviderConfig("openai", "openai"), transport)
    assert provider.chat_url(MODEL) == f"{DEFAULT_BASE_URL}/chat/completions"
    assert provider.models_url() == f"{DEFAULT_BASE_URL}/models"


async def test_a_slash_at_the_end_of_the_address_does_no_harm(up: Upstream, transport: Transport) -> None:
    """People copy addresses either way."""
    await openai(up, transport, base_url=f"{up.base_url}/").chat_completion(question())
    assert up.requests[0].path == "/v1/chat/completions"


@pytest.mark.parametrize("stream", [True, False])
async def test_unknown_fields_and_unicode_survive(up: Upstream, transport: Transport, stream: bool) -> None:
    """What a vendor adds tomorrow must work without a new release of the gateway."""
    request = question(**UNKNOWN)
    provider = openai(up, transport)
    await (collect(provider, request) if stream else provider.chat_completion(request))
    sent = up.requests[0].json
    assert {name: sent[name] for name in UNKNOWN} == UNKNOWN
    assert sent["model"] == MODEL
    assert sent.get("stream", False) is stream


async def test_raw_numbers_are_not_rewritten(up: Upstream, transport: Transport) -> None:
    """A detour over floats would change large integers and long decimals."""
    fields = {
        "messages": msgspec.Raw(b"[]"),
        "seed": msgspec.Raw(b"12345678901234567890123"),
        "x": msgspec.Raw(b"1.50"),
    }
    await openai(up, transport).chat_completion(CompletionRequest(MODEL, fields))
    assert b'"seed":12345678901234567890123' in up.requests[0].body
    assert b'"x":1.50' in up.requests[0].body


async def test_large_images_pass_unchanged(up: Upstream, transport: Transport) -> None:
    """Images come inline as text of megabytes, also when the request is sent a second time."""
    part = {"type": "image_url", "image_url": {"url": BIG_IMAGE}}
    up.queue(Script.reset())
    await openai(up, transport).chat_completion(question(messages=[{"role": "user", "content": [part]}]))
    for call in up.requests:
        assert call.json["messages"][0]["content"] == [part]
        assert int(call.headers["content-length"]) == len(call.body)
        assert call.headers["content-type"] == "application/json"
    assert len(up.requests) == 2


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}),
        ({"stream_options": {"include_obfuscation": False}}, {"include_obfuscation": False, "include_usage": True}),
    ],
)
async def test_usage_is_always_asked_for_in_a_stream(
    up: Upstream, transport: Transport, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    """The gateway counts tokens whether or not the client wants to see them; other options stay."""
    await collect(openai(up, transport), question(**given))
    assert up.requests[0].json["stream_options"] == sent


async def test_stream_options_do_not_go_with_a_whole_answer(up: Upstream, transport: Transport) -> None:
    """OpenAI refuses them without `stream`."""
    await openai(up, transport).chat_completion(question(stream_options={"include_usage": True}))
    assert "stream_options" not in up.requests[0].json


async def test_parameters_that_a_provider_does_not_take_are_left_out(up: Upstream, transport: Transport) -> None:
    """Reasoning models take no temperature and call the length's limit otherwise."""
    plain = ModelOptions(omit_params=("top_p",))
    o3 = ModelOptions(omit_params=("temperature", "absent"), max_tokens_field="max_completion_tokens")
    provider = openai(up, transport, defaults=plain, model_options={"o3": o3})
    request = question(temperature=0.7, top_p=1, max_tokens=9)
    await provider.chat_completion(request)
    await provider.chat_completion(request.for_model("o3"))
    first, second = (call.json for call in up.requests)
    assert (first["temperature"], first["max_tokens"], "top_p" in first) == (0.7, 9, False)
    assert (second["max_completion_tokens"], second["top_p"]) == (9, 1)
    assert not {"temperature", "max_tokens"} & second.keys()
    assert request.get("temperature") == 0.7, "the request itself stays as it is for the next provider"


REFUSAL_OF_MAX_TOKENS = Script.openai_error(
    "unsupported_parameter",
    message="Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead.",
    param="max_tokens",
)
REFUSAL_OF_TEMPERATURE = Script.openai_error(
    "unsupported_value",
    message="Unsupported value: 'temperature' does not support 0.7 with this model. "
    "Only the default (1) value is supported.",
    param="temperature",
)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refused_default_is_dropped_or_renamed_and_asked_again(
    up: Upstream, transport: Transport, stream: bool
) -> None:
    """The client did not send these fields, so it must not learn of them."""
    up.queue(REFUSAL_OF_MAX_TOKENS, REFUSAL_OF_TEMPERATURE)
    request = defaulted("temperature", "max_tokens", temperature=0.7, max_tokens=2000, top_p=1)
    provider = openai(up, transport)
    await (collect(provider, request) if stream else provider.chat_completion(request))
    *_, last = (call.json for call in up.chat_requests)
    assert len(up.chat_requests) == 3
    assert (last["max_completion_tokens"], last["top_p"]) == (2000, 1)
    assert not {"temperature", "max_tokens"} & last.keys()


async def test_a_refused_default_may_be_named_in_the_message_only(up: Upstream, transport: Transport) -> None:
    """Compatible servers leave `param` empty."""
    up.queue(Script.openai_error(None, message="`temperature` is not supported"))
    await openai(up, transport).chat_completion(defaulted("temperature", temperature=0.7))
    assert "temperature" not in up.chat_requests[1].json


async def test_a_refused_field_of_the_client_is_the_clients_error(up: Upstream, transport: Transport) -> None:
    """Dropping what a client asked for would answer another question."""
    up.queue(REFUSAL_OF_TEMPERATURE)
    with pytest.raises(errors.RequestRefused) as raised:
        await openai(up, transport).chat_completion(question(temperature=0.7))
    assert raised.value.param == "temperature"
    assert len(up.chat_requests) == 1


async def test_each_default_is_taken_out_once_and_then_the_refusal_stands(up: Upstream, transport: Transport) -> None:
    """A server that refuses the same thing for ever must not be asked for ever."""
    up.default = REFUSAL_OF_TEMPERATURE
    with pytest.raises(errors.RequestRefused):
        await openai(up, transport).chat_completion(defaulted("temperature", temperature=0.7))
    assert len(up.chat_requests) == 2


async def test_addresses_made_from_model_names_are_bounded(
    up: Upstream, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients choose model names, and what is kept for each must not grow for ever."""
    provider = openai(up, transport)
    monkeypatch.setattr(provider, "chat_url", lambda model: f"{up.base_url}/chat/completions?{model}")
    for number in range(1_005):
        provider._endpoint(question(f"m{number}"))
    assert len(provider._endpoints) <= 1_000
    await provider.chat_completion(question())


def test_the_key_does_not_show_in_a_repr() -> None:
    """Configurations end up in logs and tracebacks."""
    config = ProviderConfig("a", "openai", api_key=KEY, headers={"x": "secret-header"})
    assert KEY not in repr(config)
    assert "secret-header" not in repr(config)
    assert json.dumps(config.name) == '"a"'


@pytest.mark.parametrize(
    ("listed", "first"),
    [(["text-embedding-3-small", "gpt-4"], "gpt-4"), (["dall-e-3", "whisper-1", "o3"], "o3"), (["tts-1"], "tts-1")],
)
async def test_models_that_cannot_chat_are_listed_last(
    up: Upstream, transport: Transport, listed: list[str], first: str
) -> None:
    """A client that names no model gets the first one."""
    up.models = listed
    models = await openai(up, transport).get_models()
    assert models[0] == first
    assert sorted(models) == sorted(listed)
