"""A provider that speaks Anthropic's dialect behind both surfaces: answers, refusals, failover, broken streams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.admin import call
from tests.e2e.client import LUNARBIT, MODES, OPENAI, STREAMS, Mode, ask, assert_error, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import HASTY, MODEL, Running, provider
from tests.upstream import Script, Upstream, messages
from tests.upstream.answers import TRICKY_TEXT
from tests.upstream.anthropic_frames import MODEL as TOLD_MODEL

OPENAI_MODES = [mode for mode in MODES if mode.path == OPENAI]


def anthropic(up: Upstream, **settings: Any) -> dict[str, Any]:
    """Return the settings of a provider at `up` that speaks Anthropic's dialect."""
    return provider(up.origin, kind="anthropic", **settings)


@pytest.fixture
async def gateway(start: Start, a: Upstream) -> Running:
    """A gateway with the one provider `a`, which speaks Anthropic's dialect."""
    a.default = messages.text(TRICKY_TEXT)
    return await start({"a": anthropic(a)})


@pytest.fixture
async def mixed(start: Start, a: Upstream, b: Upstream) -> Running:
    """A gateway with `a`, which speaks Anthropic's dialect and may not be silent for long, and OpenAI's `b` behind."""
    a.default = messages.text()
    return await start({"a": anthropic(a, timeouts=HASTY), "b": provider(b)})


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_both_surfaces_answer_whole_and_streamed(gateway: Running, a: Upstream, mode: Mode) -> None:
    """A client cannot tell by the shape which dialect its provider speaks."""
    seen = await ask(gateway, mode)
    assert_whole(seen, TRICKY_TEXT, "a", 1)
    if mode.path == LUNARBIT:
        told = seen.events[-1][1] if mode.stream else seen.document
        assert (told["finish_reason"], told["tokens_used"], "usage_estimated" in told) == ("stop", 12, False)
    sent = a.chat_requests[0].json
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    if mode.path == LUNARBIT:
        assert (sent["temperature"], sent["max_tokens"]) == (0.7, 2000)
    assert a.chat_requests[0].headers["x-api-key"] == "sk-of-the-gateway"
    assert "authorization" not in a.chat_requests[0].headers
    (line,) = await gateway.logged()
    assert (line["prompt_tokens"], line["completion_tokens"], line["model"]) == (7, 5, MODEL)


