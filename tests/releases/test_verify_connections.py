"""How a verification connects: to the address that was checked, with TLS for the name, and without leaving traces."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import tracemalloc
from collections.abc import Sequence
from contextlib import ExitStack

import pytest
import trustme

from gateway.releases.addresses import AddressRules
from gateway.releases.outcome import Reason
from gateway.releases.outgoing import Limits
from gateway.releases.verify import Verifier
from tests.releases import fileserver as fs
from tests.releases.checking import GOOD, LOOPBACK, assert_bad, assert_good, check, declared, loopback, verifier
from tests.releases.fileserver import FileServer

HOST = "files.example.com"
MIB = 1 << 20


def _server_tls(authority: trustme.CA, name: str = HOST, *, expires: dt.datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, not_after=expires).configure_cert(context)
    return context


def _trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_a_name_is_looked_up_once_and_connected_as_it_was_checked() -> None:
    """A second look-up might lead somewhere else by then (DNS rebinding)."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async with FileServer({"/file": fs.file(GOOD)}) as server, verifier(lookup=rebinding) as one:
        assert_good(await one.verify(declared(GOOD, server.url("/file", host=HOST))), GOOD)
        assert asked == [HOST]
        assert server.requests[0].headers["host"] == f"{HOST}:{server.port}"


async def test_each_redirect_is_looked_up_and_checked_anew() -> None:
    """The name behind a redirect is somebody else's, and so is the same name a moment later."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async with FileServer({"/file": fs.redirect("/there"), "/there": fs.file(GOOD)}) as server:
        async with verifier(lookup=rebinding) as one:
            assert_bad(await one.verify(declared(GOOD, server.url("/file", host=HOST))), Reason.FORBIDDEN_ADDRESS)
        assert asked == [HOST, HOST]
        assert [request.path for request in server.requests] == ["/file"]


async def test_without_allowed_networks_this_machine_is_not_even_connected() -> None:
    """Names that lead to loopback are the commonest way in."""
    async with FileServer({"/file": fs.file(GOOD)}, tls=_server_tls(trustme.CA())) as server:
        async with verifier(allow=()) as one:
            assert_bad(await one.verify(declared(GOOD, server.url("/file", host=HOST))), Reason.FORBIDDEN_ADDRESS)
            assert_bad(await one.verify(declared(GOOD, server.url("/file"))), Reason.FORBIDDEN_ADDRESS)
            assert_bad(await one.probe(server.url("/file"), size=1), Reason.FORBIDDEN_ADDRESS)
        assert not server.requests


async def test_tls_is_for_the_name_and_not_for_the_address() -> None:
    """Servers choose their certificate by the name that the client names (SNI)."""
    authority = trustme.CA()
    context = _server_tls(authority)
    named: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: named.append(name)
    async with FileServer({"/file": fs.file(GOOD)}, tls=context) as server, verifier(tls=_trusting(authority)) as one:
        assert_good(await one.verify(declared(GOOD, server.url("/file", host=HOST))), GOOD)
    assert named == [HOST]


@pytest.mark.parametrize("wrong", ["name", "authority", "time"])
async def test_a_certificate_that_does_not_fit_is_refused(wrong: str) -> None:
    """Another name, an unknown authority or an old date: no request is sent."""
    authority = trustme.CA()
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC) if wrong == "time" else None
    context = _server_tls(authority, "other.example.com" if wrong == "name" else HOST, expires=past)
    trusting = _trusting(trustme.CA() if wrong == "authority" else authority)
    async with FileServer({"/file": fs.file(GOOD)}, tls=context) as server, verifier(tls=trusting) as one:
        assert_bad(await one.verify(declared(GOOD, server.url("/file", host=HOST))), Reason.TLS)
        assert not server.requests
        await server.all_closed()


async def test_a_server_without_tls_at_an_https_address_is_a_failure_of_tls() -> None:
    """It never falls back to plain text."""
    sent: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.read(1000))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server, verifier() as one:
        port = server.sockets[0].getsockname()[1]
        assert_bad(await one.verify(declared(GOOD, f"https://127.0.0.1:{port}/file")), Reason.TLS)
    assert not any(b"HTTP" in one for one in sent)


async def test_ipv6_is_fetched_like_ipv4() -> None:
    """A literal address of either kind is used as it stands."""
    try:
        server = await FileServer({"/file": fs.file(GOOD)}, host="::1").__aenter__()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with verifier() as one:
        assert_good(await one.verify(declared(GOOD, server.url("/file"))), GOOD)
    await server.__aexit__(None, None, None)


async def test_a_dead_address_of_a_name_does_not_hide_a_good_one() -> None:
    """Many hosts have an IPv6 address that some networks cannot reach."""

    async def two(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with FileServer({"/file": fs.file(GOOD)}) as server, verifier(lookup=two) as one:
        assert_good(await one.verify(declared(GOOD, server.url("/file", host=HOST))), GOOD)


async def test_a_port_where_nobody_listens_is_a_failed_connection() -> None:
    """The host is there, the server is not."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/file"
        async with verifier() as one:
            assert_bad(await one.verify(declared(GOOD, url)), Reason.CONNECT)
            assert_bad(await one.probe(url, size=1), Reason.CONNECT)


