"""The way to an upstream: what becomes of connections that fail, and what never travels on them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import trustme

from providers import errors
from providers import http as http_module
from providers import transport as transport_module
from providers.config import Timeouts
from providers.transport import MAX_ERROR_BYTES, Transport
from tests.providers.support import collect, openai, question, text_of
from tests.upstream import Script, Upstream
from tests.upstream.steps import Body, End, Hang, Head, Repeat, Sleep

SHORT = Timeouts(connect_s=0.3)
JSON = "application/json"


@contextmanager
def _deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full, so that the kernel answers no further one."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def _server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_refused_connection_is_unreachable(up: Upstream, transport: Transport) -> None:
    """Nobody listens: the next provider can be asked at once."""
    await up.refuse_connections()
    with pytest.raises(errors.Unreachable) as raised:
        await openai(up, transport).chat_completion(question())
    assert not isinstance(raised.value, errors.ConnectTimedOut)


async def test_a_silent_connection_attempt_ends_after_connect_s(up: Upstream, transport: Transport) -> None:
    """Packets that get lost must not cost the whole deadline."""
    with _deaf_port() as port:
        provider = openai(up, transport, base_url=f"http://127.0.0.1:{port}/v1", timeouts=SHORT)
        with pytest.raises(errors.ConnectTimedOut):
            await provider.chat_completion(question())


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1/v1", "http://[::1]:1/v1"])
async def test_addresses_that_lead_nowhere_are_unreachable(up: Upstream, transport: Transport, base_url: str) -> None:
    """A wrong setting shows as a provider that cannot be reached, whatever is wrong in it."""
    with pytest.raises(errors.Unreachable):
        await openai(up, transport, base_url=base_url).chat_completion(question())


async def test_a_full_pool_ends_as_a_connect_timeout(up: Upstream) -> None:
    """Waiting for a free connection is bounded as connecting is."""
    pool = Transport(max_connections=1)
    provider = openai(up, pool, timeouts=Timeouts(connect_s=0.1))
    up.default = Script.hang_after_headers()
    holder = asyncio.create_task(collect(provider))
    await up.wait_for(lambda: up.in_flight)
    with pytest.raises(errors.ConnectTimedOut):
        await provider.chat_completion(question())
    holder.cancel()
    await asyncio.wait([holder])
    await pool.aclose()


async def test_a_certificate_that_nobody_vouches_for_is_refused(transport: Transport) -> None:
    """TLS is verified, and a failure never falls back to plain text."""
    async with Upstream(tls=_server_tls(trustme.CA(), "127.0.0.1")) as up:
        with pytest.raises(errors.Unreachable):
            await openai(up, transport).chat_completion(question())
        assert not up.requests
        assert not up.unreadable_requests


@pytest.mark.parametrize(("name", "is_good"), [("127.0.0.1", True), ("api.example.com", False)])
async def test_a_certificate_must_be_for_the_host(name: str, is_good: bool) -> None:
    """A good certificate of another host is as bad as none."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    pool = Transport(ssl_context=trusting)
    async with Upstream(tls=_server_tls(authority, name)) as up:
        provider = openai(up, pool)
        if is_good:
            assert (await provider.chat_completion(question())).content == "Hello world"
        else:
            with pytest.raises(errors.Unreachable):
                await provider.chat_completion(question())
        await pool.aclose()


async def test_tls_to_a_plain_server_is_unreachable(up: Upstream, transport: Transport) -> None:
    """A wrong scheme in the settings shows as what it is."""
    provider = openai(up, transport, base_url=up.base_url.replace("http:", "https:"))
    with pytest.raises(errors.Unreachable):
        await provider.chat_completion(question())


@pytest.mark.parametrize("fault", [Script.reset(), Script.close_before_headers()])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_connection_dropped_before_headers_is_tried_once_more(
    up: Upstream, transport: Transport, fault: Script, stream: bool
) -> None:
    """Idle connections are closed under us at any time, which says nothing about the server."""
    up.queue(fault)
    provider = openai(up, transport)
    if stream:
        assert text_of(await collect(provider)) == "Hello world"
    else:
        assert (await provider.chat_completion(question())).content == "Hello world"
    assert len({call.connection_id for call in up.chat_requests}) == 2


