"""A project's own rules for names: what they change, and which patterns are refused."""

from __future__ import annotations

import importlib
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.field_rules import Wrong
from gateway.releases.asset_overrides import MAX_OVERRIDES, MAX_WAYS, compile_overrides, pattern
from gateway.releases.naming import Asset, classify


def read(name: str, *rules: dict[str, Any]) -> Asset:
    """Classify a name under these rules."""
    return classify(name, project="app", version="1.2.3", overrides=compile_overrides(rules))


def test_the_first_rule_that_fits_counts() -> None:
    """Order is the administrator's means to write an exception before a rule."""
    rules: tuple[dict[str, Any], ...] = (
        {"pattern": "^app-box", "platform": "linux", "architecture": "arm64"},
        {"pattern": "^APP", "platform": "windows", "architecture": "X86"},
    )
    assert read("App-Box.zip", *rules).target == ("linux", "arm64")
    assert read("app-linux-x64.zip", *rules).target == ("windows", "x86")
    assert read("other-linux-x64.zip", *rules).target == ("linux", "x64")


def test_a_rule_leaves_to_the_name_what_it_does_not_say() -> None:
    """One rule for all macOS files of a project, and the processor still comes from each name."""
    rule = {"pattern": "^app-desktop", "platform": "macos"}
    assert read("app-desktop-arm64.zip", rule).target == ("macos", "arm64")
    assert read("app-desktop-x86.zip", rule).target == ("macos", "x64")
    assert read("app-desktop.zip", rule).undecided
    assert read("app-linux.tar.gz", {"pattern": "linux", "architecture": "x64"}).target == ("linux", "x64")
    assert read("app-riscv64.zip", {"pattern": "^app", "platform": "linux"}).target is None
    assert "no platform" in read("app.zip", {"pattern": "^app", "architecture": "x64"}).reason


def test_a_rule_that_says_both_wins_over_everything_in_the_name() -> None:
    """Names lie, and some files have endings that nobody else uses."""
    rule = {"pattern": "^app", "platform": "linux", "architecture": "arm64"}
    for name in ("app-windows-x64.zip", "app-linux-android.tar.gz", "app.jar", "app-x64-arm64-musl-gnu.zip"):
        assert read(name, rule).target == ("linux", "arm64"), name


def test_a_rule_never_makes_a_build_of_a_signature_or_a_checksum() -> None:
    """Hardly any pattern ends in a dollar sign, and app.zip.sig would fit it too."""
    rule = {"pattern": "silicon", "platform": "macos", "architecture": "arm64"}
    for name in ("app-silicon.zip.sig", "app-silicon.zip.sha256", "app-silicon.zip.blockmap", "latest-silicon.yml"):
        assert read(name, rule).target is None


def test_a_rule_can_leave_files_out() -> None:
    """A release may hold whole products that this project does not publish here."""
    asset = read("app-server-linux-x64.zip", {"pattern": "server", "skip": True})
    assert (asset.target, asset.reason) == (None, "an override leaves it out")


def test_universal_is_for_macos_only_also_by_a_rule() -> None:
    """Only macOS has files for two processors that every launcher understands."""
    assert "macOS' alone" in read("app-linux.zip", {"pattern": "^app", "architecture": "universal"}).reason
    with pytest.raises(InvalidRequest, match="can be universal on macos only"):
        compile_overrides([{"pattern": "^a", "platform": "linux", "architecture": "universal"}])


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({}, "overrides[1].pattern"),
        ({"pattern": "^a"}, "overrides[1].platform"),
        ({"pattern": "^a", "skip": False}, "overrides[1].platform"),
        ({"pattern": "^a", "skip": "yes"}, "overrides[1].skip"),
        ({"pattern": "^a", "platform": "beos"}, "overrides[1].platform"),
        ({"pattern": "^a", "architecture": 64}, "overrides[1].architecture"),
        ({"pattern": "^a(", "platform": "linux"}, "overrides[1].pattern"),
        ({"pattern": "^a", "platform": "linux", "os": "linux"}, "overrides[1].os"),
    ],
)
def test_a_mistake_is_told_with_the_field_it_is_in(entry: dict[str, Any], field: str) -> None:
    """An administrator writes many rules at once and has to find the wrong one."""
    with pytest.raises(InvalidRequest) as refused:
        compile_overrides([{"pattern": "^app", "platform": "linux"}, entry])
    assert refused.value.param == field