async def test_a_connection_that_is_not_taken_ends_in_time() -> None:
    """Packets to many hosts are dropped without a word."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Its queue is full then, and the kernel answers no further one.
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        async with verifier(Limits(connect_s=0.3)) as one:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
            assert_bad(await one.verify(declared(GOOD, url)), Reason.CONNECT_TIMEOUT)


async def test_a_name_that_does_not_exist_is_told_as_such() -> None:
    """The most common mistake in an address."""

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with verifier(lookup=unknown) as one:
        assert_bad(await one.verify(declared(GOOD, f"https://{HOST}/file")), Reason.DNS)


async def test_a_bad_address_is_an_outcome_and_no_exception() -> None:
    """What was stored before a rule became stricter is told by its next verification."""
    async with verifier() as one:
        assert_bad(await one.verify(declared(GOOD, "ftp://127.0.0.1/file")), Reason.FORBIDDEN_URL)


async def test_requests_carry_nothing_but_what_a_download_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cookies, no credentials from the environment, no compression, and no proxy."""
    async with FileServer({}) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        hop = fs.redirect("/there", Set_Cookie="session=1; Path=/")
        async with FileServer({"/file": hop, "/there": fs.file(GOOD)}) as server:
            assert_good(await check(server, declared(GOOD, server.url("/file#part"))), GOOD)
        assert not proxy.requests
    for request in server.requests:
        assert set(request.headers) == {"host", "accept", "accept-encoding", "connection", "user-agent"}
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["user-agent"].startswith("LunarBit-Gateway/")


@pytest.mark.parametrize("phase", ["lookup", "head", "body"])
async def test_a_cancelled_verification_ends_at_once_and_closes_its_connection(phase: str) -> None:
    """A shutdown, or a build that was deleted, does not wait for a download."""
    reached = asyncio.Event()

    async def lookup(host: str, port: int) -> Sequence[str]:
        reached.set()
        if phase == "lookup":
            await asyncio.Event().wait()
        return await loopback(host, port)

    answer = fs.silent() if phase == "head" else fs.endless(GOOD)
    async with FileServer({"/file": answer}) as server, verifier(lookup=lookup) as one:
        expected = declared(GOOD, server.url("/file", host=HOST), size=1 << 50)
        task = asyncio.create_task(one.verify(expected))
        await reached.wait()
        if phase != "lookup":
            await server.asked()
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.cancelled()
        await server.all_closed()


async def test_a_large_file_is_never_held() -> None:
    """200 MB pass through in blocks; only a few of them are there at any time, those of the test's server included."""
    block = bytes(range(256)) * 4096
    count = 200
    async with FileServer({"/file": fs.large(block, count)}) as server, verifier() as one:
        expected = declared(b"", server.url("/file"), size=len(block) * count, sha256=None)
        tracemalloc.start()
        try:
            outcome = await one.verify(expected)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert outcome.size == 200 * MIB
    assert outcome.reason is None
    assert peak < 16 * MIB


async def test_the_system_is_asked_for_names_and_certificates_by_default() -> None:
    """What production uses: the name of this machine, and authorities that do not know the tests' one."""
    async with FileServer({"/file": fs.file(GOOD)}, tls=_server_tls(trustme.CA(), "localhost")) as server:
        one = Verifier(AddressRules(LOOPBACK))
        assert_bad(await one.verify(declared(GOOD, server.url("/file", host="localhost"))), Reason.TLS)
        one.close()
