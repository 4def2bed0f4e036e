"""What passes through untouched, what is added, and what never passes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.client import LUNARBIT, MODES, OPENAI, STREAMS, WHOLES, Client, Mode, Seen, ask, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import Running, provider
from tests.upstream import Script, Upstream, completion
from tests.upstream.frames import DONE, default_usage, encode, event, tool_call_chunks, tool_calls

OPENAI_STREAM, OPENAI_WHOLE = Mode(OPENAI, stream=True), Mode(OPENAI, stream=False)
OPENAI_MODES = [OPENAI_STREAM, OPENAI_WHOLE]
WANTED = {"include_usage": True}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)

RICH: dict[str, Any] = {
    "messages": [
        {"role": "developer", "content": "Be brief.\u2028Really."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this? 日本語 🌍"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            ],
            "name": "somebody",
        },
        {"role": "assistant", "content": None, "tool_calls": tool_calls()},
        {"role": "tool", "tool_call_id": "call_paris", "content": "{}"},
    ],
    "tools": [{"type": "function", "function": {"name": "get_weather", "strict": True, "parameters": {"x-own": [1]}}}],
    "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "temperature": 1e-3,
    "seed": 9_007_199_254_740_993,
    "logit_bias": {"50256": -100},
    "stop": None,
    "some_future_field": {"nested": [None, True, 1.0, 0.1, "\\u0000"]},
    "reasoning_effort": "low",
}


# The request


@pytest.mark.parametrize("mode", OPENAI_MODES, ids=str)
async def test_every_field_of_an_openai_request_reaches_the_provider_unchanged(
    one: Running, a: Upstream, mode: Mode
) -> None:
    """Images, tools, formats and fields that nobody here has heard of; only `model` is rewritten."""
    await ask(one, mode, **RICH, model="a/gpt-4")
    sent = a.chat_requests[0].json
    expected = {**RICH, "model": "gpt-4", "stream": mode.stream}
    if mode.stream:
        expected["stream_options"] = WANTED
    assert sent == expected
    assert repr(sent["some_future_field"]) == repr(expected["some_future_field"])


async def test_streamed_usage_is_always_asked_for_and_other_stream_options_survive(one: Running, a: Upstream) -> None:
    """The gateway counts tokens whether or not its client wants to see them."""
    for options in (None, {"include_usage": False}, {"include_obfuscation": False}, WANTED):
        members = {} if options is None else {"stream_options": options}
        await ask(one, OPENAI_STREAM, **members)
        assert a.chat_requests[-1].json["stream_options"] == {**(options or {}), "include_usage": True}
    await ask(one, OPENAI_WHOLE, stream_options=WANTED)
    assert "stream_options" not in a.chat_requests[-1].json


@pytest.mark.parametrize("mode", STREAMS[:1] + WHOLES[:1], ids=str)
async def test_the_products_own_chat_sends_its_defaults(one: Running, a: Upstream, mode: Mode) -> None:
    """They stand on the product page, so a client relies on them."""
    await ask(one, mode, top_p=0.5, stop=["\n"])
    sent = a.chat_requests[0].json
    assert (sent["temperature"], sent["max_tokens"], sent["top_p"], sent["stop"]) == (0.7, 2000, 0.5, ["\n"])
    await ask(one, mode, temperature=0, max_tokens=1)
    assert (a.chat_requests[1].json["temperature"], a.chat_requests[1].json["max_tokens"]) == (0, 1)


async def test_a_default_that_the_model_refuses_is_taken_out_and_asked_again(one: Running, a: Upstream) -> None:
    """The client did not send it, so it cannot be told that it is wrong."""
    message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    refused = Script.openai_error("unsupported_parameter", message=message, param="max_tokens")
    a.queue(refused)
    assert_whole(await ask(one, STREAMS[0]), "Hello world", "a", 1)
    again = a.chat_requests[1].json
    assert ("max_tokens" in again, again["max_completion_tokens"]) == (False, 2000)
    a.queue(refused)
    seen = await ask(one, STREAMS[0], max_tokens=5)
    assert seen.status == 400


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_only_listed_headers_pass_in_either_direction(one: Running, a: Upstream, mode: Mode) -> None:
    """A client's credentials are not the provider's business, nor the provider's cookies the client's."""
    a.set_cookie = True
    a.extra_headers = {
        "x-request-id": "req_upstream",
        "x-ratelimit-remaining-tokens": "5",
        "server": "secret-server",
        "openai-organization": "secret-organisation",
        "x-lunarbit-provider": "forged",
    }
    private = {"cookie": "session=1", "x-api-key": "k", "x-forwarded-for": "10.0.0.1", "x-own": "1"}
    for _ in range(2):
        seen = await ask(one, mode, headers={**private, "openai-beta": "assistants=v2", "x-request-id": "mine-1"})
        assert_whole(seen, "Hello world", "a", 1)
        upstream = a.chat_requests[-1].headers
        assert upstream["authorization"] == "Bearer sk-of-the-gateway"
        assert upstream["openai-beta"] == "assistants=v2"
        assert upstream["accept-encoding"] == "identity"
        assert upstream.keys().isdisjoint(private)
        assert seen.headers["x-request-id"] == "mine-1"
        assert seen.headers["x-lunarbit-upstream-request-id"] == "req_upstream"
        assert seen.headers["x-ratelimit-remaining-tokens"] == "5"
        assert seen.headers.keys().isdisjoint({"set-cookie", "server", "openai-organization"})


# The answer


@pytest.mark.parametrize("asked", [False, True], ids=["usage not asked for", "usage asked for"])
async def test_a_streams_bytes_pass_through_untouched(one: Running, a: Upstream, asked: bool) -> None:
    """Tool calls in fragments, and whatever else a chunk holds, with its own id and its own order of fields."""
    a.default = Script.tool_call_stream()
    seen = await ask(one, OPENAI_STREAM, **({"stream_options": WANTED} if asked else {}))
    members = {"id": "chatcmpl-upstream-" + str(a.chat_requests[0].number), "model": "gpt-4"}
    frames = b"".join(event(chunk) for chunk in tool_call_chunks(**members))
    ending = event(DONE)
    assert seen.reply.body.startswith(frames)
    if asked:
        (_, usage), (_, done) = seen.events[-2:]
        assert (usage["choices"], usage["usage_estimated"], done) == ([], True, DONE)
    else:
        assert seen.reply.body == frames + ending


async def test_a_whole_answers_bytes_pass_through_untouched(one: Running, a: Upstream) -> None:
    """The vendor's own fields, white space and order included."""
    document = {**completion("hi", usage=default_usage()), "system_fingerprint": "fp_1", "x_vendor": [1.0, None]}
    body = json.dumps(document, indent=3, ensure_ascii=False).encode()
    a.default = Script.status(200, body)
    assert (await ask(one, OPENAI_WHOLE)).reply.body == body
    a.default = Script.tool_call_stream()
    seen = await ask(one, OPENAI_WHOLE)
    assert seen.document["choices"][0]["message"]["tool_calls"] == tool_calls()


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_the_models_own_name_for_itself_is_kept_on_the_openai_surface(
    one: Running, a: Upstream, mode: Mode
) -> None:
    """A dated name says which model really answered; the product's own chat names what was asked for."""
    a.default = Script.text(model="gpt-4-0613")
    seen = await ask(one, mode)
    assert (b"gpt-4-0613" in seen.reply.body) == (mode.path == OPENAI)
    assert seen.headers["x-lunarbit-model"] == "gpt-4"


