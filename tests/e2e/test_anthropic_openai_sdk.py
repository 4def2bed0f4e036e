"""The official `openai` package, whose gateway asks a provider that speaks Anthropic's dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.e2e.conftest import Start
from tests.e2e.openai_sdk import MESSAGES, PIXEL, TOOLS, AsyncSDK, _quiet_package, text_of
from tests.e2e.server import Running, provider
from tests.upstream import Upstream, messages
from tests.upstream.anthropic_frames import MODEL as TOLD_MODEL

__all__ = ["_quiet_package"]

MODEL = "claude-sonnet-4-5"
THOUGHT = {"type": "thinking", "thinking": "Paris, then Tokyo.", "signature": "EqoB"}
REDACTED = {"type": "redacted_thinking", "data": "EmwK"}
USES = [
    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
    {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {"city": "Zürich"}},
    {"type": "tool_use", "id": "toolu_3", "name": "now", "input": {}},
]
ARGUMENTS = [
    ("toolu_1", "get_weather", '{"city":"Paris"}'),
    ("toolu_2", "get_weather", '{"city":"Zürich"}'),
    ("toolu_3", "now", "{}"),
]
QUESTION = {"role": "user", "content": [{"type": "text", "text": "hi"}]}


@pytest.fixture
async def gateway(start: Start, a: Upstream) -> Running:
    """A gateway with the one provider `a`, which speaks Anthropic's dialect."""
    a.default = messages.text()
    return await start({"a": provider(a.origin, kind="anthropic", models=[MODEL])})


@pytest.fixture
async def client(gateway: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    """The package's client."""
    async with AsyncSDK(gateway).client as made:
        yield made


async def create(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    """Ask for an answer."""
    return await client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **fields})


async def test_a_whole_answer(client: openai.AsyncOpenAI) -> None:
    """With the model's full name and the tokens."""
    answer = await create(client, temperature=0.5, user="u", max_completion_tokens=50)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hello world", "stop")
    assert (answer.model, answer.object, answer.usage.total_tokens) == (TOLD_MODEL, "chat.completion", 12)


async def test_a_stream_with_and_without_usage(client: openai.AsyncOpenAI) -> None:
    """The last chunk has the count, if it was asked for."""
    chunks = [part async for part in await create(client, stream=True, stream_options={"include_usage": True})]
    assert text_of(chunks) == "Hello world"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (7, 5)
    chunks = [part async for part in await create(client, stream=True)]
    assert all(part.choices and part.usage is None for part in chunks)


async def test_cached_and_reasoning_tokens(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """In the fields where the package has them."""
    usage = {
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 40},
    }
    a.default = messages.blocks({"type": "text", "text": "a"}, usage=usage)
    whole = (await create(client)).usage
    options = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = [part.usage async for part in await create(client, **options)][-1]
    for told in (whole, streamed):
        assert (told.prompt_tokens, told.completion_tokens, told.total_tokens) == (127, 50, 177)
        assert told.prompt_tokens_details.cached_tokens == 100
        assert told.completion_tokens_details.reasoning_tokens == 40


