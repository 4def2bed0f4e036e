"""The official `openai` package and the Responses API, at a provider that has it and at one that only chats."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.e2e.conftest import Start
from tests.e2e.openai_sdk import PIXEL, AsyncSDK, _quiet_package
from tests.e2e.server import HASTY, Running, provider
from tests.upstream import Script, Upstream, completion, messages, responses
from tests.upstream.frames import tool_calls

__all__ = ["_quiet_package"]

MODEL = "gpt-4"
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
NATIVE = {"options": {"responses": True}}


@pytest.fixture
async def mixed(start: Start, a: Upstream, b: Upstream) -> Running:
    """A gateway with `a`, which has the Responses API, and `b` behind it, which only chats."""
    a.responses = responses.answer(reasoning="Hm.")
    return await start({"a": provider(a, **NATIVE), "b": provider(b)})


@pytest.fixture
async def native(mixed: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    """The package's client, whose gateway asks `a` first."""
    async with AsyncSDK(mixed).client as made:
        yield made


@pytest.fixture
async def client(one: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    """The package's client, whose gateway asks a provider that only chats."""
    async with AsyncSDK(one).client as made:
        yield made


async def create(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    """Ask for a response."""
    return await client.responses.create(**{"model": MODEL, "input": "hi", **fields})


async def events(client: openai.AsyncOpenAI, **fields: Any) -> list[Any]:
    """Ask for a streamed response and hold its numbers to be without gaps."""
    found = [event async for event in await create(client, stream=True, **fields)]
    assert [event.sequence_number for event in found] == list(range(len(found)))
    return found


async def broken(client: openai.AsyncOpenAI) -> tuple[list[Any], openai.APIError]:
    """Read a stream up to the error in it."""
    seen: list[Any] = []
    try:
        async for event in await create(client, stream=True):
            seen.append(event)  # noqa: PERF401 - those before the error count.
    except openai.APIError as exc:
        return seen, exc
    pytest.fail("nothing was raised")


# At a provider that only chats


async def test_a_whole_response(one: Running, client: openai.AsyncOpenAI, a: Upstream) -> None:
    """With what was asked, and what it took."""
    response = await create(
        client, instructions="Be short.", max_output_tokens=50, temperature=0.5, metadata={"a": "b"}
    )
    assert (response.output_text, response.status, response.model) == ("Hello world", "completed", MODEL)
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 5)
    assert (response.instructions, response.metadata, response.store) == ("Be short.", {"a": "b"}, False)
    sent = a.chat_requests[0].json
    assert sent == {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "max_tokens": 50,
    }
    (line,) = await one.logged()
    assert (line["prompt_tokens"], line["completion_tokens"], line["path"]) == (7, 5, "/v1/responses")


async def test_a_stream(client: openai.AsyncOpenAI) -> None:
    """The package's own helper puts it together."""
    async with client.responses.stream(model=MODEL, input="hi") as stream:
        pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert (len(pieces), "".join(pieces)) == (4, "Hello world")
    assert (final.output_text, final.usage and final.usage.total_tokens) == ("Hello world", 12)
    assert [event.type for event in await events(client)][-1] == "response.completed"


@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_and_a_second_turn(client: openai.AsyncOpenAI, a: Upstream, streamed: bool) -> None:
    """Two calls in parallel; what came is sent back as it came."""
    a.queue(Script.tool_call_stream())
    asked: list[Any] = [{"role": "user", "content": "The weather?"}]
    if streamed:
        first = (await events(client, input=asked, tools=[TOOL]))[-1].response
    else:
        first = await create(client, input=asked, tools=[TOOL])
    calls = [item for item in first.output if item.type == "function_call"]
    expected = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in tool_calls()]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == expected
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "22 C"} for call in calls]
    second = await create(client, input=[*asked, *first.output, *results], tools=[TOOL])
    assert second.output_text == "Hello world"
    sent = a.chat_requests[1].json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in sent[1]["tool_calls"]] == expected
    assert [message["tool_call_id"] for message in sent[2:]] == [one[0] for one in expected]


