"""What a launcher is to be told, worked out the long way: every version is looked at, again and again.

Written from the description of the rules and sharing nothing with the real solver but the types of the catalogue, so
that the two do not make the same mistakes. Answers are plain values, made to be compared.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.releases.decision import Client
    from gateway.releases.model import Build, Channel, Project, Version

MARKERS = ("BREAKING CHANGE", "Breaking:", "feat!:", "support")


@dataclass
class Seen:
    """A version in sight, with its channel and how far that is from the one that was asked for."""

    version: Version
    channel_id: str
    distance: int

    @property
    def name(self) -> list[str]:
        """What two equal offers have in common."""
        return [self.version.id, self.channel_id]


def compare_identifiers(left: list[str], right: list[str]) -> int:
    """Compare two lists of identifiers as SemVer compares pre-releases; 1, 0 or -1."""
    for one, other in zip(left, right, strict=False):
        if one == other:
            continue
        if one.isdigit() and other.isdigit():
            if int(one) == int(other):
                continue
            return 1 if int(one) > int(other) else -1
        if one.isdigit() or other.isdigit():
            return -1 if one.isdigit() else 1
        return 1 if one > other else -1
    return (len(left) > len(right)) - (len(left) < len(right))


def compare(left: str, right: str) -> int:
    """Compare two versions by precedence; 1, 0 or -1."""
    left, right = left.partition("+")[0], right.partition("+")[0]
    left_core, _, left_pre = left.partition("-")
    right_core, _, right_pre = right.partition("-")
    by_core = compare_identifiers(left_core.split("."), right_core.split("."))
    if by_core or left_pre == right_pre:
        return by_core
    if not left_pre or not right_pre:
        return 1 if not left_pre else -1
    return compare_identifiers(left_pre.split("."), right_pre.split("."))


by_precedence = cmp_to_key(compare)


def better(one: Seen, other: Seen) -> bool:
    """Whether one version is to be preferred: by precedence, then by metadata, then by nearness."""
    by_precedence = compare(one.version.id, other.version.id)
    if by_precedence:
        return by_precedence > 0
    metas = [seen.version.id.partition("+")[2] for seen in (one, other)]
    if metas[0] != metas[1]:
        if not metas[0] or not metas[1]:
            return bool(metas[0])
        by_meta = compare_identifiers(metas[0].split("."), metas[1].split("."))
        return by_meta > 0 if by_meta else one.version.id > other.version.id
    return one.distance < other.distance


def best(versions: Iterable[Seen]) -> Seen | None:
    """Return the version that is better than all others."""
    found: Seen | None = None
    for each in versions:
        if found is None or better(each, found):
            found = each
    return found


def bump(old: str, new: str) -> bool:
    """Whether the numbers announce a break."""
    major, minor = (int(part) for part in old.split(".")[:2])
    new_major, new_minor = (int(part) for part in new.split(".")[:2])
    return new_major > major or (major == new_major == 0 and new_minor > minor)


def numbers(text: str | None) -> list[int] | None:
    """Read a version of an operating system."""
    match = re.match("[0-9]+([.][0-9]+)*", text or "")
    return [int(part) for part in match[0].split(".")] if match else None


def old_system(has: str | None, needs: str | None) -> bool:
    """Whether an operating system is too old."""
    have, need = numbers(has), numbers(needs)
    if have is None or need is None:
        return False
    length = max(len(have), len(need))
    return have + [0] * (length - len(have)) < need + [0] * (length - len(need))


class Reference:
    """One client's question about one channel."""

    def __init__(self, project: Project, channel: Channel, client: Client) -> None:
        self.project = project
        self.client = client
        self.current = client.current.text if client.current else None
        self.seen = self.in_sight(channel)
        self.asked = channel.id
        self.offerable = [each for each in self.seen if each.version.yanked_at is None and not self.unasked(each)]

    def in_sight(self, channel: Channel) -> list[Seen]:
        """Return the versions of a channel and of whatever it leads to."""
        order = [channel.id]
        for name in order:
            for channel_id in next(each.includes for each in self.project.channels if each.id == name):
                exists = any(each.id == channel_id for each in self.project.channels)
                if exists and channel_id not in order:
                    order.append(channel_id)
        return [
            Seen(version, each.id, order.index(each.id))
            for each in self.project.channels
            if each.id in order
            for version in each.versions
        ]

    def unasked(self, seen: Seen) -> bool:
        """Whether a version is a pre-release that was published for those who did not ask for any."""
        return self.asked == seen.channel_id == "stable" and "-" in seen.version.id.partition("+")[0]

    def builds(self, version: Version) -> list[Build]:
        """Return the builds that the client's machine can run, those to be preferred first."""
        kinds = [str(self.client.architecture)]
        if self.client.platform == "macos" and kinds[0] in ("arm64", "x64"):
            kinds.append("universal")
        if kinds[0] == "arm64" and self.project.arm64_runs_x64:
            kinds.append("x64")
        fitting = [build for build in version.builds if build.platform == self.client.platform]
        return [build for kind in kinds for build in fitting if build.architecture == kind]

    def served(self, version: Version) -> list[Build]:
        """Return those of the builds that may be handed out."""
        wrong = ["failed"] if self.project.verification == "trusted" else ["failed", "pending", "unreachable"]
        return [build for build in self.builds(version) if build.state not in wrong]

    def admitted(self, version: Version) -> bool:
        """Whether the rollout has come to the client."""
        if version.rollout_percent >= 100:
            return True
        if not self.client.staging_id:
            return False
        salt = version.rollout_salt or f"{self.project.id}/{version.id}"
        digest = hashlib.sha256(f"{salt}\0{self.client.staging_id}".encode()).hexdigest()
        return int(digest[:12], 16) * 100 / 2**48 < version.rollout_percent

    def old_launcher(self, version: Version) -> bool:
        """Whether the launcher is too old."""
        has, needs = self.client.launcher_version, version.min_launcher_version
        return bool(has and needs and compare(has.text, needs) < 0)

    def hindrance(self, version: Version) -> str | None:
        """Return why a client cannot have a version, whatever it has now."""
        served = self.served(version)
        checks = (
            ("yanked", version.yanked_at is not None),
            ("no_build_for_target", not self.builds(version)),
            ("build_not_verified", not served),
            ("rollout", not self.admitted(version)),
            ("launcher", self.old_launcher(version)),
            ("os_version", all(old_system(self.client.os_version, build.min_os_version) for build in served)),
        )
        return next((name for name, applies in checks if applies), None)

    def above(self, version: str) -> bool:
        """Whether a version is higher than the client's own."""
        return self.current is None or compare(version, self.current) > 0

    def barrier(self) -> Seen | None:
        """Return the lowest required version that has to come and cannot."""
        found: Seen | None = None
        for each in self.offerable:
            name = each.version.id
            if self.current is None or not each.version.required or not self.above(name):
                continue
            if not self.builds(each.version):
                continue
            equals = [other for other in self.offerable if compare(other.version.id, name) == 0]
            if any(self.hindrance(other.version) is None for other in equals):
                continue
            if (
                found is None
                or compare(name, found.version.id) < 0
                or (compare(name, found.version.id) == 0 and better(each, found))
            ):
                found = each
        return found

    def breaking(self, offered: Version) -> set[str]:
        """Return what breaks on the way to a version."""
        if self.current is None:
            return set()
        found = set()
        for each in self.seen:
            version = each.version
            if not self.above(version.id) or compare(version.id, offered.id) > 0:
                continue
            before = self.current
            for other in self.seen:
                if compare(other.version.id, version.id) < 0 and compare(other.version.id, before) > 0:
                    before = other.version.id
            guess = bump(before, version.id) or any(marker in version.release_notes for marker in MARKERS)
            if version.breaking if version.breaking is not None else guess:
                found.add(version.id)
        if not found and offered.breaking is not False and bump(self.current, offered.id):
            found.add(offered.id)
        return found

    def installed(self) -> tuple[bool, bool]:
        """Return whether the client's version is known, and whether it was withdrawn."""
        if self.current is None:
            return False, False
        everything = [version for each in self.project.channels for version in each.versions]
        for versions in ([each.version for each in self.seen], everything):
            same = [each for each in versions if each.id == self.current]
            if not same and "+" not in self.current:
                same = [each for each in versions if compare(each.id, self.current) == 0]
            if same:
                return True, all(each.yanked_at is not None for each in same)
        return False, False

    def gift(self, seen: Seen | None) -> list[str] | None:
        """Name a version with the build that the client gets."""
        if seen is None:
            return None
        fitting = [
            build for build in self.served(seen.version) if not old_system(self.client.os_version, build.min_os_version)
        ]
        return [*seen.name, fitting[0].id]

    def answer(self) -> dict[str, Any]:
        """Return everything that the client is told."""
        free = [each for each in self.offerable if self.hindrance(each.version) is None]
        barrier = self.barrier()
        if barrier:
            target = best(each for each in free if compare(each.version.id, barrier.version.id) < 0)
        else:
            target = best(free)
        path = self.path(free, target)
        latest = path[0] if path else target
        newest = best(self.offerable)
        if newest and not (self.above(newest.version.id) and is_above(newest, latest)):
            newest = None
        blocked = barrier or (self.held_up(target) if newest else None)
        known, yanked = self.installed()
        answer: dict[str, Any] = {
            "status": self.status(path, target),
            "latest": self.gift(latest),
            "newest": self.told(newest),
            "blocked": self.told(blocked),
            "path": [self.gift(each) for each in path],
            "known": known,
            "yanked": yanked,
            "breaking": self.breaking(latest.version) if path and latest else set(),
            "harmless": self.harmless(free, latest) if path and latest else None,
            "rollback": None,
            "reason": None,
        }
        if not path:
            if yanked and self.project.allow_rollback and self.current:
                answer["rollback"] = self.gift(
                    best(each for each in free if compare(each.version.id, self.current) < 0)
                )
            cause = blocked or newest or (None if target else best(self.offerable))
            verdict = self.told(cause)
            answer["reason"] = verdict[-1] if verdict else None if target else "no_versions"
        answer["explained"] = self.explained(answer)
        return answer

    def path(self, free: list[Seen], target: Seen | None) -> list[Seen]:
        """Return the versions to be taken one after the other."""
        if target is None or not self.above(target.version.id):
            return []
        steps = [target]
        for each in self.offerable if self.current else []:
            name = each.version.id
            between = self.above(name) and compare(name, target.version.id) < 0
            if between and each.version.required and self.builds(each.version):
                steps += [one for one in [best(other for other in free if compare(other.version.id, name) == 0)] if one]
        found: list[Seen] = []
        for step in sorted(steps, key=lambda step: by_precedence(step.version.id)):
            if step not in found:
                found.append(step)
        return found

    def held_up(self, target: Seen | None) -> Seen | None:
        """Return the best version that only the launcher or the system keeps from the client."""
        wanted = best(
            each for each in self.offerable if self.hindrance(each.version) in (None, "launcher", "os_version")
        )
        patient = self.client.launcher_version or numbers(self.client.os_version)
        if wanted and patient and self.above(wanted.version.id) and is_above(wanted, target):
            return wanted
        return None

    def harmless(self, free: list[Seen], offered: Seen) -> list[str] | None:
        """Return the highest version on the way that breaks nothing."""
        if not self.breaking(offered.version):
            return self.gift(offered)
        return self.gift(
            best(
                each
                for each in free
                if self.above(each.version.id) and is_above(offered, each) and not self.breaking(each.version)
            )
        )

    def status(self, path: list[Seen], target: Seen | None) -> str:
        """Name the outcome."""
        if path:
            return "update"
        if target is None:
            return "none"
        return "current" if self.current and compare(target.version.id, self.current) == 0 else "ahead"

    def told(self, seen: Seen | None) -> list[str] | None:
        """Name a version with the reason why the client does not get it."""
        return [*seen.name, self.hindrance(seen.version) or "watershed"] if seen else None

    def explained(self, answer: dict[str, Any]) -> list[list[str]]:
        """Name every version with its reason, the best first."""
        rest, found = list(self.seen), []
        while rest:
            each = best(rest)
            assert each is not None
            rest.remove(each)
            reason = self.hindrance(each.version) or self.standing(each, answer)
            if self.unasked(each) and reason != "yanked":
                reason = "prerelease"
            found.append([*each.name, reason])
        return found

    def standing(self, seen: Seen, answer: dict[str, Any]) -> str:
        """Name what becomes of a version that the client could have."""
        offered = answer["latest"] if answer["status"] == "update" else None
        if offered and offered[:2] == seen.name:
            return "offered"
        if answer["rollback"] and answer["rollback"][:2] == seen.name:
            return "rollback"
        if not self.above(seen.version.id):
            return "installed" if self.current and compare(seen.version.id, self.current) == 0 else "older"
        return "superseded" if offered and compare(seen.version.id, offered[0]) <= 0 else "watershed"


def is_above(one: Seen, other: Seen | None) -> bool:
    """Whether a version is of higher precedence than another one, or there is no other."""
    return other is None or compare(one.version.id, other.version.id) > 0
