"""Requests to download addresses: each hop checked, connected to the address that was checked, and bounded in time.

Every request has a connection of its own that ends with it, so none is reused for a host that was not checked. Nothing
is sent that could identify anybody: no cookies, no credentials, no proxies from the environment.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.releases.addresses import AddressRules, Lookup, Target, resolve, system_lookup
from gateway.releases.outcome import Problem, Reason
from gateway.version import VERSION

MAX_REDIRECTS: Final = 5
READ_BUFFER_BYTES: Final = 64 << 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {"User-Agent": f"LunarBit-Gateway/{VERSION} (build verification)", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a download may take; all times in seconds.

    `idle_s` bounds the wait for a response's head and each silence within a body. A body has `grace_s`, and after that
    as long as its bytes so far take at `min_bytes_per_s`, but `longest_s` at most: whoever declares any size
    and sends it slowly enough must not keep others from being checked for ever.
    """

    dns_s: float = 5.0
    connect_s: float = 10.0
    idle_s: float = 30.0
    grace_s: float = 30.0
    min_bytes_per_s: float = 32_768.0
    longest_s: float = 14_400.0


class Outgoing:
    """Makes the requests; without a context or a lookup, the system's certificates and its resolver are asked."""

    def __init__(
        self,
        rules: AddressRules,
        limits: Limits,
        *,
        ssl_context: ssl.SSLContext | None = None,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._rules = rules
        self._limits = limits
        self._ssl = ssl_context or ssl.create_default_context()
        self._lookup = lookup

    @asynccontextmanager
    async def open(
        self, method: str, url: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Follow redirects to the response that is none and lend it; it is closed at the end of the block.

        Raises `Problem`. Its body has to be read inside `reading`.
        """
        seen: set[str] = set()
        for _ in range(MAX_REDIRECTS + 1):
            target = self._rules.check(url)
            if str(target.url) in seen:
                raise Problem(Reason.REDIRECT_LOOP, "The download address redirects in a circle.")
            seen.add(str(target.url))
            async with self._request(method, target, headers or {}) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                url = _next_url(target, response)
        raise Problem(Reason.TOO_MANY_REDIRECTS, f"The download address redirects more than {MAX_REDIRECTS} times.")

    @asynccontextmanager
    async def _request(
        self, method: str, target: Target, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request over a connection of its own, and lend the response once its head is there."""
        addresses = await resolve(target, self._rules, lookup=self._lookup, timeout_s=self._limits.dns_s)
        connector = aiohttp.TCPConnector(
            resolver=_Resolved(addresses), use_dns_cache=False, ssl=self._ssl, force_close=True
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=self._limits.connect_s),
        ) as session:
            with _sending():
                async with asyncio.timeout(self._limits.connect_s + self._limits.idle_s):
                    response = await session.request(
                        method, target.url, headers={**_HEADERS, **headers}, allow_redirects=False
                    )
            try:
                yield response
            finally:
                response.close()


class _Resolved(AbstractResolver):
    """Answers with the addresses that were checked, so that no name is looked up a second time (DNS rebinding)."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the checked addresses, whatever the name and the family asked for."""
        del family
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held open."""


def _next_url(target: Target, response: aiohttp.ClientResponse) -> str:
    location = response.headers.get("Location")
    if not location:
        raise Problem(Reason.BAD_REDIRECT, "The server redirects without saying where to.", status=response.status)
    try:
        return urljoin(str(target.url), location)
    except ValueError:
        raise Problem(
            Reason.BAD_REDIRECT, "The server redirects to something that is no address.", status=response.status
        ) from None


@contextmanager
def _sending() -> Iterator[None]:
    """Name what goes wrong before the head of a response is there."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as exc:
        raise Problem(Reason.CONNECT_TIMEOUT, "The server took no connection in time.") from exc
    except TimeoutError as exc:
        raise Problem(Reason.STALLED, "The server did not answer in time.") from exc
    except aiohttp.ClientConnectorCertificateError as exc:
        raise Problem(Reason.TLS, "The server's certificate is not valid for the download address.") from exc
    except aiohttp.ClientConnectorSSLError as exc:
        raise Problem(Reason.TLS, "The server does not speak TLS as it should.") from exc
    except aiohttp.ClientConnectorError as exc:
        raise Problem(Reason.CONNECT, "The server refused the connection or could not be reached.") from exc
    except (aiohttp.ClientConnectionError, OSError) as exc:
        raise Problem(Reason.CONNECTION_LOST, "The server closed the connection without an answer.") from exc
    except (aiohttp.ClientError, ValueError) as exc:
        raise Problem(Reason.NOT_HTTP, "The server's answer is not HTTP.") from exc


@contextmanager
def reading(status: int) -> Iterator[None]:
    """Name what goes wrong while the body of a response with this status is read."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as exc:
        raise Problem(Reason.CONNECTION_LOST, "The download broke off before its end.", status=status) from exc
