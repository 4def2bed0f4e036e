"""Providers that say no: to the request, to our credential, to the model, to the pace."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.client import LUNARBIT, MODES, OPENAI, STREAMS, WHOLES, Client, Mode, ask, assert_error, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import Running, provider
from tests.upstream import Script, Upstream, error_body
from tests.upstream.frames import lmstudio_v1_models

# One streamed and one whole mode, each on another surface, for what does not depend on the form of the answer.
TWO_MODES = [STREAMS[0], WHOLES[1]]


def refusal(status: int, message: str) -> Script:
    """The provider's refusal of what the client sent."""
    return Script.status(status, error_body(message, "invalid_request_error", "bad_value", "messages"))


# The request is at fault


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [(400, 400, "INVALID_REQUEST"), (413, 413, "PAYLOAD_TOO_LARGE"), (422, 400, "INVALID_REQUEST")],
)
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_refused_request_is_told_to_the_client_and_asked_nowhere_else(
    two: Running, a: Upstream, b: Upstream, mode: Mode, status: int, told: int, code: str
) -> None:
    """Another provider would refuse it too, and the client needs the vendor's own words to mend it."""
    a.default = refusal(status, "messages[0] is too odd")
    seen = await ask(two, mode)
    error = seen.error
    assert (seen.status, seen.is_event_stream) == (told, False)
    assert error is not None
    assert error["message"] == "messages[0] is too odd"
    if mode.path == OPENAI:
        assert (error["type"], error["code"]) == ("invalid_request_error", "bad_value")
        assert seen.headers["x-lunarbit-error-code"] == code
    else:
        assert error["code"] == code
    if status != 413:
        told_field = error["param"] if mode.path == OPENAI else error["details"]["errors"][0]["field"]
        assert told_field == "messages"
    assert "x-should-retry" not in seen.headers
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 0)
    assert two.outcomes("a") == {"RequestRefused": 1}


