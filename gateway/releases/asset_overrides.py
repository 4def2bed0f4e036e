"""A project's own rules for the names of its release files: patterns that say what the general rules cannot know.

Patterns come from administrators and run over names that somebody else chose, in a matcher that backtracks. So only a
part of Python's syntax is taken, and a pattern whose worst case is too long is refused when it is set: every way the
matcher could try is counted beforehand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import InvalidRequest
from gateway.field_rules import Schema, Wrong, flag, object_schema, optional, refuse_if_wrong, takes, try_fields
from gateway.releases.model import Architecture, Platform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_OVERRIDES: Final = 32
MAX_PATTERN_CHARS: Final = 200
# GitHub takes no longer names.
MAX_NAME_CHARS: Final = 255
# Two `.*` in an anchored pattern, or one in a pattern that may begin anywhere, with some alternatives beside them.
MAX_WAYS: Final = 2**20
_ANY_NUMBER: Final = MAX_NAME_CHARS + 1
_RULE = f"must be a regular expression of 1 to {MAX_PATTERN_CHARS} characters"


@dataclass(frozen=True, slots=True)
class Override:
    """What is true of the files that `pattern` is found in, upper or lower case. None leaves it to the general rules.

    `skip` leaves such files out.
    """

    pattern: re.Pattern[str]
    platform: Platform | None = None
    architecture: Architecture | None = None
    skip: bool = False


def compile_overrides(entries: Sequence[Mapping[str, Any]]) -> tuple[Override, ...]:
    """Return the overrides that `entries` describe, in their order; the first that fits a name counts.

    An entry has `pattern` and at least one of `platform`, `architecture` and `skip` (true or false). Raises
    `InvalidRequest` with every mistake, under names such as `overrides[0].pattern`.
    """
    if len(entries) > MAX_OVERRIDES:
        rule = f"must be a list of at most {MAX_OVERRIDES} objects"
        raise InvalidRequest(f"overrides: {rule}", errors=[("overrides", rule)])
    overrides: list[Override] = []
    errors: list[tuple[str, str]] = []
    for number, entry in enumerate(entries):
        prefix = f"overrides[{number}]."
        found, wrong = try_fields(entry, _RULES, required=("pattern",), prefix=prefix)
        if not wrong and not any(found.get(name) for name in ("platform", "architecture", "skip")):
            wrong = [(prefix + "platform", "is required, unless architecture or skip is given")]
        if found.get("architecture") is Architecture.UNIVERSAL and found.get("platform") not in (None, Platform.MACOS):
            wrong.append((prefix + "architecture", "can be universal on macos only"))
        errors += wrong
        if not wrong:
            overrides.append(Override(**found))
    refuse_if_wrong(errors)
    return tuple(overrides)


@takes(type="string", minLength=1, maxLength=MAX_PATTERN_CHARS, format="regex", examples=["^notes-portable"])
def pattern(value: Any) -> re.Pattern[str]:
    """Take a regular expression that cannot keep the matcher busy. Raises `Wrong`."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_PATTERN_CHARS or not value.isprintable():
        raise Wrong(_RULE)
    ways = _Ways(value).count()
    if not value.startswith("^"):
        ways *= _ANY_NUMBER
    if ways > MAX_WAYS:
        raise Wrong(
            "could be tried in too many ways: begin it with ^, and use *, + and | less, never inside each other"
        )
    try:
        return re.compile(value, re.IGNORECASE)
    except re.error as exc:
        raise Wrong(f"{_RULE}: {exc}") from exc


def overrides_schema() -> Schema:
    """Return the JSON Schema of the list that `compile_overrides` takes."""
    return {"type": "array", "maxItems": MAX_OVERRIDES, "items": object_schema(_RULES, ("pattern",))}


class _Ways:
    """Counts in how many ways a pattern can be tried at one place of a name, in the worst case.

    Parts one after another multiply, alternatives add up, and what may be repeated counts once for every number of
    repetitions. So a repetition inside a repetition counts exponentially, which is what it may cost.
    """

    _QUANTIFIER = re.compile(r"[*+?]|\{([0-9]{0,4})(,?)([0-9]{0,4})\}")
    _CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
    _GROUP = re.compile(r"\((?:\?:|\?P<[A-Za-z_]\w*>|(?!\?))")
    _PLAIN = re.compile(r"\\[^0-9]|[^\\\[\](){}*+?|]")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def count(self) -> int:
        """Return the number of ways. Raises `Wrong` for syntax that is not taken."""
        ways = self._alternatives()
        if self._at < len(self._text):
            raise Wrong(f"{_RULE}: there is no group to end at position {self._at}")
        return ways

    def _alternatives(self) -> int:
        ways = self._sequence()
        while self._text[self._at : self._at + 1] == "|":
            self._at += 1
            ways += self._sequence()
        return ways

    def _sequence(self) -> int:
        ways = 1
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            ways = min(ways * self._repeated(self._item()), MAX_WAYS + 1)
        return ways

    def _item(self) -> int:
        for kind in (self._PLAIN, self._CLASS):
            found = kind.match(self._text, self._at)
            if found:
                self._at = found.end()
                return 1
        group = self._GROUP.match(self._text, self._at)
        if group is None:
            raise Wrong(f"{_RULE} without look-around, back-references and flags: see position {self._at}")
        self._at = group.end()
        ways = self._alternatives()
        if self._text[self._at : self._at + 1] != ")":
            raise Wrong(f"{_RULE}: a group does not end")
        self._at += 1
        return ways

    def _repeated(self, ways: int) -> int:
        found = self._QUANTIFIER.match(self._text, self._at)
        if found is None:
            return ways
        self._at = found.end()
        if self._text[self._at : self._at + 1] in ("?", "+"):
            self._at += 1
        least, most = _bounds(found)
        total = 0
        for times in range(min(least, _ANY_NUMBER), min(most, _ANY_NUMBER) + 1):
            total += ways**times
            if total > MAX_WAYS:
                break
        return max(total, 1)


def _bounds(quantifier: re.Match[str]) -> tuple[int, int]:
    """Return how often a quantifier repeats, at least and at most."""
    fixed = {"*": (0, _ANY_NUMBER), "+": (1, _ANY_NUMBER), "?": (0, 1)}
    if quantifier[0] in fixed:
        return fixed[quantifier[0]]
    least = int(quantifier[1] or 0)
    if not quantifier[2]:
        return least, least
    return least, int(quantifier[3]) if quantifier[3] else _ANY_NUMBER


def _member(kinds: type[Platform | Architecture]) -> Any:
    names = ", ".join(kinds)

    @takes(type="string", enum=list(kinds))
    def rule(value: Any) -> Platform | Architecture:
        try:
            return kinds(value.lower())
        except (AttributeError, ValueError) as exc:
            raise Wrong(f"must be one of {names}") from exc

    return rule


_RULES: dict[str, Any] = {
    "pattern": pattern,
    "platform": optional(_member(Platform)),
    "architecture": optional(_member(Architecture)),
    "skip": flag,
}
