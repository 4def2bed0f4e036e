"""Versions compare as SemVer says, whoever wrote them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import semver
from hypothesis import given
from hypothesis import strategies as st

from gateway.releases.versions import (
    MAX_CHARS,
    InvalidVersion,
    is_breaking_bump,
    listing_order,
    next_breaking,
    parse_query_version,
    parse_version,
)

VECTORS = Path(__file__).parent / "data" / "semver-vectors.txt"

# Few words and numbers, so that versions meet often; and some numbers that no machine word holds.
NUMBERS = st.one_of(st.integers(0, 3), st.integers(0, 10**40))
WORDS = st.sampled_from(["alpha", "beta", "rc", "-", "A", "0a", "x-1"])
PRERELEASES = st.lists(st.one_of(NUMBERS.map(str), WORDS), max_size=3).map(".".join)
METADATA = st.lists(st.one_of(st.sampled_from(["1", "01", "007", "10", "2"]), WORDS), max_size=2).map(".".join)


@st.composite
def versions(draw: st.DrawFn) -> str:
    """Draw a valid version."""
    prerelease, metadata = draw(PRERELEASES), draw(METADATA)
    core = ".".join(str(draw(NUMBERS)) for _ in range(3))
    return core + ("-" + prerelease if prerelease else "") + ("+" + metadata if metadata else "")


def vectors() -> list[tuple[str, str, str]]:
    """Read the file of examples: installed, offered, and what comes of it."""
    lines = [line.split() for line in VECTORS.read_text().splitlines() if line and not line.startswith("#")]
    return [(installed, offered, outcome) for installed, offered, outcome in lines]


@pytest.mark.parametrize(("installed", "offered", "outcome"), vectors())
def test_versions_compare_as_the_examples_say(installed: str, offered: str, outcome: str) -> None:
    """They are what launchers that exist do, where these agree with SemVer."""
    if outcome == "invalid":
        with pytest.raises(InvalidVersion):
            parse_version(offered)
        return
    mine, theirs = parse_version(installed), parse_version(offered)
    assert (mine < theirs, mine == theirs, mine > theirs) == (outcome == "<", outcome == "=", outcome == ">")


@pytest.mark.parametrize(
    "text",
    [
        *("", "v", "1", "1.2", "1.2.3.4", "1.2.x", "01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3+", "1.2.3-01"),
        *("1.2.3-a..b", "1.2.3-a_b", "1.2.3+a+b", "1.2.3+ä", "-1.2.3", "+1.2.3", " 1.2.3", "1.2.3 ", "1.2.3\n"),
        *("vv1.2.3", "V1.2.3", "=1.2.3", "1,2,3", "latest", "1.2.3-\u0661", "\u0661.2.3", "1.2.3\x00", "1.2.3-\udcff"),
    ],
)
def test_whatever_is_not_semver_is_refused(text: str) -> None:
    """Also digits of other scripts and a line's end, which look innocent to a careless pattern."""
    with pytest.raises(InvalidVersion):
        parse_version(text)


def test_a_version_keeps_its_text_without_the_leading_v() -> None:
    """The text is what the catalogue lists and what clients are shown."""
    key = parse_version("v1.2.5-RC.1+build.7")
    assert (str(key), key.metadata, key.is_prerelease) == ("1.2.5-RC.1+build.7", "build.7", True)
    assert not parse_version("1.2.5+build-7").is_prerelease


def test_a_plus_sign_that_an_address_turned_into_a_space_comes_back() -> None:
    """Velopack does not escape it; any other space stays an error."""
    assert parse_query_version("1.2.5 2").text == "1.2.5+2"
    assert parse_query_version("v1.2.5+2").text == "1.2.5+2"
    for text in ("1.2.5 ", " 1.2.5", "1.2.5 a b", "1. 2.5"):
        with pytest.raises(InvalidVersion):
            parse_query_version(text)


def test_numbers_have_no_bound_but_texts_do() -> None:
    """A date with a time and a serial number is a fine number; a novel is no version."""
    long = "1.0.0-" + "9" * (MAX_CHARS - 6)
    assert parse_version(long) > parse_version("1.0.0-" + "9" * 100)
    with pytest.raises(InvalidVersion, match="256"):
        parse_version(long + "9")


@given(versions(), versions())
def test_the_order_is_that_of_the_semver_library(one: str, other: str) -> None:
    """Two independent ways to the same order; and who is equal has the same hash."""
    expected = semver.Version.parse(one).compare(other)
    left, right = parse_version(one), parse_version(other)
    assert (left > right) - (left < right) == expected
    assert (left == right) == (expected == 0)
    assert expected or hash(left) == hash(right)


@given(st.lists(versions(), min_size=3, max_size=3))
def test_the_order_is_total(texts: list[str]) -> None:
    """Of any two exactly one of <, = and > holds, and what is less than the less is less."""
    one, two, three = (parse_version(text) for text in texts)
    assert (one < two) + (one == two) + (one > two) == 1
    assert (one <= two) == (not two < one)
    if one <= two <= three:
        assert one <= three
        assert (one == three) == (one == two == three)


@given(st.lists(versions(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_highest_does_not_depend_on_the_order_of_the_list(texts: list[str], rng: random.Random) -> None:
    """Lists come from databases and from GitHub, by date or by nothing; among equals the metadata decides."""
    keys = [parse_version(text) for text in texts]
    shuffled = rng.sample(keys, len(keys))
    highest = max(keys, key=listing_order)
    assert max(shuffled, key=listing_order).text == highest.text
    assert all(highest >= key for key in keys)


def test_metadata_counts_up_where_precedence_is_equal() -> None:
    """A rebuild is published as +2 after +1, and +10 after +9."""
    ascending = ["1.0.0", "1.0.0+1", "1.0.0+9", "1.0.0+10", "1.0.0+10.1", "1.0.0+a", "1.0.1-rc.1"]
    keys = [parse_version(text) for text in ascending]
    keys.reverse()
    assert [key.text for key in sorted(keys, key=listing_order)] == ascending


@pytest.mark.parametrize(
    ("old", "new", "breaking"),
    [
        ("1.9.9", "2.0.0", True),
        ("1.9.9", "2.0.0-alpha", True),
        ("2.0.0-alpha", "2.0.0", False),
        ("1.0.0", "1.9.0", False),
        ("0.1.9", "0.2.0", True),
        ("0.1.9", "0.2.0-rc.1", True),
        ("0.1.0", "0.1.9", False),
        ("0.9.0", "1.0.0", True),
        ("0.0.1", "0.0.2", False),
        ("2.0.0", "1.0.0", False),
        ("0.3.0", "0.2.0", False),
        ("1.0.0+1", "1.0.0+2", False),
    ],
)
def test_the_numbers_announce_a_break(old: str, new: str, breaking: bool) -> None:
    """A higher major does, and below 1.0 a higher minor; a lower version breaks nothing by its number."""
    assert is_breaking_bump(parse_version(old), parse_version(new)) is breaking


@given(versions(), versions())
def test_the_bound_of_a_break_is_exact(one: str, other: str) -> None:
    """What reaches `next_breaking` differs in the major, or in the minor below 1.0; nothing else does."""
    old, new = semver.Version.parse(one), semver.Version.parse(other)
    expected = new.major > old.major or (old.major == new.major == 0 and new.minor > old.minor)
    assert (parse_version(other).precedence >= next_breaking(parse_version(one))) == expected
