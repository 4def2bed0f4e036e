"""Providers that fail: server errors, overload, answers that are none, and the budget for asking twice."""

from __future__ import annotations

import asyncio

import pytest

from providers import http as adapter
from tests.e2e.client import MODES, OPENAI, STREAMS, WHOLES, Mode, ask, assert_error, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import Running, provider
from tests.upstream import Script, Upstream, completion, error_body
from tests.upstream.frames import encode
from tests.upstream.steps import Body, Head, Repeat, Send

SECRET = "internal address 10.1.2.3"
RETRIES = "lunarbit_provider_retries_total"
FAILOVERS = "lunarbit_provider_failovers_total"


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_server_error_is_tried_once_more_and_then_elsewhere(
    two: Running, a: Upstream, b: Upstream, mode: Mode, status: int
) -> None:
    """Most such errors pass with the next request, so the quick repetition comes before the move."""
    a.queue(Script.status(status))
    assert_whole(await ask(two, mode), "Hello world", "a", 2)
    assert (len(a.chat_requests), len(b.chat_requests)) == (2, 0)
    a.default = Script.status(status)
    assert_whole(await ask(two, mode), "Hello world", "b", 3)
    assert (len(a.chat_requests), len(b.chat_requests)) == (4, 1)
    assert two.outcomes("a") == {"ServerFailed": 3, "ok": 1}
    assert two.metric(RETRIES, provider="a") == 2
    assert two.metric(FAILOVERS, provider="a") == 1


@pytest.mark.parametrize("status", [503, 529])
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_an_overloaded_provider_is_left_at_once(
    two: Running, a: Upstream, b: Upstream, mode: Mode, status: int
) -> None:
    """Asking it again now would only add to its load."""
    a.default = Script.status(status)
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 1)
    assert two.outcomes("a") == {"Overloaded": 1}
    assert two.metric(RETRIES, provider="a") == 0


