"""Which download addresses may be fetched, and that a name is looked up once."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.releases.addresses import AddressRules, resolve, system_lookup
from gateway.releases.outcome import Problem, Reason

RULES = AddressRules()

# One address at least from each row of IANA's special-purpose registries, with both ends of wide ranges.
REFUSED = [
    *("0.0.0.0", "0.1.2.3", "0.255.255.255"),  # noqa: S104  # Nothing is bound to it.
    *("10.0.0.0", "10.255.255.255"),
    *("100.64.0.0", "100.127.255.255", "100.100.100.200"),
    *("127.0.0.1", "127.255.255.255"),
    *("169.254.0.1", "169.254.169.254", "169.254.170.2"),
    *("172.16.0.0", "172.31.255.255"),
    *("192.0.0.0", "192.0.0.8", "192.0.0.9", "192.0.0.170", "192.0.0.192"),
    *("192.0.2.1", "198.51.100.1", "203.0.113.255"),
    *("192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1"),
    *("192.168.0.0", "192.168.255.255"),
    *("198.18.0.0", "198.19.255.255"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    "168.63.129.16",
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"),
    *("64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::1"),
    *("100::1", "100:0:0:1::1"),
    *("2001::1", "2001:0:102:304::1", "2001:1::1", "2001:2::1", "2001:3::1", "2001:10::1", "2001:20::1", "2001:30::1"),
    *("2001:db8::1", "3fff::1", "3fff:fff:ffff::1"),
    *("2002::1", "2002:7f00:1::1", "2002:808:808::1"),
    *("2620:4f:8000::1", "5f00::1", "4000::1", "8000::1"),
    *("fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%1", "febf::1", "fec0::1", "ff02::1", "ff0e::1"),
]
PERMITTED = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "140.82.121.3", "168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.0"),
    *("185.199.108.133", "191.255.255.255", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255"),
    *("198.20.0.0", "223.255.255.255"),
    *("2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:50c0:8000::153", "2a00:1450::1", "3ffe::1"),
]


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    """Behind them are this machine, the network it stands in, and a cloud's secrets."""
    assert not RULES.permits(address)


@pytest.mark.parametrize("address", PERMITTED)
def test_public_addresses_are_permitted_with_tls_only(address: str) -> None:
    """The edges of the ranges are public, and downloads lie there."""
    assert RULES.permits(address)
    assert not RULES.permits(address, encrypted=False)


@given(st.ip_addresses())
def test_nothing_is_permitted_that_python_calls_private_or_special(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """A second opinion on the table above; it is less strict in several places."""
    special = address.is_private or address.is_multicast or address.is_reserved or address.is_link_local
    if special or address.is_loopback or address.is_unspecified:
        assert not RULES.permits(str(address))


def test_allowed_networks_may_be_reached_also_without_tls() -> None:
    """An intranet's file server is named in the configuration, and nothing beside it is opened."""
    rules = AddressRules(["10.1.0.0/16", "127.0.0.1", "fd00:1::/32"])
    for address in ("10.1.2.3", "127.0.0.1", "fd00:1::5"):
        assert rules.permits(address)
        assert rules.permits(address, encrypted=False)
    for address in ("10.2.0.1", "127.0.0.2", "fd00:2::5", "::ffff:10.1.2.3", "fd00:1::5%eth0", "a name"):
        assert not rules.permits(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/file",
        "//example.com/file",
        "https:",
        "https://",
        "https:///file",
        "https:example.com/file",
        "http://example.com/file",
        "file:///etc/passwd",
        "ftp://example.com/file",
        "gopher://example.com/",
        "data:text/plain,hello",
        "javascript:alert(1)",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://@example.com/",
        "https://:@example.com/",
        "https://example.com\\@evil.example/",
        "https://example.com:0/",
        "https://example.com:22/",
        "https://example.com:25/",
        "https://example.com:1023/",
        "https://example.com:65536/",
        "https://example.com:port/",
        "https://exa mple.com/",
        "https://example.com/\r\nHost: evil.example",
        "https://example.com/\0",
        " https://example.com/",
        "https://example..com/",
        "https://-example.com/",
        "https://ex%61mple.com/",
        "https://[fe80::1%25eth0]/",
        "https://[v1.x]/",
        "https://[::1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://017700000001/",
        "https://127.0.0.1./",
        "https://1.2.3.4.5/",
        f"https://{'a' * 254}/",
        f"https://example.com/{'a' * 9000}",
        "https://\udce9.example/",
    ],
)
def test_texts_that_are_no_clean_https_address_are_refused(url: str) -> None:
    """Where two programs could read an address differently, neither reading is tried."""
    with pytest.raises(Problem) as raised:
        RULES.check(url)
    assert raised.value.reason is Reason.FORBIDDEN_URL


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"])
def test_a_literal_address_is_decided_at_once(host: str) -> None:
    """Who publishes such a build is told so and need not wait for its verification."""
    for url in (f"https://{host}/x", f"https://{host}:8443/x"):
        with pytest.raises(Problem) as raised:
            RULES.check(url)
        assert raised.value.reason is Reason.FORBIDDEN_ADDRESS


def test_full_width_digits_are_the_address_that_they_look_like() -> None:
    """Names are brought to their plain form before they are judged."""
    with pytest.raises(Problem) as raised:
        RULES.check("https://\uff11\uff12\uff17.0.0.1/")
    assert raised.value.reason is Reason.FORBIDDEN_ADDRESS