async def test_structured_output(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """The schema goes as a chat has it, and the answer is parsed."""

    class City(BaseModel):
        name: str

    a.default = Script.text('{"name": "Paris"}')
    response = await client.responses.parse(model=MODEL, input="Which city?", text_format=City)
    assert response.output_parsed == City(name="Paris")
    wanted = a.chat_requests[0].json["response_format"]
    assert (wanted["type"], wanted["json_schema"]["name"], wanted["json_schema"]["strict"]) == (
        "json_schema",
        "City",
        True,
    )


async def test_an_image(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """In the part that chats have for it."""
    content = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": PIXEL, "detail": "auto"}]
    await create(client, input=[{"role": "user", "content": content}])
    (message,) = a.chat_requests[0].json["messages"]
    assert message["content"][1] == {"type": "image_url", "image_url": {"url": PIXEL}}


async def test_an_answer_that_was_cut_at_its_limit(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """It says so in both forms."""
    a.default = Script.text("Hel", finish_reason="length")
    assert (await create(client)).incomplete_details.reason == "max_output_tokens"
    assert (await events(client))[-1].type == "response.incomplete"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": []}, "input"),
        ({"model": "nobody"}, "model"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_cannot_be_had_is_refused_by_name(
    client: openai.AsyncOpenAI, a: Upstream, fields: Any, param: str, stream: bool
) -> None:
    """Before anybody is asked."""
    with pytest.raises(openai.APIStatusError) as raised:
        await create(client, stream=stream, **fields)
    assert (raised.value.status_code, raised.value.param) == (404 if param == "model" else 400, param)
    assert not a.chat_requests


async def test_an_error_before_and_in_the_middle(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """A status before; then the response that failed, and an exception."""
    a.default = Script.status(400)
    with pytest.raises(openai.BadRequestError):
        await create(client, stream=True)
    a.default = Script.eof_after(2)
    seen, error = await broken(client)
    assert error.code == "stream_interrupted"
    assert (seen[-1].type, seen[-1].response.status) == ("response.failed", "failed")
    assert [event.sequence_number for event in seen] == list(range(len(seen)))


@pytest.mark.parametrize("kind", ["native", "chat"])
async def test_leaving_in_the_middle_ends_the_upstream(mixed: Running, a: Upstream, b: Upstream, kind: str) -> None:
    """As on every surface."""
    a.responses = Script.steps(*Script.sse(responses.broken()).plan[:-1]) + Script.hold()
    b.default = Script.stall_after(2)
    async with AsyncSDK(mixed).client as made:
        target = "a" if kind == "native" else "b"
        async for event in await create(made, model=f"{target}/{MODEL}", stream=True):
            if event.type == "response.output_text.delta":
                break
    (call,) = [call for call in (a if kind == "native" else b).requests if call.method == "POST"]
    await call.disconnected.wait()
    a.release.set()


async def test_signed_reasoning_comes_back_to_the_vendor(start: Start, a: Upstream) -> None:
    """Anthropic refuses the turn behind a tool's call without it."""
    block = {"type": "thinking", "thinking": "Paris.", "signature": "EqoB"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
    a.queue(messages.blocks(block, use, stop_reason="tool_use"))
    a.default = messages.text()
    gateway = await start({"a": provider(a.origin, kind="anthropic", models=[MODEL])})
    async with AsyncSDK(gateway).client as made:
        first = (await events(made, tools=[TOOL]))[-1].response
        result = {"type": "function_call_output", "call_id": "toolu_1", "output": "22 C"}
        asked = [{"role": "user", "content": "hi"}, *first.output, result]
        assert (await create(made, input=asked, tools=[TOOL])).output_text == "Hello world"
    assert a.chat_requests[1].json["messages"][1]["content"] == [block, use]


# At a provider that has the API


@pytest.mark.parametrize("stream", [False, True])
async def test_bytes_pass_through(native: openai.AsyncOpenAI, mixed: Running, a: Upstream, stream: bool) -> None:
    """Fields that no chat could express too, both ways; only the model and ids are rewritten."""
    more = {"tools": [{"type": "web_search"}], "include": ["reasoning.encrypted_content"], "store": True}
    if stream:
        found = await events(native, **more)
        response = found[-1].response
        assert {event.obfuscation for event in found if event.type.endswith("text.delta")} == {"x"}
    else:
        response = await create(native, **more)
    assert (response.output_text, response.of_a_vendor, response.store) == ("Hello world", [1.5], True)
    sent = a.requests[-1].json
    assert sent == {"model": MODEL, "input": "hi", **more, **({"stream": True} if stream else {})}
    (line,) = await mixed.logged()
    assert (line["provider"], line["prompt_tokens"], line["completion_tokens"]) == ("a", 7, 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_turn_goes_to_who_made_the_first(
    native: openai.AsyncOpenAI, a: Upstream, b: Upstream, stream: bool
) -> None:
    """With the provider's own id, and nobody else is asked when it fails."""
    first = (await events(native))[-1].response if stream else await create(native)
    assert first.id != responses.ID
    second = (await events(native, previous_response_id=first.id))[0].response
    assert a.requests[-1].json["previous_response_id"] == responses.ID
    assert (second.previous_response_id, second.id) == (first.id, first.id)
    a.responses = Script.status(503)
    with pytest.raises(openai.InternalServerError):
        await create(native, previous_response_id=first.id)
    assert not b.chat_requests


async def test_encrypted_reasoning_goes_to_who_made_it(native: openai.AsyncOpenAI, a: Upstream, b: Upstream) -> None:
    """Only it can read it; elsewhere it is refused by name."""
    for first in ((await events(native))[-1].response, await create(native)):
        asked = [{"role": "user", "content": "hi"}, *first.output, {"role": "user", "content": "And?"}]
        await create(native, input=asked)
        sent = a.requests[-1].json["input"]
        assert sent[1]["encrypted_content"] == responses.ENCRYPTED
        with pytest.raises(openai.BadRequestError) as raised:
            await create(native, model=f"b/{MODEL}", input=asked)
        assert raised.value.param == "input[1].encrypted_content"
    assert not b.chat_requests


async def test_an_earlier_response_of_another_provider_is_refused(native: openai.AsyncOpenAI, b: Upstream) -> None:
    """And what to do is said."""
    first = await create(native)
    with pytest.raises(openai.BadRequestError) as raised:
        await create(native, model=f"b/{MODEL}", previous_response_id=first.id)
    assert raised.value.param == "previous_response_id"
    assert "send the whole input" in raised.value.message
    assert not b.chat_requests


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [Script.status(503), Script.sse(b""), None])
async def test_who_only_chats_takes_over(
    native: openai.AsyncOpenAI, a: Upstream, b: Upstream, fault: Script | None, stream: bool
) -> None:
    """Before the first content, and when the provider turns out not to have the API."""
    a.responses = fault
    response = (await events(native))[-1].response if stream else await create(native)
    assert response.output_text == "Hello world"
    assert len(b.chat_requests) == 1


async def test_what_no_chat_can_express_is_not_asked_there(
    native: openai.AsyncOpenAI, a: Upstream, b: Upstream
) -> None:
    """The failure of the one that could is told."""
    a.responses = Script.status(503)
    with pytest.raises(openai.InternalServerError):
        await create(native, conversation="conv_1")
    assert not b.chat_requests


async def test_a_chat_goes_on_where_responses_are_missing(mixed: Running, a: Upstream) -> None:
    """That the path is not there says nothing about the model."""
    a.responses = None
    async with AsyncSDK(mixed).client as made:
        await create(made)
        answer = await made.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "Hello world"
    assert len(a.chat_requests) == 1


async def test_an_item_that_the_vendor_lost_is_told(native: openai.AsyncOpenAI, mixed: Running, a: Upstream) -> None:
    """A 404 about the request, after which the model still answers others."""
    a.responses = Script.openai_error(None, message="Item with id 'msg_1' not found.", param="input", status=404)
    with pytest.raises(openai.BadRequestError) as raised:
        await create(native, input=[{"type": "item_reference", "id": "msg_1"}])
    assert (raised.value.param, "msg_1" in raised.value.message) == ("input", True)
    a.responses = responses.answer()
    assert (await create(native)).output_text == "Hello world"
    assert mixed.outcomes("a") == {"RequestRefused": 1, "ok": 1}


@pytest.mark.parametrize("failed", [False, True])
async def test_a_native_stream_that_breaks_off(native: openai.AsyncOpenAI, a: Upstream, failed: bool) -> None:
    """The numbers go on, the response failed, and the vendor's words stay here."""
    a.responses = Script.sse(responses.broken(failed=failed))
    seen, error = await broken(native)
    assert [event.sequence_number for event in seen] == list(range(7))
    assert (seen[-1].type, seen[-1].response.id) == ("response.failed", seen[0].response.id)
    assert "secret" not in json.dumps([event.to_dict() for event in seen]) + error.message


async def test_a_silent_provider_that_has_the_api(start: Start, a: Upstream, b: Upstream) -> None:
    """What only begins a response is no content, so the next one is asked."""
    begun = responses.stream("x").split(b"event: response.output_text.delta")[0]
    a.responses = Script.steps(*Script.sse(begun).plan[:-1]) + Script.hold()
    gateway = await start({"a": provider(a, timeouts=HASTY, **NATIVE), "b": provider(b)})
    async with AsyncSDK(gateway).client as made:
        assert (await events(made))[-1].response.output_text == "Hello world"
    a.release.set()
    assert len(b.chat_requests) == 1


async def test_the_answer_is_no_chat(client: openai.AsyncOpenAI, a: Upstream) -> None:
    """Reasoning that only stands in a chat's bytes is an item of its own."""
    a.default = Script.status(200, completion("Hi", message={"reasoning_content": "Hm."}))
    response = await create(client)
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == "Hm."


async def test_responses_are_not_fetched_later(client: openai.AsyncOpenAI) -> None:
    """Nothing is kept."""
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError):
        await client.responses.delete("resp_1")
