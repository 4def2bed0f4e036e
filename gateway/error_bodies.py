"""How an error looks on the wire, on each surface.

LunarBit's own, OpenAI's under `/v1`, Anthropic's under `/v1/messages`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from starlette.responses import Response

from gateway.errors import BudgetExceeded, GatewayError, ProviderFailed, ProviderTimedOut

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from gateway.context import RequestContext

LINGER_S = 2.0
Surface = Literal["lunarbit", "openai", "anthropic"]
API_PREFIX = "/api/v2"
_MODELS = "/v1/models"

# Anthropic's error types by status (Anthropic API reference, "Errors").
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class _RefusalText(msgspec.Struct):
    type: str
    message: str


class _Refusal(msgspec.Struct):
    type: str
    error: _RefusalText


_decode_refusal = msgspec.json.Decoder(_Refusal).decode
# With this field Anthropic's packages ask that the provider remember the conversation, as their loops over tools do by
# default. When a refusal says this, they send all of it themselves and go on.
_THREAD, _NO_THREADS = "thread", {"error_code": "thread_unsupported_request"}
# A client's SDK would retry these although the gateway has already tried everything.
_NO_RETRY = (ProviderFailed, ProviderTimedOut, BudgetExceeded)


def surface_of(path: str) -> Surface:
    """Return the surface that a path belongs to, with or without the `/api/v2` prefix."""
    path = path.removeprefix(API_PREFIX)
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return "anthropic"
    return "openai" if path.startswith("/v1/") else "lunarbit"


def surface_of_request(context: RequestContext) -> Surface:
    """Return the surface that a request came in by.

    The lists of models of OpenAI and of Anthropic have the same address; Anthropic's clients name their version.
    """
    path = context.path.removeprefix(API_PREFIX)
    if b"anthropic-version" in context.headers and (path == _MODELS or path.startswith(f"{_MODELS}/")):
        return "anthropic"
    return surface_of(context.path)


def error_object(error: GatewayError, surface: Surface, request_id: str, docs_url: str) -> dict[str, Any]:
    """Return the JSON body of `error` as `surface` writes it; the same object goes into a stream's error event."""
    if surface == "openai":
        return {
            "error": {
                "message": error.message,
                "type": error.vendor_type or error.openai_type,
                "param": error.param,
                "code": error.vendor_code or error.openai_code,
            }
        }
    if surface == "anthropic":
        body: dict[str, Any] = {"type": _anthropic_type(error), "message": error.message}
        if error.param == _THREAD:
            body["details"] = _NO_THREADS
        return {"type": "error", "error": body, "request_id": request_id}
    return {
        "error": {
            "code": error.code,
            "lc_code": error.lc_code,
            "message": error.message,
            "details": error.details,
            "documentation_url": f"{docs_url}#{error.code}",
            "request_id": request_id,
        }
    }


def _anthropic_type(error: GatewayError) -> str:
    known = {error.vendor_type, error.anthropic_type} & {*_ANTHROPIC_TYPES.values()}
    by_class = "api_error" if error.status >= 500 else "invalid_request_error"
    return str(known.pop()) if known else _ANTHROPIC_TYPES.get(error.status, by_class)


def _is_anthropic_error(body: bytes) -> bool:
    """Whether a provider's refusal is one of Anthropic's dialect, so that its own clients read it as it came."""
    try:
        return _decode_refusal(body).type == "error"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def error_response(error: GatewayError, context: RequestContext) -> Response:
    """Return the whole answer for `error` on the surface that the request came in by."""
    context.error_code = error.code
    surface = surface_of_request(context)
    headers = {"cache-control": "no-store", **error.headers}
    if surface != "lunarbit":
        headers["x-lunarbit-error-code"] = error.code
        if isinstance(error, _NO_RETRY):
            headers["x-should-retry"] = "false"
    body = msgspec.json.encode(error_object(error, surface, context.request_id, context.docs_url))
    if surface == "anthropic":
        headers["request-id"] = context.request_id
        if _is_anthropic_error(error.vendor_body):
            headers, body = {**error.vendor_headers, **headers}, error.vendor_body
    kind = ClosingResponse if headers.get("connection") == "close" else Response
    return kind(body, error.status, headers, "application/json")


class ClosingResponse(Response):
    """An answer after which the connection closes although the client may still be sending its body.

    Closing at once would reset the connection, and the client would lose the answer; so what it sends is thrown away
    for up to `LINGER_S` seconds first (RFC 9112, section 9.6).
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - all is said already.
        """Send the answer whole, then end it when the client has sent all or has gone."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        try:
            async with asyncio.timeout(LINGER_S):
                while (await receive()).get("more_body"):
                    pass
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