# Usage


@pytest.mark.parametrize("where", ["last", "every chunk", "finish chunk", "nowhere"])
@pytest.mark.parametrize("asked", [False, True], ids=["not asked for", "asked for"])
async def test_usage_is_shown_to_an_openai_client_only_if_it_asked(
    one: Running, a: Upstream, where: str, asked: bool
) -> None:
    """Some programs fail on a chunk without choices that they did not order."""
    scripts = {
        "last": Script.text(),
        "every chunk": Script.usage_on_every_chunk(),
        "finish chunk": Script.usage_on_finish_chunk(),
        "nowhere": Script.text(usage=None),
    }
    a.default = scripts[where]
    seen = await ask(one, OPENAI_STREAM, **({"stream_options": WANTED} if asked else {}))
    assert_whole(seen, "Hello world", "a", 1)
    shown = [data["usage"] for _, data in seen.events[:-1] if data.get("usage")]
    assert bool(shown) == asked
    if asked and where != "nowhere":
        assert (shown[-1]["prompt_tokens"], shown[-1]["total_tokens"] > 7) == (7, True)
    if asked and where == "nowhere":
        (counted,) = shown
        assert counted["total_tokens"] == counted["prompt_tokens"] + counted["completion_tokens"] > 0
        assert seen.events[-2][1]["usage_estimated"] is True
    assert asked or all(data["choices"] for _, data in seen.events[:-1])
    (line,) = await one.logged()
    assert line["prompt_tokens"] > 0
    assert line["completion_tokens"] > 0


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.path == LUNARBIT], ids=str)
async def test_the_products_own_chat_always_tells_the_tokens(
    one: Running, a: Upstream, mode: Mode, counted: bool
) -> None:
    """As the provider counted them, or estimated and said to be so."""
    a.default = Script.text("Hello world, how are you?", usage=default_usage() if counted else None)
    seen = await ask(one, mode)
    told = seen.events[-1][1] if mode.stream else seen.document
    assert ("usage_estimated" in told) != counted
    assert told["tokens_used"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"] > 0
    assert told["finish_reason"] == "stop"
    if counted:
        assert told["usage"] == default_usage()
    expected = {"prompt": told["usage"]["prompt_tokens"], "completion": told["usage"]["completion_tokens"]}
    for direction, tokens in expected.items():
        labels = {"provider": "a", "model": "gpt-4", "direction": direction}
        assert one.metric("lunarbit_ai_tokens_total", **labels) == tokens


# The frame around it


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stream_has_the_headers_that_keep_it_flowing(one: Running, a: Upstream, mode: Mode) -> None:
    """A proxy that buffers or compresses would hold the tokens back."""
    seen = await ask(one, mode, headers={"accept-encoding": "gzip, br"})
    assert seen.headers["content-type"].split(";")[0] == "text/event-stream"
    assert seen.headers["cache-control"] == "no-cache"
    assert seen.headers["x-accel-buffering"] == "no"
    assert seen.headers.keys().isdisjoint({"content-length", "content-encoding"})
    if mode.path == LUNARBIT:
        names = [name for name, _ in seen.events]
        assert (names[0], set(names[1:-1]), names[-1]) == ("start", {""}, "done")
        assert seen.events[0][1] == {"request_id": seen.headers["x-request-id"], "provider": "a", "model": "gpt-4"}


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_one_connection_serves_many_requests(start: Start, a: Upstream, mode: Mode) -> None:
    """The end of each answer is marked, so the next one can follow on the same connection."""
    gateway = await start({"a": provider(a)})
    async with Client(gateway) as client:
        for number in range(3):
            a.queue(Script.text(f"answer {number}"))
            await client.ask(mode)
            assert Seen(mode, await client.reply()).text == f"answer {number}"
    assert len(encode(RICH)) < 32_000_000
