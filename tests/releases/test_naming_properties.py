"""What holds for every name: it can be read, and neither case, nor order, nor the project's name changes the result."""

from __future__ import annotations

import os
import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.releases.asset_files import Kind
from gateway.releases.naming import classify, map_assets
from tests.releases.asset_names import RELEASES

FULL = 10 if os.environ.get("LUNARBIT_TEST_FULL") else 1
WORDS = (
    *("linux", "windows", "win", "win32", "win64", "macos", "darwin", "android", "freebsd", "ubuntu", "alpine", "app"),
    *("x64", "x86", "64", "32", "bit", "x86_64", "arm64", "arm", "armv7", "aarch64", "386", "universal", "all", "m1"),
    *(
        "gnu",
        "musl",
        "msvc",
        "setup",
        "portable",
        "1.2.3",
        "beta",
        "trackly",
        "cli",
        "apple",
        "os",
        "mac",
        "x",
        "mingw",
    ),
    *(
        "exe",
        "zip",
        "dmg",
        "deb",
        "AppImage",
        "tar.gz",
        "app.tar.gz",
        "sig",
        "sha256",
        "yml",
        "txt",
        "src",
        "pkg",
        "apk",
    ),
)
NAMES = st.builds(
    lambda words, separators: "".join(
        word + separator for word, separator in zip(words, separators, strict=False)
    ).rstrip("-_. @+"),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=8),
    st.lists(st.sampled_from("-_. @+"), min_size=8, max_size=8),
)
PLAIN_PROJECTS = st.sampled_from(["trackly", "CSViewer", "my-tool", "Winarch Dar_win", "tool2", "arch-linter"])


@settings(max_examples=300 * FULL, deadline=None)
@given(st.text(max_size=300), st.text(max_size=30), st.text(max_size=30))
def test_any_text_can_be_read(name: str, project: str, version: str) -> None:
    """Names come from other people; none of them may stop a synchronisation."""
    asset = classify(name, project=project, version=version)
    assert asset.name == name
    assert bool(asset.reason) == (asset.target is None)
    map_assets([name, project, version], project=project, version=version)


@settings(max_examples=300 * FULL, deadline=None)
@given(NAMES, st.randoms(use_true_random=False))
def test_upper_and_lower_case_are_the_same(name: str, chance: random.Random) -> None:
    """Packagers write macOS, Linux and X64 as they like."""
    other = "".join(letter.upper() if chance.random() < 0.5 else letter.lower() for letter in name)
    one = classify(name, project="trackly", version="1.2.3")
    two = classify(other, project="TRACKLY", version="1.2.3")
    assert replace(two, name=name, of=one.of) == one


@settings(max_examples=300 * FULL, deadline=None)
@given(NAMES, PLAIN_PROJECTS, st.sampled_from("-_ @"))
def test_the_projects_name_in_front_changes_nothing(name: str, project: str, separator: str) -> None:
    """Some packagers put it there and some do not, and it may contain the words of a platform."""
    without = classify(name, project=project, version="1.2.3")
    if without.kind in (Kind.SIDECAR, Kind.CHECKSUMS, Kind.SIGNATURE, Kind.OTHER):
        return
    with_name = classify(f"{project}{separator}{name}", project=project, version="1.2.3")
    assert with_name.target == without.target
    assert (with_name.kind, with_name.libc) == (without.kind, without.libc)


def test_the_projects_name_in_front_changes_nothing_for_names_of_real_projects() -> None:
    """The same for every build in the table. A project called `win` is cut out only where it leads."""
    for release in (release for release in RELEASES if release.project != "win"):
        for name, _ in release.rows:
            asset = classify(name, project=release.project, version=release.version)
            if asset.target:
                other = classify(f"Zebra-{name}", project=("zebra", release.project), version=release.version)
                assert (other.target, other.kind) == (asset.target, asset.kind), name


@settings(max_examples=200 * FULL, deadline=None)
@given(st.lists(NAMES, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_the_files_plays_no_part(names: list[str], chance: random.Random) -> None:
    """GitHub lists assets in the order of their upload, which changes from release to release."""
    one = map_assets(names, project="trackly", version="1.2.3")
    shuffled = [*names, *names[:3]]
    chance.shuffle(shuffled)
    assert map_assets(shuffled, project="trackly", version="1.2.3") == one


def test_the_order_of_a_real_releases_files_plays_no_part() -> None:
    """The same for the releases of the table, each in twenty orders."""
    chance = random.Random(20260205)
    for release in RELEASES:
        names = [name for name, _ in release.rows]
        first = map_assets(names, project=release.project, version=release.version)
        for _ in range(20):
            chance.shuffle(names)
            assert map_assets(names, project=release.project, version=release.version) == first


@settings(max_examples=300 * FULL, deadline=None)
@given(st.lists(NAMES, max_size=12))
def test_no_file_is_mapped_against_what_its_name_says(names: list[str]) -> None:
    """Siblings may add what a name leaves out, never change what it says; and a target has one build."""
    found = map_assets(names, project="trackly", version="1.2.3")
    for target, asset in found.builds.items():
        alone = classify(asset.name, project="trackly", version="1.2.3")
        assert alone.platform == target[0]
        assert alone.architecture in (None, target[1])
        assert alone.undecided == (alone.architecture is None)
    assert len(found.builds) + len(found.others) == len(set(names))
