"""The guard on every route: who is asking, how often, whether they may, and how large the body is.

It sits behind the routes and not in front of them, so that an unknown path is 404 and not 401, and decides on the
route that matched and never on the URL.
"""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

from starlette.requests import Request

from gateway.auth.principal import Permission
from gateway.context import AIFacts, RequestContext, context_of
from gateway.error_bodies import surface_of
from gateway.errors import Forbidden, GatewayError, MethodNotAllowed, StorageUnavailable, Unauthorized
from gateway.json_body import too_large
from gateway.limits.windows import Window, limit_headers, refusal
from gateway.state import GatewayState, state_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.auth.principal import Principal

    Endpoint = Callable[[Request], Awaitable[ASGIApp]]

# One permission or, in a tuple, any one of several. "public" needs no key; "metrics" is the scrape token, or a key, or
# nothing in development.
Access = Permission | tuple[Permission, ...] | Literal["public", "metrics"]
# "ai" requests count as AI requests besides, and leave a usage record; "free" ones are not counted at all.
Counted = Literal["plain", "ai", "free"]
BodyLimit = Literal["max_body_bytes", "max_ai_body_bytes"]
# A body that comes with its head does not pay for a second look.
_SAME_MOMENT_S = 0.001
# Without one of these a request has no body (RFC 9112, section 6.3).
_API_KEY = b"x-api-key"
_BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})


class Row(NamedTuple):
    """One row of the route table. `access` is what it takes; there is no default, so nobody forgets it."""

    method: str
    path: str
    endpoint: Endpoint
    access: Access
    counted: Counted = "plain"
    body_limit: BodyLimit = "max_body_bytes"
    # Whether this request needs no key after all; it then counts for its address alone, whatever key it carries.
    is_open: Callable[[Request, GatewayState], bool] | None = None


