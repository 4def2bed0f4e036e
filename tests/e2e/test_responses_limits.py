"""What holds for every AI request holds for `POST /v1/responses` too: keys' limits, pings, accounts, bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.admin import new_key
from tests.e2e.client import bearer
from tests.e2e.conftest import Start
from tests.e2e.server import ADMIN_KEY, MODEL, Running, provider
from tests.e2e.test_openai_responses_sdk import NATIVE
from tests.e2e.test_openai_texts import post
from tests.upstream import Script, Upstream, responses
from tests.upstream.raw_client import RawClient, Reply

PATH = "/v1/responses"
BODY = {"model": MODEL, "input": "hi"}


@pytest.fixture
async def mixed(start: Start, a: Upstream, b: Upstream) -> Running:
    """A gateway with `a`, which has the Responses API, and `b` behind it, which only chats."""
    a.responses = responses.answer()
    return await start({"a": provider(a, **NATIVE), "b": provider(b)}, stream={"ping_s": 0.1})


async def streamed(gateway: Running, **fields: Any) -> Reply:
    """Ask for a stream and read all of its bytes."""
    async with RawClient(gateway.port) as client:
        headers = {**bearer(ADMIN_KEY), "content-type": "application/json"}
        await client.send("POST", PATH, json.dumps({**BODY, "stream": True, **fields}).encode(), headers)
        return await client.reply()


async def test_keys_limits_hold_in_both_forms(mixed: Running, a: Upstream, b: Upstream) -> None:
    """The longest answer goes into the field that each has for it, also of a request that no chat could express."""
    short = await new_key(mixed, "short", maxTokensPerRequest=20)
    assert (await post(mixed, PATH, {**BODY, "conversation": "conv_1"}, short)).status_code == 200
    assert a.requests[-1].json["max_output_tokens"] == 20
    assert (await post(mixed, PATH, {**BODY, "model": f"b/{MODEL}"}, short)).status_code == 200
    assert b.chat_requests[-1].json["max_tokens"] == 20
    assert (await post(mixed, PATH, {**BODY, "max_output_tokens": 16}, short)).status_code == 200
    assert a.requests[-1].json["max_output_tokens"] == 16
    over = await post(mixed, PATH, {**BODY, "max_output_tokens": 21}, short)
    assert (over.status_code, over.json()["error"]["param"]) == (400, "max_output_tokens")
    few = await new_key(mixed, "few", tokensPerDay=12)
    assert (await post(mixed, PATH, BODY, few)).status_code == 200
    assert (await post(mixed, PATH, BODY, few)).status_code == 429
    only = await new_key(mixed, "only", allowedModels=["other"])
    assert (await post(mixed, PATH, BODY, only)).status_code == 404


async def test_silence_is_filled_with_comments(mixed: Running, a: Upstream) -> None:
    """Also before the response has begun, and between the events of a provider of this API."""
    data = responses.stream("Hello world")
    first, rest = data.split(b"event: response.output_text.done")
    pause = Script.sleep(0.35)
    plan = Script.sse(first).plan
    a.responses = (
        pause
        + Script.steps(*plan[:-1])
        + pause
        + Script.steps(*Script.sse(b"event: response.output_text.done" + rest).plan[1:])
    )
    reply = await streamed(mixed)
    frames = reply.body.decode().split("\n\n")[:-1]
    assert frames[0] == ": ping"
    assert frames.count(": ping") >= 4
    events = [frame for frame in frames if frame != ": ping"]
    assert [frame.split("\n")[0] for frame in events] == [
        line.decode() for line in data.split(b"\n") if line.startswith(b"event: ")
    ]


@pytest.mark.parametrize("model", [f"a/{MODEL}", f"b/{MODEL}"])
async def test_every_event_has_its_type_as_its_name_and_there_is_no_done(mixed: Running, model: str) -> None:
    """As the vendor writes them."""
    reply = await streamed(mixed, model=model)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["x-lunarbit-provider"] == model[0]
    for frame in reply.body.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        assert f"event: {json.loads(data.removeprefix('data: '))['type']}" == name


async def test_answers_are_counted_as_of_this_path(mixed: Running) -> None:
    """By its route, with the provider's tokens, and estimated where it counted none."""
    assert (await post(mixed, f"/api/v2{PATH}", BODY)).status_code == 200
    assert (await post(mixed, PATH, {**BODY, "model": f"b/{MODEL}"})).status_code == 200
    lines = await mixed.logged(2)
    assert [(line["provider"], line["prompt_tokens"], line["completion_tokens"]) for line in lines] == [
        ("a", 7, 5),
        ("b", 7, 5),
    ]


@pytest.mark.parametrize("kind", ["azure_openai", "lmstudio"])
async def test_kinds_that_have_the_api(start: Start, a: Upstream, kind: str) -> None:
    """At their own addresses; with the option they are taken not to."""
    a.responses = responses.answer()
    gateway = await start(
        {"a": provider(a.origin, kind=kind), "b": provider(a.origin, kind=kind, options={"responses": False})}
    )
    base = "/openai" if kind == "azure_openai" else ""
    for name, path in (("a", "responses"), ("b", "chat/completions")):
        for stream in (False, True):
            assert (
                await post(gateway, PATH, {**BODY, "model": f"{name}/{MODEL}", "stream": stream})
            ).status_code == 200
            call = [call for call in a.requests if call.method == "POST"][-1]
            assert call.path == f"{base}/v1/{path}"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": MODEL}, "input"),
        ({**BODY, "input": 5}, "input"),
        ({**BODY, "model": 5}, "model"),
        ({**BODY, "stream": "yes"}, "stream"),
        ({**BODY, "previous_response_id": 5}, "previous_response_id"),
        ({**BODY, "previous_response_id": "resp_lb00000000_x"}, "previous_response_id"),
        (b"[1", None),
    ],
)
async def test_what_is_wrong_is_named(mixed: Running, a: Upstream, body: Any, param: str | None) -> None:
    """In OpenAI's shape of an error, before any provider is asked."""
    answer = await post(mixed, PATH, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not [call for call in a.requests if call.method == "POST"]


async def test_a_wrong_option_is_told_at_the_start(start: Start, a: Upstream) -> None:
    """With the name of the provider."""
    with pytest.raises(Exception, match=r"options\.responses must be true or false"):
        await start({"a": provider(a, options={"responses": "yes"})})