async def test_chunks_are_those_of_openai(gateway: Running, a: Upstream) -> None:
    """The role once, the reason to stop once, then usage without choices, then `[DONE]`."""
    a.default = messages.text("Hi", pieces=2)
    wanted = {"stream_options": {"include_usage": True}}
    seen = await ask(gateway, Mode(OPENAI, stream=True), **wanted)
    *chunks, (_, done) = seen.events
    payloads = [payload for _, payload in chunks]
    assert done == "[DONE]"
    assert len({(payload["id"], payload["created"]) for payload in payloads}) == 1
    assert {payload["model"] for payload in payloads} == {TOLD_MODEL}
    assert {payload["object"] for payload in payloads} == {"chat.completion.chunk"}
    assert [payload["choices"] for payload in payloads] == [
        [{"index": 0, "delta": {"role": "assistant", "content": "H"}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "i"}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        [],
    ]
    assert [payload["usage"]["total_tokens"] for payload in payloads if "usage" in payload] == [12]
    plain = await ask(gateway, Mode(OPENAI, stream=True))
    assert not any("usage" in payload for _, payload in plain.events[:-1])


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_the_vendors_limits_reach_the_client(gateway: Running, a: Upstream, mode: Mode) -> None:
    """Clients slow down by them."""
    a.extra_headers = {"anthropic-ratelimit-tokens-remaining": "41", "request-id": "req_vendor"}
    seen = await ask(gateway, mode)
    assert seen.headers["anthropic-ratelimit-tokens-remaining"] == "41"
    assert seen.headers["x-lunarbit-upstream-request-id"] == "req_vendor"


@pytest.mark.parametrize("mode", OPENAI_MODES, ids=str)
async def test_what_cannot_be_expressed_is_refused_by_name(gateway: Running, a: Upstream, mode: Mode) -> None:
    """With 400 before anything is sent, and without a mark against the provider."""
    seen = await ask(gateway, mode, n=2)
    assert_error(seen, 400, "INVALID_REQUEST")
    assert seen.error is not None
    assert (seen.error["param"], seen.error["type"]) == ("n", "invalid_request_error")
    assert not a.chat_requests
    assert gateway.outcomes("a") == {"NotExpressible": 1}


@pytest.mark.parametrize("mode", OPENAI_MODES, ids=str)
async def test_another_target_may_take_what_this_one_cannot_express(
    mixed: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """It gets the field as it is; when it fails, that is told, since the request was a good one."""
    assert_whole(await ask(mixed, mode, seed=7), "Hello world", "b", 2)
    assert b.chat_requests[0].json["seed"] == 7
    assert not a.chat_requests
    b.default = Script.status(503)
    assert_error(await ask(mixed, mode, seed=7), 502, "PROVIDER_ERROR")


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_refusal_comes_in_the_vendors_words(gateway: Running, a: Upstream, mode: Mode) -> None:
    """Only the client can change its request."""
    a.default = messages.error(400, "invalid_request_error", "messages.0: too strange")
    seen = await ask(gateway, mode)
    assert_error(seen, 400, "INVALID_REQUEST")
    assert seen.error is not None
    assert "messages.0: too strange" in seen.error["message"]


FAILURES = {
    "overloaded": messages.error(529, "overloaded_error"),
    "overloaded inside a 200": messages.error_event(0),
    "limited": messages.error(429, "rate_limit_error", headers={"retry-after": "9"}),
    "no money": messages.error(400, "invalid_request_error", "Your credit balance is too low to access the API."),
    "our key": messages.error(401, "authentication_error"),
    "no such model": messages.error(404, "not_found_error"),
    "HTML": Script.html(),
    "garbage": messages.malformed_event(0, then_complete=False),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_failure_before_content_leads_to_the_next_provider(
    mixed: Running, a: Upstream, b: Upstream, mode: Mode, failure: str
) -> None:
    """Which speaks another dialect, and the client does not notice."""
    a.default = FAILURES[failure]
    seen = await ask(mixed, mode)
    assert_whole(seen, "Hello world", "b", 1 + len(a.chat_requests))
    assert len(b.chat_requests) == 1


@pytest.mark.parametrize("fault", [messages.stall_after(0), messages.pings_after(0, 0.02), Script.hang()])
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_provider_that_only_pings_has_said_nothing(
    mixed: Running, a: Upstream, mode: Mode, fault: Script
) -> None:
    """A ping before the first content is no content."""
    a.default = fault
    assert_whole(await ask(mixed, mode), "Hello world", "b", 2)
    assert mixed.outcomes("a") == {"FirstTokenTimedOut": 1}


BROKEN = {
    "RST": messages.reset_after(2),
    "FIN": messages.cut_after(2),
    "end of the body": messages.eof_after(2),
    "stall": messages.stall_after(2),
    "malformed, then the end": messages.malformed_event(2, then_complete=False),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stream_that_breaks_is_never_shown_as_whole(
    mixed: Running, a: Upstream, b: Upstream, mode: Mode, fault: str
) -> None:
    """What came is counted: the prompt as the vendor told it at the beginning, the answer by its length."""
    a.default = BROKEN[fault]
    seen = await ask(mixed, mode)
    assert_error(seen, 200, "STREAM_INTERRUPTED")
    assert seen.text == "tok0 tok1 "
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 0)
    (line,) = await mixed.logged()
    assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 3)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_an_overload_in_the_middle_ends_the_stream_with_an_error(mixed: Running, a: Upstream, mode: Mode) -> None:
    """It would have been 529, had it come before the stream began."""
    a.default = messages.error_event(2)
    seen = await ask(mixed, mode)
    assert_error(seen, 200, "PROVIDER_ERROR")
    assert seen.text == "tok0 tok1 "
    assert mixed.outcomes("a") == {"Overloaded": 1}


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_pings_keep_a_slow_stream_alive(mixed: Running, a: Upstream, mode: Mode) -> None:
    """A model that thinks for longer than `idle_s` shows in this way that it is there."""
    a.default = messages.pings_between("Hello world", count=8, interval_s=HASTY["idle_s"] / 4)
    assert_whole(await ask(mixed, mode), "Hello world", "a", 1)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_hidden_reasoning_may_take_longer_than_a_first_token(mixed: Running, a: Upstream, mode: Mode) -> None:
    """The model has begun, and pings show that it goes on."""
    a.default = messages.thinks_in_silence("Hello world", count=8, interval_s=HASTY["first_token_s"] / 4)
    assert_whole(await ask(mixed, mode), "Hello world", "a", 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_client_that_leaves_closes_the_upstream(gateway: Running, a: Upstream, mode: Mode) -> None:
    """Nobody pays for an answer that nobody reads."""
    a.default = messages.endless(0.01) if mode.stream else Script.hang()
    asking = asyncio.create_task(ask(gateway, mode))
    await a.wait_for(lambda: a.chat_requests)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await a.wait_for(a.chat_requests[0].disconnected.is_set)


async def test_models_are_discovered(start: Start, a: Upstream) -> None:
    """Without a closed list, from every page of the vendor's."""
    a.models = ["claude-one", "claude-two", "claude-three"]
    a.models_per_page = 2
    a.default = messages.text()
    gateway = await start({"a": anthropic(a, models=None)})
    await gateway.until(lambda: gateway.provider("a").models)
    assert gateway.provider("a").models == ("claude-one", "claude-two", "claude-three")
    assert_whole(await ask(gateway, Mode(OPENAI, stream=False), model="claude-two"), "Hello world", "a", 1)


@pytest.mark.parametrize("path", [LUNARBIT, OPENAI])
async def test_betas_of_a_client_go_to_who_speaks_the_dialect(
    start: Start, a: Upstream, b: Upstream, path: str
) -> None:
    """Whichever surface they were asked on, beside those of the configuration; nobody else hears of them."""
    a.default = messages.error(500, "api_error")
    claude = anthropic(a, headers={"anthropic-beta": "of-all"})
    gateway = await start({"a": claude, "b": provider(b)})
    question = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    answer = await call(gateway, "POST", path, question, anthropic_beta="own-1,own-2")
    assert answer.status == 200
    assert a.chat_requests[0].headers["anthropic-beta"] == "of-all,own-1,own-2"
    assert "anthropic-beta" not in b.chat_requests[0].headers
