"""What a check of a build means for its state, and when it is checked again; nothing here waits or writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.releases.model import Build, BuildState

if TYPE_CHECKING:
    from gateway.releases.outcome import Outcome

# A larger power of two is above every longest interval anyway.
_MOST_DOUBLINGS = 20


class CheckRecord(NamedTuple):
    """What is remembered of the last check of a build; times are Unix milliseconds.

    `created_at` and `state_at` are those of the build as the check left it. `failures` counts the checks in a row that
    went wrong. The validators are those of the last file that was verified.
    """

    created_at: int
    state_at: int | None
    checked_at: int
    next_at: int
    failures: int = 0
    etag: str | None = None
    last_modified: str | None = None

    def fits(self, build: Build) -> bool:
        """Whether nobody has replaced the build since, or asked for a new verification."""
        return self.created_at == build.created_at and self.state_at == build.state_at


class Finding(NamedTuple):
    """The result of a check: the build as it is now, and what is remembered of the check."""

    build: Build
    record: CheckRecord


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often builds are checked; all times in seconds, and each varied by a fifth either way.

    A verified build is asked for every `recheck_s`. What could not be reached is tried again after `first_retry_s`, and
    each time after twice as long, up to `longest_retry_s`; `attempts` failures in a row make it unreachable. A failed
    build is verified again in the same way from `first_repair_s` to `recheck_s`, since each time downloads it.
    """

    recheck_s: float = 21_600.0
    first_retry_s: float = 30.0
    longest_retry_s: float = 3600.0
    first_repair_s: float = 300.0
    attempts: int = 3

    def delay_s(self, state: BuildState, failures: int, chance: float) -> float:
        """Return the time until the next check after `failures` in a row; `chance` is from 0 to 1."""
        if failures == 0:
            return 0.0 if state is BuildState.PENDING else self.recheck_s * _spread(chance)
        failed = state is BuildState.FAILED
        first, longest = (self.first_repair_s, self.recheck_s) if failed else (self.first_retry_s, self.longest_retry_s)
        return float(min(first * 2 ** min(failures - 1, _MOST_DOUBLINGS), longest)) * _spread(chance)

    def conclude(
        self, build: Build, record: CheckRecord | None, outcome: Outcome, now_ms: int, chance: float
    ) -> Finding:
        """Return what `outcome` means for a build; `record` is that of the check before, if it was of this build."""
        is_bad = outcome.state in {BuildState.FAILED, BuildState.UNREACHABLE}
        failures = (record.failures if record is not None else 0) + 1 if is_bad else 0
        state = self._state(build.state, outcome.state, failures)
        after = replace(
            build,
            state=state,
            state_reason=_reason(build, state, outcome),
            state_at=build.state_at if state is build.state else now_ms,
            **_checksums(build, outcome),
        )
        etag, last_modified = outcome.etag, outcome.last_modified
        if outcome.state is not BuildState.VERIFIED and record is not None:
            etag, last_modified = record.etag, record.last_modified
        next_at = now_ms + round(1000 * self.delay_s(state, failures, chance))
        return Finding(
            after, CheckRecord(build.created_at, after.state_at, now_ms, next_at, failures, etag, last_modified)
        )

    def _state(self, before: BuildState, found: BuildState, failures: int) -> BuildState:
        if found is not BuildState.UNREACHABLE:
            return found
        # That a wrong file is away for a while does not make it right: a trusted project would serve it again.
        if before is BuildState.FAILED or failures < self.attempts:
            return before
        return BuildState.UNREACHABLE


def _spread(chance: float) -> float:
    return 0.8 + 0.4 * chance


def _reason(build: Build, state: BuildState, outcome: Outcome) -> str:
    """Return the reason for machines and the sentence for people; what changes nothing yet is not told."""
    if outcome.state is BuildState.UNREACHABLE and state in {BuildState.VERIFIED, BuildState.FAILED}:
        return build.state_reason
    return "" if outcome.reason is None else f"{outcome.reason}: {outcome.message}"


def _checksums(build: Build, outcome: Outcome) -> dict[str, Any]:
    """Return the checksums of a file that was read whole and found right; the first sight of a file is believed."""
    digests = outcome.digests
    if digests is None or outcome.state is not BuildState.VERIFIED:
        return {}
    found = {"md5": digests.md5, "sha1": digests.sha1, "sha512": digests.sha512}
    return found if build.sha256 else {**found, "sha256": digests.sha256}