def test_there_is_a_limit_to_their_number() -> None:
    """Every name is tried against every rule."""
    entries = [{"pattern": "^a", "skip": True}] * MAX_OVERRIDES
    assert len(compile_overrides(entries)) == MAX_OVERRIDES
    with pytest.raises(InvalidRequest, match="at most 32"):
        compile_overrides([*entries, entries[0]])


@pytest.mark.parametrize(
    "text",
    [
        "^app-.*-(arm64|aarch64).*[.](zip|dmg)$",
        r"^app[-_]v?\d{1,4}\.\d{1,4}\.\d{1,6}[-_]mac",
        "silicon",
        ".*silicon",
        "^(?:app|tool)-(?P<os>win|mac)$",
        "^[^-]+-[^-]+-linux",
        "^app{2}-a{,3}-b{1,}-.{1,20}?$",
        "^[]a]x[^]]$",
        "^(ab|cd){1,6}$",
        r"^app(-[a-z]{1,8})?\.zip$",
    ],
)
def test_patterns_that_people_write_are_taken(text: str) -> None:
    """The limit has to leave room for what rules are made of."""
    assert pattern(text).pattern == text


@pytest.mark.parametrize(
    "text",
    [
        "^(a+)+$",
        "^(a|a)*$",
        "^(a|ab)*c$",
        "^(.*)*x",
        "^([a-z]+)*$",
        "^(a?){30}a{30}$",
        "^" + "a?" * 60 + "a" * 60,
        "(x+x+)+y",
        ".*.*.*x",
        "^.*.*.*.*x",
        "^(a{1,50}){1,50}$",
        "^(a?){1234}$",
        "^(?:a|b|c|d|e|f){12}$",
    ],
)
def test_patterns_that_could_run_for_long_are_refused(text: str) -> None:
    """Each of these makes a matcher that backtracks try millions of ways and more on some name."""
    with pytest.raises(Wrong, match="too many ways"):
        pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a" * 201, "a\nb", "(", ")", "a)", "*a", "a**", "a|*", "[a", "[]", "(?i)a", "(?=a)", "(?!a)", "(?<=a)b"),
        *("(?<!a)b", r"(a)\1", "(?P<x>a)(?P=x)", "(?(1)a|b)", "a{3", "}", "(?>a)", "(?#a)", r"a\8", "(?P<x>a)(?P<x>b)"),
        *(None, 3, ["a"], "a{4,2}", "[z-a]", "\\"),
    ],
)
def test_what_is_no_pattern_or_of_a_syntax_we_do_not_count_is_refused(text: Any) -> None:
    """Only what is counted may be run."""
    with pytest.raises(Wrong, match="regular expression"):
        pattern(text)


def ways_by_pythons_parser(text: str) -> int:
    """Count the ways of a pattern as Python's own parser understands it, to compare with."""
    parser = importlib.import_module("re._parser")

    def of(nodes: Any) -> int:
        ways = 1
        for op, value in nodes:
            name = str(op)
            if name.endswith("_REPEAT"):
                least, most, body = value
                ways *= max(1, sum(of(body) ** times for times in range(least, min(int(most), 256) + 1)))
            elif name == "SUBPATTERN":
                ways *= of(value[-1])
            elif name == "BRANCH":
                ways *= sum(of(part) for part in value[1])
            ways = min(ways, MAX_WAYS**2)
        return ways

    return of(parser.parse(text)) * (1 if text.startswith("^") else 256)


PIECES = st.sampled_from(
    ["a", ".", "[a-z]", "x*", ".*", "a+", "b?", "(a|b)", "(c+)", "(?:d|e|)", "|", "(", ")", "{2,3}", "*", "^", r"\d"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=10).map("".join))
def test_no_pattern_is_taken_that_pythons_parser_finds_longer(text: str) -> None:
    """The count rests on a small grammar of ours, so it must never be lower than that of the real one."""
    try:
        taken = pattern(text)
    except Wrong:
        return
    assert ways_by_pythons_parser(taken.pattern) <= MAX_WAYS


def test_every_pattern_that_is_taken_ends_on_names_made_to_keep_it_busy() -> None:
    """The worst that the limit leaves: the whole suite's own time limit is the bound."""
    chance = random.Random(20260205)
    hard = ["^.*.*x$", ".*x", "^.*(a|b|c|d|e|f|g).*y", "^[a-z]*[a-z]*9", "^(a|b|c){1,4}.*.{1,20}x", "(a?a?a?)z.*"]
    names = ["a" * 255, "ab" * 127, "".join(chance.choice("abc") for _ in range(255))]
    for text in hard:
        taken = pattern(text)
        assert isinstance(taken, re.Pattern)
        for name in names:
            taken.search(name)
