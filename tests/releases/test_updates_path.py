"""Required versions are never skipped."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from gateway.releases.decision import Client, Reason, Status
from gateway.releases.model import Architecture, BuildState, Platform, Project
from gateway.releases.offers import PATH_LIMIT
from gateway.releases.updates import CompiledChannel, compile_project
from tests.releases.small_catalogue import ask, build, client, name_of, reasons, stable, version

VERSIONS = (
    version("1.0.0"),
    version("1.5.0", required=True),
    version("1.6.0"),
    version("1.8.0", required=True),
    version("2.0.0"),
)


def test_the_lowest_required_version_comes_first() -> None:
    """The whole path is shown, and the target of it as the newest version."""
    decision = ask(stable(*VERSIONS), client("1.0.0"))
    assert [name_of(step) for step in decision.path] == ["1.5.0", "1.8.0", "2.0.0"]
    assert (name_of(decision.offered), name_of(decision.latest)) == ("1.5.0", "1.5.0")
    assert decision.newest is not None
    assert (decision.newest.version.id, decision.newest.reason) == ("2.0.0", Reason.WATERSHED)


def test_each_step_is_asked_for_anew() -> None:
    """A client that takes what it is offered, again and again, takes the path that it was shown, and then stays."""
    project, current, taken = stable(*VERSIONS), "1.0.0", []
    while (offered := ask(project, client(current)).offered) is not None:
        current = offered.version.id
        taken.append(current)
    assert taken == ["1.5.0", "1.8.0", "2.0.0"]


def test_a_required_version_that_is_installed_or_passed_counts_no_more() -> None:
    """Also by an equal one with other metadata, and by a development build beyond it."""
    for current in ("1.8.0", "1.8.0+7", "1.9.0-dev"):
        decision = ask(stable(*VERSIONS), client(current))
        assert [name_of(step) for step in decision.path] == ["2.0.0"]
    assert [name_of(step) for step in ask(stable(*VERSIONS), client("1.8.0-rc.1")).path] == ["1.8.0", "2.0.0"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"rollout_percent": 0.0}, "rollout"),
        ({"builds": (build(state=BuildState.PENDING),)}, "build_not_verified"),
        ({"min_launcher_version": "3.0.0"}, "launcher"),
        ({"builds": (build(min_os_version="12"),)}, "os_version"),
    ],
)
def test_nothing_passes_a_required_version_that_the_client_may_not_take(values: dict[str, Any], reason: str) -> None:
    """Whatever it prepares would be missing afterwards. The client goes as far as it can, and is told what stops it."""
    blocked = (replace(VERSIONS[1], **values), *VERSIONS[2:])
    who = client("0.9.0", launcher_version="2.0.0", os_version="11")
    decision = ask(stable(VERSIONS[0], *blocked), who)
    assert [name_of(step) for step in decision.path] == ["1.0.0"]
    assert decision.blocked is not None
    assert (decision.blocked.version.id, decision.blocked.reason) == ("1.5.0", reason)
    assert decision.newest is not None
    assert (decision.newest.version.id, decision.newest.reason) == ("2.0.0", "watershed")
    stuck = ask(stable(VERSIONS[0], *blocked), replace(who, current=client("1.0.0").current))
    assert (stuck.status, stuck.reason, name_of(stuck.latest)) == (Status.CURRENT, reason, "1.0.0")
    assert stuck.blocked_by == (reason if reason in ("launcher", "os_version") else None)
    assert reasons(stable(VERSIONS[0], *blocked), who)["2.0.0"] == "watershed"


def test_a_required_version_that_is_withdrawn_or_not_for_the_target_is_none() -> None:
    """The first was a mistake, and the second has nothing to prepare here."""
    for values in ({"yanked_at": 1}, {"builds": (build(Platform.WINDOWS, Architecture.X64),)}):
        project = stable(VERSIONS[0], replace(VERSIONS[1], **values), *VERSIONS[4:])
        decision = ask(project, client("1.0.0"))
        assert ([name_of(step) for step in decision.path], decision.blocked) == (["2.0.0"], None)


def test_an_equal_version_will_do_for_a_required_one() -> None:
    """1.5.0+2 replaces a 1.5.0+1 that went wrong."""
    failed = version("1.5.0+1", build(state=BuildState.FAILED), required=True)
    decision = ask(stable(failed, version("1.5.0+2"), version("2.0.0")), client("1.0.0"))
    assert [name_of(step) for step in decision.path] == ["1.5.0+2", "2.0.0"]


def test_a_path_has_an_end() -> None:
    """Who marks every version as required gets the first of them told."""
    project = stable(*(version(f"1.{number}.0", required=True) for number in range(100)))
    path = ask(project, client("1.0.0")).path
    assert [name_of(step) for step in path] == [f"1.{number + 1}.0" for number in range(PATH_LIMIT)]
    exact = stable(*(version(f"1.{number}.0", required=True) for number in range(PATH_LIMIT + 1)))
    assert name_of(ask(exact, client("1.0.0")).path[-1]) == f"1.{PATH_LIMIT}.0"


def _many(count: int, **values: Any) -> Project:
    numbers = range(0, 10_000, 10_000 // count)
    names = [f"{number // 1000 + 1}.{number // 10 % 100}.{number % 10}" for number in numbers]
    return stable(*(version(name, build(min_os_version="10"), **values) for name in names))


def _calls(channel: CompiledChannel, who: Client) -> int:
    """Count the calls of functions, in Python and in C, that a decision takes."""
    channel.decide(who)
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        channel.decide(who)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "values",
    [{}, {"min_launcher_version": "2.0.0"}, {"required": True}, {"rollout_percent": 40.0}, {"breaking": False}],
)
def test_ten_thousand_versions_take_no_more_steps_than_a_few(values: dict[str, Any]) -> None:
    """Whatever all of them have in common, and whether the client may have them or not."""
    few, many = (compile_project(_many(count, **values))["stable"] for count in (25, 10_000))
    for launcher, system, machine in (("1.0.0", "9", "m1"), ("2.0.0", "10", "m1"), (None, None, None)):
        for current in ("1.0.0", "99.0.0", "0.9.0"):
            who = client(current, launcher_version=launcher, os_version=system, staging_id=machine)
            # A rollout that is under way is tried until it reaches the client, and luck differs between versions.
            luck = 12 * 8 if "rollout_percent" in values else 0
            assert _calls(many, who) <= _calls(few, who) + luck
