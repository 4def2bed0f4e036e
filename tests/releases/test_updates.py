"""Which version a client is offered."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from gateway.releases.decision import Client, Reason, Status
from gateway.releases.model import Architecture, BuildState, Channel, Platform, Project, Verification
from gateway.releases.updates import CompiledChannel, compile_channel, compile_project, decide
from gateway.releases.versions import InvalidVersion
from tests.releases.random_catalogue import a_client, a_project
from tests.releases.small_catalogue import ask, build, client, name_of, plain, reasons, stable, version

MAC_ARM = (Platform.MACOS, Architecture.ARM64)


def test_the_highest_version_is_offered() -> None:
    """By precedence, and not as texts or in the order of a list would have it."""
    decision = ask(plain("1.2.10", "1.2.9", "1.10.0", "1.9.0"), client("1.2.3"))
    assert decision.status is Status.UPDATE
    assert (name_of(decision.offered), name_of(decision.latest), decision.newest) == ("1.10.0", "1.10.0", None)
    assert [name_of(step) for step in decision.path] == ["1.10.0"]
    assert not decision.breaking_changes
    assert decision.reason is None


def test_who_runs_the_highest_version_stays() -> None:
    """Also with a leading v, or other metadata: equal precedence is no update."""
    for current in ("1.2.5", "v1.2.5", "1.2.5+7"):
        decision = ask(plain("1.2.4", "1.2.5+2"), client(current))
        assert (decision.status, name_of(decision.latest), decision.offered) == (Status.CURRENT, "1.2.5+2", None)
        assert not decision.path


def test_who_runs_a_higher_version_is_ahead() -> None:
    """A development build is never taken back."""
    decision = ask(plain("1.2.5"), client("1.3.0-dev"))
    assert (decision.status, decision.ahead, name_of(decision.latest)) == (Status.AHEAD, True, "1.2.5")
    assert (decision.known, decision.rollback, decision.newest) == (False, None, None)


def test_a_version_that_nobody_published_is_compared_all_the_same() -> None:
    """Somebody built it from source."""
    decision = ask(plain("1.2.3", "1.2.5"), client("1.2.4-g3f2a91c"))
    assert (decision.update_available, decision.known) == (True, False)
    assert ask(plain("1.2.3", "1.2.5"), client("1.2.3")).known


def test_who_has_nothing_installed_gets_the_highest() -> None:
    """And starts there: nothing breaks, and no required version comes first."""
    project = stable(version("1.0.0"), version("2.0.0", required=True), version("3.0.0"))
    decision = ask(project, client(None))
    assert (decision.status, name_of(decision.offered), decision.current) == (Status.UPDATE, "3.0.0", None)
    assert (decision.breaking_versions, decision.known, len(decision.path)) == ((), False, 1)


def test_a_channel_shows_the_channels_that_it_includes() -> None:
    """So beta gets the stable version that concludes it, and stable never sees a pre-release; circles are harmless."""
    project = Project(
        "app",
        channels=(
            Channel("stable", versions=(version("1.1.24"), version("1.1.25"))),
            Channel("beta", versions=(version("1.1.25-beta.1"),), includes=("stable", "gone")),
            Channel("dev", versions=(version("1.1.26-dev.1"),), includes=("beta", "dev")),
        ),
    )
    assert name_of(ask(project, client("1.1.24"), "stable").offered) == "1.1.25"
    assert name_of(ask(project, client("1.1.25-beta.1"), "beta").offered) == "1.1.25"
    decision = ask(project, client("1.1.24"), "dev")
    assert name_of(decision.offered) == "1.1.26-dev.1"
    assert decision.offered is not None
    assert decision.offered.channel_id == "dev"
    circle = replace(project, channels=(replace(project.channels[0], includes=("dev",)), *project.channels[1:]))
    assert {name_of(ask(circle, client("1.0.0"), channel.id).offered) for channel in circle.channels} == {
        "1.1.26-dev.1"
    }


def test_of_equal_versions_the_later_metadata_and_the_nearer_channel_win() -> None:
    """A promoted version stands in both channels, and downloads are counted where the client asked."""
    both = Channel("beta", versions=(version("1.0.0"),), includes=("stable",))
    project = Project("app", channels=(Channel("stable", versions=(version("1.0.0"), version("1.1.0+9"))), both))
    offered = ask(replace(project, channels=(project.channels[0], both)), client("0.9.0"), "beta").offered
    assert offered is not None
    assert (offered.version.id, offered.channel_id) == ("1.1.0+9", "stable")
    only = replace(project, channels=(Channel("stable", versions=(version("1.0.0"),)), both))
    offered = ask(only, client("0.9.0"), "beta").offered
    assert offered is not None
    assert offered.channel_id == "beta"
    assert name_of(ask(plain("1.1.0+9", "1.1.0+10", "1.1.0"), client("1.0.0")).offered) == "1.1.0+10"


@pytest.mark.parametrize("state", [BuildState.PENDING, BuildState.FAILED, BuildState.UNREACHABLE])
def test_the_next_lower_version_is_offered_where_a_build_is_not_verified(state: BuildState) -> None:
    """The higher one is told as newest, with the reason."""
    project = stable(version("1.2.4"), version("1.2.5", build(state=state)))
    decision = ask(project, client("1.2.3"))
    assert (name_of(decision.offered), name_of(decision.newest)) == ("1.2.4", "1.2.5")
    assert decision.newest is not None
    assert decision.newest.reason is Reason.BUILD_NOT_VERIFIED
    trusted = ask(replace(project, verification=Verification.TRUSTED), client("1.2.3"))
    assert name_of(trusted.offered) == ("1.2.4" if state is BuildState.FAILED else "1.2.5")


def test_a_target_without_a_build_is_told_so() -> None:
    """It is no error: tomorrow there may be one."""
    project = plain("1.2.4", "1.2.5")
    for current in ("1.2.3", "1.2.5", "9.0.0", None):
        decision = ask(project, client(current, (Platform.WINDOWS, Architecture.X64)))
        assert (decision.status, decision.latest) == (Status.NONE, None)
        assert decision.reason is Reason.NO_BUILD_FOR_TARGET
    assert ask(plain(), client("1.0.0")).reason is Reason.NO_VERSIONS
    assert ask(stable(version("1.0.0", yanked_at=1)), client("0.9.0")).reason is Reason.NO_VERSIONS


def test_a_machine_gets_the_build_that_it_runs_best() -> None:
    """Its own before macOS' universal one, and one for x64 on arm64 only where the project says that it runs."""
    universal = build(Platform.MACOS, Architecture.UNIVERSAL)
    intel = build(Platform.MACOS, Architecture.X64)
    own = build(Platform.MACOS, Architecture.ARM64)

    def served(*builds: object, **values: bool) -> str | None:
        found = ask(stable(version("1.0.0", *builds), **values), client("0.9.0", MAC_ARM)).offered  # type: ignore[arg-type]
        return found.build.id if found else None

    assert served(intel, universal, own) == "macos-arm64"
    assert served(intel, universal) == "macos-universal"
    assert served(intel) is None
    assert served(intel, arm64_runs_x64=True) == "macos-x64"
    assert served(universal, intel, arm64_runs_x64=True) == "macos-universal"
    assert served(universal, replace(own, state=BuildState.FAILED)) == "macos-universal"
    linux = build(Platform.LINUX, Architecture.UNIVERSAL)
    assert ask(stable(version("1.0.0", linux)), client("0.9.0")).reason is Reason.NO_BUILD_FOR_TARGET
    old = ask(stable(version("1.0.0", universal)), client("0.9.0", (Platform.MACOS, Architecture.X86)))
    assert old.reason is Reason.NO_BUILD_FOR_TARGET


