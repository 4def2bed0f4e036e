"""What a sliding window is, said as plainly as possible and at any cost; and a random walk through its states."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gateway.limits.windows import Decision, Window
from tests.limits.clock import SECOND

_LENGTHS_S = {"key": 900, "ip": 61, "ai": 3600, "unauthenticated": 1200}
_SUBJECTS = ("a", "b")


class Model:
    """Keeps the time of every request it ever admitted, and counts anew for each question."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], list[int]] = {}

    def counted(self, window: Window, now_us: int) -> list[int]:
        """Return the times of the requests that the window sees at `now_us`."""
        since = now_us - window.window_s * SECOND
        return [at for at in self._times.get(window[:2], []) if at > since]

    def admits(self, windows: Sequence[Window], now_us: int) -> bool:
        """Whether each window has room at `now_us`."""
        return all(len(self.counted(window, now_us)) < window.limit for window in windows)

    def decide(self, windows: Sequence[Window], now_us: int, unix_us: int, *, count: bool) -> Decision:
        """Return what a limiter has to answer."""
        allowed = self.admits(windows, now_us)
        if allowed:
            shown = min(windows, key=lambda window: (self._left(window, now_us), -self._resets(window, now_us)))
        else:
            full = [window for window in windows if not self.admits([window], now_us)]
            shown = max(full, key=lambda window: self._opens(window, now_us))
        resets = self._resets(shown, now_us)
        decision = Decision(
            allowed,
            shown,
            self._left(shown, now_us) if allowed else 0,
            _up(resets - now_us + unix_us),
            0 if allowed else self._wait_s(windows, now_us),
            _up(resets - now_us),
        )
        if allowed and count:
            for window in windows:
                self._times.setdefault(window[:2], []).append(now_us)
        return decision

    def _left(self, window: Window, now_us: int) -> int:
        return window.limit - len(self.counted(window, now_us)) - 1

    def _resets(self, window: Window, now_us: int) -> int:
        return min([*self.counted(window, now_us), now_us]) + window.window_s * SECOND

    def _opens(self, window: Window, now_us: int) -> int:
        """Return when a full window has room again, found by looking after each request that leaves it."""
        leaving = sorted(at + window.window_s * SECOND for at in self.counted(window, now_us))
        return next(at for at in leaving if self.admits([window], at))

    def _wait_s(self, windows: Sequence[Window], now_us: int) -> int:
        """Return the first whole second after which the request is admitted, found by trying each."""
        return next(wait for wait in range(1, 10_000) if self.admits(windows, now_us + wait * SECOND))


class Walk:
    """Random requests at random times: windows with few places, limits that change, waits to the very microsecond."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.limits = {scope: self.random.randint(1, 6) for scope in _LENGTHS_S}

    def windows(self) -> tuple[Window, ...]:
        """Return the windows of the next request."""
        if self.random.random() < 0.2:
            self.limits[self.random.choice(list(_LENGTHS_S))] = self.random.randint(1, 6)
        scopes = self.random.sample(list(_LENGTHS_S), self.random.randint(1, 3))
        return tuple(
            Window(scope, self.random.choice(_SUBJECTS), self.limits[scope], _LENGTHS_S[scope]) for scope in scopes
        )

    def wait_us(self, last: Decision | None, model: Model, now_us: int) -> int:
        """Return how long to wait before the next request; often it is the moment when something changes."""
        choice = self.random.random()
        if last is not None and not last.allowed and choice < 0.2:
            return last.retry_after_s * SECOND - self.random.choice((0, 1, SECOND, SECOND + 1))
        if last is not None and choice < 0.3:
            counted = model.counted(last.window, now_us)
            if counted:
                leaves = min(self.random.choices(counted, k=2)) + last.window.window_s * SECOND
                return max(0, leaves - now_us - self.random.choice((0, 0, 1)))
        if choice < 0.99:
            return self.random.choice((0, 1, self.random.randint(0, 20 * SECOND)))
        return self.random.randint(0, 1300 * SECOND)


def _up(microseconds: int) -> int:
    seconds, rest = divmod(microseconds, SECOND)
    return seconds + (rest > 0)
