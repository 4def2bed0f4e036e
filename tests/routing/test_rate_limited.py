"""Providers that say 429 or 503: cool-downs, waiting for them when that is worth it, and what the client hears."""

from __future__ import annotations

import asyncio

import pytest

from providers import errors
from routing.errors import AllRateLimited, ModelNotFound, NoTargetAvailable
from routing.failover import MAX_WAIT_S
from tests.routing.fakes import FOREVER, OK, Fake, Setup, collect, limits, text
from tests.routing.virtual_time import in_virtual_time, now


def limited(retry_after_s: float | None) -> errors.RateLimited:
    """Return a 429."""
    return errors.RateLimited("slow down", retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("error", "cooled_s"),
    [
        (limited(0.1), 1),
        (limited(1), 1),
        (limited(17), 17),
        (limited(300), 300),
        (limited(86_400), 300),
        (limited(None), 2),
        (limited(0), 1),
        (limited(-5), 1),
        (errors.QuotaSpent("no credit", retry_after_s=1), 300),
        (errors.QuotaSpent("no credit"), 300),
    ],
)
@in_virtual_time
async def test_a_limited_target_cools_down_for_what_it_asked_within_bounds(
    error: errors.RateLimited, cooled_s: float
) -> None:
    """At least 1 s, so that a zero is no busy loop, and at most 5 minutes, so that a typo is no outage."""
    setup = Setup(Fake((error,)), Fake())
    assert (await setup.ask()).target.provider.name == "b"
    assert setup.target("a").cooled_until - now() == pytest.approx(cooled_s)
    assert setup.target("a").breaker.state == setup.state("a").breaker.state == "closed"
    assert setup.notes.retries == []


@in_virtual_time
async def test_a_target_is_not_asked_while_it_cools_down_and_asked_after_it() -> None:
    """The provider said when it wants to hear from us again."""
    first, second = Fake((limited(10),), OK), Fake()
    setup = Setup(first, second)
    for _ in range(5):
        assert (await setup.ask()).target.provider.name == "b"
    await asyncio.sleep(9.9)
    assert (await setup.ask()).target.provider.name == "b"
    await asyncio.sleep(0.2)
    assert (await setup.ask()).target.provider.name == "a"
    assert len(first.calls) == 2


@in_virtual_time
async def test_a_shorter_cool_down_does_not_end_a_longer_one() -> None:
    """Two requests that were under way together may hear different numbers."""
    setup = Setup(Fake((0.2, limited(100)), (0.5, limited(1))), Fake())
    await asyncio.gather(setup.ask(), setup.ask())
    assert setup.target("a").cooled_until - now() > 99


@in_virtual_time
async def test_a_short_limit_everywhere_is_waited_out() -> None:
    """A client that waits two seconds has an answer; one that is refused comes back anyway."""
    setup = Setup(Fake((limited(4),)), Fake((limited(2),), OK))
    started = now()
    answer = await setup.ask()
    assert (answer.target.provider.name, answer.attempts) == ("b", 3)
    assert 2.0 <= now() - started < 2.1
    assert setup.notes.retries == ["b"]
    assert setup.notes.failovers == [("a", "RateLimited")]


@pytest.mark.parametrize(
    ("waits", "total_s", "retry_after_s"),
    [((MAX_WAIT_S + 5, 200), 600, MAX_WAIT_S + 5), ((200, 30), 600, 30), ((10, 15), 8, 10), ((9999, 9999), 600, 300)],
)
@in_virtual_time
async def test_a_long_limit_everywhere_is_told_at_once_with_the_smallest_wait(
    waits: tuple[float, float], total_s: float, retry_after_s: float
) -> None:
    """Waiting longer than the deadline, or than clients are patient, helps nobody."""
    setup = Setup(*[Fake((limited(wait),)) for wait in waits], timeouts=limits(total_s=total_s))
    started = now()
    for attempts in (2, 2):
        with pytest.raises(AllRateLimited) as caught:
            await setup.ask()
        assert caught.value.retry_after_s == pytest.approx(retry_after_s)
        assert len(setup.notes.attempts) == attempts
    assert now() == started
    assert setup.held() == {}


@in_virtual_time
async def test_a_limit_that_never_ends_stops_after_five_attempts() -> None:
    """Every wait ends with the same answer; the last one is told."""
    fake = Fake((limited(1),))
    setup = Setup(fake)
    with pytest.raises(AllRateLimited) as caught:
        await setup.ask()
    assert len(fake.calls) == 5
    assert caught.value.retry_after_s == pytest.approx(1)
    assert setup.notes.retries == ["a"] * 4


