"""Background checks: health, discovery, and providers that misbehave when asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from providers import errors
from routing.health import CHECK_TIMEOUT_S, HealthMonitor
from tests.routing.fakes import FOREVER, Fake, Setup, state_of
from tests.routing.virtual_time import in_virtual_time, now


class Patient(Fake):
    """A provider whose health is told by `health`: an answer, an error to raise, or seconds to hang before yes."""

    def __init__(self, health: bool | float | Exception = True) -> None:
        super().__init__()
        self.health = health
        self.listing: Exception | float | None = None
        self.checked_at: list[float] = []
        self.listed_at: list[float] = []

    async def is_healthy(self) -> bool:
        """Say what `health` says."""
        self.checked_at.append(now())
        if isinstance(self.health, Exception):
            raise self.health
        if isinstance(self.health, bool):
            return self.health
        await asyncio.sleep(self.health)
        return True

    async def get_models(self) -> list[str]:
        """Return `models`, unless `listing` is an error to raise or seconds to wait."""
        self.listed_at.append(now())
        if isinstance(self.listing, Exception):
            raise self.listing
        if self.listing is not None:
            await asyncio.sleep(self.listing)
        return self.models


class Watched(Setup):
    """A router with a monitor; `failed` are the failures that it told of."""

    def __init__(self, *fakes: Patient, closed_models: tuple[str, ...] | None = None) -> None:
        super().__init__(*fakes, closed_models=closed_models)
        self.failed: list[tuple[str, str | None]] = []
        self.monitor = HealthMonitor(self.router, self.note)

    def note(self, name: str, error: Exception | None) -> None:
        """Write a failure down."""
        self.failed.append((name, type(error).__name__ if error is not None else None))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the monitor in the background."""
        task = asyncio.ensure_future(self.monitor.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@in_virtual_time
async def test_the_first_round_asks_everybody_at_once() -> None:
    """A gateway that has just started knows its models before the first request."""
    fakes = [Patient(0.5), Patient(0.5), Patient(0.5)]
    setup = Watched(*fakes)
    started = now()
    await setup.monitor.first_round(5)
    assert now() - started == pytest.approx(0.5)
    assert [state.healthy for state in setup.router.providers.values()] == [True] * 3
    assert [entry.id for entry in setup.router.models()] == ["m"]
    assert setup.failed == []


@in_virtual_time
async def test_the_first_round_does_not_wait_for_the_slow() -> None:
    """The start must not hang on a provider; it is asked again as soon as the monitor runs."""
    quick, slow = Patient(), Patient(FOREVER)
    setup = Watched(quick, slow)
    started = now()
    await setup.monitor.first_round(1)
    assert now() - started == pytest.approx(1)
    assert setup.state("a").healthy is True
    assert setup.state("b").healthy is None
    assert setup.state("b").is_up
    slow.health = True
    async with setup.running():
        await asyncio.sleep(0.01)
        assert setup.state("b").healthy is True
        assert len(quick.checked_at) == 1


@in_virtual_time
async def test_a_provider_that_is_registered_later_is_checked_too() -> None:
    """An embedding application may start with none and learn of them while it runs."""
    setup = Watched()
    late = Patient()
    async with setup.running():
        await asyncio.sleep(30)
        setup.router.register_provider("late", late)
        await asyncio.sleep(2)
    assert setup.state("late").healthy is True
    assert [entry.id for entry in setup.router.models()] == ["m"]


@in_virtual_time
async def test_a_provider_whose_name_was_taken_over_is_not_checked_any_more() -> None:
    """Its answers would be taken for those of the one that has the name now."""
    first, second = Patient(), Patient()
    setup = Watched(first)
    async with setup.running():
        setup.router.register_provider("a", second)
        await asyncio.sleep(100)
    assert len(first.checked_at) == 0
    assert len(second.checked_at) > 1


@in_virtual_time
async def test_each_provider_is_checked_about_every_fifteen_seconds_and_out_of_step() -> None:
    """Jitter keeps many gateways, and many providers, from being asked in one moment."""
    fakes = [Patient() for _ in range(8)]
    setup = Watched(*fakes)
    await setup.monitor.first_round(5)
    async with setup.running():
        await asyncio.sleep(600)
    gaps = [b - a for fake in fakes for a, b in zip(fake.checked_at[1:], fake.checked_at[2:], strict=False)]
    assert 12 <= min(gaps) < 13
    assert 17 < max(gaps) <= 18
    assert sum(gaps) / len(gaps) == pytest.approx(15, rel=0.05)
    assert len({round(fake.checked_at[1], 3) for fake in fakes}) == 8
    assert max(fake.checked_at[1] for fake in fakes) <= 1_015


@in_virtual_time
async def test_models_are_discovered_about_every_minute_and_never_for_a_closed_list() -> None:
    """A model that is loaded later can be asked for a minute later, and a configured list stays as it is."""
    fake = Patient()
    setup = Watched(fake)
    await setup.monitor.first_round(5)
    async with setup.running():
        await asyncio.sleep(30)
        fake.models = ["m", "new"]
        await asyncio.sleep(75)
        assert setup.state("a").models == ("m", "new")
        await asyncio.sleep(495)
    assert len(fake.listed_at) == pytest.approx(11, abs=2)

    closed = Patient()
    setup = Watched(closed, closed_models=("only",))
    await setup.monitor.first_round(5)
    async with setup.running():
        await asyncio.sleep(200)
    assert closed.listed_at == []
    assert setup.state("a").models == ("only",)


@in_virtual_time
async def test_a_provider_without_models_is_asked_for_them_with_every_check() -> None:
    """LM Studio with nothing loaded is of no use until something is."""
    fake = Patient()
    fake.models = []
    setup = Watched(fake)
    await setup.monitor.first_round(5)
    async with setup.running():
        await asyncio.sleep(100)
    assert len(fake.listed_at) == len(fake.checked_at)


@pytest.mark.parametrize(
    ("health", "told"),
    [
        (False, None),
        (errors.Unreachable("refused"), "Unreachable"),
        (ValueError("a bug"), "ValueError"),
        (FOREVER, "TimeoutError"),
    ],
)
@in_virtual_time
async def test_a_provider_that_fails_its_checks_is_known_as_down_until_it_passes_one(
    health: bool | float | Exception, told: str | None
) -> None:
    """Whatever way it fails in, the monitor goes on."""
    fake, other = Patient(), Patient()
    setup = Watched(fake, other)
    await setup.monitor.first_round(5)
    async with setup.running():
        fake.health = health
        await asyncio.sleep(16 + CHECK_TIMEOUT_S)
        assert not setup.state("a").is_up
        assert setup.state("a").models == ("m",)
        await asyncio.sleep(200)
        assert state_of(setup.state("a").breaker) == "open"
        assert setup.state("b").is_up
        fake.health = True
        await asyncio.sleep(18 + CHECK_TIMEOUT_S)
        assert setup.state("a").is_up
        await asyncio.sleep(60)
        assert state_of(setup.state("a").breaker) == "closed"
    assert {name for name, _ in setup.failed} == {"a"}
    assert {error for _, error in setup.failed} == {told}
    assert len(other.checked_at) >= 18


@pytest.mark.parametrize(("listing", "told"), [(errors.ServerFailed("500"), "ServerFailed"), (FOREVER, "TimeoutError")])
@in_virtual_time
async def test_a_list_that_cannot_be_read_is_no_sign_of_illness(listing: Exception | float, told: str) -> None:
    """Some servers do not offer one; what was known of its models stays."""
    fake = Patient()
    setup = Watched(fake)
    await setup.monitor.first_round(20)
    fake.listing = listing
    await setup.monitor.first_round(20)
    assert setup.state("a").healthy is True
    assert setup.state("a").models == ("m",)
    assert state_of(setup.state("a").breaker) == "closed"
    assert setup.failed == [("a", told)]


@in_virtual_time
async def test_a_passed_check_does_not_close_a_breaker_before_its_time() -> None:
    """A provider whose list answers may still refuse every chat, as one with a wrong key does."""
    setup = Watched(Patient())
    breaker = setup.state("a").breaker
    breaker.trip()
    await setup.monitor.first_round(5)
    assert state_of(breaker) == "open"
    await asyncio.sleep(13)
    await setup.monitor.first_round(5)
    assert state_of(breaker) == "closed"


@in_virtual_time
async def test_a_monitor_that_is_cancelled_ends_at_once() -> None:
    """Also in the middle of a check."""
    setup = Watched(Patient(FOREVER))
    async with setup.running():
        await asyncio.sleep(1)
    assert setup.failed == []
