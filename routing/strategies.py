"""The routing strategies: each picks one of the targets that may take a request.

A strategy is one class with one method and one row in `STRATEGIES`. `pick` is given at least one target, in configured
order; ties go to the first. An instance belongs to one plan (a route, or the providers of one model), so that what it
remembers is about that plan alone.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routing.targets import Target

StrategyName = Literal["priority", "round_robin", "least_loaded", "fastest"]
EXPLORE_SHARE = 0.03
STALE_S = 5.0


class Strategy(Protocol):
    """Picks the target of the next attempt."""

    def pick(self, targets: Sequence[Target], now: float) -> Target:
        """Return one of `targets`, which is not empty. `now` is in monotonic seconds."""
        ...


class Priority:
    """The first in configured order."""

    def pick(self, targets: Sequence[Target], now: float) -> Target:  # noqa: ARG002
        """Return the first target."""
        return targets[0]


class RoundRobin:
    """The one whose turn is longest ago, so that shares stay even while targets come and go."""

    def __init__(self) -> None:
        self._turn = 0
        self._last_turn: dict[Target, int] = {}

    def pick(self, targets: Sequence[Target], now: float) -> Target:  # noqa: ARG002
        """Return the target that was picked least recently."""
        chosen = min(targets, key=lambda target: self._last_turn.get(target, 0))
        self._turn += 1
        self._last_turn[chosen] = self._turn
        return chosen


class LeastLoaded:
    """The one whose provider has the fewest requests in flight."""

    def pick(self, targets: Sequence[Target], now: float) -> Target:  # noqa: ARG002
        """Return the target with the least in flight."""
        return min(targets, key=lambda target: target.provider.in_flight)


class Fastest:
    """The one with the lowest expected time to first token, weighed by what it already has in flight.

    Targets not heard of for a while fade towards unknown and are asked again; besides, about 3 % of requests go to a
    target that was not heard of for 5 s, so that a recovered one is found. Either way one request at a time asks, so
    that a target that hangs does not collect them. `rng` makes simulations repeatable.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - exploration is no secret.

    def pick(self, targets: Sequence[Target], now: float) -> Target:
        """Return the target that is expected to answer first, or now and then the least known one."""
        chosen = self._choose(targets, now)
        chosen.asked_at = now
        return chosen

    def _choose(self, targets: Sequence[Target], now: float) -> Target:
        if len(targets) > 1 and self._rng.random() < EXPLORE_SHARE:
            stalest = max(targets, key=lambda target: target.age_s(now))
            if stalest.age_s(now) > STALE_S and not stalest.in_flight:
                return stalest
        return min(targets, key=lambda target: (target.expected_s(now) * (target.in_flight + 1), target.in_flight))


STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "priority": Priority,
    "round_robin": RoundRobin,
    "least_loaded": LeastLoaded,
    "fastest": Fastest,
}