@in_virtual_time
async def test_waiting_for_a_limit_takes_from_the_retry_budget() -> None:
    """It asks the same target again, which the budget is there to bound."""
    fake = Fake((limited(1),))
    setup = Setup(fake)
    while setup.router._budget.take():
        pass
    with pytest.raises(AllRateLimited):
        await setup.ask()
    assert len(fake.calls) == 1


@in_virtual_time
async def test_waiting_for_a_target_that_was_not_asked_yet_takes_nothing_from_the_budget() -> None:
    """That is a failover, or simply the first attempt."""
    setup = Setup(Fake((errors.Unreachable("refused"),)), Fake())
    while setup.router._budget.take():
        pass
    setup.target("b").cooled_until = now() + 0.5
    assert (await setup.ask()).target.provider.name == "b"
    assert setup.notes.retries == []
    setup.target("a").cooled_until = setup.target("b").cooled_until = now() + 0.5
    assert (await setup.ask()).target.provider.name == "b"


@in_virtual_time
async def test_a_limit_at_one_and_a_missing_model_at_the_other_is_a_limit() -> None:
    """The provider without the model will not have it in 30 s either; the limited one will answer then."""
    setup = Setup(Fake((limited(30),)), Fake((errors.ModelNotServed("404"),)))
    for _ in range(2):
        with pytest.raises(AllRateLimited) as caught:
            await setup.ask()
        assert caught.value.retry_after_s == pytest.approx(30)


@in_virtual_time
async def test_a_limit_at_one_and_an_open_breaker_at_the_other_is_no_target() -> None:
    """Only when every provider said 429 is it the client who asks too much."""
    fake = Fake()
    setup = Setup(Fake((limited(30),)), fake)
    breaker = setup.target("b").breaker
    breaker.trip()
    breaker.start_probe()
    for _ in range(2):
        with pytest.raises((NoTargetAvailable, AllRateLimited)) as caught:
            await setup.ask()
        assert caught.type is NoTargetAvailable
        assert 8 <= (caught.value.retry_after_s or 0) <= 12
    assert not fake.calls


@in_virtual_time
async def test_a_missing_model_at_one_and_an_open_breaker_at_the_other_is_no_target() -> None:
    """The model exists; the provider that has it will be back."""
    setup = Setup(Fake((errors.ModelNotServed("404"),)), Fake())
    breaker = setup.target("b").breaker
    breaker.trip()
    breaker.start_probe()
    for _ in range(2):
        with pytest.raises(NoTargetAvailable) as caught:
            await setup.ask()
        assert 8 <= (caught.value.retry_after_s or 0) <= 12


@in_virtual_time
async def test_spent_quota_is_never_waited_for() -> None:
    """Time does not bring money."""
    fake = Fake((errors.QuotaSpent("no credit", retry_after_s=1),))
    setup = Setup(fake)
    with pytest.raises(AllRateLimited):
        await setup.ask()
    assert len(fake.calls) == 1


@in_virtual_time
async def test_an_overloaded_target_is_asked_again_only_when_none_is_left() -> None:
    """The next target answers at once; the overloaded one gets a moment."""
    busy = errors.Overloaded("503")
    setup = Setup(Fake((busy,), OK), Fake((busy,), OK))
    answer = await setup.ask()
    assert [name for name, _ in setup.notes.attempts] == ["a", "b", "a"]
    assert (answer.target.provider.name, answer.attempts) == ("a", 3)
    assert setup.notes.retries == []
    assert setup.notes.failovers == [("a", "Overloaded"), ("b", "Overloaded")]
    assert setup.held() == {}


@pytest.mark.parametrize(("retry_after_s", "pause_s"), [(3.0, 3.0), (None, 0.25), (0.0, 0.25)])
@in_virtual_time
async def test_the_only_target_is_given_the_time_it_asked_for_when_overloaded(
    retry_after_s: float | None, pause_s: float
) -> None:
    """Or a quarter of a second when it did not say."""
    fake = Fake((errors.Overloaded("503", retry_after_s=retry_after_s),), OK)
    setup = Setup(fake)
    started = now()
    await setup.ask()
    assert now() - started == pytest.approx(pause_s, abs=0.05)
    assert setup.notes.retries == ["a"]


