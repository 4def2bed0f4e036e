"""The two clocks that limits need, behind an interface so that tests can turn them by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that never jump, and seconds since 1970 that may."""

    def monotonic(self) -> float:
        """Return seconds since some moment; they never go back, whatever is done to the system's clock."""
        ...

    def time(self) -> float:
        """Return the Unix time in seconds."""
        ...


class SystemClock:
    """The clocks of this machine."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