@pytest.mark.parametrize("fault", [Script.reset(), Script.close_before_headers()])
async def test_a_second_drop_is_an_error(up: Upstream, transport: Transport, fault: Script) -> None:
    """One more connection is fair; a third one would be a retry that nobody counts."""
    up.default = fault
    with pytest.raises(errors.ConnectionDropped):
        await openai(up, transport).chat_completion(question())
    assert len(up.chat_requests) == 2


async def test_a_stale_pooled_connection_goes_unnoticed(up: Upstream, transport: Transport) -> None:
    """The server takes the second request's connection away at the very moment it is used."""
    provider = openai(up, transport)
    up.close_on_reuse = True
    for _ in range(5):
        assert (await provider.chat_completion(question())).content == "Hello world"
    assert len(up.chat_requests) == 5


async def test_a_server_that_closes_after_each_answer_goes_unnoticed(up: Upstream, transport: Transport) -> None:
    """Its announcement is missing, so the pool finds out by itself."""
    up.close_idle_after_answer = True
    provider = openai(up, transport)
    for _ in range(5):
        assert text_of(await collect(provider)) == "Hello world"


@pytest.mark.parametrize(
    "answer", [b"220 mail.example.com ESMTP\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/9.9 x\r\n\r\n"]
)
async def test_what_is_no_http_is_the_providers_failure(up: Upstream, transport: Transport, answer: bytes) -> None:
    """Whatever listens there, the router gets one of its own types."""
    up.default = Script.raw(answer)
    with pytest.raises((errors.UnreadableAnswer, errors.ConnectionDropped)):
        await openai(up, transport).chat_completion(question())


async def test_cookies_are_neither_kept_nor_sent(up: Upstream, transport: Transport) -> None:
    """A cookie would tie requests of different callers together."""
    up.set_cookie = True
    provider = openai(up, transport)
    for _ in range(3):
        await provider.chat_completion(question())
        await collect(provider)
        await provider.get_models()
    assert len(up.requests) == 9
    assert not any("cookie" in call.headers for call in up.requests)


async def test_nothing_compressed_is_asked_for(up: Upstream, transport: Transport) -> None:
    """A compressed stream would arrive in blocks, late, and nobody here takes it apart."""
    up.gzip_if_asked = True
    provider = openai(up, transport)
    await provider.get_models()
    assert text_of(await collect(provider)) == "Hello world"
    assert {call.headers["accept-encoding"] for call in up.requests} == {"identity"}


@pytest.mark.parametrize("content_type", [JSON, "text/event-stream"])
async def test_an_answer_that_is_compressed_all_the_same_is_refused(
    up: Upstream, transport: Transport, content_type: str
) -> None:
    """Handing on gzip as text would be worse than asking the next provider."""
    up.default = Script.status(200, b"\x1f\x8b\x08", {"content-encoding": "gzip"}, content_type)
    provider = openai(up, transport)
    with pytest.raises(errors.UnreadableAnswer):
        await provider.chat_completion(question())
    with pytest.raises(errors.UnreadableAnswer):
        await collect(provider)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