@pytest.mark.parametrize("mode", [STREAMS[0], WHOLES[1]], ids=str)
async def test_an_overloaded_provider_is_asked_again_when_nobody_else_is_left(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """The last chance before an error; at most five attempts in all."""
    a.queue(Script.status(503))
    b.default = Script.status(500)
    assert_whole(await ask(two, mode), "Hello world", "a", 4)
    a.default = Script.status(503)
    assert_error(await ask(two, mode), 502, "PROVIDER_ERROR")
    assert len(a.chat_requests) + len(b.chat_requests) == 4 + 5


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_what_a_failing_provider_says_is_for_nobody(one: Running, a: Upstream, mode: Mode) -> None:
    """Its message may hold addresses and secrets of another network."""
    a.default = Script.status(500, error_body(SECRET))
    seen = await ask(one, mode)
    assert_error(seen, 502, "PROVIDER_ERROR")
    assert SECRET.encode() not in seen.reply.raw
    assert SECRET.encode() not in one.output.getvalue()
    if mode.path == OPENAI:
        assert seen.headers["x-should-retry"] == "false"
    (line,) = await one.logged()
    assert (line["status"], line["code"]) == (502, "PROVIDER_ERROR")


async def test_repetitions_come_out_of_a_budget(start: Start, a: Upstream, b: Upstream) -> None:
    """A provider that fails everything must not get twice the load; moves to another provider are free."""
    models = [f"model-{number}" for number in range(14)]
    gateway = await start({"a": provider(a, models=models), "b": provider(b, models=models)})
    a.default = Script.status(500)
    answers = await asyncio.gather(*(ask(gateway, WHOLES[0], model=model) for model in models))
    assert {(seen.status, seen.headers["x-lunarbit-provider"]) for seen in answers} == {(200, "b")}
    assert len(a.chat_requests) == len(models) + 10
    assert gateway.metric(RETRIES, provider="a") == 10
    assert gateway.metric(FAILOVERS, provider="a") == len(models)


# Answers that are none

NO_JSON = Script.status(200, b'{"id": "chatcmpl-1", "choices": [{"index"')
UNREADABLE_STREAMS = {
    "HTML": Script.html(),
    "JSON": Script.status(200, completion("not a stream")),
    "broken JSON": Script.invalid_json(),
    "plain text": Script.status(200, SECRET, content_type="text/plain"),
    "a redirect": Script.status(302, SECRET, {"location": "http://127.0.0.1:9/"}),
    "compressed": Script.status(200, b"x", {"content-encoding": "gzip"}, "text/event-stream"),
    "not HTTP": Script.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
}
UNREADABLE_DOCUMENTS = {
    "HTML": Script.html(),
    "broken JSON": NO_JSON,
    "another document": Script.status(200, {"greeting": SECRET}),
    "a list": Script.status(200, b"[]"),
    "bad UTF-8": Script.status(200, b'{"choices": [{"message": {"content": "\xff"}}]}'),
    "deep": Script.status(200, b'{"choices": ' + b"[" * 100_000),
    "a stream": Script.sse(b"data: {}\n\n"),
    "a redirect": Script.status(302, SECRET, {"location": "http://127.0.0.1:9/"}),
    "not HTTP": Script.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
}
UNREADABLE = [(mode, name, script) for mode in STREAMS for name, script in UNREADABLE_STREAMS.items()]
UNREADABLE += [(mode, name, script) for mode in WHOLES for name, script in UNREADABLE_DOCUMENTS.items()]


@pytest.mark.parametrize(("mode", "name", "script"), UNREADABLE, ids=[f"{mode} {name}" for mode, name, _ in UNREADABLE])
async def test_an_answer_that_is_none_is_the_providers_failure(
    two: Running, a: Upstream, b: Upstream, mode: Mode, name: str, script: Script
) -> None:
    """A proxy's error page with status 200 must neither reach the client nor end its request."""
    a.default = script
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert two.outcomes("a") == {"UnreadableAnswer": 1}
    b.default = script
    seen = await ask(two, mode)
    assert_error(seen, 502, "PROVIDER_ERROR")
    for secret in (b"secret proxy page", SECRET.encode(), b"OpenSSH"):
        assert secret not in seen.reply.raw
        assert secret not in two.output.getvalue()


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_an_error_body_without_end_is_read_only_a_little_way(one: Running, a: Upstream, mode: Mode) -> None:
    """64 KiB are enough to learn what kind of error it is."""
    a.default = Script.steps(Head(400, content_type="text/html"), Repeat(b"x" * 65_536, 0.0))
    seen = await ask(one, mode)
    assert seen.status == 400
    await a.wait_for(a.chat_requests[0].disconnected.is_set)
    assert len(seen.reply.raw) < 10_000


@pytest.mark.parametrize("mode", WHOLES, ids=str)
async def test_a_whole_answer_has_a_largest_size(
    two: Running, a: Upstream, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer may not fill the memory; the limit of 64 MiB is lowered here."""
    monkeypatch.setattr(adapter, "MAX_ANSWER_BYTES", 1 << 20)
    a.default = Script.text("x" * (2 << 20))
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert two.outcomes("a") == {"UnreadableAnswer": 1}


@pytest.mark.parametrize("mode", WHOLES, ids=str)
@pytest.mark.parametrize("script", [Script.reset_after(), Script.cut_after()], ids=["RST", "FIN"])
async def test_a_whole_answer_that_breaks_off_is_tried_once_more_and_then_elsewhere(
    two: Running, a: Upstream, b: Upstream, mode: Mode, script: Script
) -> None:
    """Nothing of it has reached the client."""
    a.queue(script)
    assert_whole(await ask(two, mode), "Hello world", "a", 2)
    a.default = script
    assert_whole(await ask(two, mode), "Hello world", "b", 3)
    assert (len(a.chat_requests), len(b.chat_requests)) == (4, 1)


@pytest.mark.parametrize("mode", WHOLES, ids=str)
async def test_half_a_document_that_ends_in_order_is_unreadable(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """A chunked body can end cleanly and still not be JSON."""
    a.default = Script.eof_after()
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert two.outcomes("a") == {"UnreadableAnswer": 1}


async def test_headers_without_end_do_not_fill_the_memory(two: Running, a: Upstream) -> None:
    """A header line of a megabyte is not HTTP of any use."""
    head = b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * (1 << 20) + b"\r\n\r\n"
    a.default = Script.steps(Send(head), Body(encode(completion("x"))))
    for mode in MODES:
        assert_whole(await ask(two, mode), "Hello world", "b", 2)
