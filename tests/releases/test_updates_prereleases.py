"""Pre-releases reach only those who asked for them, by following a channel that shows them."""

from __future__ import annotations

import random

import pytest

from gateway.releases.decision import Status
from gateway.releases.model import Channel, Project
from gateway.releases.updates import compile_project
from tests.releases.random_catalogue import a_client, a_project
from tests.releases.small_catalogue import ask, build, client, name_of, plain, reasons, stable, version


def test_stable_offers_none_of_its_own() -> None:
    """To nobody: not to who runs a pre-release either, and not as news."""
    project = plain("1.0.0", "2.0.0-rc.1", "2.0.0-rc.2")
    for current, status in (("0.9.0", Status.UPDATE), ("1.0.0", Status.CURRENT), ("2.0.0-rc.1", Status.AHEAD)):
        decision = ask(project, client(current))
        assert (name_of(decision.latest), decision.status, decision.newest) == ("1.0.0", status, None)
    assert name_of(compile_project(project)["stable"].latest) == "1.0.0"
    assert reasons(project, client("2.0.0-rc.1")) == {
        "2.0.0-rc.2": "prerelease",
        "2.0.0-rc.1": "prerelease",
        "1.0.0": "older",
    }
    assert ask(project, client("2.0.0-rc.1")).known


def test_a_required_one_holds_nobody_up() -> None:
    """Or nobody on stable would get any further."""
    project = stable(version("1.0.0"), version("1.5.0-rc.1", required=True), version("2.0.0"))
    decision = ask(project, client("1.0.0"))
    assert [name_of(step) for step in decision.path] == ["2.0.0"]


def test_a_channel_without_any_other_offers_nothing() -> None:
    """There is nothing for its followers yet."""
    decision = ask(plain("1.0.0-alpha"), client(None))
    assert (decision.status, str(decision.reason)) == (Status.NONE, "no_versions")


@pytest.mark.parametrize(
    ("channel", "offered"),
    [("stable", "1.0.0"), ("beta", "2.0.0-rc.1"), ("dev", "3.0.0-dev.1"), ("lts", "2.5.0-beta.1")],
)
def test_channels_that_people_choose_show_what_is_in_them(channel: str, offered: str) -> None:
    """Their own, and those of a channel that they include, be it `stable`."""
    unasked = version("2.0.0-rc.1")
    channels = (
        Channel("stable", versions=(version("1.0.0"), unasked)),
        Channel("beta", includes=("stable",)),
        Channel("dev", includes=("beta",), versions=(version("3.0.0-dev.1"),)),
        Channel("lts", versions=(version("2.5.0-beta.1"),)),
    )
    assert name_of(ask(Project("app", channels=channels), client("0.1.0"), channel).offered) == offered


def test_stable_offers_those_of_a_channel_that_it_includes() -> None:
    """Its publisher has said so; the same version beside them is still withheld."""
    channels = (
        Channel("stable", includes=("beta",), versions=(version("1.0.0"), version("2.0.0-rc.1", build()))),
        Channel("beta", versions=(version("2.0.0-rc.1"),)),
    )
    decision = ask(Project("app", channels=channels), client("1.0.0"))
    assert decision.offered is not None
    assert (name_of(decision.offered), decision.offered.channel_id) == ("2.0.0-rc.1", "beta")


def test_in_random_catalogues_stable_offers_none_of_its_own() -> None:
    """Neither now nor as a later step, nor as a way back or as the harmless one."""
    rng = random.Random(20_260_207)
    seen = 0
    for _ in range(1_000):
        project = a_project(rng)
        ready = compile_project(project)["stable"]
        for _ in range(5):
            decision = ready.decide(a_client(rng))
            offers = (decision.latest, decision.rollback, decision.highest_non_breaking, *decision.path)
            for offer in filter(None, offers):
                seen += offer.key.is_prerelease
                assert not (offer.key.is_prerelease and offer.channel_id == "stable"), offer
    assert seen > 100