async def test_proxies_of_the_environment_are_ignored(up: Upstream, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Keys and prompts go where the operator's configuration says and nowhere else."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    pool = Transport()
    assert (await openai(up, pool).chat_completion(question())).content == "Hello world"
    await pool.aclose()


async def test_credentials_of_the_users_netrc_are_ignored(
    up: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file in a home folder is no configuration either."""
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    pool = Transport()
    await openai(up, pool, api_key="").chat_completion(question())
    await pool.aclose()
    assert "authorization" not in up.requests[0].headers


async def test_redirects_are_not_followed(up: Upstream, transport: Transport) -> None:
    """A redirect could send the key and the prompt to anybody."""
    async with Upstream() as elsewhere:
        up.default = Script.status(307, b"", {"location": f"{elsewhere.base_url}/chat/completions"})
        with pytest.raises(errors.UnreadableAnswer):
            await openai(up, transport).chat_completion(question())
        assert not elsewhere.requests


async def test_an_answer_over_the_cap_is_refused_while_it_comes(
    up: Upstream, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One upstream may not fill the gateway's memory."""
    monkeypatch.setattr(http_module, "MAX_ANSWER_BYTES", 100_000)
    up.default = Script.endless()
    with pytest.raises(errors.UnreadableAnswer):
        await openai(up, transport).chat_completion(question())
    await up.chat_requests[0].disconnected.wait()


async def test_a_list_of_models_over_the_cap_is_refused(
    up: Upstream, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The background work has the same limit."""
    monkeypatch.setattr(transport_module, "MAX_ANSWER_BYTES", 100_000)
    up.models_script = Script.status(200, b"x" * 1_000_000)
    with pytest.raises(errors.UnreadableAnswer):
        await openai(up, transport).get_models()


async def test_an_error_body_is_read_up_to_its_limit_only(up: Upstream, transport: Transport) -> None:
    """What explains an error is short, and an endless explanation must not hold the request."""
    up.default = Script.steps(Head(500, content_type=JSON), Repeat(b"x" * 4_096, 0.0))
    with pytest.raises(errors.ServerFailed) as raised:
        await openai(up, transport).chat_completion(question())
    assert len(raised.value.message) <= MAX_ERROR_BYTES
    await up.chat_requests[0].disconnected.wait()


async def test_an_error_body_that_does_not_come_is_not_waited_for_long(up: Upstream, transport: Transport) -> None:
    """The status alone says enough."""
    up.default = Script.steps(Head(503, content_type=JSON), Hang())
    async with asyncio.timeout(10):
        with pytest.raises(errors.Overloaded):
            await openai(up, transport).chat_completion(question())


async def test_an_error_leaves_its_connection_usable(up: Upstream, transport: Transport) -> None:
    """A rate limit answered a thousand times must not open a thousand connections."""
    up.default = Script.status(429)
    provider = openai(up, transport)
    for _ in range(10):
        with pytest.raises(errors.RateLimited):
            await provider.chat_completion(question())
        with pytest.raises(errors.RateLimited):
            await collect(provider)
    assert up.connections_opened == 1


LATE_END = Script.sse(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
LATE_END = Script(LATE_END.plan[:-1]) + Script.sleep(0.02) + Script.steps(End())


@pytest.mark.parametrize("script", [Script.text(), Script.text(done=False), Script.split_every_byte(), LATE_END])
async def test_streams_one_after_another_share_a_connection(up: Upstream, transport: Transport, script: Script) -> None:
    """A new connection costs a round trip and TLS, so the end of the body is read even after `[DONE]`."""
    up.default = script
    provider = openai(up, transport)
    for _ in range(20):
        await collect(provider)
    assert up.connections_opened == 1


async def test_a_body_that_stays_open_after_done_does_not_hold_the_answer(up: Upstream, transport: Transport) -> None:
    """Reading on for the connection's sake has an end soon after `[DONE]`."""
    up.default = Script.text(hang_at_end=True)
    async with asyncio.timeout(5):
        assert text_of(await collect(openai(up, transport))) == "Hello world"
        await up.chat_requests[0].disconnected.wait()


async def test_a_slow_list_of_models_times_out(up: Upstream, transport: Transport) -> None:
    """Health checks are bounded as a whole, not only between two reads."""
    up.models_script = Script.steps(Head(content_type=JSON), Repeat(b" ", 0.02))
    with pytest.raises(errors.TotalTimedOut):
        await transport.get(f"{up.base_url}/models", {}, timeout_s=0.3)
    await up.requests[0].disconnected.wait()


async def test_a_body_shorter_than_announced_is_broken(up: Upstream, transport: Transport) -> None:
    """Half a list of models is none."""
    up.models_script = Script.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}")
    with pytest.raises(errors.ProviderError):
        await openai(up, transport).get_models()


async def test_a_slow_body_is_waited_for(up: Upstream, transport: Transport) -> None:
    """Nothing below the router has a read timeout of its own."""
    up.default = Script.steps(Head(content_type=JSON), Sleep(0.3), Body(b'{"choices":[]}'), End())
    assert (await openai(up, transport, timeouts=SHORT).chat_completion(question())).raw == b'{"choices":[]}'


async def test_another_transport_of_httpx_can_take_its_place(up: Upstream) -> None:
    """The interface is httpx's, so the choice of library can change without the adapters."""
    pool = Transport(transport=httpx.AsyncHTTPTransport())
    provider = openai(up, pool)
    assert (await provider.chat_completion(question())).content == "Hello world"
    assert text_of(await collect(provider)) == "Hello world"
    assert await provider.get_models() == ["gpt-4", "gpt-3.5-turbo"]
    up.default = Script.cut_after(1)
    with pytest.raises(errors.StreamBroken):
        await collect(provider)
    await up.refuse_connections()
    with pytest.raises(errors.ProviderError):
        await provider.chat_completion(question())
    await pool.aclose()
