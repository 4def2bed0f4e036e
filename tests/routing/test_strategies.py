"""The strategies: whom each picks, and simulations that show its property."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from providers import errors
from routing.strategies import STRATEGIES, Fastest
from routing.targets import ProviderState, Slot, Target
from tests.routing.fakes import MODEL, OK, Fake, ManualClock, Setup
from tests.routing.virtual_time import in_virtual_time, now

BROKEN = (errors.Unreachable("refused"),)


def three(clock: ManualClock) -> list[Target]:
    """Return the targets a, b and c."""
    return [ProviderState(name, Fake(), clock=clock).target(MODEL) for name in "abc"]


def subset(targets: list[Target], names: str) -> list[Target]:
    """Return those of `targets` that are named, in their order."""
    return [target for target in targets if target.provider.name in names]


@pytest.mark.parametrize(
    ("strategy", "eligible", "picked"),
    [
        ("priority", ["abc", "abc", "bc", "c", "ab"], "aabca"),
        ("round_robin", ["abc"] * 7, "abcabca"),
        ("round_robin", ["abc", "abc", "ab", "ab", "abc", "abc", "abc"], "ababcab"),
        ("round_robin", ["c", "c", "abc", "abc", "abc"], "ccabc"),
        ("least_loaded", ["abc", "bc", "c"], "abc"),
        ("fastest", ["abc", "bc", "c"], "abc"),
    ],
)
def test_each_strategy_picks_by_its_rule_and_ties_go_to_the_first(
    strategy: str, eligible: list[str], picked: str
) -> None:
    """The rule is what an operator chooses a strategy for."""
    targets = three(ManualClock())
    chooser = STRATEGIES[strategy]()
    assert "".join(chooser.pick(subset(targets, names), 1_000.0).provider.name for names in eligible) == picked


@pytest.mark.parametrize(
    ("in_flight", "picked"),
    [((0, 0, 0), "a"), ((1, 0, 0), "b"), ((2, 1, 1), "b"), ((5, 4, 3), "c"), ((1, 1, 0), "c"), ((0, 9, 9), "a")],
)
def test_least_loaded_picks_the_fewest_in_flight(in_flight: tuple[int, ...], picked: str) -> None:
    """The count is the provider's, because its models share one machine or one quota."""
    targets = three(ManualClock())
    for target, count in zip(targets, in_flight, strict=True):
        target.provider.in_flight = count
    assert STRATEGIES["least_loaded"]().pick(targets, 0.0).provider.name == picked


@pytest.mark.parametrize(
    ("seconds", "in_flight", "picked"),
    [
        ((0.3, 0.2, 0.1), (0, 0, 0), "c"),
        ((0.1, 0.2, 0.3), (0, 0, 0), "a"),
        ((0.1, 0.25, 0.3), (2, 0, 0), "b"),
        ((0.2, None, 0.1), (0, 0, 0), "b"),
    ],
)
def test_fastest_picks_the_shortest_expected_wait(
    seconds: tuple[float | None, ...], in_flight: tuple[int, ...], picked: str
) -> None:
    """What is already in flight at a target makes its next answer later; an unknown target is worth a try."""
    targets = three(ManualClock())
    for target, latency, count in zip(targets, seconds, in_flight, strict=True):
        target.in_flight = count
        if latency is not None:
            target.streamed.observe(latency, 1_000.0)
    assert Fastest(random.Random(1)).pick(targets, 1_000.0).provider.name == picked


def test_fastest_tries_an_unknown_target_with_one_request_at_a_time() -> None:
    """A target nobody has heard of may hang: it must not swallow everything until its first timeout."""
    clock = ManualClock()
    targets = three(clock)
    targets[0].streamed.observe(0.1, clock.at)
    targets[1].streamed.observe(0.2, clock.at)
    chooser = Fastest(random.Random(1))
    picked = Counter(Slot(chooser.pick(targets, clock.at)).target.provider.name for _ in range(20))
    assert picked["c"] == 1


def test_fastest_tries_a_forgotten_target_with_one_request_at_a_time() -> None:
    """The same holds for a target whose latency has faded because nobody used it for long."""
    clock = ManualClock()
    targets = three(clock)
    targets[2].streamed.observe(1.0, clock.at)
    clock.at += 300
    targets[0].streamed.observe(0.1, clock.at)
    targets[1].streamed.observe(0.2, clock.at)
    chooser = Fastest(random.Random(1))
    picked = Counter(Slot(chooser.pick(targets, clock.at)).target.provider.name for _ in range(20))
    assert picked["c"] == 1