@pytest.mark.parametrize(
    ("url", "host", "port", "sent"),
    [
        ("https://Downloads.Example.com/a", "downloads.example.com", 443, "/a"),
        ("HTTPS://example.com", "example.com", 443, "/"),
        ("https://example.com:8443/a?b=%2B&c=~#part", "example.com", 8443, "/a?b=%2B&c=~"),
        ("https://example.com:80/", "example.com", 80, "/"),
        ("https://my_bucket.example.com./a%2Fb/%7e", "my_bucket.example.com.", 443, "/a%2Fb/%7e"),
        ("https://example.com/a b/ü", "example.com", 443, "/a%20b/%C3%BC"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://1.1.1.1/", "1.1.1.1", 443, "/"),
        ("https://[2606:4700::1111]/", "2606:4700::1111", 443, "/"),
    ],
)
def test_good_addresses_are_requested_as_they_are_written(url: str, host: str, port: int, sent: str) -> None:
    """The signature in a storage's address covers its spelling, so what is encoded already stays as it is."""
    target = RULES.check(url)
    assert (target.host, target.port, target.url.raw_path_qs, target.encrypted) == (host, port, sent, True)


def test_plain_http_passes_the_first_check_only_if_some_network_is_allowed() -> None:
    """Whether the name leads there is known after it was looked up."""
    assert not AddressRules(["10.0.0.0/8"]).check("http://files.intranet/").encrypted
    with pytest.raises(Problem) as raised:
        AddressRules(["10.0.0.0/8"]).check("http://1.1.1.1/")
    assert raised.value.reason is Reason.FORBIDDEN_ADDRESS


@given(st.text(max_size=60).map("https://{}".format) | st.text(max_size=60) | st.from_regex(r"https?://[ -~]{0,40}"))
def test_no_text_makes_the_check_fail_in_another_way(url: str) -> None:
    """Redirects bring any text at all."""
    with suppress(Problem):
        assert RULES.check(url).encrypted


async def _resolve(url: str, *answers: str, rules: AddressRules = RULES) -> tuple[str, ...]:
    async def lookup(host: str, port: int) -> Sequence[str]:
        return answers

    return await resolve(rules.check(url), rules, lookup=lookup, timeout_s=5)


async def test_a_name_leads_only_to_its_permitted_addresses() -> None:
    """A name that has both kinds cannot be used to reach the other kind."""
    assert await _resolve("https://files.example/", "10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111") == (
        "1.1.1.1",
        "2606:4700::1111",
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%eth0", "::ffff:1.1.1.1", "169.254.169.254"])
async def test_a_name_that_leads_only_inside_is_refused(address: str) -> None:
    """Any name can be made to lead anywhere by whoever owns it."""
    with pytest.raises(Problem) as raised:
        await _resolve("https://files.example/", address)
    assert raised.value.reason is Reason.FORBIDDEN_ADDRESS


async def test_plain_http_to_a_public_address_is_refused_even_if_a_network_is_allowed() -> None:
    """The exception for an intranet opens nothing else."""
    rules = AddressRules(["10.0.0.0/8"])
    assert await _resolve("http://files.example/", "1.1.1.1", "10.0.0.1", rules=rules) == ("10.0.0.1",)
    with pytest.raises(Problem) as raised:
        await _resolve("http://files.example/", "1.1.1.1", rules=rules)
    assert raised.value.reason is Reason.FORBIDDEN_ADDRESS


async def test_few_of_many_addresses_are_kept() -> None:
    """A name with hundreds of dead addresses must not use up the time for connecting."""
    many = [f"1.1.1.{last}" for last in range(100)]
    assert await _resolve("https://files.example/", *many) == tuple(many[:4])


async def test_a_literal_address_is_not_looked_up() -> None:
    """There is nothing to ask."""
    assert await _resolve("https://1.1.1.1/") == ("1.1.1.1",)


async def test_a_name_without_addresses_does_not_exist() -> None:
    """Some resolvers answer with an empty list."""
    with pytest.raises(Problem) as raised:
        await _resolve("https://files.example/")
    assert raised.value.reason is Reason.DNS


async def test_a_name_server_that_stays_silent_is_not_waited_for() -> None:
    """Looking up is bounded like everything else."""

    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    with pytest.raises(Problem) as raised:
        await resolve(RULES.check("https://files.example/"), RULES, lookup=never, timeout_s=0.02)
    assert raised.value.reason is Reason.DNS


async def test_the_system_is_asked_in_a_thread() -> None:
    """The names of this machine are known without a network."""
    assert {"127.0.0.1", "::1"} & set(await system_lookup("localhost", 443))


async def test_a_name_that_the_system_refuses_has_no_address() -> None:
    """A label that is too long is an error of another kind in Python."""
    with pytest.raises(OSError, match="label"):
        await system_lookup("a" * 64 + ".example", 443)


async def test_an_answer_that_comes_after_the_question_was_cancelled_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread cannot be stopped, and its late answer must not raise in the event loop."""
    may_answer = threading.Event()
    ask = socket.getaddrinfo

    def late(*args: Any, **kwargs: Any) -> Any:
        may_answer.wait(20)
        return ask(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", late)
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
    question = asyncio.create_task(system_lookup("localhost", 443))
    await asyncio.sleep(0)
    question.cancel()
    await asyncio.wait([question])
    assert question.cancelled()
    may_answer.set()
    while any(thread.name == "download-address-lookup" for thread in threading.enumerate()):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    assert not unhandled
