"""What the OpenAI adapter makes of answers: bytes that pass through, and the type of each failure."""

from __future__ import annotations

import json

import pytest

from providers import errors
from providers.base import StreamEvent, events_of
from providers.transport import Transport
from tests.providers.support import KEY, collect, openai, question, text_of
from tests.upstream import Script, Upstream, chunk
from tests.upstream.answers import TRICKY_TEXT
from tests.upstream.frames import DONE, event, role_chunk
from tests.upstream.steps import Body, End, Head, Reset, Sleep

WELL_FORMED: dict[str, Script] = {
    "plain": Script.text(TRICKY_TEXT),
    "one byte at a time": Script.split_every_byte(TRICKY_TEXT),
    "CRLF": Script.line_endings(TRICKY_TEXT, "\r\n"),
    "CR": Script.line_endings(TRICKY_TEXT, "\r"),
    "byte order mark": Script.bom(TRICKY_TEXT),
    "no space": Script.no_space_after_colon(TRICKY_TEXT),
    "many data lines": Script.multi_line_data(TRICKY_TEXT),
    "azure": Script.azure_stream(TRICKY_TEXT),
    "usage on every chunk": Script.usage_on_every_chunk(TRICKY_TEXT),
    "usage at the finish": Script.usage_on_finish_chunk(TRICKY_TEXT),
    "no [DONE]": Script.text(TRICKY_TEXT, done=False),
    "no role": Script.text(TRICKY_TEXT, role_frame=False),
}


def stream(*payloads: object) -> Script:
    """Return a stream of exactly these payloads: documents, or text such as `[DONE]`."""
    frames = [event(payload if isinstance(payload, str) else json.dumps(payload)) for payload in payloads]
    return Script.sse(b"".join(frames))


def finish(index: int = 0) -> dict[str, object]:
    """Return the chunk that ends one choice."""
    return chunk(index=index, finish_reason="stop")


async def read_until_broken(up: Upstream, transport: Transport, kind: type[Exception]) -> list[StreamEvent]:
    """Return the events that came before the stream raised `kind`."""
    events: list[StreamEvent] = []

    async def read() -> None:
        async for item in openai(up, transport).stream_completion(question()):
            events.extend(events_of(item))

    with pytest.raises(kind) as raised:
        await read()
    assert type(raised.value) is kind
    return events


@pytest.mark.parametrize("name", WELL_FORMED)
async def test_every_well_formed_stream_gives_the_same_text(up: Upstream, transport: Transport, name: str) -> None:
    """Vendors write the same stream down differently."""
    up.default = WELL_FORMED[name]
    events = await collect(openai(up, transport))
    assert text_of(events) == TRICKY_TEXT
    assert [one.finish_reason for one in events if one.finish_reason] == ["stop"]
    usages = [one.usage for one in events if one.usage]
    assert usages[-1].prompt_tokens == 7


async def test_each_event_carries_its_bytes(up: Upstream, transport: Transport) -> None:
    """The client gets what the provider sent and not what the gateway understood of it."""
    odd = {**chunk("a"), "obfuscation": "x", "service_tier": "default", "usage": None}
    up.default = stream(role_chunk(), odd, finish(), DONE)
    raws = [one.raw for one in await collect(openai(up, transport)) if one.raw]
    assert [json.loads(raw) for raw in raws] == [role_chunk(), odd, finish()]


async def test_the_first_event_carries_the_vendors_headers(up: Upstream, transport: Transport) -> None:
    """Rate limits and request ids may go to the client; cookies and server names may not."""
    up.extra_headers = {
        "x-ratelimit-remaining-requests": "9",
        "X-RateLimit-Reset-Tokens": "6m0s",
        "retry-after": "3",
        "x-request-id": "vendor-1",
        "set-cookie": "a=b",
        "server": "vendor",
        "openai-organization": "org-secret",
    }
    expected = {
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-tokens": "6m0s",
        "retry-after": "3",
        "x-lunarbit-upstream-request-id": "vendor-1",
    }
    provider = openai(up, transport)
    first, *rest = await collect(provider)
    assert first.headers == expected
    assert not first.commits
    assert not any(one.headers for one in rest)
    assert (await provider.chat_completion(question())).headers == expected


