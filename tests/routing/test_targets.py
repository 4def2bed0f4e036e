"""What the router remembers of providers and targets: latencies, places, and who may be asked."""

from __future__ import annotations

import math

import pytest

from routing.targets import Latency, ProviderState, Slot
from tests.routing.fakes import Fake, ManualClock, state_of


def provider(clock: ManualClock | None = None, max_in_flight: int = 200) -> ProviderState:
    """Return the state of a new provider."""
    return ProviderState("a", Fake(), clock=clock or ManualClock(), max_in_flight=max_in_flight)


def test_an_unknown_latency_is_zero_and_infinitely_old() -> None:
    """Zero makes it worth a try."""
    latency = Latency()
    assert (latency.estimate(5), latency.age_s(5), latency.last) == (0.0, math.inf, None)


def test_a_slower_observation_counts_at_once_and_a_faster_one_by_and_by() -> None:
    """Peak-sensitive: trouble shows with the first slow answer."""
    latency = Latency()
    for seconds, expected in [(0.1, 0.1), (1.0, 1.0), (0.1, 0.82), (0.1, 0.676)]:
        latency.observe(seconds, 10.0)
        assert latency.estimate(10.0) == pytest.approx(expected)
    latency.observe(0.1, 10.0 + 1_000)
    assert latency.last == pytest.approx(0.1)


def test_an_estimate_fades_but_the_last_mean_stays_for_the_eye() -> None:
    """`/ai/status` shows the mean; the strategy forgets it with a time constant of 15 s."""
    latency = Latency()
    latency.observe(1.0, 10.0)
    assert latency.estimate(25.0) == pytest.approx(1 / math.e)
    assert latency.estimate(1_000.0) < 1e-9
    assert (latency.last, latency.age_s(25.0)) == (1.0, 15.0)


def test_streamed_and_whole_answers_are_told_apart() -> None:
    """A whole answer takes as long as all its tokens; the first token of a stream says something else."""
    target = provider().target("m")
    shown = [target.last_latency_s]
    target.whole.observe(8.0, 1_000.0)
    shown.append(target.last_latency_s)
    target.streamed.observe(0.2, 1_003.0)
    shown.append(target.last_latency_s)
    assert shown == [None, 8.0, 0.2]
    assert target.age_s(1_005.0) == 2.0
    assert target.expected_s(1_003.0) == pytest.approx(8 * math.exp(-0.2) + 0.2)


def test_an_open_question_does_not_fade() -> None:
    """While a request waits for its first token, the target is no more unknown than when it was asked."""
    target = provider().target("m")
    target.in_flight = 1
    target.asked_at = 1_000.0
    assert target.expected_s(1_100.0) == math.inf
    target.streamed.observe(0.5, 999.0)
    assert target.expected_s(1_100.0) == 0.5
    target.streamed.observe(0.5, 1_001.0)
    assert target.expected_s(1_101.0) < 0.01
    target.asked_at = 1_050.0
    target.in_flight = 0
    assert target.expected_s(1_101.0) < 0.01


def test_a_provider_s_latency_is_the_mean_over_its_targets() -> None:
    """One number per provider is shown."""
    state = provider()
    assert state.latency_s() is None
    state.target("silent")
    state.target("a").streamed.observe(0.2, 1_000.0)
    state.target("b").whole.observe(0.4, 1_000.0)
    assert state.latency_s() == pytest.approx(0.3)


def test_a_provider_shows_its_own_breaker_or_what_all_its_targets_agree_on() -> None:
    """One broken model is not a broken provider."""
    state = provider()
    assert state.breaker_state() == "closed"
    first, second = state.target("a"), state.target("b")
    first.breaker.trip()
    assert state.breaker_state() == "closed"
    second.breaker.trip()
    assert state.breaker_state() == "open"
    second.breaker.start_probe()
    assert state.breaker_state() == "closed"
    first.breaker.start_probe()
    assert state.breaker_state() == "half_open"
    state.breaker.trip()
    assert state.breaker_state() == "open"


@pytest.mark.parametrize(
    ("healthy", "auto", "up"),
    [(None, False, True), (True, False, True), (False, False, False), (None, True, False), (True, True, True)],
)
def test_unknown_health_counts_as_up_unless_the_provider_was_only_guessed(
    healthy: bool | None, auto: bool, up: bool
) -> None:
    """What an operator configured is expected to work."""
    state = ProviderState("a", Fake(), auto=auto)
    state.healthy = healthy
    assert state.is_up is up


def test_a_slot_counts_at_the_target_and_its_provider_and_is_given_back_once() -> None:
    """However often it is released."""
    state = provider(max_in_flight=2)
    first, second = state.target("a"), state.target("b")
    slots = [Slot(first), Slot(second)]
    assert (first.in_flight, second.in_flight, state.in_flight) == (1, 1, 2)
    assert not first.has_room
    assert not first.is_open_to_requests(1_000.0)
    for _ in range(2):
        slots[0].release()
    assert (first.in_flight, second.in_flight, state.in_flight) == (0, 1, 1)
    assert first.is_open_to_requests(1_000.0)


@pytest.mark.parametrize("hindrance", ["cooled", "unserved", "target breaker", "provider breaker", "full"])
def test_a_target_is_closed_to_requests_for_any_one_reason(hindrance: str) -> None:
    """And only an open breaker can be tried early."""
    clock = ManualClock()
    state = provider(clock, max_in_flight=1)
    target = state.target("m")
    assert target.is_open_to_requests(clock.at)
    assert not target.may_probe_early(clock.at)
    if hindrance == "cooled":
        target.cooled_until = clock.at + 30
    elif hindrance == "unserved":
        target.unserved_until = clock.at + 30
    elif hindrance == "full":
        state.in_flight = 1
    else:
        (target if hindrance == "target breaker" else state).breaker.trip()
    assert not target.is_open_to_requests(clock.at)
    assert target.may_probe_early(clock.at) is hindrance.endswith("breaker")
    clock.at += 31
    assert target.is_open_to_requests(clock.at) is (hindrance != "full")


def test_a_slot_on_a_target_with_two_open_breakers_is_the_probe_of_both() -> None:
    """One request answers for the provider and for the model."""
    state = provider()
    target, other = state.target("m"), state.target("other")
    target.breaker.trip()
    other.breaker.trip()
    state.breaker.trip()
    slot = Slot(target)
    assert {state_of(target.breaker), state_of(state.breaker)} == {"half_open"}
    assert not other.may_probe_early(1_000.0)
    slot.release()
    assert {state_of(target.breaker), state_of(state.breaker)} == {"open"}
    assert other.may_probe_early(1_000.0)
