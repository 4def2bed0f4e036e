"""The official `openai` package against the gateway: each error is of the type that programs catch."""

from __future__ import annotations

import asyncio

import openai
import pytest

from tests.e2e.conftest import Start
from tests.e2e.openai_sdk import SDK, AsyncSDK, SyncSDK, _quiet_package, client, sdk
from tests.e2e.server import Running, provider
from tests.upstream import Script, Upstream

__all__ = ["_quiet_package", "client", "sdk"]


@pytest.mark.parametrize("kind", [SyncSDK, AsyncSDK])
async def test_a_wrong_key_is_an_authentication_error(
    one: Running, a: Upstream, kind: type[SyncSDK | AsyncSDK]
) -> None:
    """The client's key, not the gateway's at the provider."""
    sdk = kind(one, api_key="sk-wrong")
    with pytest.raises(openai.AuthenticationError) as raised:
        await sdk.create()
    assert raised.value.code == "invalid_api_key"
    await sdk.aclose()
    assert not a.chat_requests


async def test_our_own_key_refused_upstream_is_no_authentication_error(sdk: SDK, a: Upstream) -> None:
    """The client can do nothing about it, and must not think its key is bad."""
    a.default = Script.status(401)
    with pytest.raises(openai.InternalServerError) as raised:
        await sdk.create()
    assert raised.value.status_code == 502
    assert len(a.chat_requests) == 1


async def test_an_unknown_model_is_not_found(sdk: SDK) -> None:
    """Agents test for this code."""
    for asked in (sdk.create(model="gpt-9"), sdk.chunks(model="gpt-9")):
        with pytest.raises(openai.NotFoundError) as raised:
            await asked
        assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


async def test_an_unknown_path_is_not_found(client: openai.AsyncOpenAI) -> None:
    """What the gateway does not offer yet is said in the package's own form."""
    with pytest.raises(openai.NotFoundError) as raised:
        await client.files.list()
    assert raised.value.code == "not_found"


@pytest.mark.parametrize("code", ["unsupported_value", "context_length_exceeded", "content_filter"])
async def test_a_refused_request_is_a_bad_request_with_the_vendors_words(sdk: SDK, a: Upstream, code: str) -> None:
    """Also before a stream began; asking again would not help, so it is asked once."""
    a.default = Script.openai_error(code, message="Too much.", param="messages")
    for asked in (sdk.create(), sdk.chunks()):
        with pytest.raises(openai.BadRequestError) as raised:
            await asked
        error = raised.value
        assert (error.code, error.param, error.type) == (code, "messages", "invalid_request_error")
        assert "Too much." in error.message
    assert len(a.chat_requests) == 2


async def test_a_malformed_request_is_a_bad_request(sdk: SDK, a: Upstream) -> None:
    """Refused by the gateway itself, in the same form."""
    with pytest.raises(openai.BadRequestError) as raised:
        await sdk.create(messages=[])
    assert raised.value.param == "messages"
    assert not a.chat_requests


@pytest.mark.parametrize("kind", [SyncSDK, AsyncSDK])
async def test_a_rate_limit_is_one(one: Running, a: Upstream, kind: type[SyncSDK | AsyncSDK]) -> None:
    """With the vendor's wait in the header that the package reads."""
    sdk = kind(one, max_retries=0)
    a.default = Script.status(429, retry_after=30)
    with pytest.raises(openai.RateLimitError) as raised:
        await sdk.create()
    assert raised.value.code == "rate_limit_exceeded"
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 30
    await sdk.aclose()


@pytest.mark.parametrize("kind", [SyncSDK, AsyncSDK])
@pytest.mark.parametrize(
    ("script", "status", "calls"), [(Script.status(500), 502, 2), (Script.html(), 502, 1), (Script.hang(), 504, 1)]
)
async def test_a_failed_provider_is_not_asked_again_by_the_package(
    start: Start, a: Upstream, kind: type[SyncSDK | AsyncSDK], script: Script, status: int, calls: int
) -> None:
    """The gateway has retried already; retries of both sides would multiply."""
    gateway = await start({"a": provider(a, timeouts={"first_token_s": 0.3})})
    sdk = kind(gateway)
    a.default = script
    with pytest.raises(openai.InternalServerError) as raised:
        await sdk.chunks()
    assert raised.value.status_code == status
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert len(a.chat_requests) == calls
    assert len(await gateway.logged()) == 1
    await sdk.aclose()


@pytest.mark.parametrize("kind", [SyncSDK, AsyncSDK])
async def test_a_busy_gateway_is_asked_again_by_the_package(
    start: Start, a: Upstream, kind: type[SyncSDK | AsyncSDK]
) -> None:
    """503 carries Retry-After, and the package waits and asks once more without the user noticing."""
    gateway = await start({"a": provider(a, max_in_flight=1, timeouts={"first_token_s": 20.0, "total_s": 20.0})})
    sdk = kind(gateway)
    a.queue(Script.hold() + Script.text("first"))
    first = asyncio.create_task(sdk.create())
    await a.wait_for(lambda: a.in_flight)
    second = asyncio.create_task(sdk.create())
    refused = await gateway.logged()
    assert [line["status"] for line in refused] == [503]
    a.release.set()
    answers = await asyncio.gather(first, second)
    assert [answer.choices[0].message.content for answer in answers] == ["first", "Hello world"]
    await sdk.aclose()


@pytest.mark.parametrize("fault", [Script.eof_after(2), Script.reset_after(2), Script.error_event(2)])
async def test_an_error_in_the_middle_of_a_stream_is_raised(sdk: SDK, a: Upstream, fault: Script) -> None:
    """A cut answer must not look like a short one."""
    a.default = fault
    with pytest.raises(openai.APIError) as raised:
        await sdk.chunks()
    assert raised.value.code in {"stream_interrupted", "provider_error"}
    assert len(a.chat_requests) == 1
