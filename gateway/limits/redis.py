"""Limits that several processes share, kept in Redis; while Redis is away, each process limits by itself."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.limits.memory import QUOTA_KEPT_MS, MemoryCounters, MemoryLimiter
from gateway.limits.redis_scripts import DECIDE, ENTER, KEY_PREFIX, LEAVE, QUOTA, RENEW
from gateway.limits.windows import Decision, Window, decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.limits.counters import Quota
    from gateway.limits.redis_link import RedisLink

LEASE_S: Final = 60.0
_TICK_S: Final = 1.0
_MICROSECONDS: Final = 1_000_000


class RedisLimiter:
    """Exact sliding windows in Redis, by its clock. When Redis does not answer, `local` does.

    What one of them counts the other does not know: after an outage the windows in Redis are as they were before it.
    """

    def __init__(self, link: RedisLink, local: MemoryLimiter) -> None:
        self._link = link
        self._local = local

    async def hit(self, windows: Sequence[Window]) -> Decision:
        """Count a request in every window, or in none when one of them is full."""
        return await self._ask(windows, count=1) or await self._local.hit(windows)

    async def peek(self, windows: Sequence[Window]) -> Decision:
        """Return what `hit` would, and count nothing."""
        return await self._ask(windows, count=0) or await self._local.peek(windows)

    async def aclose(self) -> None:
        """Nothing is held here; who made the link closes it."""
        await self._local.aclose()

    async def _ask(self, windows: Sequence[Window], *, count: int) -> Decision | None:
        keys: list[str] = []
        arguments = [count]
        for scope, subject, limit, window_s in windows:
            keys.append(f"{KEY_PREFIX}window:{scope}:{window_s}:{subject}")
            arguments += (limit, window_s * _MICROSECONDS)
        answer = None
        if self._link.ready():
            answer = await self._link.ask(partial(self._link.evaluate, DECIDE, keys, arguments))
        if answer is None:
            self._link.on_fallback()
            return None
        now_us = answer[0]
        seen = list(zip(answer[1::3], answer[2::3], answer[3::3], strict=True))
        return decide(windows, seen, now_us, now_us)


class RedisCounters:
    """Token quotas and parallel slots in Redis. When Redis does not answer, `local` does.

    `local` follows what Redis says, so that it goes on from there. What it counts of a quota meanwhile is *owed* to
    Redis and added when Redis is back. If Redis has lost the quota, it is not known, and whoever takes from it starts
    with what the database says, as ever.

    A slot in Redis is a lease of `lease_s` seconds, which one task per process renews, so that the slots of a killed
    process come back. The same task tells Redis every `tick_s` seconds what could not be told before.
    """

    def __init__(
        self, link: RedisLink, local: MemoryCounters, *, lease_s: float = LEASE_S, tick_s: float = _TICK_S
    ) -> None:
        self._link = link
        self._local = local
        self._lease_ms = round(lease_s * 1000)
        self._renew_every_s = lease_s / 3
        self._tick_s = tick_s
        self._renew_at = 0.0
        self._owed: dict[str, tuple[Quota, int]] = {}
        # Slots that were left while Redis did not answer, and when their leases run out by themselves.
        self._left: dict[tuple[str, str], float] = {}
        self._closing = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def knows(self, quota: Quota) -> bool:
        """Say whether somebody has told, with `start`, what was used before."""
        answer = await self._quota(quota)
        return await self._local.knows(quota) if answer is None else bool(answer[2])

    async def start(self, quota: Quota, used: int) -> None:
        """Tell what was used before, unless somebody has told already."""
        if await self._quota(quota, before=used) is None:
            await self._local.start(quota, used)

    async def take(self, quota: Quota, amount: int) -> int:
        """Count as much of `amount` as the limit leaves, and return how much that is."""
        answer = await self._quota(quota, take=amount)
        if answer is not None:
            return answer[0]
        granted = await self._local.take(quota, amount)
        self._owe(quota, granted)
        return granted

    async def adjust(self, quota: Quota, delta: int) -> int:
        """Add the truth after a call, and return what is used in all."""
        answer = await self._quota(quota, delta=delta)
        return await self._local.adjust(quota, delta) if answer is None else answer[1]

    async def used(self, quota: Quota) -> int:
        """Return what is used."""
        answer = await self._quota(quota)
        return await self._local.used(quota) if answer is None else answer[1]

    async def enter(self, key: str, limit: int, holder: str) -> bool:
        """Take one of `limit` parallel slots for `holder`; False when all are held."""
        self._keep()
        answer = None
        if self._link.ready():
            operation = partial(self._link.evaluate, ENTER, [_slots(key)], [limit, self._lease_ms, holder])
            answer = await self._link.ask(operation, partial(self._entered_late, key, holder))
        if answer is None:
            self._went_without()
            return await self._local.enter(key, limit, holder)
        if answer[0]:
            self._left.pop((key, holder), None)
            self._local.hold(key, holder)
        return bool(answer[0])

    async def leave(self, key: str, holder: str) -> None:
        """Give the slot back, if `holder` has one."""
        await self._local.leave(key, holder)
        if not await self._tell(LEAVE, _slots(key), [holder]):
            self._went_without()
            self._leave_later(key, holder)

    async def aclose(self) -> None:
        """Tell Redis what is owed, give back every slot of this process, and end the task that renews them."""
        self._closing.set()
        if self._keeper is not None:
            await self._keeper
        for key, holders in list(self._local.slots.items()):
            for holder in holders:
                self._leave_later(key, holder)
        self._local.slots.clear()
        await self._catch_up()
        await self._local.aclose()

    async def _quota(self, quota: Quota, *, delta: int = 0, take: int = 0, before: int = -1) -> list[int] | None:
        """Ask Redis about a quota: return what was granted, what is used and whether it is known; None without Redis.

        A change that does not reach Redis is owed from then on.
        """
        if not self._link.ready():
            self._owe(quota, delta)
            self._went_without()
            return None
        answer = await self._link.ask(
            partial(self._send, quota, delta, take, before), lambda late: self._owe(quota, -late[0])
        )
        if answer is None:
            self._went_without()
        else:
            self._local.note(quota, answer[1], known=bool(answer[2]))
        return answer

    async def _send(self, quota: Quota, delta: int, take: int, before: int) -> list[int]:
        _, owed = self._owed.pop(quota.key, (quota, 0))
        arguments = [owed + delta, take, quota.limit, before, quota.ends_at_ms + QUOTA_KEPT_MS]
        try:
            return await self._link.evaluate(QUOTA, [f"{KEY_PREFIX}quota:{quota.key}"], arguments)
        except BaseException:
            self._owe(quota, owed + delta)
            raise

    def _went_without(self) -> None:
        """Note that an answer was given here. When Redis is back, it may not know who holds a slot."""
        self._link.on_fallback()
        self._renew_at = 0.0

    def _owe(self, quota: Quota, amount: int) -> None:
        owed = amount + self._owed.pop(quota.key, (quota, 0))[1]
        if owed:
            self._owed[quota.key] = (quota, owed)
            self._keep()

    def _entered_late(self, key: str, holder: str, answer: list[int]) -> None:
        """Undo a slot that Redis gave when nobody waited for it any more, unless it was given here meanwhile."""
        if answer[0] and holder not in self._local.slots.get(key, ()):
            self._leave_later(key, holder)

    def _leave_later(self, key: str, holder: str) -> None:
        self._left[key, holder] = time.monotonic() + self._lease_ms / 1000
        self._keep()

    def _keep(self) -> None:
        """See to it that the task runs that keeps Redis up to date."""
        if self._keeper is None and not self._closing.is_set():
            self._keeper = asyncio.get_running_loop().create_task(self._keep_up_to_date())

    async def _keep_up_to_date(self) -> None:
        while not self._closing.is_set():
            await self._catch_up()
            if self._local.slots and time.monotonic() >= self._renew_at:
                await self._renew()
            try:
                # Waited for and not slept, so that closing does not have to cancel what Redis is being asked.
                async with asyncio.timeout(self._tick_s):
                    await self._closing.wait()
            except TimeoutError:
                continue

    async def _catch_up(self) -> None:
        """Tell Redis what is owed and who has left, as long as it answers."""
        now = time.time() * 1000
        for quota, _ in list(self._owed.values()):
            if quota.ends_at_ms + QUOTA_KEPT_MS < now:
                del self._owed[quota.key]
            elif not self._link.ready() or await self._link.ask(partial(self._send, quota, 0, 0, -1)) is None:
                return
        for (key, holder), until in list(self._left.items()):
            if time.monotonic() < until and not await self._tell(LEAVE, _slots(key), [holder]):
                return
            self._left.pop((key, holder), None)

    async def _renew(self) -> None:
        """Renew the leases of all slots that are held here; soon again, if that fails."""
        # Set first, because a slot that is taken meanwhile without Redis sets it back.
        self._renew_at = time.monotonic() + self._renew_every_s
        for key, holders in list(self._local.slots.items()):
            renewed = list(holders)
            if not await self._tell(RENEW, _slots(key), [self._lease_ms, *renewed]):
                self._renew_at = 0.0
                return
            for holder in set(renewed) - self._local.slots.get(key, set()):
                # It has left while its lease was being renewed, and Redis may have heard of that first.
                self._leave_later(key, holder)

    async def _tell(self, script: str, key: str, arguments: Iterable[int | str]) -> bool:
        if not self._link.ready():
            return False
        return await self._link.ask(partial(self._link.evaluate, script, [key], list(arguments))) is not None


def _slots(key: str) -> str:
    return f"{KEY_PREFIX}slots:{key}"
