"""The way to an upstream: httpx's transport interface, carried by aiohttp.

`Transport.send` builds an `httpx.Request` for a prepared `Endpoint` and returns an open `httpx.Response`; whoever
calls it closes the response. It goes to the transport directly and not through `httpx.AsyncClient`, whose redirects,
cookies and URL merging cost about 150 us a request and are unwanted here. Another transport can be put behind the same
interface by handing an `httpx.AsyncBaseTransport` to the constructor.

The aiohttp session is of our own making because the default one keeps cookies across callers, asks for gzip that nobody
decodes, and reads proxies from the environment.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from typing import TYPE_CHECKING, Self, cast

import aiohttp
import anyio
import httpx
import yarl
from httpx_aiohttp.transport import AiohttpTransport
from multidict import CIMultiDict

from providers import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

MAX_ANSWER_BYTES = 64 << 20
MAX_ERROR_BYTES = 64 << 10
LARGE_BODY_BYTES = 1 << 20
CLOSE_TIMEOUT_S = 2.0
END_TIMEOUT_S = 0.2
_KEEPALIVE_S = 30.0


class Endpoint:
    """An address and the headers that every request to it has, prepared once; `url` is absolute."""

    __slots__ = ("headers", "http_headers", "http_url", "url")

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.http_url = yarl.URL(url, encoded=True)
        self.url = httpx.URL(url)
        self.headers = httpx.Headers({"accept-encoding": "identity", **headers})
        self.http_headers = CIMultiDict(self.headers.multi_items())


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
        self._pooled = transport or LeanAiohttpTransport(lambda: self._session(max_connections, pooled=True))
        self._unpooled = transport or LeanAiohttpTransport(lambda: self._session(max_connections, pooled=False))

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

    async def send(
        self,
        method: str,
        endpoint: Endpoint,
        *,
        connect_s: float,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        fresh: bool = False,
    ) -> httpx.Response:
        """Send a request and return the response as soon as its headers are there. The caller closes it.

        `fresh` takes a new connection instead of an idle one. Raises the connection types of `providers.errors`.
        """
        transport = self._unpooled if fresh else self._pooled
        try:
            if isinstance(transport, LeanAiohttpTransport):
                return await transport.open(method, endpoint, headers, content, connect_s)
            request = httpx.Request(method, endpoint.url, headers=endpoint.headers, content=content)
            request.headers.update(headers or {})
            request.extensions = {"timeout": {"connect": connect_s, "pool": connect_s * 2}}
            return await transport.handle_async_request(request)
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as exc:
            raise _before_headers(exc) from exc

    async def get(self, url: str, headers: Mapping[str, str], *, timeout_s: float) -> httpx.Response:
        """Fetch a small document whole, within `timeout_s` in all. The response is read and closed.

        Raises the types of `providers.errors`, `TotalTimedOut` among them.
        """
        endpoint = Endpoint(url, headers)
        try:
            async with asyncio.timeout(timeout_s):
                response = await self.send("GET", endpoint, connect_s=timeout_s)
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


class LeanAiohttpTransport(AiohttpTransport):
    """httpx-aiohttp's transport, with a shorter way for prepared requests.

    The original turns URL, headers and timeouts from httpx's into aiohttp's form anew for every request and wraps every
    read in a generator; that was about half of what a request through it cost (`benchmarks/README.md`).
    """

    def __init__(self, session: Callable[[], aiohttp.ClientSession]) -> None:
        # Its TLS context goes unused, because the session has its own; an empty one spares loading the certificates.
        super().__init__(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False, client=session)
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def open(
        self, method: str, endpoint: Endpoint, headers: Mapping[str, str] | None, content: bytes, connect_s: float
    ) -> httpx.Response:
        """Send a prepared request and return the response once its headers are there. Raises aiohttp's exceptions."""
        session = self.client
        if not isinstance(session, aiohttp.ClientSession):
            session = self.client = self.get_client()
        sent = endpoint.http_headers
        if headers:
            sent = sent.copy()
            sent.update(headers)
        response = await session.request(
            method,
            endpoint.http_url,
            headers=sent,
            data=_payload(content),
            allow_redirects=False,
            timeout=self._timeout(connect_s),
        )
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    def _timeout(self, connect_s: float) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(connect_s)
        if known is None:
            # aiohttp's `connect` is the whole way to a connection, waiting for room in the pool included.
            known = self._timeouts[connect_s] = aiohttp.ClientTimeout(sock_connect=connect_s, connect=connect_s * 2)
        return known


