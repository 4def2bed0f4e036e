"""The official `openai` package against the gateway: what it sends arrives, and what it gets it understands."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.e2e.conftest import Start
from tests.e2e.server import ADMIN_KEY, MODEL, Running, provider
from tests.upstream import Script, Upstream, chunk, completion
from tests.upstream.frames import tool_calls

MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


class SDK(Protocol):
    """The package's client, asked in the same way whether it is the synchronous or the asynchronous one."""

    async def create(self, **fields: Any) -> ChatCompletion:
        """Ask for a whole answer."""

    async def chunks(self, **fields: Any) -> list[ChatCompletionChunk]:
        """Ask for a streamed answer and read it to its end."""

    async def models(self) -> list[str]:
        """List the models."""


class SyncSDK:
    """`openai.OpenAI` in a thread of its own."""

    def __init__(self, gateway: Running, **options: Any) -> None:
        self.client = openai.OpenAI(**_options(gateway, options))

    async def create(self, **fields: Any) -> ChatCompletion:
        """Ask for a whole answer."""

        def ask() -> ChatCompletion:
            answer: ChatCompletion = self.client.chat.completions.create(**_fields(fields))
            return answer

        return await asyncio.to_thread(ask)

    async def chunks(self, **fields: Any) -> list[ChatCompletionChunk]:
        """Ask for a streamed answer and read it to its end."""

        def read() -> list[ChatCompletionChunk]:
            with self.client.chat.completions.create(**_fields(fields), stream=True) as stream:
                return list(stream)

        return await asyncio.to_thread(read)

    async def models(self) -> list[str]:
        """List the models."""
        return await asyncio.to_thread(lambda: [model.id for model in self.client.models.list()])

    async def aclose(self) -> None:
        """Close its connections."""
        self.client.close()


class AsyncSDK:
    """`openai.AsyncOpenAI`."""

    def __init__(self, gateway: Running, **options: Any) -> None:
        self.client = openai.AsyncOpenAI(**_options(gateway, options))

    async def create(self, **fields: Any) -> ChatCompletion:
        """Ask for a whole answer."""
        answer: ChatCompletion = await self.client.chat.completions.create(**_fields(fields))
        return answer

    async def chunks(self, **fields: Any) -> list[ChatCompletionChunk]:
        """Ask for a streamed answer and read it to its end."""
        async with await self.client.chat.completions.create(**_fields(fields), stream=True) as stream:
            return [part async for part in stream]

    async def models(self) -> list[str]:
        """List the models."""
        return [model.id async for model in self.client.models.list()]

    async def aclose(self) -> None:
        """Close its connections."""
        await self.client.close()


def _options(gateway: Running, options: dict[str, Any]) -> dict[str, Any]:
    return {"base_url": f"http://127.0.0.1:{gateway.port}/v1", "api_key": ADMIN_KEY, "timeout": 20.0} | options


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {"model": MODEL, "messages": MESSAGES} | fields


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    """Return the text of a stream."""
    return "".join(part.choices[0].delta.content or "" for part in chunks if part.choices)


