"""A time limit on whatever the current task awaits, moved forward as often as something arrives, at almost no cost."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Watchdog:
    """Cancels the task inside its `with` block when nothing touched it for `limit_s`, or when `deadline` passes.

    `asyncio.timeout` would need a timer moved with every event; here `touch` only notes the time and the timer, when it
    goes off, looks whether it still has a reason. The block then raises what `error` (or `deadline_error`) makes. Times
    are those of the running loop's clock, in seconds.
    """

    def __init__(self, deadline: float, deadline_error: Callable[[], Exception]) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._deadline_error = deadline_error
        self._limit_s: float | None = None
        self._limit_error = deadline_error
        self._touched = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._raised: Exception | None = None

    def limit(self, limit_s: float | None, error: Callable[[], Exception]) -> None:
        """From now on, allow `limit_s` seconds between touches (None: only the deadline counts)."""
        self._limit_s = limit_s
        self._limit_error = error
        self._touched = self._loop.time()
        self._arm()

    def touch(self) -> None:
        """Note that something arrived."""
        self._touched = self._loop.time()

    def rest(self) -> None:
        """Stop counting towards `limit_s` until the next `touch`; the deadline goes on."""
        self._touched = math.inf

    def bark(self, error: Exception) -> None:
        """Cancel the block now and have it raise `error`; the first reason counts."""
        if self._raised is None and self._task is not None:
            self._raised = error
            self._task.cancel()

    def __enter__(self) -> Self:
        """Start watching the current task."""
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching; turn the cancellation that this watchdog asked for into its error."""
        if self._timer is not None:
            self._timer.cancel()
        # From here on a late bark has nobody to cancel.
        task, self._task = self._task, None
        # Somebody else's cancellation that came at the same time stays one and wins.
        if (
            self._raised is not None
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise self._raised from None

    def _due(self) -> tuple[float, Callable[[], Exception]]:
        if self._limit_s is None or self._touched + self._limit_s >= self._deadline:
            return self._deadline, self._deadline_error
        return self._touched + self._limit_s, self._limit_error

    def _arm(self) -> None:
        if self._task is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        at = self._due()[0]
        if self._limit_s is None and at == math.inf:
            return
        if self._limit_s is not None:
            # While resting the timer still looks around, because `touch` does not set it anew.
            at = min(at, self._loop.time() + self._limit_s)
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        due, error = self._due()
        if self._loop.time() < due:
            self._arm()
            return
        self.bark(error())
