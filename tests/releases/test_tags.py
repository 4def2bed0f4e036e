"""Which version a tag names, why it names none, and which channel a version belongs in."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.field_rules import Wrong
from gateway.releases.tags import channel_of, read_tag, tag_pattern, version_of_tag
from gateway.releases.versions import InvalidVersion, parse_version

FULL = 10 if os.environ.get("LUNARBIT_TEST_FULL") else 1


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("1.2.3", "1.2.3"),
        ("v1.2.3", "1.2.3"),
        ("V1.2.3", "1.2.3"),
        ("app-v1.2.3", "1.2.3"),
        ("app-1.2.3-beta.1", "1.2.3-beta.1"),
        ("@scope/app@1.2.3", "1.2.3"),
        ("app@1.2.3-rc.1", "1.2.3-rc.1"),
        ("app/v1.2.3", "1.2.3"),
        ("release-1.2.3", "1.2.3"),
        ("release/1.2.3", "1.2.3"),
        ("release-app-v1.2.3", "1.2.3"),
        ("refs/tags/v1.2.3", "1.2.3"),
        ("my_app_v1.2.3", "1.2.3"),
        ("app-2-v1.2.3", "1.2.3"),
        ("v1.2.3-rc.1+build.5", "1.2.3-rc.1+build.5"),
        ("v1.0.0-RC.1", "1.0.0-RC.1"),
        ("2024.1.5", "2024.1.5"),
    ],
)
def test_a_tag_names_its_version(tag: str, version: str) -> None:
    """These are the forms that projects and monorepos use."""
    assert version_of_tag(tag) == version


@pytest.mark.parametrize(
    "tag",
    [
        *(
            "",
            "v",
            "latest",
            "nightly",
            "v1.2",
            "v1.2.3.4",
            "1.2.3.4",
            "app-1.2.3.4",
            "2024.01.05",
            "v01.2.3",
            "1.2.3-",
        ),
        *(
            "v1.2.3-01",
            "x1.2.3",
            "1.2-1.2.3",
            "v1.2-1.2.3",
            "app v1.2.3",
            "1.2.3 ",
            "v" * 300,
            "vv1.2.3",
            "-1.2.3",
            "\u0661.2.3",
        ),
    ],
)
def test_a_tag_without_a_semantic_version_is_passed_over_with_a_reason(tag: str) -> None:
    """It must never become another version than its author meant, and whoever looks has to see why it is missing."""
    assert version_of_tag(tag) is None
    assert read_tag(tag).reason


def test_the_tags_of_a_monorepos_other_packages_are_not_of_this_project() -> None:
    """core-v9.0.0 must not become version 9.0.0 of the app that lies in the same repository."""
    assert version_of_tag("app-v1.2.3", project="app") == "1.2.3"
    assert version_of_tag("@lunarbit/my-app@1.2.3", project=("myapp", "My App")) == "1.2.3"
    assert version_of_tag("My.App/v1.2.3", project="my-app") == "1.2.3"
    assert version_of_tag("release-1.2.3", project="app") == "1.2.3"
    assert version_of_tag("v1.2.3", project="app") == "1.2.3"
    for tag in ("core-v9.0.0", "@lunarbit/core@9.0.0", "app-core-v9.0.0", "apps/core/9.0.0"):
        assert version_of_tag(tag, project="app") is None
        assert "not of this project" in read_tag(tag, project="app").reason


@pytest.mark.parametrize(
    ("pattern", "tag", "version"),
    [
        ("app-v{version}", "app-v1.2.3", "1.2.3"),
        ("app-v{version}", "v1.2.3", None),
        ("app-v{version}", "app-core-v1.2.3", None),
        ("{version}", "v1.2.3", "1.2.3"),
        ("@scope/app@{version}", "@scope/app@2.0.0-rc.1", "2.0.0-rc.1"),
        ("{version}-release", "1.2.3-release", "1.2.3"),
        ("a{version}a", "a", None),
        ("aa{version}aa", "aaa", None),
        (".*{version}", "app-1.2.3", None),
        ("app-{version}", "app-1.2", None),
    ],
)
def test_a_projects_own_pattern_decides_alone(pattern: str, tag: str, version: str | None) -> None:
    """It is plain text around the version, so there is nothing in it that could surprise."""
    assert version_of_tag(tag, pattern) == version
    assert bool(read_tag(tag, pattern).reason) == (version is None)


def test_a_pattern_needs_the_place_of_the_version_once() -> None:
    """A pattern without it would fit one tag for ever."""
    assert tag_pattern("app-v{version}") == "app-v{version}"
    for wrong in ("app-v", "{version}{version}", "{version}{x}", "", None, 3, "a\n{version}", "a" * 300 + "{version}"):
        with pytest.raises(Wrong, match="in it once"):
            tag_pattern(wrong)


@settings(max_examples=500 * FULL, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"[a-z@/-]{0,8}v?[0-9.]{1,8}[-+a-z0-9.]{0,12}", fullmatch=True))
def test_any_tag_gives_a_version_or_a_reason(tag: str) -> None:
    """What comes out is a version that the rest of the program reads, and the end of the tag."""
    version, reason = read_tag(tag)
    assert bool(reason) == (version is None)
    if version is not None:
        assert str(parse_version(version)) == version
        assert tag.endswith(version)


@pytest.mark.parametrize(
    ("version", "flag", "channel"),
    [
        ("1.2.3", False, "stable"),
        ("1.2.3+beta", False, "stable"),
        ("1.2.3", True, "beta"),
        ("1.2.3-beta.1", True, "beta"),
        ("1.2.3-beta.1", False, "beta"),
        ("1.2.3-rc1", False, "beta"),
        ("1.0.0-RC.1", True, "beta"),
        ("1.2.3-alpha", False, "dev"),
        ("1.2.3-nightly.20260205", False, "dev"),
        ("1.2.3-dev", True, "dev"),
        ("1.2.3-beta.nightly.2", False, "dev"),
        ("1.2.3-0.3.7", False, "beta"),
        ("1.2.3-fix-login", False, "beta"),
        ("1.2.3-stable", False, "beta"),
    ],
)
def test_a_version_goes_to_the_channel_of_its_prerelease(version: str, flag: bool, channel: str) -> None:
    """Where the flag and the version disagree the less stable wins: a stable user never gets what somebody doubted."""
    assert channel_of(version, prerelease_flag=flag) == channel


def test_a_project_says_which_channel_each_word_means() -> None:
    """Words of its own count too, and as the least stable, because nobody here can know better."""
    mapping = {"rc": "candidate", "insider": "insiders", "prerelease": "preview", "stable": "release"}
    assert channel_of("1.0.0-rc.1", prerelease_flag=False, mapping=mapping) == "candidate"
    assert channel_of("1.0.0-rc.1.insider", prerelease_flag=True, mapping=mapping) == "insiders"
    assert channel_of("1.0.0", prerelease_flag=True, mapping=mapping) == "preview"
    assert channel_of("1.0.0", prerelease_flag=False, mapping=mapping) == "release"
    assert channel_of("1.0.0-alpha.1", prerelease_flag=False, mapping=mapping) == "dev"


def test_a_flagged_prerelease_is_never_stable() -> None:
    """A project may publish release candidates as stable, but not those that it flags."""
    mapping = {"rc": "stable"}
    assert channel_of("1.0.0-rc.1", prerelease_flag=False, mapping=mapping) == "stable"
    assert channel_of("1.0.0-rc.1", prerelease_flag=True, mapping=mapping) == "beta"


def test_what_is_no_version_has_no_channel() -> None:
    """The caller has skipped such tags before."""
    with pytest.raises(InvalidVersion):
        channel_of("1.2", prerelease_flag=False)
