"""Targets that flap, and what happens when nobody is left."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.admin import new_key
from tests.e2e.client import MODES, STREAMS, WHOLES, Client, Mode, Seen, ask, assert_error, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import Running, provider
from tests.upstream import Script, Upstream
from tests.upstream.raw_client import RawClient

OPEN, HALF_OPEN, CLOSED = 2.0, 1.0, 0.0
LONGEST_FIRST_OPEN_S = 12.5


async def breaker_shown(gateway: Running, name: str) -> tuple[float, str]:
    """Return a provider's breaker as `/metrics` and `/ai/status` show it."""
    async with RawClient(gateway.port) as client:
        await client.send("GET", "/metrics")
        await client.reply()
        await client.send("GET", "/ai/status")
        seen = Seen(MODES[1], await client.reply())
    (status,) = [entry for entry in seen.document["providers"] if entry["name"] == name]
    assert status["available"] == (status["breaker"] != "open")
    return gateway.metric("lunarbit_provider_breaker_state", provider=name), status["breaker"]


async def break_all(gateway: Running, *upstreams: Upstream) -> None:
    """Fail until every breaker is open."""
    for upstream in upstreams:
        upstream.default = Script.status(503)
    targets = [gateway.target(name) for name, _ in zip("ab", upstreams, strict=False)]
    for _ in range(60):
        await asyncio.gather(*(ask(gateway, WHOLES[0]) for _ in range(10)))
        if not any(target.breaker.is_closed for target in targets):
            break
    assert not any(target.breaker.is_closed for target in targets)
    for upstream in upstreams:
        upstream.requests.clear()


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_target_that_keeps_failing_is_left_alone_until_a_probe_succeeds(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """Half of at least twenty calls failed: no further request pays for finding out, except one probe at a time."""
    a.default = Script.status(503)
    for _ in range(20):
        assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert two.outcomes("a") == {"Overloaded": 20}
    assert await breaker_shown(two, "a") == (OPEN, "open")
    assert_whole(await ask(two, mode), "Hello world", "b", 1)
    assert len(a.chat_requests) == 20
    two.clock.ahead_s += LONGEST_FIRST_OPEN_S
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert_whole(await ask(two, mode), "Hello world", "b", 1)
    assert len(a.chat_requests) == 21
    two.clock.ahead_s += 2 * LONGEST_FIRST_OPEN_S
    a.default = Script.text("recovered")
    assert_whole(await ask(two, mode), "recovered", "a", 1)
    assert await breaker_shown(two, "a") == (CLOSED, "closed")
    assert_whole(await ask(two, mode), "recovered", "a", 1)


@pytest.mark.parametrize("fault", ["RST", "end of the body", "malformed"])
async def test_answers_that_break_after_their_beginning_count_as_failures(
    two: Running, a: Upstream, b: Upstream, fault: str
) -> None:
    """A target that always begins and never ends is of no use to anybody."""
    faults = {
        "RST": Script.reset_after(1),
        "end of the body": Script.eof_after(1),
        "malformed": Script.malformed_event(before_content=False),
    }
    a.default = faults[fault]
    answers = await asyncio.gather(*(ask(two, STREAMS[number % 2]) for number in range(40)))
    assert all(seen.error is not None and not seen.is_whole for seen in answers)
    assert b.chat_requests == []
    assert two.target("a").breaker.state == "open"
    assert_whole(await ask(two, STREAMS[0]), "Hello world", "b", 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_one_clients_failures_in_a_row_do_not_open_a_breaker_but_two_clients_do(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """A request that breaks a server must not let its sender take that server from everybody."""
    one_key, other_key = await new_key(two, "one"), await new_key(two, "other")
    a.default = Script.status(503)
    for _ in range(6):
        await ask(two, mode, key=one_key)
    assert two.target("a").breaker.state == "closed"
    await ask(two, mode, key=other_key)
    assert two.target("a").breaker.state == "open"
    assert_whole(await ask(two, mode), "Hello world", "b", 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_probe_lets_nobody_else_through_meanwhile(two: Running, a: Upstream, b: Upstream, mode: Mode) -> None:
    """One request finds out; all others go where it works."""
    await break_all(two, a)
    two.clock.ahead_s += 400
    a.default = Script.hold() + Script.text("probe")
    async with Client(two) as client:
        await client.ask(WHOLES[0])
        await a.wait_for(lambda: a.in_flight == 1)
        assert await breaker_shown(two, "a") == (HALF_OPEN, "half_open")
        for _ in range(3):
            assert_whole(await ask(two, mode), "Hello world", "b", 1)
        a.release.set()
        assert_whole(Seen(WHOLES[0], await client.reply()), "probe", "a", 1)
    assert await breaker_shown(two, "a") == (CLOSED, "closed")


@pytest.mark.parametrize("open_for_s", [0, 400], ids=["just opened", "probes due"])
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_with_every_breaker_open_one_request_per_target_passes_and_others_are_refused_at_once(
    two: Running, a: Upstream, b: Upstream, mode: Mode, open_for_s: float
) -> None:
    """Somebody has to find out whether it works again; nobody else should wait for it."""
    for name in "ab":
        two.target(name).breaker.trip()
    two.clock.ahead_s += open_for_s
    a.default = b.default = Script.hold() + Script.text("probe")
    async with Client(two) as first, Client(two) as second:
        await first.ask(mode)
        await second.ask(mode)
        await a.wait_for(lambda: (a.in_flight, b.in_flight) == (1, 1))
        for _ in range(3):
            seen = await ask(two, mode)
            assert_error(seen, 503, "NO_PROVIDER_AVAILABLE")
            assert int(seen.headers["retry-after"]) >= 1
        assert (len(a.chat_requests), len(b.chat_requests)) == (1, 1)
        a.release.set()
        b.release.set()
        for client in (first, second):
            assert Seen(mode, await client.reply()).text == "probe"
    a.default = b.default = Script.text()
    assert_whole(await ask(two, mode), "Hello world", "a", 1)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_probe_whose_client_left_is_given_to_the_next_one(one: Running, a: Upstream, mode: Mode) -> None:
    """It told nothing, and it must not keep the target closed for ever."""
    await break_all(one, a)
    one.clock.ahead_s += 400
    a.default = Script.stall_after(0)
    async with Client(one) as client:
        await client.ask(mode)
        await a.wait_for(lambda: a.in_flight == 1)
    await a.wait_for(lambda: a.in_flight == 0)
    a.default = Script.text()
    await one.until(lambda: one.provider("a").in_flight == 0)
    assert_whole(await ask(one, mode), "Hello world", "a", 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_full_provider_is_passed_over_and_when_all_are_full_the_client_is_told(
    start: Start, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """`max_in_flight` protects a small server; 503 OVERLOADED is not its failure."""
    gateway = await start({"a": provider(a, max_in_flight=1), "b": provider(b, max_in_flight=1)})
    a.default = b.default = Script.hold() + Script.text("held")
    async with Client(gateway) as first, Client(gateway) as second:
        await first.ask(WHOLES[0])
        await a.wait_for(lambda: a.in_flight == 1)
        await second.ask(WHOLES[0])
        await b.wait_for(lambda: b.in_flight == 1)
        seen = await ask(gateway, mode)
        assert_error(seen, 503, "OVERLOADED")
        assert seen.headers["retry-after"] == "1"
        a.release.set()
        b.release.set()
        for client in (first, second):
            assert Seen(WHOLES[0], await client.reply()).text == "held"
    assert gateway.target("a").breaker.is_closed
