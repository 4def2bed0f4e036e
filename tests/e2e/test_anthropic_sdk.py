"""The official `anthropic` package against the gateway, whose provider speaks Anthropic's dialect or OpenAI's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import pytest

from tests.e2e.client import bearer
from tests.e2e.conftest import Start
from tests.e2e.openai_sdk import _quiet_package
from tests.e2e.server import ADMIN_KEY, HASTY, MODEL, Running, provider
from tests.upstream import Script, Upstream, messages
from tests.upstream.anthropic_frames import MODEL as TOLD_MODEL
from tests.upstream.frames import tool_calls

__all__ = ["_quiet_package"]

NATIVE, TRANSLATED = "anthropic", "openai"
BOTH = pytest.mark.parametrize("kind", [NATIVE, TRANSLATED])
HI: list[Any] = [{"role": "user", "content": "Hello"}]
PNG = "iVBORw0KGgo="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
QUICK = {"ping_s": 0.2}
TOOLS: list[Any] = [
    {
        "name": "get_weather",
        "description": "The weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
USES = [
    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Zürich"}},
    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
]


@pytest.fixture
async def gateway(start: Start, a: Upstream, kind: str) -> Running:
    """A gateway with the one provider `a`."""
    native = kind == NATIVE
    a.default = messages.text() if native else Script.text()
    return await start({"a": provider(a.origin if native else a.base_url, kind=kind, models=[MODEL])}, stream=QUICK)


@pytest.fixture
async def client(gateway: Running) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The package's client."""
    async with sdk(gateway) as made:
        yield made


def sdk(gateway: Running, **settings: Any) -> anthropic.AsyncAnthropic:
    """Make a client, which sends its key as `x-api-key`."""
    values = {"base_url": f"http://127.0.0.1:{gateway.port}", "api_key": ADMIN_KEY, "max_retries": 0, **settings}
    return anthropic.AsyncAnthropic(**values)


async def create(client: anthropic.AsyncAnthropic, **fields: Any) -> Any:
    """Ask for an answer."""
    return await client.messages.create(**{"model": MODEL, "max_tokens": 100, "messages": HI, **fields})


@BOTH
async def test_a_whole_answer(client: anthropic.AsyncAnthropic, kind: str) -> None:
    """With the tokens, the reason, and the id that the package shows."""
    answer = await create(client, system="Be short.", extra_body={"temperature": 0.5}, metadata={"user_id": "u"})
    assert [block.text for block in answer.content] == ["Hello world"]
    assert (answer.role, answer.type, answer.stop_reason) == ("assistant", "message", "end_turn")
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    assert answer._request_id.startswith("req_")
    assert answer.model == (TOLD_MODEL if kind == NATIVE else MODEL)


@BOTH
async def test_a_stream(client: anthropic.AsyncAnthropic) -> None:
    """In the documented order, and put together by the package."""
    kinds = [event.type async for event in await create(client, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    async with client.messages.stream(model=MODEL, max_tokens=10, messages=HI) as stream:
        final = await stream.get_final_message()
    assert (final.content[0].text, final.stop_reason) == ("Hello world", "end_turn")  # type: ignore[union-attr]
    assert final.usage.input_tokens > 0
    assert final.usage.output_tokens > 0


@BOTH
async def test_a_bearer_token_is_as_good(gateway: Running) -> None:
    """The package sends one for `auth_token`; two keys that differ are refused."""
    async with sdk(gateway, api_key=None, auth_token=ADMIN_KEY) as client:
        assert (await create(client)).content
        with pytest.raises(anthropic.AuthenticationError) as raised:
            await create(client, extra_headers={"x-api-key": "another"})
    assert raised.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]
    assert "two different keys" in raised.value.message


@BOTH
async def test_models_are_listed(gateway: Running, client: anthropic.AsyncAnthropic) -> None:
    """In this dialect's shape, on one page, also one by one; an unknown one is this dialect's error."""
    page = await client.models.list()
    assert [model.id for model in page.data] == [page.first_id] == [page.last_id] == [MODEL]
    assert (page.has_more, page.has_next_page()) == (False, False)
    (listed,) = [model async for model in client.models.list(limit=1)]
    shown = await client.models.retrieve(MODEL)
    assert shown == listed
    assert (shown.type, shown.display_name, shown.lifecycle, shown.max_input_tokens) == ("model", MODEL, "active", None)
    assert int(shown.created_at.timestamp()) == gateway.app.state.started_at
    with pytest.raises(anthropic.NotFoundError) as raised:
        await client.models.retrieve("none")
    assert raised.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    assert raised.value.request_id
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}", headers=bearer(ADMIN_KEY)) as other:
        assert (await other.get("/v1/models")).json()["object"] == "list"
        assert (await other.get("/api/v2/v1/models", headers={"anthropic-version": "x"})).json()["first_id"] == MODEL


