"""Limits that are not about how often: tokens in a period, and requests at the same time."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Quota(NamedTuple):
    """At most `limit` tokens until `ends_at_ms` (Unix milliseconds), after which `key` is forgotten some time.

    `key` names the period too, for example `tokens:<key id>:2026-11-23`.
    """

    key: str
    limit: int
    ends_at_ms: int


class Counters(Protocol):
    """Counts tokens and parallel slots. Never raises because of a store that is down."""

    async def knows(self, quota: Quota) -> bool:
        """Say whether somebody has told, with `start`, what was used before."""
        ...

    async def start(self, quota: Quota, used: int) -> None:
        """Tell what was used before (the database knows), unless somebody has told already.

        Where something was counted already without that being known, because the database did not answer, the larger of
        both numbers holds: by now the database has been told of most of it.
        """
        ...

    async def take(self, quota: Quota, amount: int) -> int:
        """Count as much of `amount` as the limit leaves, and return how much that is: 0 when nothing is left."""
        ...

    async def adjust(self, quota: Quota, delta: int) -> int:
        """Add the truth after a call, and return what is used in all, which is never below 0.

        `delta` is negative for what was taken and not used; when positive, it may go over the limit.
        """
        ...

    async def used(self, quota: Quota) -> int:
        """Return what is used."""
        ...

    async def enter(self, key: str, limit: int, holder: str) -> bool:
        """Take one of `limit` parallel slots for `holder`; False when all are held. Taking it twice is taking it once.

        Who is cancelled while waiting for the answer holds no slot.
        """
        ...

    async def leave(self, key: str, holder: str) -> None:
        """Give the slot back, if `holder` has one."""
        ...

    async def aclose(self) -> None:
        """Let go of what is held."""
        ...