@pytest.fixture(autouse=True)
def _quiet_package() -> Iterator[None]:
    """Keep the package's own log lines out of the gateway's, since both are in this process."""
    loggers = [logging.getLogger(name) for name in ("anthropic", "openai", "httpx", "httpx2")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(params=[SyncSDK, AsyncSDK])
async def sdk(one: Running, request: pytest.FixtureRequest) -> AsyncIterator[SDK]:
    """Each of the two clients, which retry as the package does by default."""
    client = request.param(one)
    yield client
    await client.aclose()


@pytest.fixture
async def client(one: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous client itself."""
    async with AsyncSDK(one).client as made:
        yield made


async def test_the_models_are_listed(sdk: SDK) -> None:
    """Tools fill their menus from this list."""
    assert await sdk.models() == [MODEL]


async def test_a_whole_answer(sdk: SDK, a: Upstream) -> None:
    """The plain case, with the fields of the package's types."""
    answer = await sdk.create(temperature=0.5, seed=7, user="u")
    assert answer.choices[0].message.content == "Hello world"
    assert (answer.choices[0].finish_reason, answer.model, answer.object) == ("stop", MODEL, "chat.completion")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 12
    assert a.chat_requests[0].json == {"model": MODEL, "messages": MESSAGES, "temperature": 0.5, "seed": 7, "user": "u"}


async def test_a_stream_without_usage(sdk: SDK, a: Upstream) -> None:
    """Usage was asked for upstream but not by this client, so no chunk may show it."""
    chunks = await sdk.chunks()
    assert text_of(chunks) == "Hello world"
    assert [part.usage for part in chunks] == [None] * len(chunks)
    assert all(part.choices for part in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert a.chat_requests[0].include_usage


async def test_a_stream_with_usage(sdk: SDK) -> None:
    """The last chunk has no choices and the count."""
    chunks = await sdk.chunks(stream_options={"include_usage": True})
    assert text_of(chunks) == "Hello world"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 12
    assert [part.usage for part in chunks[:-1]] == [None] * (len(chunks) - 1)


async def test_tool_calls_of_a_whole_answer_and_the_second_turn(sdk: SDK, a: Upstream) -> None:
    """An agent's loop: the calls come out as sent, and its results go in as given."""
    a.queue(Script.tool_call_stream())
    answer = await sdk.create(tools=TOOLS, tool_choice="auto", parallel_tool_calls=True)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [call.to_dict() for call in message.tool_calls or []] == tool_calls()
    results = [{"role": "tool", "tool_call_id": call.id, "content": "15 °C"} for call in message.tool_calls or []]
    history = [*MESSAGES, message.to_dict(), *results]
    assert (await sdk.create(messages=history, tools=TOOLS)).choices[0].message.content == "Hello world"
    first, second = (call.json for call in a.chat_requests)
    assert (first["tools"], first["tool_choice"], first["parallel_tool_calls"]) == (TOOLS, "auto", True)
    assert second["messages"] == history


async def test_streamed_tool_calls_are_put_together_by_the_package(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """Its accumulator joins the fragments by index, so none may be lost or doubled."""
    a.queue(Script.tool_call_stream())
    async with client.chat.completions.stream(model=MODEL, messages=MESSAGES, tools=TOOLS) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in tool_calls()
    ]


class Weather(BaseModel):
    """A structured answer."""

    city: str
    celsius: int


async def test_structured_answers(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """`response_format` with a JSON schema reaches the provider, and the package reads the answer as the type."""
    a.default = Script.text('{"city":"Paris","celsius":15}')
    answer = await client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Paris", celsius=15)
    sent = a.chat_requests[0].json["response_format"]
    assert (sent["type"], sent["json_schema"]["name"], sent["json_schema"]["strict"]) == (
        "json_schema",
        "Weather",
        True,
    )


async def test_images_go_as_they_are(sdk: SDK, a: Upstream) -> None:
    """Parts of content are the provider's to judge."""
    parts = [
        {"type": "text", "text": "What is this?\u2028"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ]
    await sdk.create(messages=[{"role": "user", "content": parts}])
    assert a.chat_requests[0].json["messages"][0]["content"] == parts


async def test_unknown_fields_go_and_come(sdk: SDK, a: Upstream) -> None:
    """`extra_body` is how users reach what a vendor adds."""
    document = completion("a", message={"reasoning_content": "so", "annotations": []}, timings={"predicted_n": 3})
    a.queue(Script.status(200, document))
    answer = await sdk.create(extra_body={"cache_prompt": True})
    assert a.chat_requests[0].json["cache_prompt"] is True
    assert answer.to_dict() == document


async def test_several_choices(sdk: SDK, a: Upstream) -> None:
    """With n over 1, chunks of the choices come mixed and each has its own finish."""
    payloads = [chunk("a"), chunk("b", index=1), chunk(index=1, finish_reason="stop"), chunk(finish_reason="stop")]
    a.default = Script.sse(b"".join(b"data: " + json.dumps(payload).encode() + b"\n\n" for payload in payloads))
    seen = await sdk.chunks(n=2)
    assert [(c.choices[0].index, c.choices[0].delta.content, c.choices[0].finish_reason) for c in seen] == [
        (0, "a", None),
        (1, "b", None),
        (1, None, "stop"),
        (0, None, "stop"),
    ]


async def test_headers_of_the_raw_answer(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """They say who answered, under which id, and what the vendor's limits are."""
    a.extra_headers = {"x-ratelimit-remaining-requests": "41", "x-request-id": "vendor-1", "set-cookie": "s=1"}
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL, messages=MESSAGES, extra_headers={"X-Request-ID": "my-id-1"}
    )
    assert raw.headers["x-request-id"] == "my-id-1"
    assert raw.headers["x-lunarbit-provider"] == "a"
    assert raw.headers["x-lunarbit-upstream-request-id"] == "vendor-1"
    assert raw.headers["x-ratelimit-remaining-requests"] == "41"
    assert "set-cookie" not in raw.headers
    assert raw.parse().choices[0].message.content == "Hello world"
    assert a.chat_requests[0].headers["x-request-id"] == "my-id-1"


async def test_leaving_a_stream_closes_the_upstream(one: Running, a: Upstream) -> None:
    """A user who stops an answer must not go on paying for it."""
    a.default = Script.endless(interval_s=0.01)
    async with AsyncSDK(one).client as client:
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        async for _ in stream:
            break
        await stream.close()
        await asyncio.wait_for(a.chat_requests[0].disconnected.wait(), 5)

    def read_one() -> None:
        with openai.OpenAI(**_options(one, {})) as client:
            for _ in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
                break

    await asyncio.to_thread(read_one)
    await asyncio.wait_for(a.chat_requests[1].disconnected.wait(), 5)


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