@in_virtual_time
async def test_an_overload_that_lasts_too_long_is_the_client_s_to_hear() -> None:
    """The deadline leaves no time for it."""
    fake = Fake((errors.Overloaded("503", retry_after_s=60),))
    setup = Setup(fake)
    with pytest.raises(errors.Overloaded):
        await setup.ask()
    assert len(fake.calls) == 1


@in_virtual_time
async def test_a_client_that_leaves_while_waiting_holds_nothing() -> None:
    """No slot is taken during the wait, so none is lost by it."""
    setup = Setup(Fake((limited(5),)))
    call = setup.stream()
    await asyncio.sleep(1)
    assert setup.held() == {}
    await call.aclose()
    assert setup.held() == {}
    assert setup.notes.attempts == [("a", "RateLimited")]


@in_virtual_time
async def test_a_retry_needs_the_budget_and_a_failover_does_not() -> None:
    """When every provider fails, asking each twice would double the load just then."""
    setup = Setup(Fake((errors.ServerFailed("500"),)), Fake())
    retried = 0
    for number in range(30):
        await setup.ask(caller="one")
        retried = len(setup.notes.retries)
        setup.target("a").breaker.record_success()
        setup.target("a").breaker._window.clear()
        assert retried == min(number + 1, 10)
    assert len(setup.notes.failovers) == 30
    await asyncio.sleep(11)
    await setup.ask()
    assert len(setup.notes.retries) == retried + 1


@in_virtual_time
async def test_a_retry_answers_from_the_same_target_after_a_short_pause() -> None:
    """Most errors of a load balancer are gone with the next request."""
    fake = Fake((errors.ServerFailed("502"),), OK)
    setup = Setup(fake, Fake())
    call = setup.stream()
    assert text(await collect(call)) == "hello"
    assert 0.05 <= fake.called_at[1] - fake.called_at[0] <= 0.15 + 1e-9
    assert (call.attempts, setup.notes.retries, setup.notes.failovers) == (2, ["a"], [])


@in_virtual_time
async def test_another_failure_at_the_retry_leads_where_its_own_row_says() -> None:
    """What came first no longer matters."""
    setup = Setup(Fake((errors.ServerFailed("500"),), (errors.RequestRefused("400"),)), Fake())
    with pytest.raises(errors.RequestRefused):
        await setup.ask()
    setup = Setup(Fake((errors.ServerFailed("500"),), (limited(30),)), Fake())
    assert (await setup.ask()).target.provider.name == "b"
    assert setup.target("a").cooled_until > now()


@in_virtual_time
async def test_a_target_whose_breaker_opened_is_not_retried() -> None:
    """The failure that opened it was its last chance for now."""
    fake = Fake((errors.ServerFailed("500"),))
    setup = Setup(fake, Fake())
    setup.target("a").breaker.trip()
    setup.state("b").healthy = False
    await setup.ask()
    assert len(fake.calls) == 0
    await asyncio.sleep(13)
    await setup.ask()
    assert len(fake.calls) == 1
    assert setup.notes.retries == []


def test_a_cancelled_retry_leaves_nothing_behind() -> None:
    """The pause before a retry is an await like any other."""

    @in_virtual_time
    async def run() -> None:
        setup = Setup(Fake((errors.ServerFailed("500"),), (FOREVER,)))
        call = asyncio.ensure_future(setup.ask())
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert setup.held() == {}
        assert setup.notes.attempts == [("a", "ServerFailed"), ("a", "cancelled")]

    run()


@in_virtual_time
async def test_a_timer_that_goes_off_a_moment_early_does_not_cost_a_second_wait() -> None:
    """Timers of the loop are rounded to milliseconds; the cool-down is not."""
    loop = asyncio.get_running_loop()
    setup = Setup(Fake((limited(3),), OK), clock=lambda: 1_000 + (loop.time() - 1_000) * 0.9997)
    await setup.ask()
    assert setup.notes.retries == ["a"]


@in_virtual_time
async def test_a_model_unserved_everywhere_and_one_limited_later_is_not_found() -> None:
    """Nothing here will ever serve it."""
    setup = Setup(Fake((errors.ModelNotServed("404"),)))
    for _ in range(2):
        with pytest.raises(ModelNotFound) as caught:
            await setup.ask()
        assert caught.value.model == "m"