def test_a_rollout_holds_back_who_is_not_reached() -> None:
    """They are offered what they would get without it."""
    project = stable(version("1.2.4"), version("1.2.5", rollout_percent=50.0))
    offers = {name_of(ask(project, client("1.2.3", staging_id=f"m{number}")).offered) for number in range(50)}
    assert offers == {"1.2.4", "1.2.5"}
    nobody = ask(project, client("1.2.4"))
    assert (nobody.status, nobody.reason, name_of(nobody.newest)) == (Status.CURRENT, Reason.ROLLOUT, "1.2.5")


def test_an_old_launcher_blocks_a_version_without_hiding_it() -> None:
    """The client is offered the highest that works with it, and told what to update first."""
    project = stable(version("1.1.0"), version("1.2.0", min_launcher_version="2.0.0"))
    decision = ask(project, client("1.0.0", launcher_version="2.0.0-rc.1"))
    assert (name_of(decision.offered), name_of(decision.newest), decision.blocked_by) == ("1.1.0", "1.2.0", "launcher")
    alone = ask(project, client("1.1.0", launcher_version="1.9.0"))
    assert (alone.status, alone.blocked_by, alone.reason) == (Status.CURRENT, "launcher", "launcher")
    for launcher in ("2.0.0", "3.1.0", None):
        served = ask(project, client("1.0.0", launcher_version=launcher))
        assert (name_of(served.offered), served.blocked_by) == ("1.2.0", None)