@BOTH
async def test_the_beta_part_of_the_package(client: anthropic.AsyncAnthropic, a: Upstream, kind: str) -> None:
    """It adds `?beta=true` and the names of the betas, which only this dialect's providers get."""
    await client.beta.messages.create(model=MODEL, max_tokens=5, messages=HI, betas=["a-1", "b-2"])
    sent = a.chat_requests[0].headers
    assert sent.get("anthropic-beta") == ("a-1,b-2" if kind == NATIVE else None)
    assert ("anthropic-version" in sent) is (kind == NATIVE)
    assert ADMIN_KEY not in str(sent)


@pytest.mark.parametrize("kind", [NATIVE])
async def test_tools_of_the_own_dialect(client: anthropic.AsyncAnthropic, a: Upstream) -> None:
    """What the package sends is what arrives: a history with its own objects, cache marks, unknown fields."""
    thought = {"type": "thinking", "thinking": "Look.", "signature": "EqoB"}
    a.queue(messages.blocks(thought, *USES, stop_reason="tool_use"))
    system: list[Any] = [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}]
    async with client.messages.stream(
        model=MODEL, max_tokens=10, messages=HI, tools=TOOLS, system=system, extra_body={"of_tomorrow": {"x": 1}}
    ) as stream:
        final = await stream.get_final_message()
    assert final.stop_reason == "tool_use"
    assert [block.to_dict() for block in final.content] == [thought, *USES]
    results = [{"type": "tool_result", "tool_use_id": use["id"], "content": "15", "is_error": True} for use in USES]
    history = [*HI, {"role": "assistant", "content": [thought, *USES]}, {"role": "user", "content": [*results, IMAGE]}]
    await create(client, messages=history, tools=TOOLS)
    first, second = (call.json for call in a.chat_requests)
    assert (first["system"], first["of_tomorrow"], first["tools"]) == (system, {"x": 1}, TOOLS)
    assert second == {"model": MODEL, "max_tokens": 100, "messages": history, "tools": TOOLS}


@pytest.mark.parametrize("kind", [TRANSLATED])
@pytest.mark.parametrize("stream", [False, True])
async def test_tools_of_the_other_dialect(client: anthropic.AsyncAnthropic, a: Upstream, stream: bool) -> None:
    """Two calls in parallel and the second turn, with an image in a result."""
    a.queue(Script.tool_call_stream())
    if stream:
        async with client.messages.stream(model=MODEL, max_tokens=10, messages=HI, tools=TOOLS) as events:
            final = await events.get_final_message()
    else:
        final = await create(client, tools=TOOLS, tool_choice={"type": "any", "disable_parallel_tool_use": True})
    uses: list[Any] = [block for block in final.content if block.type == "tool_use"]
    assert final.stop_reason == "tool_use"
    called = [call["function"] for call in tool_calls()]
    assert [(use.name, use.input) for use in uses] == [(one["name"], json.loads(one["arguments"])) for one in called]
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "15"}, IMAGE]}
        for use in uses
    ]
    spoken: list[Any] = [block.to_dict() for block in final.content]
    history = [*HI, {"role": "assistant", "content": spoken}, {"role": "user", "content": results}]
    assert (await create(client, messages=history, tools=TOOLS)).content[0].text == "Hello world"
    first, second = (call.json for call in a.chat_requests)
    assert first["tools"][0]["function"]["parameters"] == TOOLS[0]["input_schema"]
    assert first.get("parallel_tool_calls") == (None if stream else False)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", *["tool"] * len(uses), "user"]
    shown = [part for part in second["messages"][-1]["content"] if part["type"] == "image_url"]
    assert shown == [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}] * len(uses)


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_request(client: anthropic.AsyncAnthropic, a: Upstream, kind: str, stream: bool) -> None:
    """In the vendor's own words, whole where it is the same dialect."""
    text = "prompt is too long: 210000 tokens > 200000 maximum"
    a.default = (
        messages.error(400, "invalid_request_error", text, headers={"x-should-retry": "false"})
        if kind == NATIVE
        else Script.openai_error("context_length_exceeded", message=text)
    )
    with pytest.raises(anthropic.BadRequestError) as raised:
        await create(client, stream=stream)
    body: Any = raised.value.body
    assert (body["type"], body["error"]) == ("error", {"type": "invalid_request_error", "message": text})
    assert raised.value.response.headers["x-lunarbit-error-code"] == "CONTEXT_LENGTH_EXCEEDED"
    assert raised.value.request_id == raised.value.response.headers["x-request-id"]
    if kind == NATIVE:
        assert body["request_id"] == "req_upstream"
        assert raised.value.response.headers["x-should-retry"] == "false"


