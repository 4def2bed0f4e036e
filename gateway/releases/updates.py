"""Which update a client may take.

`compile_project` works out whatever does not depend on the client; `CompiledChannel.decide` then takes about as long
for ten thousand versions as for ten. The rules:

- A channel shows its own versions, those of the channels that it includes, and theirs. Yanked ones are not offered.
- `stable` does not offer the pre-releases that were published in it, but those of a channel that it includes.
- The client is offered the highest version by SemVer precedence that has a build which runs on its machine and may be
  served, whose rollout reaches it, and for which its launcher and operating system are new enough.
- It never passes a `required` version: the lowest one above its own comes first. If it may not take that one yet, it
  is offered nothing higher.
- Equal precedence is no update, and nothing lower is offered, except as a `rollback` from a yanked version.

No moment and no order of a list plays any part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from gateway.releases.breaking import BreakingChanges
from gateway.releases.decision import Candidate, Client, Decision, Offer, Reason, Status, Verdict
from gateway.releases.model import STABLE, Architecture, Channel, Platform, Project, Version
from gateway.releases.notes import has_breaking_marker
from gateway.releases.offers import Taker, Target, TargetOffers
from gateway.releases.targets import runnable
from gateway.releases.versions import Precedence, VersionKey, listing_order, next_breaking, parse_version

Held = Mapping[str, Sequence[Candidate]]


def read_versions(project: Project) -> dict[str, list[Candidate]]:
    """Read the versions of every channel, by its id. Raises `InvalidVersion` for one that is not SemVer."""
    return {channel.id: _candidates(project, channel) for channel in project.channels}


def compile_project(project: Project, held: Held | None = None) -> dict[str, CompiledChannel]:
    """Make every channel of a project ready to decide, by its id. Raises `InvalidVersion` for one that is not SemVer.

    `held` is what `read_versions` returns, for who has it already. Takes some 30 microseconds a version and channel
    that shows it.
    """
    held = read_versions(project) if held is None else held
    return {channel.id: CompiledChannel(project, channel, held) for channel in project.channels}


def compile_channel(project: Project, channel: Channel) -> CompiledChannel:
    """Make one channel of a project ready to decide. Raises `InvalidVersion` for a version that is not SemVer."""
    return CompiledChannel(project, channel, read_versions(project))


def decide(project: Project, channel: Channel, client: Client) -> Decision:
    """Answer one client, for who asks only once."""
    return compile_channel(project, channel).decide(client)


class CompiledChannel:
    """A channel, ready to decide. It never changes, and any number of threads may use it.

    `latest` is the highest version that it offers, for whatever target and however far its rollout is.
    `is_rolling_out` says whether some version has reached only a part of the installations, so that their ids matter.
    """

    def __init__(self, project: Project, channel: Channel, held: Held) -> None:
        """Take the versions of every channel of the project, by the id of the channel."""
        # The channel that is asked for comes before those that it includes, and the nearer before the farther.
        rank = {shown: -place for place, shown in enumerate(shown_channels(project, channel))}
        candidates = [candidate for shown in rank for candidate in held[shown]]
        candidates.sort(key=lambda each: (listing_order(each.key), rank[each.channel_id]))
        self._takes_prereleases = channel.id != STABLE
        offered = [each for each in candidates if not each.yanked and not self._withholds(each)]
        self.latest = offered[-1] if offered else None
        self.is_rolling_out = any(0 < each.version.rollout_percent < 100 for each in offered)
        self._project = project
        self._shown = frozenset(rank)
        self._candidates = candidates
        self._breaking = BreakingChanges(candidates)
        self._targets = {target: TargetOffers(project, offered, target) for target in _targets(project, offered)}
        self._known: defaultdict[Precedence, list[Candidate]] = defaultdict(list)
        for candidate in (each for channel_id in held for each in held[channel_id]):
            self._known[candidate.key.precedence].append(candidate)

    @property
    def targets(self) -> Collection[Target]:
        """The platforms and architectures that any build of a version that is not yanked runs on."""
        return self._targets.keys()

    def decide(self, client: Client) -> Decision:
        """Answer one client."""
        question = self._question(client)
        barrier = question.barrier()
        target = question.target.offers.highest(question.taker, barrier.key.precedence if barrier else None)
        path = question.path(target)
        latest = path[0] if path else target
        newest = question.news(self.latest, latest)
        blocked = question.verdict(barrier) if barrier else None
        if newest and not barrier:
            blocked = question.held_up(target)
        if path:
            return self._update(question, path, newest, blocked)
        return self._stay(question, target, newest, blocked)

    def explain(self, client: Client) -> list[Verdict]:
        """Return every version that the channel shows, the highest first, and why it is offered or is not.

        Takes time in proportion to their number.
        """
        decision, question = self.decide(client), self._question(client)
        return [_verdict(each, self._standing(question, each, decision)) for each in reversed(self._candidates)]

    def _standing(self, question: _Question, candidate: Candidate, decision: Decision) -> Reason:
        if self._withholds(candidate) and not candidate.yanked:
            return Reason.PRERELEASE
        return question.standing(candidate, decision)

    def _withholds(self, candidate: Candidate) -> bool:
        """Whether a version is a pre-release that nobody who follows this channel has asked for."""
        return not self._takes_prereleases and candidate.channel_id == STABLE and candidate.key.is_prerelease

    def _question(self, client: Client) -> _Question:
        platform, architecture = client.platform, client.architecture
        target = None if platform is None or architecture is None else (platform, architecture)
        offers = self._targets.get(target) if target else None
        return _Question(client, offers or TargetOffers(self._project, (), target))

    def _update(
        self, question: _Question, path: tuple[Offer, ...], newest: Verdict | None, blocked: Verdict | None
    ) -> Decision:
        current, offered = question.current, path[0]
        ids: tuple[str, ...] = ()
        harmless: Offer | None = offered
        if current:
            ids, first = self._breaking.between(current, offered)
            harmless = question.highest_harmless(current, first) if first else offered
        installed, yanked = self._installed(current)
        return Decision(
            Status.UPDATE, current, offered, newest, blocked, None, path, ids, harmless, installed, yanked, None
        )

    def _stay(
        self, question: _Question, latest: Offer | None, newest: Verdict | None, blocked: Verdict | None
    ) -> Decision:
        current = question.current
        held_back = blocked or newest
        reason = held_back.reason if held_back else None
        status = Status.CURRENT if latest and latest.key == current else Status.AHEAD
        if latest is None:
            status = Status.NONE
            if not held_back:
                reason = question.verdict(self.latest).reason if self.latest else Reason.NO_VERSIONS
        installed, yanked = self._installed(current)
        rollback = None
        if current and yanked and self._project.allow_rollback:
            rollback = question.target.offers.highest(question.taker, current.precedence)
        return Decision(
            status, current, latest, newest, blocked, reason, installed=installed, yanked=yanked, rollback=rollback
        )

    def _installed(self, current: VersionKey | None) -> tuple[Version | None, bool]:
        """Return what the catalogue knows of the installed version, and whether that was withdrawn.

        What this channel shows comes before what others hold. A client that does not tell metadata may run a version
        that has some, since feeds leave it out; one that tells metadata runs that version and no other. Of several,
        one that was not withdrawn is enough.
        """
        everywhere = self._known.get(current.precedence) if current else None
        if current is None or everywhere is None:
            return None, False
        for group in ([each for each in everywhere if each.channel_id in self._shown], everywhere):
            found = [each for each in group if each.key.text == current.text]
            found = found or ([] if current.metadata else group)
            if found:
                best = next((each for each in found if not each.yanked), found[0])
                return best.version, best.yanked
        return None, False


class _Question:
    """What one client asks, while it is answered."""

    __slots__ = ("_client", "current", "taker", "target")

    def __init__(self, client: Client, target: TargetOffers) -> None:
        self._client = client
        self.current = client.current
        self.target = target
        self.taker = Taker(client)

    def barrier(self) -> Candidate | None:
        """Return the required version that the client can neither take nor pass."""
        return self.target.barrier(self.current, self.taker) if self.current else None

    def path(self, target: Offer | None) -> tuple[Offer, ...]:
        """Return the steps to the target; none if it is no update. Who starts from nothing gets there in one."""
        if target is None or (self.current and target.key <= self.current):
            return ()
        return self.target.path(self.current, target, self.taker) if self.current else (target,)

    def news(self, candidate: Candidate | None, than: Candidate | None) -> Verdict | None:
        """Return a version with its reason if it is higher than another, and than what the client runs."""
        if candidate is None or (than and candidate.key <= than.key):
            return None
        return self.verdict(candidate) if self.current is None or candidate.key > self.current else None

    def held_up(self, target: Offer | None) -> Verdict | None:
        """Return the highest version above the target that only the launcher or the system is too old for."""
        if not self.taker.limited:
            return None
        client = self._client
        unlimited = Taker(Client(client.platform, client.architecture, staging_id=client.staging_id))
        return self.news(self.target.offers.highest(unlimited), target)

    def highest_harmless(self, current: VersionKey, first: Precedence) -> Offer | None:
        """Return the highest version that breaks nothing, if the first that does has the precedence `first`."""
        bump = next_breaking(current)
        # Past a number that announces a break, only the publisher's word makes a version harmless.
        promised = self.target.promised.highest(self.taker, first)
        if promised and promised.key.precedence >= bump:
            return promised
        found = self.target.offers.highest(self.taker, min(first, bump))
        return found if found and found.key > current else None

    def verdict(self, candidate: Candidate) -> Verdict:
        """Say why the client is not offered this version, which is higher than what it is offered."""
        return _verdict(candidate, self.target.why_not(candidate, self.taker) or Reason.WATERSHED)

    def standing(self, candidate: Candidate, decision: Decision) -> Reason:
        """Say what the decision means for any version."""
        reason = self.target.why_not(candidate, self.taker)
        if reason:
            return reason
        for chosen, name in ((decision.offered, Reason.OFFERED), (decision.rollback, Reason.ROLLBACK)):
            if chosen and chosen.version is candidate.version and chosen.channel_id == candidate.channel_id:
                return name
        if self.current and candidate.key <= self.current:
            return Reason.INSTALLED if candidate.key == self.current else Reason.OLDER
        offered = decision.offered
        return Reason.SUPERSEDED if offered and candidate.key <= offered.key else Reason.WATERSHED


def _verdict(candidate: Candidate, reason: Reason) -> Verdict:
    return Verdict(candidate.version, candidate.key, candidate.channel_id, reason)


def _candidates(project: Project, channel: Channel) -> list[Candidate]:
    return [
        Candidate(
            version,
            parse_version(version.id),
            channel.id,
            # Without a salt of its own the release is still not rolled out to the same machines as any other.
            version.rollout_salt or f"{project.id}/{version.id}",
            parse_version(version.min_launcher_version).precedence if version.min_launcher_version else None,
            has_breaking_marker(version.release_notes) or None if version.breaking is None else version.breaking,
        )
        for version in channel.versions
    ]


def shown_channels(project: Project, channel: Channel) -> list[str]:
    """Return the ids of a channel and of all that it includes, the nearest first. Unknown ones are passed over."""
    found = {channel.id: channel}
    queue = [channel]
    for each in queue:
        for included in map(project.channel, each.includes):
            if included and included.id not in found:
                found[included.id] = included
                queue.append(included)
    return list(found)


def _targets(project: Project, candidates: Sequence[Candidate]) -> list[Target]:
    """Return the targets that any of the builds run on."""
    built = {(build.platform, build.architecture) for each in candidates for build in each.version.builds}
    return [
        (platform, architecture)
        for platform in Platform
        for architecture in Architecture
        if any(
            (platform, runs) in built
            for runs in runnable(platform, architecture, arm64_runs_x64=project.arm64_runs_x64)
        )
    ]