@pytest.mark.parametrize(
    ("asked", "finished", "is_whole"), [(1, 1, True), (2, 1, False), (2, 2, True), (None, 1, True)]
)
async def test_a_stream_is_whole_when_every_choice_has_finished(
    up: Upstream, transport: Transport, asked: int | None, finished: int, is_whole: bool
) -> None:
    """Without `[DONE]`, one finished choice of two is half an answer."""
    up.default = stream(chunk("a"), chunk("b", index=1), *(finish(index) for index in range(finished)))
    provider = openai(up, transport)
    if is_whole:
        assert len(await collect(provider, question(n=asked))) == 3 + finished
    else:
        with pytest.raises(errors.StreamBroken):
            await collect(provider, question(n=asked))


async def test_done_ends_a_stream_whatever_was_finished(up: Upstream, transport: Transport) -> None:
    """The upstream says that it is complete; the official SDKs stop there too."""
    up.default = stream(chunk("a"), DONE, chunk("never read"))
    assert text_of(await collect(openai(up, transport))) == "a"


async def test_an_unterminated_last_event_is_read(up: Upstream, transport: Transport) -> None:
    """Some servers close right after the last line."""
    body = event(chunk("a")) + event(finish()).rstrip(b"\n")
    up.default = Script.sse(body)
    events = await collect(openai(up, transport))
    assert events[-1].finish_reason == "stop"


async def test_a_reset_after_the_finish_reason_takes_nothing_away(up: Upstream, transport: Transport) -> None:
    """The answer was whole, only its goodbye was rude."""
    parts = Body(event(chunk("a")) + event(finish()))
    up.default = Script.steps(Head(), parts, Sleep(0.05), Reset())
    assert text_of(await collect(openai(up, transport))) == "a"


@pytest.mark.parametrize("fault", [Script.reset_after(2), Script.eof_after(2), Script.cut_after(2)])
async def test_a_stream_that_ends_early_is_broken(up: Upstream, transport: Transport, fault: Script) -> None:
    """A cut answer must never look whole; what came stays counted."""
    up.default = fault
    assert text_of(await read_until_broken(up, transport, errors.StreamBroken)) == "tok0 tok1 "


async def test_a_stream_that_ends_before_anything_is_broken(up: Upstream, transport: Transport) -> None:
    """Headers alone are no answer."""
    up.default = Script.headers_then_close()
    await read_until_broken(up, transport, errors.StreamBroken)


async def test_a_malformed_event_before_content_is_unreadable(up: Upstream, transport: Transport) -> None:
    """Nothing is lost yet, so the router may ask another provider."""
    up.default = Script.malformed_event(before_content=True, then_complete=True)
    await read_until_broken(up, transport, errors.UnreadableAnswer)


async def test_a_malformed_event_after_content_is_left_out_if_the_stream_completes(
    up: Upstream, transport: Transport
) -> None:
    """A broken annotation must not take the rest of a good answer."""
    up.default = Script.malformed_event(before_content=False, then_complete=True)
    assert text_of(await collect(openai(up, transport))) == "tok0 tok1 after "


async def test_a_malformed_event_after_content_breaks_a_stream_that_does_not_complete(
    up: Upstream, transport: Transport
) -> None:
    """It may have been the finish."""
    up.default = Script.malformed_event(before_content=False)
    await read_until_broken(up, transport, errors.StreamBroken)


