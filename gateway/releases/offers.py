"""The builds of a channel that may be served for one target, arranged so that a client's highest is found fast."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.releases.decision import Candidate, Client, Offer, Reason
from gateway.releases.rollout import admits
from gateway.releases.targets import parse_os_version, runnable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.releases.model import Architecture, Build, Platform, Project
    from gateway.releases.versions import Precedence, VersionKey

Target = tuple["Platform", "Architecture"]
# What a version and its build ask for: a launcher and an operating system at least this new.
Needs = tuple["Precedence | None", tuple[int, ...] | None]

PATH_LIMIT: Final = 20


class Taker:
    """What a client has, read once for a decision. What it does not tell is taken to be enough."""

    __slots__ = ("_launcher", "_os", "staging_id")

    def __init__(self, client: Client) -> None:
        self._launcher = client.launcher_version.precedence if client.launcher_version else None
        self._os = parse_os_version(client.os_version) if client.os_version else None
        self.staging_id = client.staging_id

    @property
    def limited(self) -> bool:
        """Whether the launcher or the operating system can be too old for anything."""
        return self._launcher is not None or self._os is not None

    def meets(self, needs: Needs) -> bool:
        """Whether the launcher and the operating system are new enough."""
        return self.has_launcher(needs[0]) and _reaches(self._os, needs[1])

    def has_launcher(self, needed: Precedence | None) -> bool:
        """Whether the launcher is new enough."""
        return _reaches(self._launcher, needed)

    def admitted(self, candidate: Candidate) -> bool:
        """Whether the rollout reaches this client."""
        return admits(candidate.version.rollout_percent, candidate.salt, self.staging_id)

    def takes(self, offer: Offer) -> bool:
        """Whether the client may take this build now."""
        return self.meets(_needs(offer)) and self.admitted(offer)


def _reaches(has: tuple[Any, ...] | None, needed: tuple[Any, ...] | None) -> bool:
    return has is None or needed is None or has >= needed


def _needs(offer: Offer) -> Needs:
    return offer.min_launcher, offer.min_os


def _offer(candidate: Candidate, build: Build) -> Offer:
    return Offer(
        candidate.version,
        candidate.key,
        candidate.channel_id,
        candidate.salt,
        candidate.min_launcher,
        candidate.breaks,
        build,
        parse_os_version(build.min_os_version) if build.min_os_version else None,
    )


def _runs_on_older(offer: Offer, other: Offer) -> bool:
    return other.min_os is not None and (offer.min_os is None or offer.min_os < other.min_os)


class OfferIndex:
    """Offers in ascending order, by what they ask of a client.

    A search looks at each kind of needs once, and not at each version. Only rollouts that are under way have to be
    tried one by one, down to the first that reaches the client: ten thousand of them at one percent take a
    millisecond.
    """

    def __init__(self, offers: Sequence[Offer]) -> None:
        self._offers = offers
        self._keys = [offer.key.precedence for offer in offers]
        kinds: defaultdict[Needs, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for number, offer in enumerate(offers):
            if offer.version.rollout_percent > 0:
                complete, partial = kinds[_needs(offer)]
                (complete if offer.version.rollout_percent >= 100 else partial).append(number)
        found = [
            (max((*complete[-1:], *partial[-1:])), needs, complete, partial)
            for needs, (complete, partial) in kinds.items()
        ]
        self._kinds = sorted(found, key=lambda kind: kind[0], reverse=True)

    def highest(self, taker: Taker, below: Precedence | None = None) -> Offer | None:
        """Return the highest offer that the client may take, of those of a precedence lower than `below`."""
        end = len(self._offers) if below is None else bisect_left(self._keys, below)
        best = -1
        for last, needs, complete, partial in self._kinds:
            if last <= best:
                break
            if taker.meets(needs):
                place = bisect_left(complete, end)
                best = max(best, complete[place - 1]) if place else best
                best = self._highest_partial(taker, partial, end, best)
        return self._offers[best] if best >= 0 else None

    def _highest_partial(self, taker: Taker, partial: list[int], end: int, best: int) -> int:
        if taker.staging_id:
            for place in range(bisect_left(partial, end) - 1, -1, -1):
                number = partial[place]
                if number <= best:
                    break
                if taker.admitted(self._offers[number]):
                    return number
        return best


class _Required(NamedTuple):
    """The versions of one precedence, at least one of which is `required` and has a build for the target."""

    candidate: Candidate
    offers: tuple[Offer, ...]

    def highest(self, taker: Taker) -> Offer | None:
        """Return the one that the client may take."""
        return next((offer for offer in reversed(self.offers) if taker.takes(offer)), None)


class TargetOffers:
    """What may be served for one platform and architecture."""

    def __init__(self, project: Project, candidates: Sequence[Candidate], target: Target | None) -> None:
        """Take the versions that are offered, in ascending order. Nothing runs where `target` is None."""
        self._platform = target and target[0]
        self._architectures = runnable(*target, arm64_runs_x64=project.arm64_runs_x64) if target else ()
        self._serves = project.verification.serves
        offers: list[Offer] = []
        required: list[_Required] = []
        for _, group in groupby(candidates, lambda each: each.key.precedence):
            level = list(group)
            served = [offer for candidate in level for offer in self._offers(candidate)]
            offers += served
            binding = [each for each in level if each.version.required and any(self._builds(each))]
            if binding:
                required.append(_Required(binding[-1], tuple(served)))
        self.offers = OfferIndex(offers)
        self.promised = OfferIndex([offer for offer in offers if offer.breaks is False])
        self._required = required
        self._required_keys = [level.candidate.key.precedence for level in required]
        # Which of them a client may not take: by what they need if they are rolled out, or one by one.
        self._waiting: dict[frozenset[Needs], list[int]] = {}
        self._rolling: list[int] = []
        for number, each in enumerate(required):
            if any(0 < offer.version.rollout_percent < 100 for offer in each.offers):
                self._rolling.append(number)
            else:
                needs = frozenset(_needs(offer) for offer in each.offers if offer.version.rollout_percent >= 100)
                self._waiting.setdefault(needs, []).append(number)

    def _builds(self, candidate: Candidate) -> Iterator[Build]:
        """Return the builds that run on the target, whatever their state, the best first."""
        for architecture in self._architectures:
            for build in candidate.version.builds:
                if build.architecture is architecture and build.platform is self._platform:
                    yield build

    def _offers(self, candidate: Candidate) -> list[Offer]:
        """Return the best build that may be served, and before it those that run where the better ones do not."""
        found: list[Offer] = []
        for build in self._builds(candidate):
            if self._serves(build.state):
                offer = _offer(candidate, build)
                if not found or _runs_on_older(offer, found[-1]):
                    found.append(offer)
        return found[::-1]

    def why_not(self, candidate: Candidate, taker: Taker) -> Reason | None:
        """Return why the client may not take a version, whatever it runs now; None if it may."""
        if candidate.yanked:
            return Reason.YANKED
        offers = self._offers(candidate)
        if not offers:
            return Reason.BUILD_NOT_VERIFIED if any(self._builds(candidate)) else Reason.NO_BUILD_FOR_TARGET
        if not taker.admitted(candidate):
            return Reason.ROLLOUT
        if any(taker.takes(offer) for offer in offers):
            return None
        return Reason.OS_VERSION if taker.has_launcher(candidate.min_launcher) else Reason.LAUNCHER

    def barrier(self, current: VersionKey, taker: Taker) -> Candidate | None:
        """Return the lowest required version above the current one that the client may not take yet.

        Until it may, it is offered nothing higher.
        """
        above = bisect_right(self._required_keys, current.precedence)
        lowest = len(self._required)
        for needs, numbers in self._waiting.items():
            place = bisect_left(numbers, above)
            if place < len(numbers) and numbers[place] < lowest and not any(map(taker.meets, needs)):
                lowest = numbers[place]
        for number in self._rolling[bisect_left(self._rolling, above) : bisect_left(self._rolling, lowest)]:
            if self._required[number].highest(taker) is None:
                lowest = number
                break
        return self._required[lowest].candidate if lowest < len(self._required) else None

    def path(self, current: VersionKey, target: Offer, taker: Taker) -> tuple[Offer, ...]:
        """Return the required versions between the current one and the target, and then the target.

        None of them may be a barrier. The path ends early after `PATH_LIMIT` steps.
        """
        start = bisect_right(self._required_keys, current.precedence)
        end = bisect_left(self._required_keys, target.key.precedence)
        levels: Iterable[_Required] = self._required[start : min(end, start + PATH_LIMIT)]
        steps = [step for level in levels if (step := level.highest(taker)) is not None]
        return (*steps, target)[:PATH_LIMIT]
