"""A bounded queue between the one task that reads an upstream and the one that writes to the client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_ITEMS = 16
MAX_BYTES = 128 << 10


class Mailbox(Generic[T]):
    """Holds at most about 16 items or 128 KiB; many items that wait together cost the taker one wake-up.

    Exactly one task puts and one takes. `interrupt` is the taker's emergency bell: whatever happens outside (client
    gone, shutdown) makes the next `take` raise.
    """

    __slots__ = ("_bytes", "_closed", "_error", "_interrupt", "_items", "_loop", "_room", "_size_of", "_taker")

    def __init__(self, size_of: Callable[[T], int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._size_of = size_of
        self._items: list[T] = []
        self._bytes = 0
        self._closed = False
        self._error: Exception | None = None
        self._interrupt: Exception | None = None
        self._taker: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether the putting task should wait for room before it reads on."""
        return len(self._items) >= MAX_ITEMS or self._bytes >= MAX_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether everything that was put has been taken."""
        return not self._items

    def put(self, item: T) -> None:
        """Add an item and wake the taker. Never waits: ask `is_full` and await `room` afterwards."""
        self._items.append(item)
        self._bytes += self._size_of(item)
        self.wake()

    async def room(self) -> None:
        """Wait until the taker has emptied the box."""
        while self.is_full:
            self._room = self._loop.create_future()
            await self._room

    def close(self, error: Exception | None = None) -> None:
        """Say that nothing follows: the taker gets the rest, then `error` or the end."""
        self._closed = True
        self._error = error
        self.wake()

    def interrupt(self, error: Exception) -> None:
        """Make the taker raise `error` at once, in front of all items; the first bell counts."""
        if self._interrupt is None:
            self._interrupt = error
            self.wake()

    def wake(self) -> None:
        """Let a waiting `take` look around; with nothing there it returns None."""
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    async def take(self) -> list[T] | None:
        """Return all items that wait, at least one; an empty list at the end; None after a bare `wake`.

        Raises the error of `close` once the items are taken, and that of `interrupt` before them.
        """
        if not (self._items or self._closed or self._interrupt):
            self._taker = self._loop.create_future()
            try:
                await self._taker
            finally:
                self._taker = None
        if self._interrupt is not None:
            raise self._interrupt
        if self._items:
            items, self._items, self._bytes = self._items, [], 0
            if self._room is not None and not self._room.done():
                self._room.set_result(None)
            return items
        if self._error is not None:
            raise self._error
        return [] if self._closed else None
