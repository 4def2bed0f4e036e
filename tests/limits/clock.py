"""A clock that stands still until a test turns it, in whole microseconds so that nothing is lost in rounding."""

from __future__ import annotations

SECOND = 1_000_000


class TurnedClock:
    """Implements `gateway.limits.clock.Clock`; the Unix time can be set apart from the monotonic one."""

    def __init__(self) -> None:
        self.now_us = 4_711_123_457
        self.unix_us = 1_764_000_000_250_001

    def monotonic(self) -> float:
        """Return the monotonic time in seconds."""
        return self.now_us / SECOND

    def time(self) -> float:
        """Return the Unix time in seconds."""
        return self.unix_us / SECOND

    def pass_us(self, microseconds: int) -> None:
        """Let time pass on both clocks."""
        self.now_us += microseconds
        self.unix_us += microseconds
