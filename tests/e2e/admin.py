"""The administration of a gateway over HTTP, as operators use it: keys made, changed and revoked, reports read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.e2e.client import Listening, bearer
from tests.e2e.server import ADMIN_KEY, LIMIT_S
from tests.upstream.raw_client import RawClient

# Longer than the gateway waits for its database.
PATIENCE_S = 30.0


class Answer(NamedTuple):
    """An answer to a request of an administrator; `document` is None without a body."""

    status: int
    document: Any
    headers: dict[str, str]

    @property
    def code(self) -> str | None:
        """The code of the error, if it is one."""
        return None if self.status < 400 else str(self.document["error"]["code"])


async def call(
    gateway: Listening, method: str, path: str, document: object = None, *, key: str = ADMIN_KEY, **headers: str
) -> Answer:
    """Send one request on a connection of its own and read the answer."""
    body = b"" if document is None else json.dumps(document).encode()
    given = {"content-type": "application/json"} if body else {}
    given |= bearer(key) | {name.replace("_", "-"): value for name, value in headers.items()}
    async with RawClient(gateway.port) as client:
        await client.send(method, path, body, given)
        reply = await client.reply(timeout_s=PATIENCE_S)
    assert reply.ending == "complete", reply.raw
    return Answer(reply.status, json.loads(reply.body) if reply.body else None, reply.headers)


async def new_key(gateway: Listening, name: str, **fields: Any) -> str:
    """Make a key that may chat, and return its secret; `fields` are those of the API."""
    answer = await call(gateway, "POST", "/admin/keys", {"name": name, "permissions": {"canUseAI": True}} | fields)
    assert answer.status == 201, answer
    return str(answer.document["key"])


async def change(gateway: Listening, name: str, **fields: Any) -> None:
    """Change a key."""
    answer = await call(gateway, "PATCH", f"/admin/keys/{quote(name)}", fields)
    assert answer.status == 200, answer


async def revoke(gateway: Listening, name: str) -> None:
    """Revoke a key."""
    answer = await call(gateway, "DELETE", f"/admin/keys/{quote(name)}")
    assert answer.status == 204, answer


async def read(gateway: Listening, path: str) -> Any:
    """Return what a GET answers."""
    answer = await call(gateway, "GET", path)
    assert answer.status == 200, answer
    return answer.document


async def until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Ask again and again until `condition()` gives something true, and return it; it may be a coroutine function.

    Raises TimeoutError.
    """
    async with asyncio.timeout(limit_s):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)
