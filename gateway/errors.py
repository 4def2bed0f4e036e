"""Every error that a client can see: one tree of classes, each with its code and HTTP status (LC-ERR).

GatewayError
├── ClientError (4xx)        InvalidRequest, Unauthorized, Forbidden, NotFound ..., RateLimitExceeded ...
└── ServerError (5xx)        InternalError, ProviderFailed, NoProviderAvailable, Overloaded, ShuttingDown ...

`docs/errors.md` has an anchor for each code, which is where `documentation_url` points. How an error looks on the wire
depends on the surface that was asked and stands in `gateway/error_bodies.py`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

# A body of megabytes can have a million mistakes; the answer is not to be larger than the question.
_MAX_LISTED = 100
_MAX_NAME_CHARS = 200


class CannotStart(Exception):
    """The gateway cannot start as it is set up. Not for clients: the text is for the operator, and holds no secret."""


class GatewayError(Exception):
    """An error with a code and a status. `message` is for people, `details` for programs; both go to the client.

    `param` names the request field at fault. `vendor_code` and `vendor_type` replace the class's own on the
    compatible surfaces when a provider named them; `anthropic_type` does on Anthropic's alone. `vendor_body` and
    `vendor_headers` are the provider's whole refusal, for a client that speaks its dialect.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    openai_type: ClassVar[str] = "server_error"
    openai_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}
        self.headers = headers or {}
        self.param = param
        self.vendor_code: str | None = None
        self.vendor_type: str | None = None
        self.anthropic_type: str | None = None
        self.vendor_body = b""
        self.vendor_headers: dict[str, str] = {}

    @property
    def lc_code(self) -> str:
        """The code of the LunarCore specification: `LC_ERR_` and the code."""
        return f"LC_ERR_{self.code}"


class ClientError(GatewayError):
    """The request cannot be answered as it is."""

    openai_type = "invalid_request_error"


class ServerError(GatewayError):
    """The gateway or what stands behind it failed."""


class RetryLater(GatewayError):
    """An error that carries `Retry-After`, in whole seconds, at least 1 (RFC 9110, section 10.2.3)."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.headers["retry-after"] = str(max(1, math.ceil(retry_after_s or 1)))


class InvalidRequest(ClientError):
    """400: malformed body or parameters; `details.errors` lists each field with what is wrong."""

    code, status = "INVALID_REQUEST", 400

    def __init__(self, message: str, *, errors: list[tuple[str, str]] | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        listed = (errors or [(self.param or "body", message)])[:_MAX_LISTED]
        shown = [{"field": name[:_MAX_NAME_CHARS], "message": text} for name, text in listed]
        self.details = {**self.details, "errors": shown}
        if self.param is None and errors and errors[0][0] != "body":
            self.param = errors[0][0]


class ContextTooLong(ClientError):
    """400: the prompt does not fit the model."""

    code, status, openai_code = "CONTEXT_LENGTH_EXCEEDED", 400, "context_length_exceeded"


class ContentRefused(ClientError):
    """400: the provider's content policy refused the prompt; its reason is in the details."""

    code, status, openai_code = "CONTENT_FILTERED", 400, "content_filter"


class Unauthorized(ClientError):
    """401: no valid credential.

    What is said of a wrong key begins with OpenAI's own "Incorrect API key provided": LiteLLM as a client looks for it.
    """

    code, status, openai_code = "UNAUTHORIZED", 401, "invalid_api_key"

    def __init__(self, message: str, **more: Any) -> None:
        super().__init__(message, **more)
        self.headers["www-authenticate"] = "Bearer"


class KeyExpired(Unauthorized):
    """401: the key's time is over."""

    code = "KEY_EXPIRED"


class KeyRevoked(Unauthorized):
    """401: the key was revoked."""

    code = "KEY_REVOKED"


class Forbidden(ClientError):
    """403: the key lacks `details.required_permission`."""

    code, status, openai_code, openai_type = "FORBIDDEN", 403, "insufficient_permissions", "permission_error"


class NotFound(ClientError):
    """404: no such path or resource."""

    code, status, openai_code = "NOT_FOUND", 404, "not_found"


class ProjectNotFound(NotFound):
    """404: no such project, or not one the key may see."""

    code = "PROJECT_NOT_FOUND"


class ChannelNotFound(NotFound):
    """404: the project has no such channel."""

    code = "CHANNEL_NOT_FOUND"


class VersionNotFound(NotFound):
    """404: the channel has no such version."""

    code = "VERSION_NOT_FOUND"


class BuildNotFound(NotFound):
    """404: the version has no such build."""

    code = "BUILD_NOT_FOUND"


class KeyNotFound(NotFound):
    """404: no live key of that name."""

    code = "KEY_NOT_FOUND"


