"""The guard on every route: method, body size, who is asking, and whether they may.

It sits behind Starlette's router and not in front of it, so that an unknown path is 404 and not 401, and decides on the
route that matched and never on the URL.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Literal, NamedTuple

from starlette.requests import Request

from gateway.auth.principal import Permission
from gateway.context import RequestContext, context_of
from gateway.errors import Forbidden, MethodNotAllowed, Unauthorized
from gateway.json_body import too_large
from gateway.state import GatewayState, state_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.auth.principal import Principal

    Endpoint = Callable[[Request], Awaitable[ASGIApp]]

# "public" needs no key; "metrics" is the scrape token, or a key, or nothing in development.
Access = Permission | Literal["public", "metrics"]
BodyLimit = Literal["max_body_bytes", "max_ai_body_bytes"]


class Row(NamedTuple):
    """One row of the route table. `access` is what it takes; there is no default, so nobody forgets it."""

    method: str
    path: str
    endpoint: Endpoint
    access: Access
    body_limit: BodyLimit = "max_body_bytes"


class GuardedRoute:
    """The ASGI app behind one path: picks the row by method, checks the caller, runs the endpoint."""

    def __init__(self, path: str, rows: list[Row]) -> None:
        self.path = path
        self._rows = {row.method: row for row in rows}
        if "GET" in self._rows:
            self._rows.setdefault("HEAD", self._rows["GET"])
        self._allow = ", ".join(sorted(self._rows))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that matched this path."""
        context = context_of(scope)
        context.route = self.path
        row = self._rows.get(context.method)
        if row is None:
            msg = f"{context.method} is not allowed here"
            raise MethodNotAllowed(msg, details={"allowed": sorted(self._rows)}, headers={"allow": self._allow})
        request = Request(scope, receive)
        state = state_of(request)
        _check_declared_size(context, getattr(state.settings.server, row.body_limit))
        if row.access != "public":
            context.principal = await _admit(context, state, row.access)
        response = await row.endpoint(request)
        await response(scope, receive, send)


def _check_declared_size(context: RequestContext, limit: int) -> None:
    """Refuse a body by its declared length before anything of it is read; `read_body` counts the rest."""
    declared = context.headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise too_large(limit)


async def _admit(context: RequestContext, state: GatewayState, access: Access) -> Principal | None:
    """Return the caller if it may pass. Raises `Unauthorized` or `Forbidden`."""
    needed = access if isinstance(access, Permission) else Permission.READ_METRICS
    if access == "metrics":
        token = state.settings.metrics.token.get_secret_value()
        if not token and state.settings.app_env == "development":
            return None
        given = bearer_secret(context).encode("utf-8", "surrogateescape")
        if token and hmac.compare_digest(given, token.encode()):
            return None
    principal = await state.authenticator.authenticate(bearer_secret(context))
    if principal is None:
        msg = "The API key is not valid"
        raise Unauthorized(msg)
    # Known from here on, so that the log also says whose key was refused.
    context.principal = principal
    if needed not in principal.permissions:
        msg = f"The API key lacks the permission {needed}"
        raise Forbidden(msg, details={"required_permission": str(needed)})
    return principal


def bearer_secret(context: RequestContext) -> str:
    """Return the secret of `Authorization: Bearer ...` (RFC 6750). Raises `Unauthorized` that says what is missing."""
    header = context.headers.get(b"authorization")
    if not header:
        msg = "Send your API key as 'Authorization: Bearer YOUR_KEY'"
        raise Unauthorized(msg)
    scheme, _, secret = header.partition(b" ")
    scheme, secret = scheme.lower(), secret.strip()
    if scheme == b"apikey":
        msg = "'Authorization: ApiKey' was API v1; use 'Authorization: Bearer YOUR_KEY'"
        raise Unauthorized(msg)
    if scheme != b"bearer" or not secret:
        msg = "The Authorization header must be 'Bearer YOUR_KEY'"
        raise Unauthorized(msg)
    # A key with other letters than ASCII is configured, and sent, as UTF-8.
    return secret.decode("utf-8", "surrogateescape")
