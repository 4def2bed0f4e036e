"""What breaks on the way from the installed version to the offered one."""

from __future__ import annotations

import pytest

from gateway.releases.breaking import IDS_LIMIT
from gateway.releases.model import Channel, Project, Version
from gateway.releases.notes import has_breaking_marker
from tests.releases.small_catalogue import ask, build, client, name_of, plain, stable, version


def told(project: Project, current: str, channel: str = "stable") -> tuple[list[str], str | None]:
    """Return the versions that break something, and the highest before them."""
    decision = ask(project, client(current), channel)
    assert decision.breaking_changes == bool(decision.breaking_versions)
    return list(decision.breaking_versions), name_of(decision.highest_non_breaking)


@pytest.mark.parametrize(
    ("current", "breaking", "harmless"),
    [
        ("1.0.0", ["2.0.0", "3.0.0"], "1.1.0"),
        ("1.1.0", ["2.0.0", "3.0.0"], None),
        ("2.0.0", ["3.0.0"], "2.1.0"),
        ("2.0.5-dev", ["3.0.0"], "2.1.0"),
        ("1.5.0", ["2.0.0", "3.0.0"], None),
        ("2.9.0", ["3.0.0"], None),
        ("3.0.0", [], "3.1.0"),
        ("3.0.5-dev", [], "3.1.0"),
    ],
)
def test_higher_majors_break(current: str, breaking: list[str], harmless: str | None) -> None:
    """Each on the way is named, whether the catalogue knows the installed version or not."""
    project = plain("3.1.0", "1.0.0", "1.1.0", "2.0.0", "2.1.0", "3.0.0")
    assert told(project, current) == (breaking, harmless)


def test_below_one_higher_minors_break() -> None:
    """And the step to 1.0 does."""
    assert told(plain("0.1.0", "0.1.1", "0.2.0", "1.0.0"), "0.1.0") == (["0.2.0", "1.0.0"], "0.1.1")
    assert told(plain("0.0.1", "0.0.9"), "0.0.1") == ([], "0.0.9")


def test_what_breaks_between_is_not_forgotten() -> None:
    """The notes of the offered version alone do not mention it."""
    project = stable(
        version("1.0.0"),
        version("1.1.0"),
        version("1.2.0", release_notes="- BREAKING CHANGE: configuration moved"),
        version("1.3.0", breaking=True),
        version("1.4.0", release_notes="- Fixes"),
    )
    assert told(project, "1.0.0") == (["1.2.0", "1.3.0"], "1.1.0")
    assert told(project, "1.2.0") == (["1.3.0"], None)
    assert told(project, "1.3.0") == ([], "1.4.0")


def test_the_publishers_word_counts_for_its_own_version_only() -> None:
    """2.0.0 breaks nothing, they say; of 2.1.0 they say nothing, and it is a higher major than 1.0.0."""
    promised = version("2.0.0", breaking=False, release_notes="BREAKING CHANGE: not really")
    assert told(stable(version("1.0.0"), promised), "1.0.0") == ([], "2.0.0")
    assert told(stable(version("1.0.0"), promised, version("2.1.0")), "1.0.0") == (["2.1.0"], "2.0.0")
    assert told(stable(version("1.0.0"), promised, version("2.1.0")), "2.0.0") == ([], "2.1.0")
    assert told(stable(promised, version("2.1.0", breaking=False)), "1.0.0") == ([], "2.1.0")
    marked = version("2.1.0", release_notes="Breaking: everything")
    assert told(stable(promised, marked, version("2.2.0", breaking=False)), "1.0.0") == (["2.1.0"], "2.0.0")
    held = version("2.0.0", breaking=False, rollout_percent=0.0)
    assert told(stable(version("1.1.0"), held, version("2.0.1"), marked), "1.0.0") == (["2.1.0"], "1.1.0")


def test_withdrawn_and_foreign_versions_break_too() -> None:
    """What they changed is still in those that follow."""
    yanked = version("1.1.0", breaking=True, yanked_at=1)
    foreign = Version("1.2.0", breaking=True, builds=())
    assert told(stable(yanked, foreign, version("1.3.0")), "1.0.0") == (["1.1.0", "1.2.0"], None)


