"""What clients are told of their limits, and which limits a request falls under."""

from __future__ import annotations

import ipaddress

import pytest

from gateway.limits.windows import Decision, LimitPolicy, Window, decide, ip_subject, limit_headers, refusal
from gateway.settings.model import LimitSettings

KEY = Window("key", "k-1", 1000, 900)
IP = Window("ip", "192.0.2.1", 500, 60)
AI = Window("ai", "k-1", 100, 3600)
NOW_US = 77_000_000
UNIX_US = 1_640_994_546_500_000


def test_the_headers_are_those_of_the_product_page_and_of_draft_10() -> None:
    """To the letter: programs read them."""
    decision = Decision(True, KEY, 847, 1_640_995_200, 0, 653)
    assert limit_headers(decision, (KEY, IP)) == [
        (b"x-ratelimit-limit", b"1000"),
        (b"x-ratelimit-remaining", b"847"),
        (b"x-ratelimit-reset", b"1640995200"),
        (b"ratelimit", b'"key";r=847;t=653'),
        (b"ratelimit-policy", b'"key";q=1000;w=900, "ip";q=500;w=60'),
    ]


def test_the_headers_of_a_refusal_show_the_window_that_refuses() -> None:
    """Any sequence of windows will do."""
    decision = Decision(False, AI, 0, 1_640_995_201, 17, 12)
    assert limit_headers(decision, [AI]) == [
        (b"x-ratelimit-limit", b"100"),
        (b"x-ratelimit-remaining", b"0"),
        (b"x-ratelimit-reset", b"1640995201"),
        (b"ratelimit", b'"ai";r=0;t=12'),
        (b"ratelimit-policy", b'"ai";q=100;w=3600'),
    ]


@pytest.mark.parametrize("scope", ["key", "ip", "ai", "unauthenticated", "webhook"])
def test_a_refusal_is_a_429_that_says_what_to_do(scope: str) -> None:
    """The numbers for programs in the details and the header, and for people in the message."""
    error = refusal(Decision(False, Window(scope, "x", 60, 3600), 0, 1_640_995_200, 41, 41))
    assert (error.status, error.code) == (429, "RATE_LIMIT_EXCEEDED")
    assert error.details == {"limit": 60, "window": 3600, "scope": scope}
    assert error.headers == {"retry-after": "41"}
    assert "60" in error.message
    assert "3600 s" in error.message
    assert "again in 41 s" in error.message


def test_the_window_with_the_least_left_is_shown() -> None:
    """It is the one that the client will meet first."""
    decision = decide([KEY, IP, AI], [(900, NOW_US, 0), (402, NOW_US, 0), (1, NOW_US, 0)], NOW_US, UNIX_US)
    assert (decision.allowed, decision.window, decision.remaining, decision.retry_after_s) == (True, IP, 97, 0)


def test_of_two_windows_with_equally_little_left_the_one_that_resets_later_is_shown() -> None:
    """Whichever comes first."""
    seen = [(998, NOW_US - 5_000_000, 0), (98, NOW_US - 1, 0)]
    for order in (1, -1):
        decision = decide([KEY, AI][::order], seen[::order], NOW_US, UNIX_US)
        assert (decision.window, decision.remaining) == (AI, 1)
        assert (decision.reset, decision.reset_after_s) == (1_640_994_547 + 3600, 3600)


def test_of_two_full_windows_the_one_with_the_longer_wait_is_shown() -> None:
    """Waiting for the other one would be in vain; the one with room does not matter, however little."""
    seen = [(999, NOW_US, 0), (500, NOW_US - 59_000_001, NOW_US - 59_000_001), (101, NOW_US - 9, NOW_US - 3)]
    for order in (1, -1):
        decision = decide([KEY, IP, AI][::order], seen[::order], NOW_US, UNIX_US)
        assert (decision.allowed, decision.window, decision.remaining) == (False, AI, 0)
        assert decision.retry_after_s == 3600


def test_a_wait_of_a_part_of_a_second_is_a_second() -> None:
    """`Retry-After` knows whole seconds, and less would be too early."""
    at = NOW_US - 60_000_000 + 1
    decision = decide([IP], [(500, at, at)], NOW_US, UNIX_US)
    assert (decision.retry_after_s, decision.reset_after_s, decision.reset) == (1, 1, 1_640_994_547)


def test_a_key_has_its_own_window_and_that_of_its_address() -> None:
    """The AI window comes on top for AI requests; all with the configured limits and lengths."""
    policy = LimitPolicy(LimitSettings(per_ip=7, ai_window_s=60))
    key, ip, ai = Window("key", "k", 1000, 900), Window("ip", "192.0.2.1", 7, 900), Window("ai", "k", 100, 60)
    assert policy.for_key("k", None, None, "192.0.2.1", ai=False) == (key, ip)
    assert policy.for_key("k", None, None, "192.0.2.1", ai=True) == (key, ip, ai)
    assert policy.for_key("k", None, None, "192.0.2.1", ai=True) is policy.for_key(
        "k", None, None, "192.0.2.1", ai=True
    )


def test_a_key_with_a_limit_of_its_own_is_not_limited_by_address() -> None:
    """Its limit takes the place of the configured one, and so does its AI limit, each by itself."""
    policy = LimitPolicy(LimitSettings())
    own = Window("key", "k", 5000, 900)
    assert policy.for_key("k", 5000, None, "192.0.2.1", ai=True) == (own, Window("ai", "k", 100, 3600))
    assert policy.for_key("k", 5000, 9, "192.0.2.1", ai=True) == (own, Window("ai", "k", 9, 3600))
    assert [window.scope for window in policy.for_key("k", None, 9, "192.0.2.1", ai=True)] == ["key", "ip", "ai"]


def test_a_limit_of_0_is_switched_off_but_a_keys_own_limit_holds() -> None:
    """No window is made that admits nothing."""
    policy = LimitPolicy(LimitSettings(per_key=0, per_ip=0, ai=0, unauthenticated=0))
    assert policy.for_key("k", None, None, "192.0.2.1", ai=True) == ()
    assert policy.anonymous("192.0.2.1") == ()
    assert policy.for_key("k", 5, 6, "192.0.2.1", ai=True) == (Window("key", "k", 5, 900), Window("ai", "k", 6, 3600))


def test_without_a_key_the_address_is_limited_twice() -> None:
    """As any client of that address, and as one without a key."""
    expected = (Window("unauthenticated", "192.0.2.1", 60, 3600), Window("ip", "192.0.2.1", 1000, 900))
    assert LimitPolicy(LimitSettings()).anonymous("192.0.2.1") == expected


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("/run/gateway.sock", "/run/gateway.sock"),
        ("010.0.0.1", "010.0.0.1"),
    ],
)
def test_addresses_count_by_what_one_customer_has(address: str, subject: str) -> None:
    """An IPv6 customer has 2^64 addresses, and would have as many limits."""
    assert ip_subject(address) == subject
    if subject.endswith("/64"):
        assert ipaddress.ip_address(address.partition("%")[0]) in ipaddress.ip_network(subject)