@pytest.mark.parametrize(
    ("os_version", "offered", "blocked_by"),
    [
        ("10.0.17134", "1.1.0", "os_version"),
        ("10.0.19045", "1.2.0", None),
        ("10.0.19045.1", "1.2.0", None),
        ("10.0.19045-arm", "1.2.0", None),
        ("11", "1.2.0", None),
        ("9", "1.1.0", "os_version"),
        ("Windows 7", "1.2.0", None),
        ("", "1.2.0", None),
        (None, "1.2.0", None),
    ],
)
def test_an_old_system_gets_what_still_runs(os_version: str | None, offered: str, blocked_by: str | None) -> None:
    """One that is not told, or not in numbers, is taken to be new enough."""
    project = stable(version("1.1.0"), version("1.2.0", build(min_os_version="10.0.19045.0")))
    decision = ask(project, client("1.0.0", os_version=os_version))
    assert (name_of(decision.offered), decision.blocked_by) == (offered, blocked_by)


def test_an_old_system_gets_another_build_of_the_same_version() -> None:
    """A universal build often runs where the native one does not any more."""
    project = stable(
        version(
            "1.2.0",
            build(*MAC_ARM, min_os_version="14"),
            build(Platform.MACOS, Architecture.UNIVERSAL, min_os_version="11"),
        )
    )
    chosen = [ask(project, client("1.0.0", MAC_ARM, os_version=number)).offered for number in ("13.6", "14.0")]
    assert [offer and offer.build.id for offer in chosen] == ["macos-universal", "macos-arm64"]


def test_a_withdrawn_version_is_offered_to_nobody() -> None:
    """Who runs it goes up if that is possible, and down only where the project allows it."""
    versions = (version("1.1.0"), version("1.2.0", yanked_at=1), version("1.0.0", yanked_at=1))
    project = stable(*versions)
    assert name_of(ask(project, client("1.0.0")).offered) == "1.1.0"
    stuck = ask(project, client("1.2.0"))
    assert (stuck.status, stuck.yanked, stuck.known, stuck.rollback) == (Status.AHEAD, True, True, None)
    assert stuck.installed is versions[1]
    back = ask(replace(project, allow_rollback=True), client("1.2.0"))
    assert (back.status, name_of(back.rollback), back.update_available) == (Status.AHEAD, "1.1.0", False)
    up = ask(replace(stable(*versions, version("1.2.1")), allow_rollback=True), client("1.2.0"))
    assert (name_of(up.offered), up.yanked, up.rollback) == ("1.2.1", True, None)
    fine = ask(replace(project, allow_rollback=True), client("1.3.0"))
    assert (fine.status, fine.rollback) == (Status.AHEAD, None)


def test_a_withdrawn_version_is_known_by_what_the_client_tells() -> None:
    """Feeds leave metadata out, so who tells none may run any of them; who tells some runs that one."""
    project = stable(version("1.2.0+1", yanked_at=1), version("1.2.0+2"), version("1.1.0+1", yanked_at=1))
    told = {name: ask(project, client(name)) for name in ("1.2.0", "1.2.0+1", "1.2.0+2", "1.2.0+3", "1.1.0")}
    assert [each.yanked for each in told.values()] == [False, True, False, False, True]
    assert [each.known for each in told.values()] == [True, True, True, False, True]
    elsewhere = Project("app", channels=(Channel("stable"), Channel("beta", versions=(version("2.0.0", yanked_at=1),))))
    assert ask(elsewhere, client("2.0.0"), "stable").yanked


