"""Which download addresses may be fetched: the rules against requests that are forged on the server's side (SSRF).

An address is checked three times: as text (`AddressRules.check`), after its name was looked up (`resolve`), and, since
the connection is then made to one of the addresses that `resolve` returned, by never looking the name up again. Every
redirect goes through the same three steps.

The ranges are those of IANA's special-purpose address registries. Python's `is_global` is not asked, because its
answers changed between releases and call some of these global.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import yarl

from gateway.releases.outcome import Problem, Reason

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Asks for the IP addresses of a host name and port; raises OSError when there are none."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAX_URL: Final = 8192
_MAX_HOST: Final = 253
# A host with several addresses is tried at this many, so that trying them stays within the time for connecting.
_MAX_ADDRESSES: Final = 4
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\\]")
# What browsers and C libraries would take for an IPv4 address in another notation: 127.1, 0x7f000001, 2130706433.
_LIKE_A_NUMBER: Final = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?")

_REFUSED_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host, which looks public
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, and Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Only this block is given out for the public internet. Loopback, IPv4 addresses mapped or translated (64:ff9b::/96),
# unique-local, link-local and multicast addresses all lie outside it.
_PUBLIC_V6: Final = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)


@dataclass(frozen=True, slots=True)
class Target:
    """A download address whose text is in order; `host` is in lower case, `encrypted` tells https from http."""

    url: yarl.URL
    host: str
    port: int
    encrypted: bool


class AddressRules:
    """Decides on addresses; `allow_networks` (IP addresses or networks in CIDR notation) may be fetched regardless.

    Plain http is allowed within `allow_networks` only. Raises ValueError for a network that is none.
    """

    def __init__(self, allow_networks: Iterable[str] = ()) -> None:
        self._allowed: tuple[_Network, ...] = tuple(
            ipaddress.ip_network(network, strict=False) for network in allow_networks
        )

    def check(self, url: str) -> Target:
        """Return `url` as it may be requested, as far as its text tells. Raises `Problem`.

        A host name still has to be looked up (`resolve`). An address that is written as numbers is decided here.
        """
        target = _parse(url)
        if not target.encrypted and not self._allowed:
            raise Problem(Reason.FORBIDDEN_URL, "The download address must begin with https.")
        if _literal(target.host) is not None:
            self.require([target.host], encrypted=target.encrypted)
        return target

    def permits(self, address: str, *, encrypted: bool = True) -> bool:
        """Whether a connection to this IP address may be made, with TLS or without it."""
        parsed = _literal(address)
        if parsed is None:
            return False
        if any(parsed in network for network in self._allowed):
            return True
        if isinstance(parsed, ipaddress.IPv4Address):
            return encrypted and not any(parsed in network for network in _REFUSED_V4)
        return encrypted and parsed in _PUBLIC_V6 and not any(parsed in network for network in _REFUSED_V6)

    def require(self, addresses: Iterable[str], *, encrypted: bool) -> tuple[str, ...]:
        """Return those addresses that may be connected to, a few at most. Raises `Problem` if there is none."""
        permitted = [address for address in addresses if self.permits(address, encrypted=encrypted)]
        if permitted:
            return tuple(permitted[:_MAX_ADDRESSES])
        if encrypted:
            raise Problem(Reason.FORBIDDEN_ADDRESS, "The download address leads to a network that is not public.")
        raise Problem(Reason.FORBIDDEN_ADDRESS, "The download address leads to a network where https is required.")


async def resolve(target: Target, rules: AddressRules, *, lookup: Lookup, timeout_s: float) -> tuple[str, ...]:
    """Return the IP addresses to connect to, each of them checked. Raises `Problem`."""
    if _literal(target.host) is not None:
        return rules.require([target.host], encrypted=target.encrypted)
    try:
        async with asyncio.timeout(timeout_s):
            addresses = await lookup(target.host, target.port)
    except TimeoutError:
        raise Problem(Reason.DNS, "The host name of the download address was not resolved in time.") from None
    except OSError:
        addresses = ()
    if not addresses:
        raise Problem(Reason.DNS, "The host name of the download address does not exist.")
    return rules.require(addresses, encrypted=target.encrypted)


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """Ask the operating system. Raises OSError when the name has no address.

    Each question has a daemon thread of its own. In the loop's pool, names whose servers stay silent would hold up
    everybody else's lookups, and the end of the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(addresses: Sequence[str], error: OSError | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(addresses)

    def ask() -> None:
        addresses: Sequence[str] = ()
        error: OSError | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        except (OSError, ValueError) as exc:
            # The codec of host names raises ValueError, for instance for a label of more than 63 characters.
            error = exc if isinstance(exc, OSError) else OSError(str(exc))
        with suppress(RuntimeError):  # The loop has been closed, and nobody waits any more.
            loop.call_soon_threadsafe(settle, addresses, error)

    threading.Thread(target=ask, name="download-address-lookup", daemon=True).start()
    return await answer


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is if it is no name; one with a zone belongs to a link and counts as none."""
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    return len(host) <= _MAX_HOST and bool(_NAME.fullmatch(host)) and not _LIKE_A_NUMBER.fullmatch(host)


def _parse(text: str) -> Target:
    """Return a URL's parts. Raises `Problem` where two programs might not agree about what they are."""
    if len(text) > _MAX_URL or _UNPRINTABLE.search(text) or text != text.strip():
        raise Problem(Reason.FORBIDDEN_URL, "The download address is too long or has characters that it must not have.")
    try:
        # What is encoded already stays as it is: the signature in an address may cover its exact spelling.
        url = yarl.URL(text, encoded=text.isascii() and " " not in text).with_fragment(None)
        scheme, host, port = url.scheme.lower(), (url.raw_host or "").lower(), url.port
        authority = url.raw_authority
    except ValueError:
        raise Problem(Reason.FORBIDDEN_URL, "The download address is not a valid URL.") from None
    if scheme not in {"https", "http"}:
        raise Problem(Reason.FORBIDDEN_URL, "The download address must begin with https.")
    if "@" in authority:
        raise Problem(Reason.FORBIDDEN_URL, "The download address must hold no user name or password.")
    if _literal(host) is None and ("[" in authority or not _is_name(host)):
        raise Problem(Reason.FORBIDDEN_URL, "The download address has no valid host name.")
    if port is None or (port < 1024 and port not in {80, 443}):
        raise Problem(Reason.FORBIDDEN_URL, "The download address must use port 443, 80 or one above 1023.")
    return Target(url, host, port, scheme == "https")