class GuardedRoute:
    """The ASGI app behind one path: picks the row by method, checks the caller, runs the endpoint.

    Raises `TypeError` for a row that does not declare what it takes to pass, so that nothing is open by mistake.
    """

    def __init__(self, path: str, rows: list[Row]) -> None:
        self.path = path
        for row in rows:
            declared = row.access if isinstance(row.access, tuple) else (row.access,)
            if not declared or not all(isinstance(one, Permission) or one in ("public", "metrics") for one in declared):
                raise TypeError(f"{row.method} {row.path} declares no permission")
        self._rows = {row.method: row for row in rows}
        if "GET" in self._rows:
            self._rows.setdefault("HEAD", self._rows["GET"])
        self._allow = ", ".join(sorted(self._rows))
        free = all(row.counted == "free" for row in rows)
        self._wrong = Row("", path, self._wrong_method, "public", "free" if free else "plain")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that matched this path."""
        context = context_of(scope)
        context.route = self.path
        row = self._rows.get(context.method, self._wrong)
        request = Request(scope, receive)
        state = state_of(request)
        has_body = not _BODY_HEADERS.isdisjoint(context.headers)
        limit: int = getattr(state.settings.server, row.body_limit) if has_body else 0
        oversized = has_body and _declares_more_than(context, limit)
        try:
            if row.is_open is not None and row.is_open(request, state):
                await _count_address(context, state)
            else:
                await admit(context, state, row.access, row.counted)
        except GatewayError as refused:
            # Whoever is refused must not go on sending what is too large for everybody.
            if oversized:
                refused.headers["connection"] = "close"
            raise
        if oversized:
            raise too_large(limit)
        if has_body:
            request = Request(scope, _looking_again(receive, context, state, row.access))
        response = await row.endpoint(request)
        await response(scope, receive, send)

    async def _wrong_method(self, request: Request) -> ASGIApp:
        msg = f"{request.method[:20]} is not allowed here"
        raise MethodNotAllowed(msg, details={"allowed": sorted(self._rows)}, headers={"allow": self._allow})


class UnknownPath:
    """The ASGI app behind the paths that are not in the table: counts the request like any other, then raises."""

    def __init__(self, route: str | None, error: Callable[[], GatewayError]) -> None:
        self._route = route
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - it only raises.
        """Raise what is said of this path."""
        context = context_of(scope)
        context.route = self._route
        await admit(context, state_of(Request(scope, receive)), "public", "plain")
        raise self._error()


async def admit(context: RequestContext, state: GatewayState, access: Access, counted: Counted) -> None:
    """Find the caller, count the request, and check the permission. Sets `context.principal`.

    Raises `Unauthorized`, `RateLimitExceeded`, `Forbidden`, `StorageUnavailable`.
    """
    # Browsers ask with OPTIONS before they ask, without a key, and whether or not CORS is configured.
    if access == "public" and (counted == "free" or context.method == "OPTIONS"):
        return
    if access == "metrics" and _may_scrape(context, state):
        return
    principal = _known_caller(context, state) or await _caller(context, state, access)
    if principal is None:
        return
    # Known from here on, so that the log also says whose key was refused.
    context.principal = principal
    if counted == "ai":
        context.ai = AIFacts()
    if counted != "free":
        limits = principal.limits
        ai = counted == "ai"
        windows = state.limit_policy.for_key(
            principal.id, limits.rate_limit, limits.ai_rate_limit, context.client_ip, ai=ai
        )
        await _count(context, state, windows)
    if access != "public":
        _check_permission(principal, access)


def _looking_again(receive: Receive, context: RequestContext, state: GatewayState, access: Access) -> Receive:
    """Return a `receive` that looks at the caller again when a body ends later than its head was admitted.

    Otherwise what is taken from a key, even a secret that was rotated away, could still be used by a request that was
    begun before and kept waiting. Raises `Unauthorized`, `Forbidden`, `StorageUnavailable` besides.
    """
    admitted = time.perf_counter()

    async def receive_and_look() -> Message:
        message = await receive()
        is_whole = message["type"] == "http.request" and not message.get("more_body")
        if is_whole and time.perf_counter() - admitted > _SAME_MOMENT_S:
            await _admit_again(context, state, access)
        return message

    return receive_and_look


async def _admit_again(context: RequestContext, state: GatewayState, access: Access) -> None:
    """Set `context.principal` anew and check the permission; count nothing."""
    if context.principal is None or access == "public":
        return
    secret = bearer_secret(context)
    principal = state.authenticator.known(secret)
    if principal is context.principal:
        return
    principal = principal or await state.authenticator.look_up(secret)
    if principal is None:
        msg = "Incorrect API key provided: it is not one of this gateway's"
        raise Unauthorized(msg)
    context.principal = principal
    _check_permission(principal, access)


def _check_permission(principal: Principal, access: Access) -> None:
    if access in principal.permissions:
        return
    needed = _permissions(access)
    if principal.permissions.isdisjoint(needed):
        msg = f"The API key lacks the permission {' or '.join(needed)}"
        raise Forbidden(msg, details={"required_permission": str(needed[0])})


def _permissions(access: Access) -> tuple[Permission, ...]:
    """Return the permissions any one of which lets a key pass."""
    if isinstance(access, tuple):
        return access
    return (access,) if isinstance(access, Permission) else (Permission.READ_METRICS,)


def _may_scrape(context: RequestContext, state: GatewayState) -> bool:
    """Whether the metrics are open to this request without a key: by the scrape token, or to all in development."""
    token = state.settings.metrics.token.get_secret_value()
    if not token:
        return state.settings.app_env == "development"
    given = bearer_secret(context).encode("utf-8", "surrogateescape")
    return hmac.compare_digest(given, token.encode())


def _known_caller(context: RequestContext, state: GatewayState) -> Principal | None:
    """Return whose key came with the request, if that is known without a look-up, as it is most of the time."""
    try:
        return state.authenticator.known(bearer_secret(context))
    except Unauthorized:
        return None


async def _caller(context: RequestContext, state: GatewayState, access: Access) -> Principal | None:
    """Return whose key came with the request; None for a public route without a valid one, which is counted then.

    A request without a valid key counts against its address, and is refused there once too many have come.
    """
    secret = ""
    try:
        secret = bearer_secret(context)
        return await _looked_up(context, state, secret)
    except Unauthorized:
        await _count(context, state, state.limit_policy.anonymous(context.client_ip))
        if access == "public":
            return None
        raise
    except StorageUnavailable:
        # That nobody can look up a key that was made up is no reason not to count it.
        if not state.authenticator.may_be_live(secret):
            await _count(context, state, state.limit_policy.anonymous(context.client_ip))
        # What is open to all does not depend on the database.
        if access == "public":
            return None
        raise


async def _looked_up(context: RequestContext, state: GatewayState, secret: str) -> Principal:
    """Return whose key this is. Raises `Unauthorized` and, once an address has guessed too often, `RateLimitExceeded`.

    Such an address is refused before any look-up, unless the key is one of the live ones.
    """
    if not state.authenticator.may_be_live(secret):
        spent = [w for w in state.limit_policy.anonymous(context.client_ip) if w.scope == "unauthenticated"]
        decision = await state.limiter.peek(spent) if spent else None
        if decision is not None and not decision.allowed:
            # What follows counts nothing and refuses.
            raise Unauthorized("Too many requests without a valid API key")
    principal = await state.authenticator.look_up(secret)
    if principal is None:
        msg = "Incorrect API key provided: it is not one of this gateway's"
        raise Unauthorized(msg)
    return principal


async def _count_address(context: RequestContext, state: GatewayState) -> None:
    """Count a request that needs no key, whatever key it carries. Raises `RateLimitExceeded`."""
    windows = state.limit_policy.anonymous(context.client_ip)
    await _count(context, state, tuple(window for window in windows if window.scope == "ip"))


async def _count(context: RequestContext, state: GatewayState, windows: tuple[Window, ...]) -> None:
    """Count the request in these windows. Raises `RateLimitExceeded` if one of them is full."""
    if not windows:
        return
    decision = await state.limiter.hit(windows)
    context.limit_headers = limit_headers(decision, windows)
    if not decision.allowed:
        state.metrics.refused(decision.window.scope)
        raise refusal(decision)


def _declares_more_than(context: RequestContext, limit: int) -> bool:
    """Whether a body is too large by its declared length; `read_body` counts what it really is."""
    declared = context.headers.get(b"content-length")
    return declared is not None and declared.isdigit() and int(declared) > limit


def bearer_secret(context: RequestContext) -> str:
    """Return the secret of `Authorization: Bearer ...` (RFC 6750), or of `x-api-key`, as Anthropic's clients send it.

    Raises `Unauthorized` that says what is missing, or that the two are not the same where both are read.
    """
    header = context.headers.get(b"authorization")
    if _API_KEY in context.headers and (not header or surface_of(context.path) == "anthropic"):
        return _api_key(context.headers[_API_KEY].strip(), header)
    if not header:
        msg = "Send your API key as 'Authorization: Bearer YOUR_KEY'"
        raise Unauthorized(msg)
    # A key with other letters than ASCII is configured, and sent, as UTF-8.
    return _bearer(header).decode("utf-8", "surrogateescape")


def _api_key(secret: bytes, header: bytes | None) -> str:
    if not secret:
        msg = "The x-api-key header must hold your API key"
        raise Unauthorized(msg)
    # Which of two keys is meant would be a guess, and they may allow different things.
    if header and not hmac.compare_digest(_bearer(header), secret):
        msg = "The Authorization header and x-api-key hold two different keys; send one"
        raise Unauthorized(msg)
    return secret.decode("utf-8", "surrogateescape")


def _bearer(header: bytes) -> bytes:
    scheme, _, secret = header.partition(b" ")
    scheme, secret = scheme.lower(), secret.strip()
    if scheme == b"apikey":
        msg = "'Authorization: ApiKey' was API v1; use 'Authorization: Bearer YOUR_KEY'"
        raise Unauthorized(msg)
    if scheme != b"bearer" or not secret:
        msg = "The Authorization header must be 'Bearer YOUR_KEY'"
        raise Unauthorized(msg)
    return secret