async def test_refused_requests_say_nothing_about_the_providers_health(one: Running, a: Upstream) -> None:
    """One client with a broken program must not take the provider from all others."""
    a.default = refusal(400, "no")
    for _ in range(30):
        await ask(one, MODES[1])
    assert one.target("a").breaker.is_closed
    assert one.provider("a").breaker.is_closed
    a.default = Script.text()
    assert_whole(await ask(one, MODES[0]), "Hello world", "a", 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_prompt_that_does_not_fit_is_told_with_the_vendors_code(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """Agents shorten their history when they see exactly this code; nobody is known to take more."""
    a.default = Script.openai_error("context_length_exceeded", param="messages")
    assert_error(await ask(two, mode), 400, "CONTEXT_LENGTH_EXCEEDED")
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 0)


@pytest.mark.parametrize("lengths", [(4_096, 32_768), (32_768, 4_096)], ids=["larger behind", "smaller behind"])
@pytest.mark.parametrize("mode", TWO_MODES, ids=str)
async def test_a_prompt_that_does_not_fit_may_go_to_a_larger_context(
    start: Start, a: Upstream, b: Upstream, mode: Mode, lengths: tuple[int, int]
) -> None:
    """Only to one that is known to be larger, and never again to the same one."""
    for upstream, length in zip((a, b), lengths, strict=True):
        upstream.lmstudio_v1 = lmstudio_v1_models({"llama": length})
    entries = {name: provider(up.origin, kind="lmstudio", models=None, api_key="") for name, up in (("a", a), ("b", b))}
    gateway = await start(entries)
    a.default = Script.openai_error("context_length_exceeded")
    seen = await ask(gateway, mode, model="llama")
    if lengths[0] < lengths[1]:
        assert_whole(seen, "Hello world", "b", 2)
    else:
        assert_error(seen, 400, "CONTEXT_LENGTH_EXCEEDED")
        assert b.chat_requests == []
    assert len(a.chat_requests) == 1


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_content_filters_reason_reaches_the_client(two: Running, a: Upstream, b: Upstream, mode: Mode) -> None:
    """A refusal without its reason cannot be acted upon."""
    a.default = Script.azure_content_filter()
    seen = await ask(two, mode)
    assert_error(seen, 400, "CONTENT_FILTERED")
    assert seen.error is not None
    assert seen.error["message"] == "The response was filtered."
    if mode.path == LUNARBIT:
        assert seen.error["details"]["content_filter"]["code"] == "ResponsibleAIPolicyViolation"
    assert b.chat_requests == []


# Our credential is at fault


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_refused_credential_moves_on_and_is_not_used_again(
    two: Running, a: Upstream, b: Upstream, mode: Mode, status: int
) -> None:
    """Our configuration is wrong; the client can do nothing about it and must not be told to log in."""
    a.default = Script.status(status)
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert two.outcomes("a") == {"CredentialRefused": 1}
    assert two.provider("a").breaker_state() == "open"
    assert_whole(await ask(two, mode), "Hello world", "b", 1)
    assert len(a.chat_requests) == 1


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_refused_credential_is_never_a_401_for_the_client(
    one: Running, a: Upstream, mode: Mode, status: int
) -> None:
    """An SDK would tell its user that the key is wrong, and it is not theirs."""
    a.default = Script.status(status, error_body("Incorrect API key provided: sk-of-the-gateway"))
    seen = await ask(one, mode)
    assert_error(seen, 502, "PROVIDER_ERROR")
    assert "www-authenticate" not in seen.headers
    assert b"sk-of" not in seen.reply.raw
    assert b"Incorrect" not in seen.reply.raw
    if mode.path == OPENAI:
        assert seen.headers["x-should-retry"] == "false"


# The model is not there


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_model_that_is_not_served_moves_on_and_is_left_alone_for_a_minute(
    start: Start, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """A deployment can be missing while the rest of the provider is well."""
    gateway = await start({"a": provider(a, models=["gpt-4", "gpt-3.5-turbo"]), "b": provider(b)})
    a.by_model["gpt-4"] = Script.status(404)
    assert_whole(await ask(gateway, mode), "Hello world", "b", 2)
    assert_whole(await ask(gateway, mode), "Hello world", "b", 1)
    assert gateway.outcomes("a") == {"ModelNotServed": 1}
    assert gateway.provider("a").breaker_state() == "closed"
    assert_whole(await ask(gateway, mode, model="gpt-3.5-turbo"), "Hello world", "a", 1)
    a.by_model.clear()
    gateway.clock.ahead_s = 58
    assert_whole(await ask(gateway, mode), "Hello world", "b", 1)
    gateway.clock.ahead_s = 61
    assert_whole(await ask(gateway, mode), "Hello world", "a", 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_model_that_nobody_serves_is_not_found(one: Running, a: Upstream, mode: Mode) -> None:
    """404, also from the minute's memory, for which nobody is asked."""
    a.default = Script.status(404)
    for _ in range(2):
        assert_error(await ask(one, mode), 404, "MODEL_NOT_FOUND")
    assert len(a.chat_requests) == 1


# The pace is at fault


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_limited_provider_rests_for_as_long_as_it_asked(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """The next one answers at once, and the limited one is left alone meanwhile."""
    a.queue(Script.status(429, retry_after=7))
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert two.outcomes("a") == {"RateLimited": 1}
    assert two.metric("lunarbit_provider_failovers_total", provider="a") == 1
    two.clock.ahead_s = 5
    assert_whole(await ask(two, mode), "Hello world", "b", 1)
    two.clock.ahead_s = 8
    assert_whole(await ask(two, mode), "Hello world", "a", 1)
    assert two.provider("a").breaker_state() == "closed"


@pytest.mark.parametrize(("asked", "resting_s", "back_s"), [("0", 0.5, 1.5), ("86400", 298, 301), ("soon", 1, 3)])
async def test_the_rest_is_between_a_second_and_five_minutes(
    two: Running, a: Upstream, asked: str, resting_s: float, back_s: float
) -> None:
    """Neither a zero nor a day, nor something that is no number, may be taken at its word."""
    a.queue(Script.status(429, retry_after=asked))
    assert_whole(await ask(two, MODES[1]), "Hello world", "b", 2)
    for ahead_s, name in ((resting_s, "b"), (back_s, "a")):
        two.clock.ahead_s = ahead_s
        assert_whole(await ask(two, MODES[1]), "Hello world", name, 1)


@pytest.mark.parametrize("mode", TWO_MODES, ids=str)
async def test_a_short_rest_is_waited_for_when_nobody_else_is_there(one: Running, a: Upstream, mode: Mode) -> None:
    """A second's wait is better than an error."""
    a.queue(Script.status(429, retry_after=1))
    assert_whole(await ask(one, mode), "Hello world", "a", 2)
    first, second = a.chat_requests
    assert second.started - first.started >= 0.9
    assert one.metric("lunarbit_provider_retries_total", provider="a") == 1


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_when_everybody_limits_the_client_learns_the_shortest_wait(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """429 with the smallest Retry-After, and the second time without asking anybody."""
    a.default, b.default = Script.status(429, retry_after=40), Script.status(429, retry_after=30)
    for _ in range(2):
        seen = await ask(two, mode)
        assert_error(seen, 429, "PROVIDER_RATE_LIMITED")
        assert seen.headers["retry-after"] == "30"
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_spent_quota_is_not_waited_for(start: Start, a: Upstream, b: Upstream, mode: Mode) -> None:
    """More money is needed, not more time: that key rests for the longest time there is."""
    # The request may not take as long as the rest of the rest.
    timeouts = {"total_s": 5.0}
    two = await start({"a": provider(a, timeouts=timeouts), "b": provider(b, timeouts=timeouts)})
    quota = Script.openai_error("insufficient_quota", "insufficient_quota", status=429)
    a.default = quota
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert two.outcomes("a") == {"QuotaSpent": 1}
    two.clock.ahead_s = 290
    b.default = quota
    seen = await ask(two, mode)
    assert_error(seen, 429, "PROVIDER_RATE_LIMITED")
    assert int(seen.headers["retry-after"]) <= 10
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 2)


async def test_nobody_is_asked_again_for_a_client_that_left_while_it_waited(start: Start, a: Upstream) -> None:
    """Waiting for a limited provider is one of the phases in which a client may go."""
    one = await start({"a": provider(a)})
    a.default = Script.status(429, retry_after=15)
    for count, mode in enumerate(MODES, start=1):
        one.clock.ahead_s += 20
        async with Client(one) as client:
            await client.ask(mode)
            while len(a.chat_requests) < count:
                await asyncio.sleep(0.005)
            assert one.metric("lunarbit_http_requests_in_flight") == 1
        lines = await one.logged(count)
        assert lines[-1]["status"] == 499
    assert len(a.chat_requests) == len(MODES)
