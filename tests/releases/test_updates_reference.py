"""The solver agrees with one that looks at everything, on random catalogues and clients."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from gateway.releases.decision import Candidate, Decision, Offer, Verdict
from gateway.releases.updates import CompiledChannel, compile_project
from tests.releases.random_catalogue import a_client, a_project
from tests.releases.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

QUESTIONS = 100_000 if os.environ.get("LUNARBIT_TEST_FULL") == "1" else 5_000
CLIENTS_EACH = 5


def named(candidate: Candidate | None) -> list[str] | None:
    """Name a version as the reference does."""
    if candidate is None:
        return None
    return [candidate.version.id, candidate.channel_id, *([candidate.build.id] if isinstance(candidate, Offer) else [])]


def told(verdict: Verdict | None) -> list[str] | None:
    """Name a verdict as the reference does."""
    return [verdict.version.id, verdict.channel_id, str(verdict.reason)] if verdict else None


def plain(decision: Decision, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Turn a decision into what the reference answers."""
    return {
        "status": str(decision.status),
        "latest": named(decision.latest),
        "newest": told(decision.newest),
        "blocked": told(decision.blocked),
        "path": [named(step) for step in decision.path],
        "known": decision.known,
        "yanked": decision.yanked,
        "breaking": set(decision.breaking_versions),
        "harmless": named(decision.highest_non_breaking),
        "rollback": named(decision.rollback),
        "reason": str(decision.reason) if decision.reason else None,
        "explained": [told(verdict) for verdict in verdicts],
    }


def events(answer: dict[str, Any]) -> list[str]:
    """Name what makes an answer a special case."""
    found = [f"status {answer['status']}", f"reason {answer['reason']}"]
    found += [f"newest {answer['newest'][2]}"] if answer["newest"] else []
    found += [f"blocked {answer['blocked'][2]}"] if answer["blocked"] else []
    found += [f"explained {verdict[2]}" for verdict in answer["explained"]]
    found += ["rollback"] if answer["rollback"] else []
    found += ["long path"] if len(answer["path"]) > 2 else []
    found += ["breaking"] if answer["breaking"] else []
    found += ["breaking, with a way around"] if answer["breaking"] and answer["harmless"] else []
    found += ["unknown"] if not answer["known"] else []
    return found


HINDRANCES = ("build_not_verified", "rollout", "launcher", "os_version")
SPECIAL = (
    *(f"status {name}" for name in ("update", "current", "ahead", "none")),
    *(f"reason {name}" for name in (*HINDRANCES, "None", "no_build_for_target", "no_versions")),
    *(f"newest {name}" for name in (*HINDRANCES, "no_build_for_target", "watershed")),
    *(f"blocked {name}" for name in HINDRANCES),
    *(f"explained {name}" for name in (*HINDRANCES, "yanked", "no_build_for_target", "offered", "rollback")),
    "explained prerelease",
    *(f"explained {name}" for name in ("installed", "older", "superseded", "watershed")),
    *("rollback", "long path", "breaking", "breaking, with a way around", "unknown"),
)


@pytest.mark.timeout(600)
def test_the_solver_agrees_with_the_reference() -> None:
    """On every field of the answer and on the reason of every version; each special case comes up often enough."""
    met: Counter[str] = Counter()
    for seed in range(QUESTIONS // CLIENTS_EACH):
        rng = random.Random(seed)
        project = a_project(rng)
        compiled: dict[str, CompiledChannel] = compile_project(project)
        for _ in range(CLIENTS_EACH):
            channel, client = rng.choice(project.channels), a_client(rng)
            ready = compiled[channel.id]
            answer = Reference(project, channel, client).answer()
            assert plain(ready.decide(client), ready.explain(client)) == answer, f"seed {seed}, {channel.id}, {client}"
            met.update(events(answer))
    rare = {event: met[event] for event in SPECIAL if met[event] < QUESTIONS // 500}
    assert not rare, f"catalogues that do not show what they are for: {rare}"
