"""The strategy `fastest`, simulated with whole calls that overlap: it finds, leaves and finds again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from providers.base import AIProvider, StreamEvent
from tests.routing.fakes import DONE, MODEL, Setup, collect, request
from tests.routing.virtual_time import in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from providers.base import CompletionRequest

SEEDS = range(4)
RATES = [1.0, 5.0, 30.0]
BASE_S = {"a": 0.30, "b": 0.08, "c": 0.20}
FASTEST = "b"


class Timed(AIProvider):
    """Answers after about `base_s` times `slowdown`, then streams for `stream_s`."""

    def __init__(self, base_s: float, stream_s: float, rng: random.Random) -> None:
        self.base_s = base_s
        self.stream_s = stream_s
        self.slowdown = 1.0
        self.asked_at: list[float] = []
        self._rng = rng

    async def stream_completion(self, request: CompletionRequest) -> AsyncIterator[str | StreamEvent]:
        """Wait and answer."""
        self.asked_at.append(now())
        await asyncio.sleep(self.base_s * self.slowdown * self._rng.uniform(0.8, 1.2))
        yield "first"
        await asyncio.sleep(self.stream_s)
        yield DONE


class Simulation:
    """Three providers of different speed behind `fastest`, and requests that arrive at random times."""

    def __init__(self, seed: int, rate: float, *, stream_s: float = 0.2) -> None:
        self.rng = random.Random(seed)
        self.rate = rate
        self.providers = {name: Timed(base_s, stream_s, self.rng) for name, base_s in BASE_S.items()}
        self.setup = Setup(*self.providers.values(), strategy="fastest")
        self.setup.plan().strategy._rng = self.rng  # type: ignore[attr-defined]
        self.calls: set[asyncio.Task[object]] = set()

    async def run_until(self, over: Callable[[], bool]) -> None:
        """Send requests until `over`."""
        while not over():
            await asyncio.sleep(self.rng.expovariate(self.rate))
            call = asyncio.ensure_future(collect(self.setup.stream()))
            self.calls.add(call)
            call.add_done_callback(self.calls.discard)

    async def run_for(self, seconds: float) -> None:
        """Send requests for so long."""
        end = now() + seconds
        await self.run_until(lambda: now() >= end)

    async def finish(self) -> None:
        """Wait for the calls that are still under way."""
        while self.calls:
            await asyncio.wait(self.calls)

    def shares(self, since: float, until: float = float("inf")) -> dict[str, float]:
        """Return each provider's share of the requests that were sent to it in that time."""
        counts = Counter({name: sum(since <= at < until for at in p.asked_at) for name, p in self.providers.items()})
        return {name: count / max(1, counts.total()) for name, count in counts.items()}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seed", SEEDS)
@in_virtual_time
async def test_fastest_finds_the_fastest_of_three_within_fifty_requests(seed: int, rate: float) -> None:
    """From then on it gets most requests, and by far the largest share."""
    simulation = Simulation(seed, rate)

    def sent() -> int:
        return sum(len(provider.asked_at) for provider in simulation.providers.values())

    await simulation.run_until(lambda: sent() >= 50)
    found_at = now()
    await simulation.run_until(lambda: sent() >= 250)
    shares = simulation.shares(found_at)
    assert shares[FASTEST] > 0.5, shares
    assert shares[FASTEST] > 2 * max(shares["a"], shares["c"]), shares
    await simulation.finish()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seed", SEEDS)
@in_virtual_time
async def test_fastest_leaves_a_slow_target_and_finds_it_again(seed: int, rate: float) -> None:
    """It leaves within 5 s when the target slows down tenfold, and is back within 60 s after it recovers."""
    simulation = Simulation(seed, rate)
    provider = simulation.providers[FASTEST]
    await simulation.run_for(60)

    slow_since = now()
    provider.slowdown = 10.0
    await simulation.run_for(65)
    while_slow = simulation.shares(slow_since + 5, slow_since + 65)
    assert while_slow[FASTEST] < 0.15, while_slow

    provider.slowdown = 1.0
    recovered = now()
    await simulation.run_for(180)
    shares = simulation.shares(recovered + 60, recovered + 180)
    assert shares[FASTEST] > 0.5, shares
    await simulation.finish()


@pytest.mark.parametrize("rate", RATES)
@in_virtual_time
async def test_fastest_keeps_most_requests_off_a_target_that_hangs(rate: float) -> None:
    """Nothing is heard of a silent target until its timeout; in that time it must not collect requests."""
    simulation = Simulation(1, rate)
    await simulation.run_for(30)
    hanging_since = now()
    simulation.providers[FASTEST].slowdown = 1e6
    await simulation.run_for(50)
    shares = simulation.shares(hanging_since + 5, hanging_since + 50)
    assert shares[FASTEST] < 0.15, shares
    await asyncio.sleep(0)
    for call in set(simulation.calls):
        call.cancel()
    await asyncio.wait(simulation.calls)


@pytest.mark.parametrize("seed", SEEDS)
@in_virtual_time
async def test_fastest_learns_from_whole_answers_too(seed: int) -> None:
    """A gateway whose clients never stream still finds its fastest provider."""
    simulation = Simulation(seed, 1.0)
    router, plan = simulation.setup.router, simulation.setup.plan()
    for _ in range(50):
        await router.complete(plan, request(), caller="key")
        await asyncio.sleep(0.2)
    found_at = now()
    for _ in range(100):
        await router.complete(plan, request(), caller="key")
        await asyncio.sleep(0.2)
    assert simulation.shares(found_at)[FASTEST] > 0.75
    assert simulation.setup.target(FASTEST, MODEL).streamed.last is None