def test_only_versions_that_the_channel_shows_count() -> None:
    """A pre-release that never was in stable breaks nothing there."""
    project = Project(
        "app",
        channels=(
            Channel("stable", versions=(version("1.1.0"),)),
            Channel("beta", versions=(version("1.1.0-beta.1", breaking=True),), includes=("stable",)),
        ),
    )
    assert told(project, "1.0.0") == ([], "1.1.0")
    assert told(project, "1.0.0", "beta") == (["1.1.0-beta.1"], None)


def test_the_way_ends_with_the_offered_version() -> None:
    """What comes after a required version is told when it is installed."""
    project = stable(version("1.0.0"), version("1.5.0", required=True), version("2.0.0"))
    assert told(project, "1.0.0") == ([], "1.5.0")
    assert told(project, "1.5.0") == (["2.0.0"], None)


def test_the_highest_harmless_version_is_one_that_the_client_may_take() -> None:
    """It is offered as a way out."""
    project = stable(
        version("1.1.0"),
        version("1.2.0", min_launcher_version="9.0.0"),
        version("1.3.0", build(min_os_version="99")),
        version("1.4.0", rollout_percent=1.0),
        version("2.0.0"),
    )
    decision = ask(project, client("1.0.0", launcher_version="1.0.0", os_version="10"))
    assert (name_of(decision.offered), name_of(decision.highest_non_breaking)) == ("2.0.0", "1.1.0")


def test_the_list_has_an_end() -> None:
    """Its beginning is what the client meets first."""
    names = [f"{number}.0.0" for number in range(1, 3 * IDS_LIMIT)]
    ids, harmless = told(plain(*names), "1.0.0")
    assert (ids, harmless) == (names[1 : IDS_LIMIT + 1], None)


@pytest.mark.parametrize(
    "notes",
    [
        "BREAKING CHANGE: the API moved",
        "fix\n\nBREAKING-CHANGE: the API moved",
        "## BREAKING CHANGES\n- one",
        "- Fixed memory leak\n- Added dark mode\n- Breaking: Removed Node 14 support",
        "* **Breaking:** paths",
        "### Breaking changes\n\n- paths",
        "### Breaking Changes\n\n- no longer runs on Windows 7",
        "**Breaking changes**:\n- paths",
        "feat!: drop XML",
        "* feat(api)!: drop XML",
        "- 1a2b3c4 refactor(core)!: new paths",
        "- Removed Node 14 support",
        "Removes all support for IE",
        "This release drops macOS 10.15 support",
        "Dropped support for Windows 7",
        "Removed Python 3.8.2 support",
    ],
)
def test_notes_that_announce_a_break(notes: str) -> None:
    """As people and their tools write them."""
    assert has_breaking_marker(notes)


@pytest.mark.parametrize(
    "notes",
    [
        "",
        "## Changes\n- Fixed dashboard loading issue\n- Improved query performance",
        "There are no breaking changes in this release",
        "NO BREAKING CHANGES",
        "### Breaking changes\n\nNone",
        "Breaking changes: none.",
        "BREAKING CHANGE: n/a",
        "Fixed: the loop was not breaking out",
        "Record-breaking: twice as fast",
        "Great news!: we are faster",
        "feat: added support for arm64",
        "Removed a log line. Better support for arm64",
        "Removed debug output\nSupport for arm64",
    ],
)
def test_notes_that_announce_none(notes: str) -> None:
    """False alarms teach people to ignore them."""
    assert not has_breaking_marker(notes)


def test_long_notes_are_read_quickly() -> None:
    """Patterns that go back and forth would take hours for these."""
    for piece in (
        "removed ",
        "feat(",
        "#",
        "-",
        "breaking",
        "a!: ",
        "\n",
        "0123456789abcdef ",
        "BREAKING CHANGE none ",
    ):
        has_breaking_marker(piece * 20_000 + "!: breaking support")