@pytest.mark.parametrize("after", [0, 2])
async def test_an_event_over_the_limit_is_unreadable(up: Upstream, transport: Transport, after: int) -> None:
    """One event may not take the memory of the gateway."""
    up.default = Script.huge_event(after_content=after)
    await read_until_broken(up, transport, errors.UnreadableAnswer)
    await up.wait_for(lambda: up.in_flight == 0)


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "m", "type": "server_error"}, errors.ServerFailed),
        ({"message": "m", "code": "rate_limit_exceeded"}, errors.RateLimited),
        ({"message": "m", "code": "context_length_exceeded"}, errors.ContextLengthExceeded),
    ],
)
async def test_an_error_event_inside_a_200_is_that_error(
    up: Upstream, transport: Transport, error: dict[str, str], kind: type[Exception], after: int
) -> None:
    """Whatever the status said before."""
    up.default = Script.error_event(after, error)
    events = await read_until_broken(up, transport, kind)
    assert text_of(events) == "tok0 tok1 " * (after // 2)


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("status", [200, 500])
async def test_json_with_an_error_in_it_is_an_error_under_any_status(
    up: Upstream, transport: Transport, status: int, is_stream: bool
) -> None:
    """LM Studio answers 200 with an error where a stream was asked for."""
    up.default = Script.status(status, {"error": {"message": "busy", "code": "server_is_overloaded"}})
    provider = openai(up, transport)
    with pytest.raises(errors.Overloaded if status == 200 else errors.ServerFailed):
        await (collect(provider) if is_stream else provider.chat_completion(question()))


@pytest.mark.parametrize(
    "answer",
    [
        Script.html(),
        Script.invalid_json(),
        Script.status(200, b""),
        Script.status(200, b"plain", content_type="text/plain"),
        Script.status(200, {"choices": []}, content_type="image/png"),
        Script.status(204, b""),
    ],
)
async def test_what_is_no_answer_is_unreadable_and_never_quoted(
    up: Upstream, transport: Transport, answer: Script
) -> None:
    """A page of a proxy may hold addresses or secrets, so no part of it goes into the error."""
    up.default = answer
    provider = openai(up, transport)
    with pytest.raises(errors.UnreadableAnswer) as raised:
        await provider.chat_completion(question())
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("answer", [Script.html(), Script.status(200, {"choices": []})])
async def test_a_whole_answer_in_place_of_a_stream_is_unreadable(
    up: Upstream, transport: Transport, answer: Script
) -> None:
    """The client was promised a stream, and another provider may give one."""
    up.default = answer
    with pytest.raises(errors.UnreadableAnswer):
        await collect(openai(up, transport))


async def test_a_missing_content_type_is_forgiven(up: Upstream, transport: Transport) -> None:
    """Small servers send none, and the body says what it is."""
    body = event(chunk("a")) + event(finish()) + event(DONE)
    up.queue(Script.steps(Head(content_type=None), Body(body), End()))
    assert text_of(await collect(openai(up, transport))) == "a"


@pytest.mark.parametrize("fault", [Script.reset_after(), Script.cut_after(), Script.headers_then_close()])
async def test_a_cut_whole_answer_is_the_servers_failure(up: Upstream, transport: Transport, fault: Script) -> None:
    """Nothing has reached the client, so it is a failed attempt like any other and may be retried."""
    up.default = fault
    with pytest.raises(errors.ServerFailed):
        await openai(up, transport).chat_completion(question())


async def test_a_whole_answer_keeps_the_vendors_bytes(up: Upstream, transport: Transport) -> None:
    """Unknown members (timings, annotations) belong to the client."""
    body = b'{"id":"x","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"timings":{"t":1.50}}'
    up.default = Script.status(200, body)
    answer = await openai(up, transport).chat_completion(question())
    assert (answer.raw, answer.content, answer.usage) == (body, "a", None)


@pytest.mark.parametrize(
    ("page", "is_healthy"),
    [
        (None, True),
        (Script.status(404), True),
        (Script.status(429), True),
        (Script.status(401), False),
        (Script.status(403), False),
        (Script.status(500), False),
        (Script.status(503), False),
        (Script.reset(), False),
    ],
)
async def test_health_is_whether_the_server_answers_and_takes_the_key(
    up: Upstream, transport: Transport, page: Script | None, is_healthy: bool
) -> None:
    """A server without a list of models is there all the same."""
    up.models_script = page
    assert await openai(up, transport).is_healthy() is is_healthy


async def test_a_wrong_key_shows_in_health_and_in_the_type(up: Upstream, transport: Transport) -> None:
    """It is the gateway's own credential, never the client's."""
    up.require_key = KEY
    good, bad = openai(up, transport), openai(up, transport, api_key="sk-wrong")
    assert await good.is_healthy()
    assert await good.get_models() == ["gpt-4", "gpt-3.5-turbo"]
    assert not await bad.is_healthy()
    for asked in (bad.get_models(), bad.chat_completion(question()), collect(bad)):
        with pytest.raises(errors.CredentialRefused):
            await asked


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        (Script.status(500), errors.ServerFailed),
        (Script.html(), errors.UnreadableAnswer),
        (Script.status(404), errors.ModelNotServed),
    ],
)
async def test_a_list_of_models_that_cannot_be_read_raises(
    up: Upstream, transport: Transport, page: Script, kind: type[Exception]
) -> None:
    """The router keeps its old list then, so a failure must not look like an empty one."""
    up.models_script = page
    with pytest.raises(kind):
        await openai(up, transport).get_models()


async def test_models_that_do_something_else_are_listed_last(up: Upstream, transport: Transport) -> None:
    """A client that names no model gets the first one, which has to be able to chat."""
    up.models = ["text-embedding-3-large", "whisper-1", "gpt-4", "o3"]
    assert await openai(up, transport).get_models() == ["gpt-4", "o3", "text-embedding-3-large", "whisper-1"]