@BOTH
async def test_what_the_gateway_refuses_itself(client: anthropic.AsyncAnthropic, a: Upstream) -> None:
    """In this dialect's shape: an unknown model, a field that is missing."""
    with pytest.raises(anthropic.NotFoundError) as raised:
        await create(client, model="nobody/knows")
    assert raised.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        await client.post("/v1/messages", body={"model": MODEL, "messages": HI}, cast_to=object)
    assert not a.chat_requests


@pytest.mark.parametrize("kind", [TRANSLATED])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_field_that_cannot_be_expressed(client: anthropic.AsyncAnthropic, a: Upstream, stream: bool) -> None:
    """A bad request that names it."""
    with pytest.raises(anthropic.BadRequestError, match="top_k"):
        await create(client, extra_body={"top_k": 5}, stream=stream)
    assert not a.chat_requests


@BOTH
@pytest.mark.parametrize("fault", ["cut", "reset", "overloaded"])
async def test_an_error_in_the_middle_of_a_stream_is_raised(
    client: anthropic.AsyncAnthropic, a: Upstream, kind: str, fault: str
) -> None:
    """A cut answer must not look like a short one; who reads `overloaded_error` may ask again later."""
    faults = {
        "cut": (messages.cut_after(2), Script.cut_after(2)),
        "reset": (messages.reset_after(2), Script.reset_after(2)),
        "overloaded": (
            messages.error_event(2),
            Script.error_event(2, {"message": "Busy", "code": "server_is_overloaded"}),
        ),
    }
    a.default = faults[fault][kind == TRANSLATED]
    seen: list[str] = []
    stream = await create(client, stream=True)
    with pytest.raises(anthropic.APIStatusError) as raised:
        await _follow(stream, seen)
    assert seen[0] == "message_start"
    assert "message_stop" not in seen
    told = raised.value.body["error"]["type"]  # type: ignore[index]
    assert told == ("overloaded_error" if fault == "overloaded" else "api_error")
    assert len(a.chat_requests) == 1


async def _follow(stream: Any, seen: list[str]) -> None:
    async for event in stream:
        seen += [event.type]


@BOTH
async def test_a_provider_that_is_silent_for_long(gateway: Running, a: Upstream, kind: str) -> None:
    """Pings go out before the answer and in its middle, so that no client takes the connection for dead."""
    a.default = Script.sleep(0.7) + (messages.text() if kind == NATIVE else Script.text())
    body = {"model": MODEL, "max_tokens": 5, "messages": HI, "stream": True}
    async with sdk(gateway) as client:
        raw = await client.messages.with_raw_response.create(**body)  # type: ignore[call-overload]
        lines = [line async for line in raw.http_response.aiter_lines() if line.startswith("event:")]
        assert lines[:2] == ["event: ping"] * 2
        assert lines[-1] == "event: message_stop"
        kinds = [event.type async for event in await create(client, stream=True)]
        assert kinds[0] == "message_start"


@BOTH
async def test_a_provider_that_falls_silent(start: Start, a: Upstream, kind: str) -> None:
    """After the first words nobody else may go on, so the client is told."""
    a.default = messages.stall_after(2) if kind == NATIVE else Script.stall_after(2)
    address = a.origin if kind == NATIVE else a.base_url
    gateway = await start({"a": provider(address, kind=kind, timeouts=HASTY)})
    async with sdk(gateway) as client:
        stream = await create(client, stream=True)
        with pytest.raises(anthropic.APIStatusError) as raised:
            await _follow(stream, [])
    assert raised.value.body["error"]["type"] == "api_error"  # type: ignore[index]


@pytest.mark.parametrize("kind", [TRANSLATED])
async def test_a_wish_for_reasoning_that_a_model_refuses(client: anthropic.AsyncAnthropic, a: Upstream) -> None:
    """Agents always send one; it is a hint, so the model is asked once more without it."""
    a.queue(Script.openai_error("unsupported_parameter", message="Unsupported.", param="reasoning_effort"))
    answer = await create(client, thinking={"type": "enabled", "budget_tokens": 2048}, max_tokens=4096)
    assert answer.content[0].text == "Hello world"
    first, second = (call.json for call in a.chat_requests)
    assert first.pop("reasoning_effort") == "low"
    assert first == second


