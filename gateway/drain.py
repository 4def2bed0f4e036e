"""The open calls, and what ends them early: a revoked key, and a shutdown that the gateway leads itself.

At a shutdown it is not ready at once, then comes the grace, then every open call is told and ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.errors import GatewayError


# Ended keys are not forgotten while a request of theirs may still be on its way in.
MAX_ENDED = 10_000


class Drain:
    """Knows whether the gateway is stopping. `grace_s` is how long open calls may go on after `begin`.

    uvicorn tells streams nothing of a shutdown and runs the lifespan's end before cancelled requests have cleaned up,
    so all calls must be over before uvicorn's own timeout.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.draining = False
        self._over = False
        # With the id of the key that the call is made with.
        self._bells: dict[Callable[[GatewayError], None], str] = {}
        # A request that was admitted before may begin its call later, when the rest of its body has come.
        self._ended: dict[str, GatewayError] = {}

    def begin(self) -> None:
        """Start draining; must run in the event loop. A second call does nothing."""
        if not self.draining:
            self.draining = True
            asyncio.get_running_loop().call_later(self.grace_s, self._end)

    def check(self) -> None:
        """Raise `ShuttingDown` for a call that would only begin now."""
        if self.draining:
            raise self._error()

    def add(self, bell: Callable[[GatewayError], None], key_id: str) -> None:
        """Have `bell` called with `ShuttingDown` when the grace is over; at once if it is over already.

        It is called with what `end_calls_of` is given, too, when that names `key_id`, or has named it before.
        """
        if self._over:
            bell(self._error())
        elif key_id in self._ended:
            bell(self._ended[key_id].with_traceback(None))
        else:
            self._bells[bell] = key_id

    def remove(self, bell: Callable[[GatewayError], None]) -> None:
        """Forget `bell`; its call is over."""
        self._bells.pop(bell, None)

    def end_calls_of(self, key_id: str, error: GatewayError) -> None:
        """End every open call that was made with the key `key_id`, and those that are still to begin."""
        self._ended[key_id] = error
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        for bell in [bell for bell, owner in self._bells.items() if owner == key_id]:
            bell(error)

    def _end(self) -> None:
        self._over = True
        for bell in list(self._bells):
            bell(self._error())
        self._bells.clear()

    @staticmethod
    def _error() -> GatewayError:
        return ShuttingDown("The gateway is shutting down", retry_after_s=5)
