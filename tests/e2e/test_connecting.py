"""Faults on the way to a provider: no connection, no TLS, no time, a connection that breaks before any answer."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from tests.e2e.client import MODES, Mode, ask, assert_error, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import Running, provider
from tests.upstream import Script, Upstream


@contextmanager
def silent_listener(port: int) -> Iterator[None]:
    """Listen on `port` with a full queue, so that the kernel answers no further connection attempt."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield


def forget_failed_check(gateway: Running) -> None:
    """Let the trouble begin only now: a provider that failed its check at the start would not be asked first."""
    gateway.provider("a").healthy = True


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_refused_connection_moves_on_to_the_next_provider(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """A server that is down is the plainest reason to have a second one."""
    await a.refuse_connections()
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert (len(a.chat_requests), len(b.chat_requests)) == (0, 1)
    assert two.outcomes("a") == {"Unreachable": 1}
    assert two.outcomes("b") == {"ok": 1}
    assert two.metric("lunarbit_provider_failovers_total", provider="a") == 1
    assert two.metric("lunarbit_provider_retries_total", provider="a") == 0
    await a.accept_connections()
    assert_whole(await ask(two, mode), "Hello world", "a", 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_when_no_provider_can_be_reached_the_client_is_told_to_come_back(
    one: Running, a: Upstream, mode: Mode
) -> None:
    """503 with Retry-After: nothing is wrong with the request."""
    await a.refuse_connections()
    seen = await ask(one, mode)
    assert_error(seen, 503, "NO_PROVIDER_AVAILABLE")
    assert int(seen.headers["retry-after"]) >= 1
    assert str(a.port).encode() not in seen.reply.raw


@pytest.mark.parametrize("mode", MODES[:2], ids=str)
async def test_a_name_that_does_not_resolve_moves_on(start: Start, b: Upstream, mode: Mode) -> None:
    """A wrong or vanished name is no different from a server that is down."""
    gateway = await start({"a": provider("http://nonexistent.invalid/v1"), "b": provider(b)})
    forget_failed_check(gateway)
    assert_whole(await ask(gateway, mode), "Hello world", "b", 2)
    (outcome,) = gateway.outcomes("a")
    assert outcome in {"Unreachable", "ConnectTimedOut"}


@pytest.mark.parametrize("mode", MODES[:2], ids=str)
async def test_a_server_without_tls_never_gets_the_request_in_plain_text(
    start: Start, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """The credential and the prompt must not leave the machine unencrypted because a handshake failed."""
    gateway = await start({"a": provider(f"https://127.0.0.1:{a.port}/v1"), "b": provider(b)})
    forget_failed_check(gateway)
    assert_whole(await ask(gateway, mode), "Hello world", "b", 2)
    assert gateway.outcomes("a") == {"Unreachable": 1}
    assert a.requests == []
    assert a.unreadable_requests
    assert all(hello.startswith(b"\x16\x03") for hello in a.unreadable_requests)


@pytest.mark.parametrize("mode", MODES[:2], ids=str)
async def test_a_certificate_that_nobody_vouches_for_is_refused(start: Start, b: Upstream, mode: Mode) -> None:
    """Somebody between us and the provider must not get the credential."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with Upstream(tls=context) as stranger:
        gateway = await start({"a": provider(stranger), "b": provider(b)})
        forget_failed_check(gateway)
        assert_whole(await ask(gateway, mode), "Hello world", "b", 2)
        assert gateway.outcomes("a") == {"Unreachable": 1}
        assert stranger.requests == []


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_server_that_does_not_accept_is_left_after_connect_s(
    start: Start, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """A host that swallows packets must cost `connect_s` and not the kernel's two minutes."""
    gateway = await start({"a": provider(a, timeouts={"connect_s": 0.2}), "b": provider(b)})
    await a.refuse_connections()
    with silent_listener(a.port):
        assert_whole(await ask(gateway, mode), "Hello world", "b", 2)
    assert gateway.outcomes("a") == {"ConnectTimedOut": 1}


async def test_a_server_that_does_not_accept_and_nothing_behind_it_is_a_timeout(start: Start, a: Upstream) -> None:
    """504 tells it from a refusal, which is 503."""
    gateway = await start({"a": provider(a, timeouts={"connect_s": 0.2})})
    await a.refuse_connections()
    with silent_listener(a.port):
        for mode in MODES:
            assert_error(await ask(gateway, mode), 504, "PROVIDER_TIMEOUT")


@pytest.mark.parametrize("script", [Script.reset(), Script.close_before_headers()], ids=["RST", "FIN"])
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_connection_broken_before_the_headers_is_tried_once_more_on_a_fresh_one(
    two: Running, a: Upstream, b: Upstream, mode: Mode, script: Script
) -> None:
    """Nothing was answered yet and nothing says that the server is ill."""
    a.queue(script)
    assert_whole(await ask(two, mode), "Hello world", "a", 1)
    assert (len(a.chat_requests), len(b.chat_requests)) == (2, 0)
    first, second = a.chat_requests
    assert first.connection_id != second.connection_id
    assert two.outcomes("a") == {"ok": 1}
    a.queue(script, script)
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert two.outcomes("a") == {"ok": 1, "ConnectionDropped": 1}
    assert len(a.chat_requests) == 4


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_an_idle_connection_found_closed_is_no_failure(two: Running, a: Upstream, mode: Mode) -> None:
    """Servers close idle connections when they like; it must not cost the client or the breaker anything."""
    a.close_on_reuse = True
    for _ in range(3):
        assert_whole(await ask(two, mode), "Hello world", "a", 1)
    a.close_on_reuse, a.close_idle_after_answer = False, True
    for _ in range(10):
        assert_whole(await ask(two, mode), "Hello world", "a", 1)
    assert two.outcomes("a") == {"ok": 13}
    assert two.metric("lunarbit_provider_retries_total", provider="a") == 0


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_provider_that_only_breaks_connections_is_a_provider_error(
    one: Running, a: Upstream, mode: Mode
) -> None:
    """502, after the one fresh connection."""
    a.default = Script.reset()
    assert_error(await ask(one, mode), 502, "PROVIDER_ERROR")
    assert len(a.chat_requests) == 2
