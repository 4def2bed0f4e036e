"""`Upstream`: the server, its socket, and what it has seen."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.upstream.connection import Connection
from tests.upstream.recorded import Recorded
from tests.upstream.routes import Behaviour
from tests.upstream.script import Script
from tests.upstream.wire import AnswerSettings

_HOST = "127.0.0.1"
_BACKLOG = 512


class Upstream(Behaviour):
    """A model provider on 127.0.0.1 that answers, or misbehaves, as its scripts say.

    `in_flight` and `max_in_flight_seen` count chat calls whose script runs. `unreadable_requests` holds the
    first bytes of everything that came in and was not HTTP. An error in a script is raised when the context
    is left.
    """

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Take any free port for 0; speak TLS if given a context."""
        super().__init__()
        self.requests: list[Recorded] = []
        self.unreadable_requests: list[bytes] = []
        self.release = asyncio.Event()
        self.in_flight = 0
        self.max_in_flight_seen = 0
        self.connections_opened = 0
        self.port = port
        self._tls = tls
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[Exception] = []
        self._reservation: socket.socket | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        # Holding the port with a socket that never listens keeps it ours while connections are refused.
        self._reservation = _bound(self.port)
        self.port = self._reservation.getsockname()[1]
        await self.accept_connections()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop_listening()
        for connection in list(self._connections):
            connection.abort()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._errors += [result for result in results if isinstance(result, Exception)]
        # The transports close their sockets in the next turn of the loop.
        await asyncio.sleep(0)
        if self._reservation is not None:
            self._reservation.close()
        if self._errors and error is None:
            raise self._errors[0]

    @property
    def origin(self) -> str:
        """Scheme, address and port."""
        return f"{'http' if self._tls is None else 'https'}://{_HOST}:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"{self.origin}/v1"

    @property
    def chat_requests(self) -> list[Recorded]:
        """The chat calls among `requests`."""
        return [call for call in self.requests if call.is_chat]

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    async def wait_for(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Return once `condition()` is true; raises TimeoutError after `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.005)

    async def refuse_connections(self, *, drop_idle: bool = True) -> None:
        """Stop listening, so that connecting is refused; answers that run go on.

        With `drop_idle` pooled connections that wait for a request are closed too.
        """
        self._stop_listening()
        for connection in list(self._connections):
            if drop_idle and connection.idle:
                connection.abort()
        await asyncio.sleep(0)

    async def accept_connections(self) -> None:
        """Listen (again) on the same port."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: Connection(self), sock=_bound(self.port), ssl=self._tls, backlog=_BACKLOG
            )

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # What connections call (`connection.Host`)

    def opened(self, connection: Connection, task: asyncio.Task[None]) -> int:
        """Count a connection; numbers start at 1."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections_opened += 1
        self._connections.add(connection)
        return self.connections_opened

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def unreadable(self, data: bytes) -> None:
        """Keep the first bytes of what was not HTTP."""
        self.unreadable_requests.append(data[:64])

    def begin(self, call: Recorded) -> Script:
        """Record a request and choose its script."""
        self.requests.append(call)
        call.number = len(self.requests)
        if call.is_chat:
            self.in_flight += 1
            self.max_in_flight_seen = max(self.max_in_flight_seen, self.in_flight)
        return self.script_for(call)

    def end(self, call: Recorded, error: Exception | None) -> None:
        """Count a request out; keep the error of a broken script."""
        if call.is_chat:
            self.in_flight -= 1
        if error is not None:
            self._errors.append(error)

    def settings(self) -> AnswerSettings:
        """The headers that every answer carries now."""
        headers = list(self.extra_headers.items())
        if self.set_cookie:
            headers.append(("set-cookie", f"upstream_session=s{len(self.requests)}; Path=/; HttpOnly"))
        return AnswerSettings(headers, self.gzip_if_asked)


def _bound(port: int) -> socket.socket:
    """Bind a socket; SO_REUSEADDR lets several be bound to one port as long as one at most listens."""
    # asyncio switches Nagle's algorithm off only on sockets that name their protocol; accepted ones inherit
    # the name from the listening one.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((_HOST, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
