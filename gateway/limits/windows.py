"""Rate limits as sliding windows: which windows a request falls into, what was decided, and how the client is told.

A window is exact: a request is admitted when fewer than `limit` were admitted in the `window_s` seconds before it.
Nothing here does I/O; `gateway/limits/memory.py` and `gateway/limits/redis.py` keep the counts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gateway.errors import RateLimitExceeded

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

    from gateway.settings.model import LimitSettings

_MICROSECONDS: Final = 1_000_000
_CACHED: Final = 8192

# What a window has counted, in microseconds of the clock that counted it: the number of requests before this one, when
# the oldest of them came (now, if there is none), and when the one came that has to leave before another is admitted.
Seen = tuple[int, int, int]

_SPENT: Final = {
    "key": "The API key has made its {limit} requests per {window} s: try again in {wait} s, or ask for a"
    " higher rateLimit",
    "ip": "Your address has made its {limit} requests per {window} s: try again in {wait} s, or use an API key with a"
    " rateLimit of its own",
    "ai": "The API key has made its {limit} AI requests per {window} s: try again in {wait} s, or ask for a"
    " higher aiRateLimit",
    "unauthenticated": "Your address has made its {limit} requests without a valid API key per {window} s: send a"
    " valid key, or try again in {wait} s",
}
_SPENT_ELSEWHERE: Final = "The limit of {limit} requests per {window} s is reached: try again in {wait} s"


class Window(NamedTuple):
    """At most `limit` (>= 1) requests of `subject` in any `window_s` seconds.

    `scope` is `key`, `ip`, `ai` or `unauthenticated`, and the name of the policy in the headers. Subjects of different
    scopes have nothing to do with each other.
    """

    scope: str
    subject: str
    limit: int
    window_s: int


class Decision(NamedTuple):
    """Whether a request is admitted, and the one window that is shown to the client.

    That is the window with the least left, or the one that refuses for the longest. `remaining` is never negative;
    `reset` is the Unix second, rounded up, at which its oldest counted request leaves it, and `reset_after_s` the
    seconds until then. `retry_after_s` is 0 if admitted, and otherwise the whole seconds, at least 1, after which the
    same request is admitted if nobody else asks.
    """

    allowed: bool
    window: Window
    remaining: int
    reset: int
    retry_after_s: int
    reset_after_s: int = 0


class Limiter(Protocol):
    """Counts requests. Never raises because of a store that is down. `windows` must not be empty."""

    async def hit(self, windows: Sequence[Window]) -> Decision:
        """Count a request in every window, or in none when one of them is full."""
        ...

    async def peek(self, windows: Sequence[Window]) -> Decision:
        """Return what `hit` would, and count nothing."""
        ...

    async def aclose(self) -> None:
        """Let go of what the limiter holds."""
        ...


def decide(windows: Sequence[Window], seen: Sequence[Seen], now_us: int, unix_us: int) -> Decision:
    """Return the decision on a request at `now_us`, which is `unix_us` in Unix microseconds.

    `seen` has the counts of each window before this request, without those that have left it.
    """
    shown, least, until, longest = windows[0], -1, 0, 0
    for window, (used, oldest, blocking) in zip(windows, seen, strict=True):
        span = window[3] * _MICROSECONDS
        left = window[2] - used - 1
        if left < 0:
            wait = blocking + span - now_us
            if wait > longest:
                shown, until, longest = window, oldest + span, wait
        elif not longest and (least < 0 or left < least or (left == least and oldest + span > until)):
            shown, least, until = window, left, oldest + span
    admitted = admission(shown, least, until - now_us, unix_us)
    if longest:
        return admitted._replace(allowed=False, remaining=0, retry_after_s=-(-longest // _MICROSECONDS))
    return admitted


def admission(shown: Window, remaining: int, after_us: int, unix_us: int) -> Decision:
    """Return the decision that admits; the oldest request leaves the window `after_us` from now. Seconds round up."""
    reset, reset_after_s = -(-(unix_us + after_us) // _MICROSECONDS), -(-after_us // _MICROSECONDS)
    return Decision(True, shown, remaining, reset, 0, reset_after_s)


def limit_headers(decision: Decision, windows: Sequence[Window]) -> list[tuple[bytes, bytes]]:
    """Return the raw headers that tell of a decision on `windows`, with lower-case names.

    `X-RateLimit-*` as on the product page, and the fields of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit` (r:
    remaining requests, t: seconds until there are more) and `RateLimit-Policy` (q: requests, w: seconds).
    """
    _, window, remaining, reset, _, reset_after_s = decision
    limit, name = _limit_header(window)
    return [
        limit,
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % reset),
        (b"ratelimit", b"%b;r=%d;t=%d" % (name, remaining, reset_after_s)),
        _policy_header(windows if isinstance(windows, tuple) else tuple(windows)),
    ]


# What follows is the same for every request of a caller.


@lru_cache(maxsize=_CACHED)
def _limit_header(window: Window) -> tuple[tuple[bytes, bytes], bytes]:
    return (b"x-ratelimit-limit", b"%d" % window.limit), f'"{window.scope}"'.encode()


@lru_cache(maxsize=_CACHED)
def _policy_header(windows: tuple[Window, ...]) -> tuple[bytes, bytes]:
    policies = (f'"{window.scope}";q={window.limit};w={window.window_s}' for window in windows)
    return b"ratelimit-policy", ", ".join(policies).encode()


def refusal(decision: Decision) -> RateLimitExceeded:
    """Return the 429 for a decision that does not admit; it says what the client can do."""
    scope, _, limit, window_s = decision.window
    text = _SPENT.get(scope, _SPENT_ELSEWHERE)
    return RateLimitExceeded(
        text.format(limit=limit, window=window_s, wait=decision.retry_after_s),
        details={"limit": limit, "window": window_s, "scope": scope},
        retry_after_s=decision.retry_after_s,
    )


class LimitPolicy:
    """Says which windows a request falls into. Runs on every request, so recent answers are kept."""

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self._for_key: _lru_cache_wrapper[tuple[Window, ...]] = lru_cache(_CACHED)(self._windows_of_key)
        self._anonymous: _lru_cache_wrapper[tuple[Window, ...]] = lru_cache(_CACHED)(self._windows_of_address)

    def for_key(
        self, key_id: str, rate_limit: int | None, ai_rate_limit: int | None, ip: str, *, ai: bool
    ) -> tuple[Window, ...]:
        """Return the windows of a request with a valid key; none, if every limit is switched off.

        `rate_limit` and `ai_rate_limit` are the key's own, None for the configured ones. A key with a rate limit of its
        own is not limited by address. `ai` is whether the request is for a model.
        """
        ai_limit = self._settings.ai if ai_rate_limit is None else ai_rate_limit
        return self._for_key(key_id, rate_limit, ai_limit if ai else 0, ip)

    def anonymous(self, ip: str) -> tuple[Window, ...]:
        """Return the windows of a request without a valid key; none, if both limits are switched off."""
        return self._anonymous(ip)

    def _windows_of_key(self, key_id: str, rate_limit: int | None, ai_limit: int, ip: str) -> tuple[Window, ...]:
        limits = self._settings
        per_key = limits.per_key if rate_limit is None else rate_limit
        per_ip = limits.per_ip if rate_limit is None else 0
        windows = [
            Window("key", key_id, per_key, limits.per_key_window_s),
            Window("ip", ip_subject(ip), per_ip, limits.per_ip_window_s),
            Window("ai", key_id, ai_limit, limits.ai_window_s),
        ]
        return tuple(window for window in windows if window.limit > 0)

    def _windows_of_address(self, ip: str) -> tuple[Window, ...]:
        limits, subject = self._settings, ip_subject(ip)
        windows = [
            Window("unauthenticated", subject, limits.unauthenticated, limits.unauthenticated_window_s),
            Window("ip", subject, limits.per_ip, limits.per_ip_window_s),
        ]
        return tuple(window for window in windows if window.limit > 0)


def ip_subject(ip: str) -> str:
    """Return whom an address counts for: itself, or its /64 if it is IPv6, since that is what one customer is given.

    An IPv4 address in IPv6 clothes (`::ffff:a.b.c.d`) is the IPv4 address. What is no address, such as the empty text
    of a Unix socket, counts for itself.
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