def _payload(content: bytes) -> bytes | io.BytesIO | None:
    """Return the body as aiohttp takes it: a large one as a file, which it sends in parts and without a warning."""
    if len(content) > LARGE_BODY_BYTES:
        return io.BytesIO(content)
    return content or None


class _Body(httpx.AsyncByteStream):
    """A response's body as aiohttp reads it, without a generator around it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._read = response.content.readany

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    @property
    def is_read(self) -> bool:
        """Whether the end of the body has come and been taken."""
        return self._response.content.at_eof()

    def release(self) -> None:
        """Give the connection back to the pool, or close it when the body was not read to its end."""
        self._response.release()

    async def aclose(self) -> None:
        self.release()


class Reading:
    """A `with` block around reading a body: a body that ends before it is complete raises `StreamBroken`."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Nothing has to be prepared."""

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: object) -> None:
        """Name the failure of a connection; everything else passes."""
        if isinstance(exc, (httpx.HTTPError, aiohttp.ClientError, OSError)):
            msg = f"the answer broke off ({type(exc.__cause__ or exc).__name__})"
            raise errors.StreamBroken(msg) from exc


def body_of(response: httpx.Response) -> AsyncIterator[bytes]:
    """Return the body as it arrives, to be read inside `Reading`."""
    return cast("httpx.AsyncByteStream", response.stream).__aiter__()


async def read_whole(response: httpx.Response, limit: int) -> bytes:
    """Read the body whole. Raises `UnreadableAnswer` when it is larger than `limit` bytes, `StreamBroken` when cut."""
    chunks: list[bytes] = []
    size = 0
    with Reading():
        async for chunk in body_of(response):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                msg = f"the answer is larger than {limit} bytes"
                raise errors.UnreadableAnswer(msg)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_start(
    response: httpx.Response, *, limit: int = MAX_ERROR_BYTES, timeout_s: float = CLOSE_TIMEOUT_S
) -> bytes:
    """Read at most `limit` bytes of a body, such as that of an error; a cut or slow one gives what came."""
    start = b""
    try:
        with Reading():
            async with asyncio.timeout(timeout_s):
                async for chunk in body_of(response):
                    start += chunk
                    if len(start) >= limit:
                        break
    except (TimeoutError, errors.StreamBroken):
        pass
    return start[:limit]


async def read_to_end(response: httpx.Response) -> None:
    """Read the little that follows an answer's last event, so that its connection can be used again."""
    stream = response.stream
    if not (isinstance(stream, _Body) and stream.is_read):
        await read_start(response, limit=1024, timeout_s=END_TIMEOUT_S)


async def close(response: httpx.Response) -> None:
    """Close a response even while the caller is being cancelled, and never take longer than two seconds for it."""
    stream = response.stream
    if isinstance(stream, _Body):
        # This one never waits, so there is nothing that a cancellation could interrupt.
        stream.release()
        return
    with anyio.CancelScope(deadline=anyio.current_time() + CLOSE_TIMEOUT_S, shield=True):
        await cast("httpx.AsyncByteStream", stream).aclose()


def _before_headers(exc: Exception) -> errors.ProviderError:
    """Name a failure that happened before response headers, by its cause and not by the type httpx-aiohttp gave it.

    httpx-aiohttp 0.2 maps `ServerDisconnectedError` and `ClientOSError` to `ConnectTimeout`, which would turn a closed
    idle connection into a health signal.
    """
    cause: BaseException = exc
    # aiohttp's own exceptions say enough by themselves; what lies behind them is only the operating system's.
    if not isinstance(exc, aiohttp.ClientError) and isinstance(exc.__cause__, (aiohttp.ClientError, OSError)):
        cause = exc.__cause__
    name = type(cause).__name__
    if isinstance(cause, (aiohttp.ServerTimeoutError, TimeoutError)):
        return errors.ConnectTimedOut(f"no connection in time ({name})")
    if isinstance(cause, (aiohttp.ClientConnectorError, aiohttp.InvalidURL, httpx.InvalidURL)):
        return errors.Unreachable(f"no connection ({name})")
    if isinstance(cause, (aiohttp.ClientConnectionError, OSError)):
        return errors.ConnectionDropped(f"the connection closed before an answer ({name})")
    return errors.UnreadableAnswer(f"the answer is not HTTP ({name})")
