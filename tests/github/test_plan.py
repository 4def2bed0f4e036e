"""What a release on GitHub means, without anybody being asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from gateway.releases.github_plan import assess, changed_at, configuration, missing_channels, new_version
from gateway.releases.github_release import GithubAsset, GithubRelease, fingerprint, newest_ms, time_ms
from gateway.releases.github_store import ReleaseState, Seen
from gateway.releases.model import Channel, GithubSource, Project
from tests.github.scene import LINUX, WINDOWS

SOURCE = GithubSource("octo-org/app")
PROJECT = Project("app", "App", github=SOURCE, channels=(Channel("stable"), Channel("beta")))
HOUR_MS = 3_600_000


def asset(name: str, **more: Any) -> GithubAsset:
    """Return a file that is there."""
    values = {"id": 1, "name": name, "state": "uploaded", "size": 10, "digest": f"sha256:{'A' * 64}"}
    return GithubAsset(**{**values, "browser_download_url": f"https://github.com/d/{name}", **more})


def release(tag: str = "v1.0.0", *assets: GithubAsset, **more: Any) -> GithubRelease:
    """Return a release, with a file for Linux unless others are given."""
    values: dict[str, Any] = {"id": 7, "tag_name": tag, "draft": False, "prerelease": False}
    return GithubRelease(**{**values, "assets": assets or (asset(LINUX),), **more})


@pytest.mark.parametrize(
    ("tag", "flag", "channel", "version"),
    [
        ("v1.0.0", False, "stable", "1.0.0"),
        ("v1.0.0", True, "beta", "1.0.0"),
        ("v1.0.0-beta.1", False, "beta", "1.0.0-beta.1"),
        ("v1.0.0-alpha.1", True, "dev", "1.0.0-alpha.1"),
        ("app@1.0.0+build.7", False, "stable", "1.0.0+build.7"),
    ],
)
def test_the_less_stable_of_flag_and_tag_decides(tag: str, flag: bool, channel: str, version: str) -> None:
    """A flag that was forgotten must not put an alpha before everybody, and a set one is meant."""
    found = assess(release(tag, prerelease=flag), PROJECT, SOURCE)
    assert (found.state, found.channel_id, found.version_id) == (ReleaseState.PUBLISHED, channel, version)


def test_a_draft_is_nothing_at_all() -> None:
    """Its tag may not even exist."""
    assert assess(release(draft=True), PROJECT, SOURCE).state is None


def test_one_open_upload_keeps_the_whole_release_back() -> None:
    """Which platform it is for does not matter: the release is not whole."""
    found = assess(release("v1.0.0", asset(LINUX), asset("notes.txt", state="starter")), PROJECT, SOURCE)
    assert (found.state, found.reason) == (ReleaseState.WAITING, "still being uploaded: notes.txt")


def test_digests_are_taken_over_in_lower_case_and_others_left_out() -> None:
    """Only SHA-256 is what the catalogue compares."""
    found = assess(release("v1.0.0", asset(LINUX), asset(WINDOWS, id=2, digest="sha512:ab")), PROJECT, SOURCE)
    assert [build.sha256 for build in found.builds] == ["a" * 64, ""]


@pytest.mark.parametrize("url", ["ftp://host/file", "https://user@host/file", "https://host/a file", "javascript:x"])
def test_an_address_that_could_not_be_served_is_no_build(url: str) -> None:
    """It would stand in a Location header."""
    found = assess(release("v1.0.0", asset(LINUX, browser_download_url=url)), PROJECT, SOURCE)
    assert found.state is ReleaseState.SKIPPED


def test_an_empty_file_is_no_build() -> None:
    """An upload that failed."""
    found = assess(release("v1.0.0", asset(LINUX, size=0), asset(WINDOWS, id=2)), PROJECT, SOURCE)
    assert [build.id for build in found.builds] == ["windows-x64"]
    assert found.reason == f"left out: {LINUX}: it is empty"


def test_texts_are_cut_and_cleaned() -> None:
    """A database refuses NUL, and nobody reads megabytes."""
    made = release(name="A\x00 name\n" + "x" * 500, body="a\r\nb\x00\tc" + "d" * 300_000)
    version = new_version(made, assess(made, PROJECT, SOURCE), "salt", 5).version
    assert version is not None
    assert version.name == "A name" + "x" * 194
    assert version.release_notes.startswith("a\nb\tcd")
    assert len(version.release_notes) == 200_000
    assert version.published_at == 5


def test_counters_do_not_change_the_fingerprint() -> None:
    """The download count changes all the time, and a release that always changes never settles."""
    raw = {"id": 1, "name": "a", "state": "uploaded", "size": 1, "browser_download_url": "https://h/a"}
    whole = {"id": 7, "tag_name": "v1", "draft": False, "prerelease": False}
    marks = {
        fingerprint(
            msgspec.convert(
                {**whole, "updated_at": f"2026-01-0{day}T00:00:00Z", "assets": [{**raw, "download_count": day}]},
                GithubRelease,
            )
        )
        for day in (1, 2, 3)
    }
    assert len(marks) == 1
    changes: list[dict[str, Any]] = [{"id": 2}, {"state": "open"}, {"size": 2}, {"digest": "sha256:00"}]
    for change in changes:
        marks.add(fingerprint(msgspec.convert({**whole, "assets": [{**raw, **change}]}, GithubRelease)))
    assert len(marks) == 1 + len(changes)


def test_only_what_is_old_is_believed_at_first_sight() -> None:
    """By GitHub's own clock, and only if every time is known."""
    now = 1_770_000_000_000
    old = "2020-01-01T00:00:00Z"
    settled = release("v1.0.0", asset(LINUX, updated_at=old), published_at=old)
    assert changed_at(settled, "f", None, now, 5) == 0
    assert changed_at(settled, "f", None, (newest_ms(settled) or 0) + HOUR_MS - 1, 5) == 5
    assert changed_at(release("v1.0.0", asset(LINUX, updated_at="?"), published_at=old), "f", None, now, 5) == 5
    assert changed_at(release(), "f", None, now, 5) == 5
    seen = Seen(7, "v1.0.0", "f", 3, ReleaseState.WAITING)
    assert changed_at(settled, "f", seen, now, 5) == 3
    assert changed_at(settled, "g", seen, now, 5) == 5
    assert changed_at(settled, "f", replace(seen, state=ReleaseState.NEW), now, 5) == 0