async def test_tools_in_parallel_and_the_second_turn(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """An agent's loop: its history is the package's own objects, signed reasoning included."""
    a.queue(messages.blocks(THOUGHT, REDACTED, {"type": "text", "text": "I look."}, *USES, stop_reason="tool_use"))
    answer = await create(client, tools=TOOLS, tool_choice="auto", extra_body={"reasoning_effort": "low"})
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == ARGUMENTS
    assert (message.content, message.reasoning_content) == ("I look.", THOUGHT["thinking"])
    results = [{"role": "tool", "tool_call_id": call.id, "content": "15 °C"} for call in message.tool_calls]
    await create(client, messages=[*MESSAGES, message.to_dict(), *results], tools=TOOLS)
    first, second = (call.json for call in a.chat_requests)
    assert first["tools"] == [{"name": "get_weather", "input_schema": TOOLS[0]["function"]["parameters"]}]
    assert (first["tool_choice"], first["thinking"]) == ({"type": "auto"}, {"type": "enabled", "budget_tokens": 1024})
    assert second["messages"] == [QUESTION, *_second_turn()]


async def test_streamed_tools_are_put_together_by_the_package(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """Its accumulator joins the pieces by index, those of the reasoning as well, and the result goes in again."""
    a.queue(messages.blocks(THOUGHT, REDACTED, {"type": "text", "text": "I look."}, *USES, stop_reason="tool_use"))
    async with client.chat.completions.stream(model=MODEL, messages=MESSAGES, tools=TOOLS) as stream:
        final = await stream.get_final_completion()
    message = final.choices[0].message
    assert final.choices[0].finish_reason == "tool_calls"
    assert [
        (call.id, call.function.name, _packed(call.function.arguments)) for call in message.tool_calls or []
    ] == ARGUMENTS
    results = [{"role": "tool", "tool_call_id": call.id, "content": "15 °C"} for call in message.tool_calls or []]
    await create(client, messages=[*MESSAGES, message.to_dict(), *results], tools=TOOLS)
    assert a.chat_requests[1].json["messages"] == [QUESTION, *_second_turn()]


def _packed(arguments: str) -> str:
    return arguments.replace(": ", ":")


def _second_turn() -> list[dict[str, Any]]:
    content = [{"type": "text", "text": "15 °C"}]
    results = [{"type": "tool_result", "tool_use_id": use["id"], "content": content} for use in USES]
    spoken = {"type": "text", "text": "I look."}
    return [{"role": "assistant", "content": [THOUGHT, REDACTED, spoken, *USES]}, {"role": "user", "content": results}]


async def test_an_image_and_a_file(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """Both as the package's users write them."""
    parts = [
        {"type": "text", "text": "What is this?\u2028"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
    ]
    await create(client, messages=[{"role": "user", "content": parts}])
    assert a.chat_requests[0].json["messages"][0]["content"] == [
        {"type": "text", "text": "What is this?\u2028"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
    ]


class Weather(BaseModel):
    """A structured answer."""

    city: str
    celsius: int


async def test_structured_answers(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """The schema reaches the provider in its own field, and the package reads the answer as the type."""
    a.default = messages.text('{"city":"Paris","celsius":15}')
    answer = await client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Paris", celsius=15)
    sent = a.chat_requests[0].json["output_config"]["format"]
    assert (sent["type"], sorted(sent["schema"]["properties"])) == ("json_schema", ["celsius", "city"])


async def test_a_refusal_has_its_finish_reason(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """With the explanation where the package has a field for it."""
    details = {"type": "refusal", "explanation": "Not this."}
    a.default = messages.blocks(stop_reason="refusal", stop_details=details)
    choice = (await create(client)).choices[0]
    assert (choice.finish_reason, choice.message.refusal) == ("content_filter", "Not this.")
    chunks = [part async for part in await create(client, stream=True)]
    assert [part.choices[0].finish_reason for part in chunks] == ["content_filter"]
    assert chunks[0].choices[0].delta.refusal == "Not this."


@pytest.mark.parametrize("stream", [False, True])
async def test_a_field_that_cannot_be_expressed(client: openai.AsyncOpenAI, a: Upstream, stream: bool) -> None:
    """A bad request that names it."""
    with pytest.raises(openai.BadRequestError) as raised:
        await create(client, seed=7, stream=stream)
    assert (raised.value.param, raised.value.type) == ("seed", "invalid_request_error")
    assert not a.chat_requests


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_is_too_long(client: openai.AsyncOpenAI, a: Upstream, stream: bool) -> None:
    """Agents look for OpenAI's code and shorten their history."""
    a.default = messages.error(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
    with pytest.raises(openai.BadRequestError) as raised:
        await create(client, stream=stream)
    assert raised.value.code == "context_length_exceeded"


async def test_a_rate_limit(gateway: Running, a: Upstream) -> None:
    """With the vendor's wait."""
    a.default = messages.error(429, "rate_limit_error", headers={"retry-after": "30"})
    async with AsyncSDK(gateway, max_retries=0).client as client:
        with pytest.raises(openai.RateLimitError) as raised:
            await create(client)
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 30


@pytest.mark.parametrize("fault", [messages.eof_after(2), messages.reset_after(2), messages.error_event(2)])
async def test_an_error_in_the_middle_of_a_stream_is_raised(
    client: openai.AsyncOpenAI, a: Upstream, fault: Any
) -> None:
    """A cut answer must not look like a short one."""
    a.default = fault
    with pytest.raises(openai.APIError) as raised:
        [part async for part in await create(client, stream=True)]
    assert raised.value.code in {"stream_interrupted", "provider_error"}
    assert len(a.chat_requests) == 1


async def test_leaving_a_stream_closes_the_upstream(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """A user who stops an answer must not go on paying for it."""
    a.default = messages.endless(0.01)
    stream = await create(client, stream=True)
    async for _ in stream:
        break
    await stream.close()
    await a.wait_for(a.chat_requests[0].disconnected.is_set)