class UnknownModel(NotFound):
    """404: no provider serves the model; `details.available_models` lists what may be asked for."""

    code, openai_code = "MODEL_NOT_FOUND", "model_not_found"


class MethodNotAllowed(ClientError):
    """405: the path exists, but not with this method; the `Allow` header lists those it has."""

    code, status, openai_code = "METHOD_NOT_ALLOWED", 405, "method_not_allowed"


class Conflict(ClientError):
    """409: the request contradicts the present state."""

    status = 409


class KeyNameExists(Conflict):
    """409: a live key has that name."""

    code = "KEY_NAME_EXISTS"


class ProjectExists(Conflict):
    """409: a project has that id already."""

    code = "PROJECT_EXISTS"


class ChannelExists(Conflict):
    """409: the project has a channel of that id already."""

    code = "CHANNEL_EXISTS"


class VersionExists(Conflict):
    """409: the channel has that version already."""

    code = "VERSION_EXISTS"


class BuildNotVerified(Conflict):
    """409: the build may not be served before it is verified."""

    code = "BUILD_NOT_VERIFIED"


class IdempotencyKeyReused(Conflict):
    """409: the idempotency key came before with another request."""

    code = "IDEMPOTENCY_KEY_REUSED"


class ApiVersionGone(ClientError):
    """410: API v1 is no more."""

    code, status = "API_VERSION_GONE", 410


class VersionYanked(ClientError):
    """410: the version was withdrawn."""

    code, status = "VERSION_YANKED", 410


class PayloadTooLarge(ClientError):
    """413: the body is larger than the route allows."""

    code, status, openai_code = "PAYLOAD_TOO_LARGE", 413, "request_too_large"


class UnsupportedMediaType(ClientError):
    """415: the body is not JSON, or is compressed."""

    code, status, openai_code = "UNSUPPORTED_MEDIA_TYPE", 415, "unsupported_media_type"


class RateLimitExceeded(RetryLater, ClientError):
    """429: the client's own limit; `details` has limit, window and scope."""

    code, status = "RATE_LIMIT_EXCEEDED", 429
    openai_type, openai_code = "requests", "rate_limit_exceeded"


class TokenLimitExceeded(RetryLater, ClientError):
    """429: the key's tokens are spent."""

    code, status = "TOKEN_LIMIT_EXCEEDED", 429
    openai_type, openai_code = "tokens", "rate_limit_exceeded"


class BudgetExceeded(ClientError):
    """429: the key's budget is spent; asking again does not help."""

    code, status, openai_type, openai_code = "BUDGET_EXCEEDED", 429, "insufficient_quota", "insufficient_quota"


class ProviderRateLimited(RetryLater, ServerError):
    """429: every provider limits us; `Retry-After` is the smallest of theirs."""

    code, status = "PROVIDER_RATE_LIMITED", 429
    openai_type, openai_code = "requests", "rate_limit_exceeded"


class InternalError(ServerError):
    """500: a fault of the gateway itself; its message does not say which."""

    def __init__(
        self, message: str = "Something went wrong inside the gateway; the request id leads to the log", **more: Any
    ) -> None:
        super().__init__(message, **more)


class ProviderFailed(ServerError):
    """502: no provider gave a usable answer."""

    code, status, openai_code = "PROVIDER_ERROR", 502, "provider_error"


class NoProviderAvailable(RetryLater, ServerError):
    """503: no provider can be asked now."""

    code, status, openai_code = "NO_PROVIDER_AVAILABLE", 503, "no_provider_available"


class Overloaded(RetryLater, ServerError):
    """503: every target has as many requests in flight as it may have."""

    code, status, openai_code = "OVERLOADED", 503, "server_is_overloaded"


class ShuttingDown(RetryLater, ServerError):
    """503: the gateway is stopping."""

    code, status, openai_code = "SHUTTING_DOWN", 503, "shutting_down"


class StorageUnavailable(RetryLater, ServerError):
    """503: the database does not answer."""

    code, status, openai_code = "STORAGE_UNAVAILABLE", 503, "storage_unavailable"


class ProviderTimedOut(ServerError):
    """504: no provider answered in time."""

    code, status, openai_code = "PROVIDER_TIMEOUT", 504, "provider_timeout"


class StreamInterrupted(ServerError):
    """Only inside a stream: the answer broke off; what came so far is not a whole answer."""

    code, status, openai_code = "STREAM_INTERRUPTED", 502, "stream_interrupted"


def all_errors() -> list[type[GatewayError]]:
    """Return every class that has a code of its own, in the order of their statuses."""
    found: list[type[GatewayError]] = []
    waiting: list[type[GatewayError]] = [GatewayError]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        found.append(kind)
    abstract = {GatewayError, ClientError, ServerError, RetryLater, Conflict}
    return sorted({kind for kind in found if kind not in abstract}, key=lambda kind: (kind.status, kind.code))
