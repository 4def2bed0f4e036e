"""The way to an upstream: httpx's transport interface, carried by aiohttp.

`Transport.send` takes a prepared `httpx.Request` and returns an open `httpx.Response`; whoever calls it closes the
response. It goes to the transport directly and not through `httpx.AsyncClient`, whose redirects, cookies and URL
merging cost about 150 us a request and are unwanted here. Another transport can be put behind the same interface by
handing an `httpx.AsyncBaseTransport` to the constructor.

The aiohttp session is of our own making because the default one keeps cookies across callers, asks for gzip that nobody
decodes, and reads proxies from the environment.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import aiohttp
import anyio
import httpx
from httpx_aiohttp import AiohttpTransport

from providers import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

MAX_ANSWER_BYTES = 64 << 20
MAX_ERROR_BYTES = 64 << 10
CLOSE_TIMEOUT_S = 2.0
_KEEPALIVE_S = 30.0


class Transport:
    """Connections to upstreams, pooled; one per process.

    `max_connections` bounds open connections of the whole pool. A request that finds the pool full waits for as long
    as it may take to connect. Server certificates are always verified.
    """

    def __init__(
        self,
        *,
        max_connections: int = 1000,
        ssl_context: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._ssl = ssl_context or ssl.create_default_context()
        self._pooled = transport or AiohttpTransport(
            trust_env=False, client=lambda: self._session(max_connections, pooled=True)
        )
        self._unpooled = transport or AiohttpTransport(
            trust_env=False, client=lambda: self._session(max_connections, pooled=False)
        )

    def _session(self, max_connections: int, *, pooled: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=max_connections,
                ssl=self._ssl,
                keepalive_timeout=_KEEPALIVE_S if pooled else None,
                force_close=not pooled,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def send(self, request: httpx.Request, *, connect_s: float, fresh: bool = False) -> httpx.Response:
        """Send `request` and return the response as soon as its headers are there. The caller closes it.

        `fresh` takes a new connection instead of an idle one. Raises the connection types of `providers.errors`.
        """
        request.extensions = {"timeout": {"connect": connect_s, "pool": connect_s * 2}}
        transport = self._unpooled if fresh else self._pooled
        try:
            return await transport.handle_async_request(request)
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as exc:
            raise _before_headers(exc) from exc

    async def get(self, url: str, headers: Mapping[str, str], *, timeout_s: float) -> httpx.Response:
        """Fetch a small document whole, within `timeout_s` in all. The response is read and closed.

        Raises the types of `providers.errors`, `TotalTimedOut` among them.
        """
        request = httpx.Request("GET", url, headers={**headers, "accept-encoding": "identity"})
        try:
            async with asyncio.timeout(timeout_s):
                response = await self.send(request, connect_s=timeout_s)
                try:
                    response._content = await read_whole(response, MAX_ANSWER_BYTES)  # noqa: SLF001
                finally:
                    await close(response)
        except TimeoutError as exc:
            msg = f"no whole answer within {timeout_s} s"
            raise errors.TotalTimedOut(msg) from exc
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pooled.aclose()
        await self._unpooled.aclose()


async def read_chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; raises `StreamBroken` when it ends before it is complete."""
    try:
        async for chunk in response.stream:  # type: ignore[union-attr]
            yield chunk
    except (httpx.HTTPError, aiohttp.ClientError, OSError) as exc:
        msg = f"the answer broke off ({type(exc.__cause__ or exc).__name__})"
        raise errors.StreamBroken(msg) from exc


async def read_whole(response: httpx.Response, limit: int) -> bytes:
    """Read the body whole. Raises `UnreadableAnswer` when it is larger than `limit` bytes, `StreamBroken` when cut."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in read_chunks(response):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            msg = f"the answer is larger than {limit} bytes"
            raise errors.UnreadableAnswer(msg)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_start(response: httpx.Response, limit: int = MAX_ERROR_BYTES) -> bytes:
    """Read at most `limit` bytes of a body that only explains an error; a cut or slow one gives what came."""
    start = b""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            async for chunk in read_chunks(response):
                start += chunk
                if len(start) >= limit:
                    break
    except (TimeoutError, errors.StreamBroken):
        pass
    return start[:limit]


async def close(response: httpx.Response) -> None:
    """Close a response even while the caller is being cancelled, and never take longer than two seconds for it."""
    with anyio.CancelScope(deadline=anyio.current_time() + CLOSE_TIMEOUT_S, shield=True):
        await response.stream.aclose()  # type: ignore[union-attr]


def _before_headers(exc: Exception) -> errors.ProviderError:
    """Name a failure that happened before response headers, by its cause and not by the type httpx-aiohttp gave it.

    httpx-aiohttp 0.2 maps `ServerDisconnectedError` and `ClientOSError` to `ConnectTimeout`, which would turn a closed
    idle connection into a health signal.
    """
    cause = exc.__cause__ if isinstance(exc.__cause__, (aiohttp.ClientError, TimeoutError, OSError)) else exc
    name = type(cause).__name__
    if isinstance(cause, (aiohttp.ServerTimeoutError, TimeoutError)):
        return errors.ConnectTimedOut(f"no connection in time ({name})")
    if isinstance(cause, (aiohttp.ClientConnectorError, aiohttp.InvalidURL, httpx.InvalidURL)):
        return errors.Unreachable(f"no connection ({name})")
    if isinstance(cause, (aiohttp.ClientConnectionError, OSError)):
        return errors.ConnectionDropped(f"the connection closed before an answer ({name})")
    return errors.UnreadableAnswer(f"the answer is not HTTP ({name})")
