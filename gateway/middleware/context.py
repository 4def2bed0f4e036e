"""The outermost layer: request id, security headers, the account of every request, and the last net for exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.context import CONTEXT_KEY, RequestContext
from gateway.error_bodies import error_response
from gateway.errors import InternalError
from gateway.observability.logs import exception_fields, get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.accounting import Accounts
    from gateway.client_address import ClientAddress

# The five of the product page, with exactly its values.
SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"x-xss-protection", b"1; mode=block"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"content-security-policy", b"default-src 'self'"),
]


class RequestContextMiddleware:
    """Gives every request its context and every answer its headers, and closes its account when it is over."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts, docs_url: str, client_address: ClientAddress) -> None:
        self._app = app
        self._accounts = accounts
        self._metrics = accounts.metrics
        self._docs_url = docs_url
        self._client_address = client_address
        self._log = get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; only HTTP requests have a context."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(scope, send, self._docs_url, self._client_address(scope))
        scope[CONTEXT_KEY] = context
        own_headers = [*SECURITY_HEADERS, (b"x-request-id", context.request_id.encode())]

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                context.response_started = True
                context.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *own_headers, *context.limit_headers]
            return send(message)

        self._metrics.in_flight += 1
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as exc:  # noqa: BLE001 - this is the last net, and it logs.
            self._log.error("unhandled_exception", request_id=context.request_id, **exception_fields(exc))
            if not context.response_started:
                await error_response(InternalError(), context)(scope, receive, send_with_headers)
        finally:
            self._metrics.in_flight -= 1
            self._accounts.finished(context)
            # The server's `send` leads back to the scope: left as it is, only the garbage collector would free both.
            del scope[CONTEXT_KEY]
