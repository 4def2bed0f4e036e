"""The official `openai` package against the gateway: what it sends arrives, and what it gets it understands."""

from __future__ import annotations

import asyncio
import json

import openai
from pydantic import BaseModel

from tests.e2e.openai_sdk import (
    MESSAGES,
    PIXEL,
    SDK,
    TOOLS,
    AsyncSDK,
    _quiet_package,
    client,
    options_of,
    sdk,
    text_of,
)
from tests.e2e.server import MODEL, Running
from tests.upstream import Script, Upstream, chunk, completion
from tests.upstream.frames import tool_calls

__all__ = ["_quiet_package", "client", "sdk"]


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
        with openai.OpenAI(**options_of(one, {})) as client:
            for _ in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
                break

    await asyncio.to_thread(read_one)
    await asyncio.wait_for(a.chat_requests[1].disconnected.wait(), 5)
