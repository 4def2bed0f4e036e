"""What is known of one request while it is under way; made by the outermost middleware, read by the access log."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING

from providers.base import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope, Send

    from gateway.auth.principal import Principal

CONTEXT_KEY = "lunarbit"
CLIENT_GONE = 499
NO_USAGE = Usage()

_ids = random.Random()  # noqa: S311 - seeded by the system; an id is no secret, and urandom costs a system call.
_USABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


class AIFacts:
    """What the access log, the metrics and the ledger say about one AI request. `cost_nano` is None without a price."""

    __slots__ = ("attempts", "cost_nano", "model", "provider", "ttft_s", "usage")

    def __init__(self) -> None:
        self.provider: str | None = None
        self.model: str | None = None
        self.attempts = 0
        self.ttft_s: float | None = None
        self.usage = NO_USAGE
        self.cost_nano: int | None = None


class RequestContext:
    """One request: its id, clock, route, caller and outcome.

    `started` is of `time.perf_counter`, in seconds. `send` is the server's own, without the layers around the endpoint,
    for the pieces of a body that follow its head. `headers` has the last value of each header, by lower-case name,
    for the few that are looked up on every request. `limit_headers` say how the answer stands to the caller's limits.
    """

    # What most requests leave as it is stands here, once for all of them.
    route: str | None = None
    principal: Principal | None = None
    status = 0
    response_started = False
    error_code: str | None = None
    ai: AIFacts | None = None
    client_gone = False
    limit_headers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, scope: Scope, send: Send, docs_url: str, client_ip: str) -> None:
        self.send = send
        self.docs_url = docs_url
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = request_id_from(self.headers.get(b"x-request-id"))
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.client_ip = client_ip
        self.started = time.perf_counter()


def context_of(scope: Scope) -> RequestContext:
    """Return the context that the middleware put into `scope`."""
    context: RequestContext = scope[CONTEXT_KEY]
    return context


def key_id_of(context: RequestContext) -> str:
    """Return the id of the caller's key; empty for a caller without one."""
    return context.principal.id if context.principal is not None else ""


def new_request_id() -> str:
    """Return `req_` and 16 characters of [0-9a-f]. It tells requests apart and protects nothing."""
    return f"req_{_ids.getrandbits(64):016x}"


def request_id_from(value: bytes | None) -> str:
    """Return the client's own id when it is 1-128 characters of [A-Za-z0-9._-], else a new one."""
    if value is None:
        return new_request_id()
    text = value.decode("latin-1")
    return text if _USABLE_ID.fullmatch(text) else new_request_id()
