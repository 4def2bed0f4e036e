"""Which versions break something on the way from one to another.

Three things say that a version does: its publisher, its notes, and its number, compared with the version before it.
What a publisher says holds for that version alone, and against both of the others. Withdrawn versions count, since
what they changed is usually still in those that follow.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.releases.versions import Precedence, VersionKey, is_breaking_bump

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.releases.decision import Candidate

IDS_LIMIT: Final = 100


class _Level(NamedTuple):
    """All versions of one precedence: those that break something anyhow, and those that a breaking number adds."""

    key: VersionKey
    ids: tuple[str, ...]
    ids_if_bump: tuple[str, ...]

    def after(self, previous: VersionKey) -> tuple[str, ...]:
        """Return the ids of those that break something for who comes from the version `previous`."""
        return self.ids_if_bump if is_breaking_bump(previous, self.key) else self.ids


class Breaks(NamedTuple):
    """The ids of the versions on a way that break something, and the precedence of the first of them."""

    ids: tuple[str, ...] = ()
    first: Precedence | None = None


class BreakingChanges:
    """What breaks where among the versions of a channel and of those that it includes."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        """Take all versions, also yanked ones, in ascending order."""
        self._levels = [_level(list(group)) for _, group in groupby(candidates, lambda each: each.key.precedence)]
        self._keys = [level.key.precedence for level in self._levels]
        self._broken: list[int] = []
        self._ids: list[tuple[str, ...]] = []
        for number, level in enumerate(self._levels):
            ids = level.after(self._levels[number - 1].key) if number else level.ids
            if ids:
                self._broken.append(number)
                self._ids.append(ids)

    def between(self, current: VersionKey, offered: Candidate) -> Breaks:
        """Return what breaks in (current, offered], where `offered` is one of the versions, higher than `current`."""
        start = bisect_right(self._keys, current.precedence)
        end = bisect_right(self._keys, offered.key.precedence)
        # Before the first version on the way stands the current one, whether the catalogue has it or not.
        beginning = self._levels[start].after(current)
        low, high = bisect_left(self._broken, start + 1), bisect_left(self._broken, end)
        ids = tuple(islice(chain(beginning, *self._ids[low : min(high, low + IDS_LIMIT)]), IDS_LIMIT))
        if ids:
            return Breaks(ids, self._keys[start if beginning else self._broken[low]])
        if is_breaking_bump(current, offered.key) and offered.breaks is not False:
            return Breaks((offered.key.text,), offered.key.precedence)
        return Breaks()


def _level(candidates: list[Candidate]) -> _Level:
    anyhow = dict.fromkeys(each.key.text for each in candidates if each.breaks)
    if_bump = dict.fromkeys(each.key.text for each in candidates if each.breaks is not False)
    return _Level(candidates[0].key, tuple(anyhow), tuple(if_bump))
