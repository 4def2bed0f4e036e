"""The circuit breaker: when it opens, for how long, and how it closes again."""

from __future__ import annotations

import random

import pytest

from routing.breaker import MAX_OPEN_S, Breaker
from tests.routing.fakes import ManualClock, state_of


def make(seed: int = 1) -> tuple[Breaker, ManualClock]:
    """Return a closed breaker and its clock."""
    clock = ManualClock()
    return Breaker(clock, random.Random(seed)), clock


def opened(seed: int = 1) -> tuple[Breaker, ManualClock]:
    """Return a breaker that has just opened for the first time."""
    breaker, clock = make(seed)
    for caller in "ababa":
        breaker.record_failure(caller)
    return breaker, clock


@pytest.mark.parametrize(
    ("callers", "state"),
    [
        (["a"] * 5, "closed"),
        (["a"] * 19, "closed"),
        (["a", "b", "a", "b"], "closed"),
        (["a", "a", "a", "a", "b"], "open"),
        (["a", "b", "c", "d", "e"], "open"),
        ([None] * 5, "open"),
        (["a", "a", "a", "a", None], "open"),
    ],
)
def test_five_failures_in_a_row_count_from_two_callers_or_a_health_check(callers: list[str | None], state: str) -> None:
    """One client's poison requests must not take a target from everybody."""
    breaker, _ = make()
    for caller in callers:
        breaker.record_failure(caller)
    assert state_of(breaker) == state


def test_a_success_ends_the_row_and_forgets_its_callers() -> None:
    """A row is only failures without anything good between them."""
    breaker, _ = make()
    for caller in [None, "a", "b", "c"]:
        breaker.record_failure(caller)
    breaker.record_success()
    for _ in range(5):
        breaker.record_failure("a")
    assert state_of(breaker) == "closed"


@pytest.mark.parametrize(
    ("good", "bad", "state"),
    [(10, 10, "open"), (11, 9, "closed"), (9, 10, "closed"), (0, 19, "closed"), (0, 20, "open"), (50, 49, "closed")],
)
def test_half_of_at_least_twenty_calls_opens_it(good: int, bad: int, state: str) -> None:
    """A target that fails every other time never fails five times in a row."""
    breaker, _ = make()
    outcomes = [True] * good + [False] * bad
    if good:
        # Spread them, so that no row of five decides.
        random.Random(3).shuffle(outcomes)
        outcomes.sort(key=lambda fine: not fine)
    for fine in outcomes:
        if fine:
            breaker.record_success()
        else:
            breaker.record_failure("a")
    assert state_of(breaker) == state


@pytest.mark.parametrize(("apart_s", "state"), [(29, "open"), (31, "closed")])
def test_calls_leave_the_window_after_thirty_seconds(apart_s: float, state: str) -> None:
    """What a target did a minute ago says nothing about now."""
    breaker, clock = make()
    for _ in range(10):
        breaker.record_failure("a")
        breaker.record_success()
    clock.at += apart_s
    breaker.record_failure("a")
    assert state_of(breaker) == state


def test_the_first_opening_lasts_ten_seconds_give_or_take_a_fifth() -> None:
    """Jitter keeps many gateways from probing in step."""
    lengths = [opened(seed)[0].retry_after_s() for seed in range(200)]
    assert 8.0 <= min(lengths) < 8.5
    assert 11.5 < max(lengths) <= 12.0


@pytest.mark.parametrize("seed", range(5))
def test_each_failed_probe_doubles_the_opening_up_to_five_minutes(seed: int) -> None:
    """A target that stays broken is asked less and less often."""
    breaker, clock = opened(seed)
    for expected_s in [10, 20, 40, 80, 160, 300, 300, 300]:
        length_s = breaker.retry_after_s()
        assert expected_s * 0.8 <= length_s <= expected_s * 1.2
        clock.at += length_s
        breaker.start_probe()
        breaker.record_failure("a")
        assert state_of(breaker) == "open"


