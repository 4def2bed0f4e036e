"""What can go wrong at a provider, as a tree of types.

ProviderError
├── CallerError                 the request itself is at fault: told to the client, never tried elsewhere
│   ├── RequestRefused          400, 409, 413, 422 and the like
│   │   └── NotExpressible      this dialect has nothing for a field: not asked, another target may be
│   ├── ContextLengthExceeded   the prompt does not fit this model; a larger one may take it
│   └── ContentFiltered         the provider's policy stopped the request
├── CredentialRefused           401, 402, 403: the gateway's own key is wrong or unpaid
├── ModelNotServed              404: this provider has no such model or deployment
├── RateLimited                 429; `quota_spent` when waiting does not help
├── Unreachable                 no connection: refused, DNS, TLS
│   └── ConnectTimedOut
├── ConnectionDropped           closed before any header came, as a reused idle connection may be
├── ServerFailed                500, 502, 504 and other 5xx
├── Overloaded                  503, 529
├── UnreadableAnswer            not the JSON or the event stream that was asked for, or too large
├── FirstTokenTimedOut, TotalTimedOut
└── StreamBroken                reset, early end or stall after the answer began
    └── StreamStalled

The router decides from the type alone what to do next (`routing/policy.py`), so an adapter's whole duty on failure is
to raise the right one.
"""

from __future__ import annotations

from typing import Any


class ProviderError(Exception):
    """A provider did not answer as it should.

    `message` may reach the log but never a client, except for `CallerError`, whose text is the vendor's own answer
    about the client's request. `status` is the upstream's HTTP status if there was one, `retry_after_s` what it asked
    for, `vendor_code`, `vendor_type` and `param` the fields of its error object. `body` and `headers` are those of its
    answer, if there was one: at most the first 64 KiB, and what clients of the same dialect may see.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        vendor_code: str | None = None,
        vendor_type: str | None = None,
        param: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.vendor_code = vendor_code
        self.vendor_type = vendor_type
        self.param = param
        self.details = details or {}
        self.body = b""
        self.headers: dict[str, str] = {}


class CallerError(ProviderError):
    """The client's request was refused for what it says; asking elsewhere would not change that."""


class RequestRefused(CallerError):
    """The provider found the request malformed or unsupported (400, 409, 413, 422; 404 for a forgotten thread)."""


class NotExpressible(RequestRefused):
    """A field of the request has no counterpart in this provider's dialect, so it was not asked; another one may be."""


class ContextLengthExceeded(CallerError):
    """The prompt does not fit the model's context."""


class ContentFiltered(CallerError):
    """The provider's content policy stopped the prompt."""


class CredentialRefused(ProviderError):
    """The provider refused the gateway's own credential (401, 402, 403)."""


class ModelNotServed(ProviderError):
    """The provider does not know the model or deployment (404)."""


class RateLimited(ProviderError):
    """The provider limits us (429). With `quota_spent`, waiting does not help this credential."""

    quota_spent = False


class QuotaSpent(RateLimited):
    """A 429 that means an exhausted quota or spend limit (`insufficient_quota`)."""

    quota_spent = True


class Unreachable(ProviderError):
    """No connection could be made: refused, name not found, TLS failed."""


class ConnectTimedOut(Unreachable):
    """No connection within `connect_s`."""


class ConnectionDropped(ProviderError):
    """The connection ended before a response began; a reused idle connection may do so at any time."""


class ServerFailed(ProviderError):
    """The provider answered 500, 502, 504 or another 5xx."""


class Overloaded(ProviderError):
    """The provider said that it is overloaded (503, 529)."""


class UnreadableAnswer(ProviderError):
    """The answer is not what the dialect promises: HTML, broken JSON, an oversized event."""


class FirstTokenTimedOut(ProviderError):
    """A streamed answer brought no content within `first_token_s`."""


class TotalTimedOut(ProviderError):
    """An attempt, or the whole call, ran into its deadline."""


class StreamBroken(ProviderError):
    """An answer that had begun ended before it was complete."""


class StreamStalled(StreamBroken):
    """An answer that had begun brought nothing for `idle_s`."""
