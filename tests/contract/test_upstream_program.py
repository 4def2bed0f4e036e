"""The upstream as a server and as a program: disconnects, connections, routes, TLS, the command line."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import trustme

from tests.upstream import Script, Upstream
from tests.upstream.__main__ import constructors
from tests.upstream.frames import lmstudio_v0_models, lmstudio_v1_models
from tests.upstream.raw_client import RawClient, Reply
from tests.upstream.steps import Body, Head, PerCall

ROOT = Path(__file__).parents[2]
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """One upstream per test."""
    async with Upstream() as upstream:
        yield upstream


async def ask(up: Upstream, **members: Any) -> Reply:
    """One chat call on a connection of its own, read to its end."""
    async with RawClient(up.port) as client:
        await client.chat(**members)
        return await client.reply()


async def get(up: Upstream, path: str, headers: dict[str, str] | None = None) -> Reply:
    """One GET on a connection of its own."""
    async with RawClient(up.port) as client:
        await client.send("GET", path, headers=headers)
        return await client.reply()


# Disconnects


WAITING = [
    (Script.hang(), None, True),
    (Script.hang_after_headers(), b"", True),
    (Script.role_frames_then_hang(), b"assistant", True),
    (Script.stall_after(2), b"tok1", True),
    (Script.comments_only(0.01), b": keep-alive\n\n: keep", False),
    (Script.comments_only(0.01, n_content=1), b"tok0", False),
    (Script.endless(), b"xxx", False),
    (Script.hold() + Script.text(), None, True),
    (Script.text("ab", delay_s=60), b'"a"', True),
]


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize(("script", "marker", "silent"), WAITING)
async def test_an_upstream_that_waits_sees_the_peer_leave(
    up: Upstream, script: Script, marker: bytes | None, silent: bool, leave: str
) -> None:
    """Cancellation tests ask `disconnected` whether the gateway really closed its connection."""
    up.queue(script)
    async with RawClient(up.port) as client:
        await client.chat()
        reply = Reply() if marker is None else await client.reply(until=marker)
        await up.wait_for(lambda: up.in_flight == 1)
        assert (await client.silent(0.1 if silent else 10)) == silent
        getattr(client, leave)()
        async with asyncio.timeout(10):
            await up.requests[0].disconnected.wait()
        await up.wait_for(lambda: up.open_connections == 0)
    call = up.requests[0]
    assert (call.outcome, call.finished.is_set(), up.in_flight) == ("disconnected", False, 0)
    assert 'finish_reason":"' not in reply.body.decode()
    assert call.ended is not None


async def test_a_head_is_sent_before_the_hang_after_headers(up: Upstream) -> None:
    """The two hangs differ in exactly this."""
    up.queue(Script.hang_after_headers())
    async with RawClient(up.port) as client:
        await client.chat()
        reply = await client.reply(until=b"")
        assert (reply.status, reply.headers["transfer-encoding"]) == (200, "chunked")
        assert await client.silent()


@pytest.mark.parametrize("script", [Script.endless(65_536), Script.huge_event(50_000_000)])
async def test_a_peer_that_does_not_read_stops_the_script(up: Upstream, script: Script) -> None:
    """The upstream must not buffer without end, and must still notice the peer's leaving."""
    up.send_buffer_bytes = 65_536
    up.queue(script)
    async with RawClient(up.port) as client:
        await client.chat()
        await up.wait_for(lambda: up.requests and up.requests[0].bytes_sent)
        sent = -1
        while sent != up.requests[0].bytes_sent:
            sent = up.requests[0].bytes_sent
            await asyncio.sleep(0.2)
        assert sent < 20_000_000
        client.reset()
        async with asyncio.timeout(10):
            await up.requests[0].disconnected.wait()


async def test_a_call_is_finished_when_its_answer_is_complete_even_if_the_peer_leaves_then(
    up: Upstream,
) -> None:
    """`disconnected` means before the end, and nothing else."""
    assert (await ask(up)).ending == "complete"
    await up.wait_for(lambda: up.open_connections == 0)
    call = up.requests[0]
    assert (call.outcome, call.finished.is_set(), call.disconnected.is_set()) == ("finished", True, False)