def test_channels_are_made_with_those_that_they_include() -> None:
    """And only those that are missing."""
    assert missing_channels(PROJECT, "beta") == []
    (made,) = missing_channels(PROJECT, "dev")
    assert (made.id, made.includes) == ("dev", ("beta", "stable"))
    assert missing_channels(PROJECT, "preview") == []


def test_what_counts_for_judging_is_in_the_configuration() -> None:
    """Otherwise a change would wait until GitHub changes something, too."""
    variants = [
        PROJECT,
        replace(PROJECT, name="Other"),
        replace(PROJECT, created_at=5),
        replace(PROJECT, channels=(*PROJECT.channels, Channel("preview"))),
        replace(PROJECT, github=replace(SOURCE, tag_pattern="v{version}")),
        replace(PROJECT, github=replace(SOURCE, channels=(("rc", "stable"),))),
    ]
    assert len({configuration(project) for project in variants}) == len(variants)
    assert configuration(replace(PROJECT, updated_at=9)) == configuration(PROJECT)


@pytest.mark.parametrize(
    ("text", "at"), [("1970-01-01T00:00:01Z", 1000), ("yesterday", None), (None, None), ("1969-01-01T00:00:00Z", None)]
)
def test_times_are_read_or_unknown(text: str | None, at: int | None) -> None:
    """Whatever stands there, nothing breaks."""
    assert time_ms(text) == at
