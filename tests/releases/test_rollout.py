"""A staged rollout draws its machines once for each release, and never takes the update away again."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.releases.rollout import admits, bucket
from gateway.releases.updates import compile_project
from tests.releases.random_catalogue import a_client, a_project

MACHINES = [f"machine-{number}" for number in range(20_000)]


def test_a_place_never_changes() -> None:
    """Machines that have an update would lose it if another release of the gateway drew other places."""
    assert bucket("salt", "8c1b3a54-6f0e-4b53-9a3c-3a1f9c8f3f10") == pytest.approx(90.206966)
    assert bucket("", "x") == pytest.approx(23.630689)


def test_the_machines_of_a_rollout_are_as_many_as_it_says() -> None:
    """Within what chance allows, down to a fraction of a percent."""
    places = [bucket("1.2.5", machine) for machine in MACHINES]
    assert all(0 <= place < 100 for place in places)
    for percent in (0.5, 5, 33.3, 50, 99):
        expected = len(MACHINES) * percent / 100
        assert abs(sum(place < percent for place in places) - expected) < 5 * expected**0.5 + 1
    assert len({int(place * 100) for place in places}) > 8_000


def test_every_release_draws_its_machines_anew() -> None:
    """Otherwise the same people would try out every version first."""
    first = {machine for machine in MACHINES if admits(10, "1.2.5", machine)}
    second = {machine for machine in MACHINES if admits(10, "1.2.6", machine)}
    assert 100 < len(first & second) < 300


@given(st.text(), st.text(), st.floats(0, 100), st.floats(0, 100))
def test_a_higher_percentage_keeps_everybody(salt: str, machine: str, one: float, other: float) -> None:
    """Sticky, whatever the names are."""
    low, high = sorted((one, other))
    assert admits(high, salt, machine) or not admits(low, salt, machine)


def test_a_client_without_an_id_waits_for_the_whole_rollout() -> None:
    """It has no place; an empty id is none."""
    for nobody in (None, ""):
        assert not admits(99.99, "salt", nobody)
        assert admits(100, "salt", nobody)


def test_nothing_and_everything_are_exact() -> None:
    """At 0 a version is held, and at 100 it is out; what is no number admits nobody."""
    assert not any(admits(0, "salt", machine) for machine in MACHINES)
    assert all(admits(100, "salt", machine) for machine in MACHINES[:100])
    assert not admits(float("nan"), "salt", MACHINES[0])


def test_any_text_has_a_place() -> None:
    """Clients send what they like."""
    for text in ("\udcff", "\0", "a" * 100_000, "ä" * 10):
        assert 0 <= bucket("salt", text) < 100


def test_a_rollout_that_grows_takes_no_update_away() -> None:
    """Whatever else the catalogue holds: required versions, yanked ones, other rollouts."""
    moved = 0
    for seed in range(300):
        rng = random.Random(seed)
        project = a_project(rng)
        channel = rng.choice(project.channels)
        if not channel.versions:
            continue
        lucky = rng.choice(channel.versions)
        if lucky.rollout_percent < 100:
            more = replace(lucky, rollout_percent=rng.uniform(lucky.rollout_percent, 101))
            versions = tuple(more if version is lucky else version for version in channel.versions)
            grown = replace(
                project,
                channels=tuple(
                    replace(each, versions=versions) if each is channel else each for each in project.channels
                ),
            )
            before, after = compile_project(project)[channel.id], compile_project(grown)[channel.id]
            for client in (a_client(rng) for _ in range(20)):
                old, new = before.decide(client).offered, after.decide(client).offered
                assert old is None or (new is not None and new.key >= old.key)
                moved += new is not None and (old is None or new.key > old.key)
    assert moved > 10