async def test_every_script_ends_at_the_time_limit_and_a_broken_one_is_reported() -> None:
    """Nothing may run for ever, and a mistake in a script must not look like a fault of the gateway."""
    async with Upstream() as up:
        up.max_run_s = 0.1
        up.queue(Script.stall_after(1))
        assert (await ask(up)).ending == "fin"
        assert up.requests[0].outcome == "expired"
    broken = await Upstream().__aenter__()
    broken.default = Script.steps(Head(), PerCall(lambda _: [Body(b"x" * (1 // 0))]))
    assert (await ask(broken)).ending == "fin"
    with pytest.raises(ZeroDivisionError):
        await broken.__aexit__(None, None, None)


async def test_leaving_the_context_ends_what_runs() -> None:
    """A test that fails half-way must not wait for its upstream."""
    async with Upstream() as up:
        up.default = Script.hang()
        client = RawClient(up.port)
        async with client:
            await client.chat()
            await up.wait_for(lambda: up.in_flight == 1)
    assert up.requests[0].outcome in {"stopped", "disconnected"}


# Connections


async def test_requests_are_recorded_and_scripts_chosen_by_queue_then_model_then_default(
    up: Upstream,
) -> None:
    """Tests say which target gets what by these three."""
    up.default, up.by_model["bad"] = Script.text("default"), Script.status(503)
    up.queue(Script.status(418))
    async with httpx.AsyncClient(base_url=up.base_url, trust_env=False) as client:
        calls = [{**CHAT, "model": model} for model in ("bad", "bad", "good")]
        statuses = [(await client.post("/chat/completions?a=1", json=call)).status_code for call in calls]
    assert statuses == [418, 503, 200]
    call = up.chat_requests[0]
    assert (call.method, call.path, call.query) == ("POST", "/v1/chat/completions", "a=1")
    assert (call.json, call.headers["content-type"]) == (calls[0], "application/json")
    assert ({c.connection_id for c in up.requests}, up.connections_opened) == ({1}, 1)
    assert (up.in_flight, up.max_in_flight_seen) == (0, 1)


async def test_an_idle_connection_is_closed_unannounced_or_under_the_next_request(up: Upstream) -> None:
    """Both faces of a pooled connection that the server has given up."""
    up.close_idle_after_answer = True
    async with RawClient(up.port) as client:
        await client.chat()
        reply = await client.reply()
        assert ("connection" in reply.headers, reply.ending) == (False, "complete")
        assert not await client.silent(10)
    up.close_idle_after_answer, up.close_on_reuse = False, True
    async with RawClient(up.port) as client:
        await client.chat()
        assert (await client.reply()).ending == "complete"
        await client.chat()
        reply = await client.reply()
    assert (reply.ending, reply.raw, len(up.requests)) == ("fin", b"", 2)


async def test_aiohttp_sees_a_reused_connection_close_and_works_on_a_fresh_one(up: Upstream) -> None:
    """The gateway's own HTTP client meets the fault in the form that it has to retry."""
    up.close_on_reuse = True
    async with aiohttp.ClientSession() as session:
        url = f"{up.base_url}/chat/completions"
        async with session.post(url, json={**CHAT, "stream": True}) as reply:
            assert b"[DONE]" in await reply.read()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(url, json=CHAT)
        async with session.post(url, json=CHAT) as reply:
            assert reply.status == 200


async def test_small_writes_leave_at_once(up: Upstream) -> None:
    """With Nagle's algorithm on, pieces of a stream would wait for each other and arrive in one."""
    async with RawClient(up.port) as client:
        await client.chat()
        await client.reply()
        (connection,) = up._connections
        transport = connection._transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_connections_are_refused_and_accepted_again_on_the_same_port(up: Upstream) -> None:
    """Connect errors are the cheapest failover; recovery must find the same address."""
    async with RawClient(up.port) as pooled:
        await pooled.chat()
        await pooled.reply()
        await up.refuse_connections()
        assert not await pooled.silent(10)
    with pytest.raises(ConnectionRefusedError):
        await ask(up)
    await up.accept_connections()
    assert (await ask(up)).status == 200


async def test_it_speaks_tls_and_answers_no_plain_text_there_and_no_tls_elsewhere(up: Upstream) -> None:
    """A gateway that falls back to plain text would be seen in `requests`."""
    authority = trustme.CA()
    server, client = (ssl.SSLContext(kind) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with Upstream(tls=server) as secure:
        assert secure.base_url.startswith("https://127.0.0.1:")
        secure.queue(Script.text("safe"), Script.reset_after(1), Script.stall_after(1))
        for text, ending in (("safe", "complete"), ("tok0 ", "reset"), ("tok0 ", "open")):
            async with RawClient(secure.port, client) as raw:
                await raw.chat()
                reply = await raw.reply(until=b"tok0" if ending == "open" else None)
                assert (reply.text, reply.ending) == (text, ending)
        async with asyncio.timeout(10):
            await secure.requests[2].disconnected.wait()
        async with httpx.AsyncClient(trust_env=False) as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(f"http://127.0.0.1:{secure.port}/v1/models")
        assert len(secure.requests) == 3
    with pytest.raises(ssl.SSLError):
        await RawClient(up.port, client).__aenter__()
    assert (up.requests, len(up.unreadable_requests)) == ([], 1)


# Routes


async def test_model_lists_of_every_vendor(up: Upstream) -> None:
    """OpenAI, Azure and LM Studio each have their own page; one that is not there is 404."""
    up.models = ["a", "b"]
    for path in ("/v1/models", "/openai/v1/models"):
        data = json.loads((await get(up, path)).body)["data"]
        assert [model["id"] for model in data] == ["a", "b"]
    assert [(await get(up, f"/api/{v}/models")).status for v in ("v1", "v0")] == [404, 404]
    up.lmstudio_v1, up.lmstudio_v0 = lmstudio_v1_models({"a": 4096}, ["b"]), lmstudio_v0_models(["a"], ["b"])
    native = json.loads((await get(up, "/api/v1/models")).body)["models"]
    assert native[0]["loaded_instances"][0]["config"]["context_length"] == 4096
    older = json.loads((await get(up, "/api/v0/models")).body)["data"]
    assert [model["state"] for model in older] == ["loaded", "not-loaded"]
    up.healthy = False
    assert [(await get(up, path)).status for path in ("/v1/models", "/api/v1/models")] == [500, 500]
    up.models_script = Script.reset()
    assert (await get(up, "/v1/models")).ending == "reset"


async def test_azure_paths_take_the_deployment_for_the_model_and_need_an_api_version(up: Upstream) -> None:
    """Azure's dated URLs name the deployment in the path."""
    path = "/openai/deployments/my-dep/chat/completions"
    up.by_model["my-dep"] = Script.azure_stream("hi")
    assert (await ask(up, path=path)).status == 404
    reply = await ask(up, path=f"{path}?api-version=2024-10-21", headers={"api-key": "k"})
    assert (reply.text, up.requests[-1].model) == ("hi", "my-dep")
    assert (await ask(up, path="/openai/v1/chat/completions")).status == 200


async def test_wrong_keys_bodies_and_paths_are_refused_in_the_openai_shape(up: Upstream) -> None:
    """Such a refusal uses no script up, so that the next call gets it."""
    up.queue(Script.text("queued"))
    up.require_key = "sk-x"
    refused = await ask(up, headers={"authorization": "Bearer sk-y"})
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (401, "invalid_api_key")
    async with RawClient(up.port) as client:
        await client.send("POST", "/v1/chat/completions", b"{", {"api-key": "sk-x"})
        assert (await client.reply()).status == 400
    assert (await get(up, "/v1/none", {"api-key": "sk-x"})).status == 404
    up.unknown_paths_answer_200 = True
    unknown = await get(up, "/v1/none", {"api-key": "sk-x"})
    assert (unknown.status, "Unexpected endpoint" in json.loads(unknown.body)["error"]) == (200, True)
    assert (await ask(up, headers={"authorization": "Bearer sk-x"})).text == "queued"


async def test_gzip_only_if_asked_and_a_cookie_if_wanted(up: Upstream) -> None:
    """A gateway that asks for gzip by accident, or keeps cookies, must be found out."""
    up.gzip_if_asked, up.set_cookie, up.extra_headers = True, True, {"x-request-id": "req_1"}
    refused = await ask(up, headers={"accept-encoding": "gzip;q=0, br"})
    plain = await ask(up, headers={"accept-encoding": "identity"})
    for reply in (refused, plain):
        assert ("content-encoding" in reply.headers, reply.text) == (False, "Hello world")
    for stream in (True, False):
        packed = await ask(up, stream=stream, headers={"accept-encoding": "gzip, deflate"})
        assert packed.headers["content-encoding"] == "gzip"
        assert b'"choices":' in zlib.decompress(packed.body, wbits=31)
    assert plain.headers["set-cookie"].startswith("upstream_session=")
    assert plain.headers["x-request-id"] == "req_1"


# The program


async def run(*arguments: str) -> asyncio.subprocess.Process:
    """Start the program, in the folder that holds the tests."""
    command = [sys.executable, "-m", "tests.upstream", *arguments]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)


async def test_the_program_prints_its_address_serves_and_ends_at_sigterm() -> None:
    """Benchmarks and people use the upstream as a program."""
    process = await run("--script", "status", "--status", "503", "--script", "stall", "--after", "1")
    assert process.stdout is not None
    try:
        address = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        port = httpx.URL(address).port
        assert port is not None
        assert address == f"http://127.0.0.1:{port}/v1"
        async with RawClient(port) as client:
            await client.chat()
            assert (await client.reply()).status == 503
            await client.chat()
            assert (await client.reply(until=b"tok0")).ending == "open"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_help_of_the_program_explains_every_script() -> None:
    """A new constructor must not be missing from the command line."""
    process = await run("--help")
    text = (await asyncio.wait_for(process.communicate(), 30))[0].decode()
    combinators = {"steps", "hold", "sleep", "raw", "sse"}
    names = {name for name in dir(Script) if not name.startswith("_")} - combinators - {"plan"}
    assert {name.replace("-", "_") for name in constructors()} == names
    assert all(f"\n  {name} " in text for name in constructors())