@pytest.mark.parametrize(("age_s", "in_flight", "least", "most"), [(4, 0, 0, 0), (6, 0, 200, 400), (6, 1, 0, 0)])
def test_fastest_sends_a_small_share_to_a_target_it_has_not_heard_of_lately(
    age_s: float, in_flight: int, least: int, most: int
) -> None:
    """About 3 %, and nothing while a request there is still open: a hundredfold latency takes long to fade."""
    clock = ManualClock()
    known, slow, _ = three(clock)
    slow.streamed.observe(10.0, clock.at)
    slow.in_flight = in_flight
    clock.at += age_s
    known.streamed.observe(0.1, clock.at)
    chooser = Fastest(random.Random(1))
    picks = Counter(chooser.pick([known, slow], clock.at).provider.name for _ in range(10_000))
    assert least <= picks["b"] <= most


def test_round_robin_shares_are_even_while_targets_leave_and_return() -> None:
    """Over the time that all were eligible nobody gets more than its share, and a returning one catches nothing up."""
    targets = three(ManualClock())
    chooser = STRATEGIES["round_robin"]()
    rng = random.Random(5)
    shares: Counter[str] = Counter()
    while_away: Counter[str] = Counter()
    for _ in range(300):
        shares.update(chooser.pick(targets, 0.0).provider.name for _ in range(rng.randrange(60, 120, 3)))
        away = rng.choice("abc")
        left = subset(targets, "abc".replace(away, ""))
        picks = Counter(chooser.pick(left, 0.0).provider.name for _ in range(rng.randrange(20, 40, 2)))
        assert max(picks.values()) - min(picks.values()) <= 1
        while_away += picks
    assert while_away.total()
    for count in shares.values():
        assert count / shares.total() == pytest.approx(1 / 3, rel=0.01)


@pytest.mark.parametrize("broken", ["a", "b", "c", "d"])
@in_virtual_time
async def test_round_robin_shares_are_even_when_one_target_always_fails(broken: str) -> None:
    """What fails over must not all fall to the neighbour of the broken target."""
    fakes = {name: Fake(BROKEN if name == broken else OK) for name in "abcd"}
    setup = Setup(*fakes.values(), strategy="round_robin")
    # One caller alone never opens the breaker by a row of failures, and the window needs 20 calls in 30 s.
    for number in range(900):
        await setup.ask(caller=f"key-{number % 7}")
    answered = {name: len(fake.calls) for name, fake in fakes.items() if name != broken}
    for count in answered.values():
        assert count / 900 == pytest.approx(1 / 3, rel=0.01)
    assert len(fakes[broken].calls) < 10


@in_virtual_time
async def test_round_robin_shares_stay_even_when_the_failing_target_keeps_its_breaker_closed() -> None:
    """A target that limits requests for moments fails again and again without any breaker to hide it."""
    limited = (errors.RateLimited("slow down", retry_after_s=1.0),)
    fakes = [Fake(limited), Fake(), Fake()]
    setup = Setup(*fakes, strategy="round_robin")
    for _ in range(1_000):
        await setup.ask()
        setup.target("a").cooled_until = 0.0
    assert len(fakes[0].calls) > 300
    assert len(fakes[1].calls) / 1_000 == pytest.approx(1 / 2, rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_least_loaded_always_has_the_least_in_flight_at_the_moment_of_choice(seed: int) -> None:
    """Starts and ends interleave at random, and some targets come and go."""
    rng = random.Random(seed)
    targets = three(ManualClock())
    chooser = STRATEGIES["least_loaded"]()
    held: list[Slot] = []
    for _ in range(5_000):
        if held and rng.random() < 0.5:
            held.pop(rng.randrange(len(held))).release()
            continue
        eligible = subset(targets, rng.choice(["abc", "abc", "ab", "bc"]))
        least = min(target.provider.in_flight for target in eligible)
        picked = chooser.pick(eligible, 0.0)
        assert picked.provider.in_flight == least
        held.append(Slot(picked))
    for slot in held:
        slot.release()
    assert [target.provider.in_flight for target in targets] == [0, 0, 0]


@in_virtual_time
async def test_priority_returns_to_the_first_target_after_its_breaker_closes() -> None:
    """The first in order is the one the operator wants; the others only stand in for it."""
    first, second = Fake(BROKEN), Fake()
    setup = Setup(first, second)
    for number in range(20):
        await setup.ask(caller=f"key-{number % 2}")
    assert setup.state("a").breaker.state == "open"
    assert len(first.calls) == 5
    first.scripts = [OK]
    answered_by = ""
    reopened = now() + setup.target("a").retry_after_s(now())
    while answered_by != "a":
        await asyncio.sleep(0.5)
        answered_by = (await setup.ask()).target.provider.name
    assert reopened <= now() <= reopened + 0.5
    assert setup.state("a").breaker.state == "closed"
    assert [(await setup.ask()).target.provider.name for _ in range(5)] == ["a"] * 5
