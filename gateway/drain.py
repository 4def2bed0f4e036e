"""Shutdown that the gateway leads itself: not ready at once, then grace, then every open call is told and ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.errors import GatewayError


class Drain:
    """Knows whether the gateway is stopping. `grace_s` is how long open calls may go on after `begin`.

    uvicorn tells streams nothing of a shutdown and runs the lifespan's end before cancelled requests have cleaned up,
    so all calls must be over before uvicorn's own timeout.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.draining = False
        self._over = False
        self._bells: set[Callable[[GatewayError], None]] = set()

    def begin(self) -> None:
        """Start draining; must run in the event loop. A second call does nothing."""
        if not self.draining:
            self.draining = True
            asyncio.get_running_loop().call_later(self.grace_s, self._end)

    def check(self) -> None:
        """Raise `ShuttingDown` for a call that would only begin now."""
        if self.draining:
            raise self._error()

    def add(self, bell: Callable[[GatewayError], None]) -> None:
        """Have `bell` called with `ShuttingDown` when the grace is over; at once if it is over already."""
        if self._over:
            bell(self._error())
        else:
            self._bells.add(bell)

    def remove(self, bell: Callable[[GatewayError], None]) -> None:
        """Forget `bell`; its call is over."""
        self._bells.discard(bell)

    def _end(self) -> None:
        self._over = True
        for bell in list(self._bells):
            bell(self._error())
        self._bells.clear()

    @staticmethod
    def _error() -> GatewayError:
        return ShuttingDown("The gateway is shutting down", retry_after_s=5)