def test_one_failure_is_enough_for_a_probe() -> None:
    """The probe's caller does not matter: the target had its chance."""
    breaker, clock = opened()
    clock.at += breaker.retry_after_s()
    breaker.start_probe()
    breaker.record_failure("a")
    assert state_of(breaker) == "open"
    assert not breaker.may_probe(early=True)


def test_a_breaker_that_opens_again_soon_stays_open_longer() -> None:
    """A flapping target is not given a fresh start with every good answer, but after a calm minute it is."""
    breaker, clock = opened()
    for calm_s, expected_s in [(10, 20), (59, 40), (61, 10)]:
        clock.at += breaker.retry_after_s()
        breaker.start_probe()
        breaker.record_success()
        assert state_of(breaker) == "closed"
        clock.at += calm_s
        for _ in range(5):
            breaker.record_failure(None)
        assert expected_s * 0.8 <= breaker.retry_after_s() <= expected_s * 1.2


def test_only_one_probe_passes_at_a_time() -> None:
    """A target that recovers slowly must not be met by everybody at once."""
    breaker, clock = opened()
    assert not breaker.may_probe()
    clock.at += breaker.retry_after_s()
    assert breaker.may_probe()
    breaker.start_probe()
    assert state_of(breaker) == "half_open"
    assert not breaker.may_probe()
    assert not breaker.may_probe(early=True)


def test_a_good_probe_closes_it_and_clears_the_window() -> None:
    """The failures from before the recovery no longer count."""
    breaker, clock = make()
    for _ in range(20):
        breaker.record_failure("a")
    clock.at += breaker.retry_after_s()
    breaker.start_probe()
    breaker.record_success()
    assert (breaker.state, breaker.retry_after_s()) == ("closed", 0.0)
    breaker.record_failure("a")
    assert state_of(breaker) == "closed"
    assert not breaker.may_probe(early=True)


def test_each_opening_allows_one_early_probe() -> None:
    """When nobody else is left, one request may try before the time is over, and only one."""
    breaker, _ = opened()
    assert breaker.may_probe(early=True)
    breaker.start_probe()
    breaker.record_failure("b")
    assert not breaker.may_probe(early=True)


def test_an_abandoned_probe_frees_its_place() -> None:
    """A client that left proved nothing about the target."""
    breaker, _ = opened()
    probe = breaker.start_probe()
    breaker.abandon_probe(probe)
    assert state_of(breaker) == "open"
    assert breaker.may_probe(early=True)


def test_a_probe_that_is_over_cannot_abandon_a_later_one() -> None:
    """A long stream that once was the probe ends while another request probes: that one keeps its place."""
    breaker, clock = opened()
    clock.at += breaker.retry_after_s()
    first = breaker.start_probe()
    breaker.record_success()
    for caller in "ababa":
        breaker.record_failure(caller)
    clock.at += breaker.retry_after_s()
    second = breaker.start_probe()
    breaker.abandon_probe(first)
    assert state_of(breaker) == "half_open"
    breaker.abandon_probe(second)
    assert state_of(breaker) == "open"


def test_tripping_an_open_breaker_does_not_prolong_it() -> None:
    """Fifty requests that were under way when a credential was refused are one refusal, not fifty."""
    breaker, clock = make()
    breaker.trip()
    until = clock.at + breaker.retry_after_s()
    clock.at += 0.5
    for _ in range(50):
        breaker.trip()
    assert clock.at + breaker.retry_after_s() == pytest.approx(until)
    assert until - 1_000 <= 12


def test_no_opening_is_longer_than_the_maximum_with_jitter() -> None:
    """However often it opened, a recovered target is found within six minutes."""
    breaker, clock = opened()
    for _ in range(3_000):
        clock.at += breaker.retry_after_s()
        breaker.start_probe()
        breaker.record_failure(None)
    assert breaker.retry_after_s() <= MAX_OPEN_S * 1.2
