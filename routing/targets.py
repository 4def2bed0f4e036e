"""What the router knows of each provider and of each target (a provider and one of its models)."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from providers.base import CHAT
from providers.config import Timeouts
from routing.breaker import Breaker, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from providers.base import AIProvider

MAX_MODELS = 1_000
FORGET_S = 15.0
MIN_WEIGHT = 0.2


class Latency:
    """A peak-sensitive, time-decaying mean of times to first token, in seconds.

    A slower observation counts at once, a faster one pulls the mean down; without observations it fades towards
    unknown (zero) with a time constant of 15 s, so that an avoided target is tried again. The shape is that of
    Finagle's "peak EWMA" balancer.
    """

    __slots__ = ("_at", "_value")

    def __init__(self) -> None:
        self._value: float | None = None
        self._at = 0.0

    def observe(self, seconds: float, now: float) -> None:
        """Take in one time to first token."""
        if self._value is None or seconds > self._value:
            self._value = seconds
        else:
            weight = max(MIN_WEIGHT, 1.0 - math.exp((self._at - now) / FORGET_S))
            self._value += (seconds - self._value) * weight
        self._at = now

    def estimate(self, now: float) -> float:
        """Return the faded mean in seconds; 0 when nothing is known."""
        return 0.0 if self._value is None else self._value * math.exp((self._at - now) / FORGET_S)

    def age_s(self, now: float) -> float:
        """Return the seconds since the last observation; infinite when there was none."""
        return math.inf if self._value is None else now - self._at

    @property
    def last(self) -> float | None:
        """The mean as of the last observation, without fading; None when there was none."""
        return self._value


class ProviderState:
    """One registered provider: its limits, health and connection breaker.

    `breaker` is about reaching the provider and its credential; each target has one more about its answers. A
    `last_resort` provider (echo) is never a failover target of another one; an `auto` one was found, not configured.
    """

    def __init__(  # noqa: PLR0913 - each is an independent setting of a provider.
        self,
        name: str,
        provider: AIProvider,
        *,
        priority: int = 100,
        max_in_flight: int = 200,
        timeouts: Timeouts | None = None,
        closed_models: Iterable[str] | None = None,
        last_resort: bool = False,
        auto: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.provider = provider
        self.priority = priority
        self.max_in_flight = max_in_flight
        self.timeouts = timeouts or Timeouts()
        self.has_closed_list = closed_models is not None
        self.models: tuple[str, ...] = tuple(closed_models or ())
        self.last_resort = last_resort
        self.auto = auto
        self.breaker = Breaker(clock)
        self.healthy: bool | None = None
        self.in_flight = 0
        self.clock = clock
        self._targets: OrderedDict[str | tuple[str, str], Target] = OrderedDict()

    @property
    def is_up(self) -> bool:
        """Whether the last health check did not fail; unknown counts as up, except for a provider only guessed at."""
        return self.healthy if self.healthy is not None else not self.auto

    def target(self, model: str, operation: str = CHAT) -> Target:
        """Return the target for `model`; state is kept for the 1,000 models used last.

        Other operations than chats have targets of their own: their latencies are others, and a model that does not
        embed can chat all the same.
        """
        key = model if operation == CHAT else (model, operation)
        target = self._targets.get(key)
        if target is None:
            target = self._targets[key] = Target(self, model)
            if len(self._targets) > MAX_MODELS:
                self._targets.popitem(last=False)
        else:
            self._targets.move_to_end(key)
        return target

    def busy_models(self) -> set[str]:
        """Return the models that have requests in flight."""
        return {target.model for target in self._targets.values() if target.in_flight}

    def breaker_state(self) -> State:
        """Return the state that stands for the whole provider: its own, or that of its targets when all agree."""
        if not self.breaker.is_closed or not self._targets:
            return self.breaker.state
        states = {target.breaker.state for target in self._targets.values()}
        return states.pop() if len(states) == 1 else "closed"

    def latency_s(self) -> float | None:
        """Return the mean time to first token over its targets in seconds, or None before the first answer."""
        known = [last for target in self._targets.values() if (last := target.last_latency_s) is not None]
        return sum(known) / len(known) if known else None


class Target:
    """A provider and one of its models: what a request is sent to."""

    __slots__ = (
        "asked_at",
        "breaker",
        "cooled_until",
        "in_flight",
        "model",
        "provider",
        "streamed",
        "unserved_until",
        "whole",
    )

    def __init__(self, provider: ProviderState, model: str) -> None:
        self.provider = provider
        self.model = model
        self.breaker = Breaker(provider.clock)
        self.streamed = Latency()
        self.whole = Latency()
        self.in_flight = 0
        self.asked_at = -math.inf
        self.cooled_until = 0.0
        self.unserved_until = 0.0

    def __repr__(self) -> str:
        """Show the target as clients name it."""
        return f"Target({self.provider.name}/{self.model})"

    def expected_s(self, now: float) -> float:
        """Return how long this target is expected to keep a client waiting, in seconds; 0 when nothing is known.

        Streamed and whole answers are told apart, because their first bytes mean different things; the sum compares
        targets that serve the same mixture. While a request that was asked after the last answer is still open, nothing
        fades and an unknown target is expected never to answer, so that one that hangs does not collect requests.
        """
        if self.in_flight and now - self.asked_at < self.age_s(now):
            known = [last for last in (self.streamed.last, self.whole.last) if last is not None]
            return sum(known) if known else math.inf
        return self.streamed.estimate(now) + self.whole.estimate(now)

    def age_s(self, now: float) -> float:
        """Return the seconds since the last answer; infinite before the first one."""
        return min(self.streamed.age_s(now), self.whole.age_s(now))

    @property
    def last_latency_s(self) -> float | None:
        """The mean time to first token in seconds; that of whole answers when nothing was streamed yet."""
        return self.streamed.last if self.streamed.last is not None else self.whole.last

    @property
    def has_room(self) -> bool:
        """Whether the provider may take one more request."""
        return self.provider.in_flight < self.provider.max_in_flight

    def is_open_to_requests(self, now: float) -> bool:
        """Whether a request may be sent now: both breakers pass, not cooling down, model served, room left.

        And no model that is answering could be unloaded for it.
        """
        return self._passes(now) and (self.provider.in_flight == self.in_flight or not self.would_unload())

    def is_held_up(self, now: float) -> bool:
        """Whether only answers of the provider's other models keep requests away."""
        return self._passes(now) and self.would_unload()

    def would_unload(self) -> bool:
        """Whether a request now could have the provider unload a model that is answering, or being loaded to answer."""
        state, is_loaded = self.provider, self.provider.provider.is_loaded
        if state.in_flight == self.in_flight or is_loaded(self.model) is None:
            return False
        others = state.busy_models() - {self.model}
        return bool(others) and any(is_loaded(model) is False for model in (self.model, *others))

    def _passes(self, now: float) -> bool:
        return (
            self.provider.in_flight < self.provider.max_in_flight
            and self.cooled_until <= now
            and self.unserved_until <= now
            and (self.breaker.is_closed or self.breaker.may_probe())
            and (self.provider.breaker.is_closed or self.provider.breaker.may_probe())
        )

    def may_probe_early(self, now: float) -> bool:
        """Whether an open breaker is all that keeps requests away, and it still allows its early probe."""
        breakers = [breaker for breaker in (self.breaker, self.provider.breaker) if not breaker.is_closed]
        return (
            bool(breakers)
            and self.has_room
            and self.cooled_until <= now
            and self.unserved_until <= now
            and all(breaker.may_probe(early=True) for breaker in breakers)
            and not self.would_unload()
        )

    def retry_after_s(self, now: float) -> float:
        """Return the seconds until this target may take a request again, as far as that is known."""
        return max(self.cooled_until - now, self.breaker.retry_after_s(), self.provider.breaker.retry_after_s(), 0.0)


class Slot:
    """A request's place at a target, from the moment of choice until its last byte is sent."""

    __slots__ = ("_probes", "_released", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        self._released = False
        held = (target.breaker, target.provider.breaker)
        self._probes = [(breaker, breaker.start_probe()) for breaker in held if not breaker.is_closed]
        target.in_flight += 1
        target.provider.in_flight += 1

    def release(self) -> None:
        """Give the place back; a second call does nothing."""
        if self._released:
            return
        self._released = True
        self.target.in_flight -= 1
        self.target.provider.in_flight -= 1
        for breaker, probe in self._probes:
            breaker.abandon_probe(probe)
