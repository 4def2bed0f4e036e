"""CORS for the configured origins; without any, no CORS header is ever sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

from gateway.context import context_of
from gateway.error_bodies import error_response
from gateway.errors import Forbidden

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "X-Api-Key",
    "X-Request-ID",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "X-User-Staging-Id",
    "OpenAI-Beta",
    "OpenAI-Organization",
    "OpenAI-Project",
    "Anthropic-Version",
    "Anthropic-Beta",
    "Anthropic-Dangerous-Direct-Browser-Access",
    # What the SDKs of both vendors say of themselves with every request; browsers other than Chromium send the first.
    "User-Agent",
    *(
        f"X-Stainless-{name}"
        for name in (
            *("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Retry-Count", "Timeout"),
            *("Helper", "Helper-Method", "Poll-Helper", "Custom-Poll-Interval"),
        )
    ),
)
EXPOSED_HEADERS = (
    "X-Request-ID",
    "Request-ID",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Should-Retry",
    "ETag",
    "Link",
    "Content-Disposition",
    "X-LunarBit-Provider",
    "X-LunarBit-Model",
    "X-LunarBit-Attempts",
    "X-LunarBit-Error-Code",
    "X-LunarBit-Upstream-Request-ID",
)
_STARLETTE_REFUSAL = 400
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


class CORS:
    """Starlette's CORS rules over an exact list of origins, with refusals in the gateway's own error shape.

    Credentials (cookies) are never allowed: keys travel in a header.
    """

    def __init__(self, app: ASGIApp, origins: list[str]) -> None:
        self._cors = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=ALLOWED_HEADERS,
            expose_headers=EXPOSED_HEADERS,
            max_age=600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer preflights and mark the answers to allowed origins."""
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            await self._cors(scope, receive, send)
            return
        refused = False

        async def send_unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == _STARLETTE_REFUSAL:
                refused = True
            if not refused:
                await send(message)

        await self._cors(scope, receive, send_unless_refused)
        if refused:
            msg = "This origin, method or header is not allowed; see server.cors_origins"
            await error_response(Forbidden(msg), context_of(scope))(scope, receive, send)
