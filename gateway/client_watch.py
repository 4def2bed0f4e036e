"""Notices that a client has closed its connection while its answer is being made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope

EXTENSION = "lunarbit"


class ClientConnection(Protocol):
    """What `gateway/protocol.py` puts into the scope's extensions; other servers have nothing of the kind."""

    def abort(self) -> None:
        """Drop the connection without waiting for the client to read."""

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when the connection is lost; soon, if it is lost already."""

    def write_piece(self, piece: bytes) -> bool:
        """Write a piece of the streamed answer if nothing has to be waited for, and say whether that was done."""
        ...

    def forget(self, callback: Callable[[], None]) -> None:
        """Do not call `callback` any more."""


class ClientWatch:
    """Calls `gone` once if the client closes its connection before `stop`. The request's body must have been read.

    Under our own protocol this costs a set entry; under any other server, a task that waits in `receive`.
    """

    def __init__(self, scope: Scope, receive: Receive, gone: Callable[[], None]) -> None:
        self._gone = gone
        self._connection = client_connection(scope)
        self._task: asyncio.Task[None] | None = None
        if self._connection is not None:
            self._connection.on_lost(gone)
        else:
            self._task = asyncio.get_running_loop().create_task(self._until_gone(receive))

    def stop(self) -> None:
        """Stop watching; a second call does nothing."""
        if self._connection is not None:
            self._connection.forget(self._gone)
        # Whoever is called leads back here: left as it is, only the garbage collector would free both.
        self._gone = _nobody
        if self._task is not None:
            self._task.cancel()

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone()


def _nobody() -> None:
    """Be called instead of who does not want to know any more."""


def client_connection(scope: Scope) -> ClientConnection | None:
    """Return the handle on the client's connection, None under a server that is not ours."""
    connection: ClientConnection | None = scope.get("extensions", {}).get(EXTENSION)
    return connection