def test_every_version_has_its_reason() -> None:
    """For `explain`, the highest first."""
    project = stable(
        version("3.0.0", rollout_percent=0.0),
        version("2.9.0", build(Platform.WINDOWS)),
        version("2.8.0", build(state=BuildState.FAILED)),
        version("2.7.0", min_launcher_version="9.0.0"),
        version("2.6.0", build(min_os_version="99")),
        version("2.5.0", yanked_at=3),
        version("2.4.0"),
        version("2.3.0", required=True),
        version("2.2.0"),
        version("2.1.0"),
        version("2.0.0"),
    )
    assert list(reasons(project, client("2.1.0", launcher_version="1.0.0", os_version="10")).items()) == [
        ("3.0.0", "rollout"),
        ("2.9.0", "no_build_for_target"),
        ("2.8.0", "build_not_verified"),
        ("2.7.0", "launcher"),
        ("2.6.0", "os_version"),
        ("2.5.0", "yanked"),
        ("2.4.0", "watershed"),
        ("2.3.0", "offered"),
        ("2.2.0", "superseded"),
        ("2.1.0", "installed"),
        ("2.0.0", "older"),
    ]
    allowed = stable(version("1.1.0", yanked_at=1), version("1.0.0"), version("0.9.0"), allow_rollback=True)
    assert reasons(allowed, client("1.1.0")) == {"1.1.0": "yanked", "1.0.0": "rollback", "0.9.0": "older"}


def test_the_reasons_tell_the_channels_of_a_promoted_version_apart() -> None:
    """It is offered from one of them only, and counted there."""
    both = version("1.1.0")
    channels = (Channel("stable", versions=(both,)), Channel("beta", versions=(both,), includes=("stable",)))
    verdicts = compile_project(Project("app", channels=channels))["beta"].explain(client("1.0.0"))
    assert [(each.channel_id, each.reason) for each in verdicts] == [("beta", "offered"), ("stable", "superseded")]


def test_the_latest_version_of_a_channel_is_that_of_no_target() -> None:
    """For the details of a project: neither builds nor rollouts count, yanks do."""
    project = stable(
        version("1.0.0"), version("1.2.0", build(Platform.WINDOWS), rollout_percent=5.0), version("1.3.0", yanked_at=1)
    )
    assert name_of(compile_project(project)["stable"].latest) == "1.2.0"
    assert compile_project(plain())["stable"].latest is None


def test_a_catalogue_with_a_broken_version_is_not_compiled() -> None:
    """Nothing may be decided on a guess at what it means."""
    for broken in (version("1.2"), version("1.2.0", min_launcher_version="new")):
        with pytest.raises(InvalidVersion):
            compile_project(stable(broken))


def test_one_channel_alone_decides_as_the_whole_project_does() -> None:
    """Three ways to the same answer."""
    project = stable(version("1.0.0"), version("1.1.0"))
    who = client("1.0.0")
    channel = project.channels[0]
    assert compile_channel(project, channel).decide(who) == decide(project, channel, who) == ask(project, who)


def test_neither_dates_nor_the_order_of_lists_decide() -> None:
    """A fix for an old line is published late, and databases return rows as they please."""
    for seed in range(200):
        rng = Random(seed)
        project = a_project(rng)
        channels = []
        for channel in project.channels:
            versions = [replace(each, published_at=rng.randrange(10**9)) for each in channel.versions]
            channels.append(replace(channel, versions=tuple(rng.sample(versions, len(versions)))))
        before, after = compile_project(project), compile_project(replace(project, channels=tuple(channels)))
        for who in (a_client(rng) for _ in range(5)):
            assert all(_essence(before[name], who) == _essence(after[name], who) for name in before)


def _essence(channel: CompiledChannel, who: Client) -> list[object]:
    """Say what was decided without anything that holds a date."""
    decision = channel.decide(who)
    latest, harmless, rollback = decision.latest, decision.highest_non_breaking, decision.rollback
    found: list[object] = [offer and (offer.version.id, offer.build.id) for offer in (latest, harmless, rollback)]
    found += [decision.status, decision.reason, decision.yanked, set(decision.breaking_versions)]
    found += [name_of(decision.newest), name_of(decision.blocked), [name_of(step) for step in decision.path]]
    return [*found, [(each.version.id, each.reason) for each in channel.explain(who)]]
