"""SIGTERM to a real gateway process with answers under way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.client import LUNARBIT, MODES, OPENAI, STREAMS, WHOLES, Mode, Seen, assert_error
from tests.e2e.process import STOP_LIMIT_S, gateway_process, status_of
from tests.e2e.server import ADMIN_KEY
from tests.upstream import Script, Upstream
from tests.upstream.raw_client import RawClient


async def ask(client: RawClient, mode: Mode) -> None:
    """Send a chat."""
    await client.chat(path=mode.path, stream=mode.stream, headers={"authorization": f"Bearer {ADMIN_KEY}"})


@pytest.fixture
async def a() -> AsyncIterator[Upstream]:
    """The upstream behind the process."""
    async with Upstream() as upstream:
        yield upstream


async def test_open_answers_are_told_of_a_shutdown_and_the_process_ends_in_order(tmp_path: Path, a: Upstream) -> None:
    """A client that hears why can go elsewhere; one that is only cut off cannot know what it has."""
    a.default = Script.stall_after(2)
    async with gateway_process(tmp_path, {"a": a}) as process:
        clients = [process.client() for _ in MODES]
        for client, mode in zip(clients, MODES, strict=True):
            await client.__aenter__()
            await ask(client, mode)
        await a.wait_for(lambda: a.in_flight == len(MODES))
        for client, mode in zip(clients, MODES, strict=True):
            if mode.stream:
                await client.reply(until=b"tok1")
        process.program.send_signal(signal.SIGTERM)
        for client, mode in zip(clients, MODES, strict=True):
            seen = Seen(mode, await client.reply())
            assert seen.reply.ending == "complete"
            assert_error(seen, 503, "SHUTTING_DOWN")
            if mode.stream:
                assert seen.text == "tok0 tok1 "
            else:
                assert int(seen.headers["retry-after"]) >= 1
        await a.wait_for(lambda: a.in_flight == 0)
        assert all(call.disconnected.is_set() for call in a.chat_requests)
        assert await process.stopped() == 0
        for client in clients:
            await client.__aexit__(None, None, None)
    lines = [line for line in process.log if line["event"] == "request" and line["method"] == "POST"]
    assert {(line["path"], line["code"]) for line in lines} == {
        (LUNARBIT, "SHUTTING_DOWN"),
        (OPENAI, "SHUTTING_DOWN"),
    }
    streamed = [line for line in lines if line["status"] == 200]
    assert len(streamed) == len(STREAMS)
    assert all(line["completion_tokens"] > 0 and line["provider"] == "a" for line in streamed)
    assert [line for line in process.log if line["level"] in {"warning", "error", "critical"}] == []


async def test_answers_that_end_within_the_grace_are_whole_and_new_ones_are_refused(
    tmp_path: Path, a: Upstream
) -> None:
    """A restart should not be noticed by those who are nearly done, and must not begin what it will cut."""
    a.default = Script.text("abcd", hold_after=1)
    async with gateway_process(tmp_path, {"a": a}, drain_s=20.0) as process:
        clients = [process.client() for _ in MODES]
        for client, mode in zip(clients, MODES, strict=True):
            await client.__aenter__()
            await ask(client, mode)
        await a.wait_for(lambda: a.in_flight == len(MODES))
        process.program.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_LIMIT_S):
            while await status_of(process, "/health/ready") == 200:
                await asyncio.sleep(0.02)
        assert await status_of(process, "/health/ready") in {None, 503}
        a.release.set()
        for client, mode in zip(clients, MODES, strict=True):
            seen = Seen(mode, await client.reply())
            assert (seen.reply.ending, seen.text, seen.is_whole, seen.error) == ("complete", "abcd", True, None)
        # All is done long before the grace is over, so nothing waits for its end.
        assert await process.stopped() == 0
        for client in clients:
            await client.__aexit__(None, None, None)
    assert len(a.chat_requests) == len(MODES)


async def test_a_client_that_does_not_read_cannot_hold_up_the_end(tmp_path: Path, a: Upstream) -> None:
    """The grace ends for everybody."""
    a.default = Script.endless(16_384)
    async with gateway_process(tmp_path, {"a": a}) as process, process.client() as client:
        await ask(client, STREAMS[0])
        await a.wait_for(lambda: a.chat_requests and a.chat_requests[0].bytes_sent > 1_000_000)
        process.program.send_signal(signal.SIGTERM)
        assert await process.stopped() == 0
        await a.wait_for(lambda: a.in_flight == 0)


async def test_an_idle_gateway_stops_at_once(tmp_path: Path, a: Upstream) -> None:
    """A kept-alive connection without a request is no reason to wait."""
    async with gateway_process(tmp_path, {"a": a}, drain_s=20.0) as process, process.client() as client:
        await ask(client, WHOLES[0])
        await client.reply()
        process.program.send_signal(signal.SIGTERM)
        assert await process.stopped() == 0


async def test_a_standard_output_that_nobody_reads_stops_neither_answers_nor_the_end(tmp_path: Path) -> None:
    """A supervisor may hang or keep the pipe open without reading it, which is no fault of any client's."""
    reading, writing = os.pipe()
    try:
        async with gateway_process(tmp_path, {}, stdout=writing) as process:
            async with process.client() as client:
                # Some 400 kB of lines, where a pipe holds 64 KiB.
                for _ in range(2_000):
                    await client.send("GET", "/health/live")
                    assert (await client.reply()).status == 200
            process.program.send_signal(signal.SIGTERM)
            assert await process.stopped() == 0
        assert len(os.read(reading, 1 << 20)) > 1 << 15
    finally:
        os.close(reading)
        os.close(writing)