@pytest.mark.parametrize("kind", [NATIVE])
async def test_configured_betas_join_those_of_the_client(start: Start, a: Upstream, kind: str) -> None:
    """The operator's are for every request; fields to omit are left out of native bodies too."""
    a.default, a.counted_tokens = messages.text(), 9
    options = {"headers": {"anthropic-beta": "of-all"}, "model_options": {MODEL: {"omit_params": ["top_k"]}}}
    gateway = await start({"a": provider(a.origin, kind=kind, **options)})
    async with sdk(gateway) as client:
        await client.beta.messages.create(
            model=MODEL, max_tokens=5, messages=HI, betas=["own"], extra_body={"top_k": 1}
        )
        await create(client)
        await client.beta.messages.count_tokens(model=MODEL, messages=HI, betas=["own"])
    first, second, third = a.requests[-3:]
    betas = [call.headers["anthropic-beta"].split(",") for call in (first, second, third)]
    assert (betas[0], betas[1]) == (["of-all", "own"], ["of-all"])
    assert {"of-all", "own"} <= set(betas[2])
    assert "top_k" not in first.json


@BOTH
async def test_leaving_a_stream_closes_the_upstream(client: anthropic.AsyncAnthropic, a: Upstream, kind: str) -> None:
    """A user who stops an answer must not go on paying for it."""
    a.default = messages.endless(0.01) if kind == NATIVE else Script.endless(interval_s=0.01)
    stream = await create(client, stream=True)
    async for event in stream:
        if event.type == "content_block_delta":
            break
    await stream.close()
    await a.wait_for(a.chat_requests[0].disconnected.is_set)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", [NATIVE, TRANSLATED])
async def test_the_other_dialect_answers_when_the_first_fails(
    start: Start, a: Upstream, b: Upstream, first: str, stream: bool
) -> None:
    """The request goes out in each provider's own form."""
    a.default = messages.error(529, "overloaded_error") if first == NATIVE else Script.status(500)
    b.default = messages.text("from b") if first == TRANSLATED else Script.text("from b")
    kinds = {"a": (a, first), "b": (b, TRANSLATED if first == NATIVE else NATIVE)}
    gateway = await start({name: provider(up, kind=kind, models=[MODEL]) for name, (up, kind) in kinds.items()})
    system: list[Any] = [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}]
    async with sdk(gateway) as client:
        if stream:
            async with client.messages.stream(model=MODEL, max_tokens=10, messages=HI, system=system) as events:
                answer: Any = await events.get_final_message()
        else:
            answer = await create(client, system=system)
    assert answer.content[0].text == "from b"
    bodies = {first: a.chat_requests[0].json, kinds["b"][1]: b.chat_requests[0].json}
    assert bodies[NATIVE]["system"] == system
    assert bodies[TRANSLATED]["messages"][0] == {"role": "system", "content": "Be short."}


async def test_a_field_of_the_own_dialect_passes_over_the_other(start: Start, a: Upstream, b: Upstream) -> None:
    """A provider whose dialect has no word for it is not asked, and not blamed."""
    b.default = messages.text("from b")
    gateway = await start({"a": provider(a), "b": provider(b, kind="anthropic")})
    async with sdk(gateway) as client:
        assert (await create(client, extra_body={"top_k": 5})).content[0].text == "from b"
    assert not a.chat_requests


@BOTH
async def test_tokens_are_counted(client: anthropic.AsyncAnthropic, a: Upstream, kind: str) -> None:
    """By the provider where it can, else by an estimate that says so."""
    a.counted_tokens = 123
    counted = await client.messages.count_tokens(model=MODEL, messages=HI, system="Be short.", tools=TOOLS)
    if kind == NATIVE:
        assert counted.to_dict() == {"input_tokens": 123}
        assert a.requests[-1].json == {"model": MODEL, "messages": HI, "system": "Be short.", "tools": TOOLS}
        a.counted_tokens = None
        counted = await client.messages.count_tokens(model=MODEL, messages=HI)
    assert counted.input_tokens > 0
    assert counted.to_dict()["usage_estimated"] is True
    assert not a.chat_requests


@pytest.mark.parametrize("kind", [NATIVE])
async def test_what_was_used_is_recorded(gateway: Running, client: anthropic.AsyncAnthropic, a: Upstream) -> None:
    """The bytes pass through, and the tokens are counted all the same, those of the cache too."""
    usage = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 50}
    a.default = messages.blocks({"type": "text", "text": "a"}, usage=usage)
    await create(client)
    _ = [event async for event in await create(client, stream=True)]
    for line in await gateway.logged(2):
        assert (line["prompt_tokens"], line["completion_tokens"]) == (127, 50)
