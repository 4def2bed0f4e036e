"""From an upstream's refusal (HTTP status, headers, error object) to the right type of `providers.errors`.

Sources: OpenAI's error codes guide and the retry rules of the official SDKs; Anthropic's API reference ("Errors");
Azure OpenAI's content filter errors;
llama.cpp and LM Studio, whose `code` may be an integer and whose `error` may be a string.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec

from providers import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUOTA_CODES = frozenset(
    {"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "enforced_spend_limit_reached"}
)
_CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# Servers without an error code for it (vLLM and its relatives, Anthropic) say it in these words.
_CONTEXT_PHRASES = ("maximum context length", "prompt is too long", "exceed context limit")
# Anthropic answers 400 when our account has no money left or has reached its limit, which is no fault of the client's.
_QUOTA_PHRASES = ("credit balance is too low", "reached your specified api usage limits")
# Anthropic answers 404 when it has forgotten the conversation that a request continues; the model is well.
_FORGOTTEN_CODES = frozenset({"thread_not_found"})
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
_MAX_MESSAGE_CHARS = 2_000
# A wait of decades is a broken header and not a wish.
_LONGEST_WAIT_S = 1e9
_BY_CODE_IN_STREAM: Mapping[str, int] = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "server_is_overloaded": 503,
    "overloaded_error": 529,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "model_not_found": 404,
    "deploymentnotfound": 404,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "timeout_error": 504,
}
_BY_STATUS: Mapping[int, type[errors.ProviderError]] = {
    401: errors.CredentialRefused,
    402: errors.CredentialRefused,
    403: errors.CredentialRefused,
    404: errors.ModelNotServed,
    408: errors.ServerFailed,
    429: errors.RateLimited,
    503: errors.Overloaded,
    529: errors.Overloaded,
}


def retry_after_seconds(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return how long a vendor asked to wait, in seconds, or None.

    `retry-after-ms` and Azure's `x-ms-retry-after-ms` win over `retry-after`, which is seconds or an HTTP date
    (RFC 9110, section 10.2.3). `now` is the Unix time that dates are compared with.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        wait = _number(headers.get(name))
        if wait is not None:
            return max(0.0, wait / 1000)
    value = headers.get("retry-after")
    if value is None:
        return None
    wait = _number(value)
    if wait is not None:
        return max(0.0, wait)
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    wait = max(0.0, moment - (time.time() if now is None else now))
    return wait if wait < _LONGEST_WAIT_S else None


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    # NaN compares false and is dropped as well.
    return number if number is not None and number < _LONGEST_WAIT_S else None


def from_response(status: int, headers: Mapping[str, str], body: bytes) -> errors.ProviderError:
    """Classify an upstream answer whose status is not 2xx. `body` holds at most the first 64 KiB of it."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    error = answer.get("error", answer) if isinstance(answer, dict) else None
    return _classify(status, error, retry_after_seconds(headers))


def from_event(error: Any) -> errors.ProviderError:
    """Classify an error object that came inside a 200, in an event or as the whole answer."""
    fields = error if isinstance(error, dict) else {}
    named = (_as_status(fields.get(name)) for name in ("status", "status_code", "code"))
    status = next((number for number in named if number is not None), None)
    if status is None:
        for name in ("code", "type"):
            status = status or _BY_CODE_IN_STREAM.get(str(fields.get(name)).lower())
    return _classify(status or 500, error, None)


def _as_status(value: Any) -> int | None:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value <= 599 else None


def _classify(status: int, error: Any, retry_after_s: float | None) -> errors.ProviderError:
    fields: dict[str, Any] = error if isinstance(error, dict) else {"message": error}
    code, kind = _text(fields.get("code")), _text(fields.get("type"))
    inner = fields.get("innererror")
    reasons = {(code or "").lower(), (kind or "").lower()}
    if isinstance(inner, dict):
        reasons.add((_text(inner.get("code")) or "").lower())
    details = fields.get("details")
    if isinstance(details, dict):
        reasons.add((_text(details.get("error_code")) or "").lower())
    if status < 500:
        reasons |= _said_in_words((_text(fields.get("message")) or "").lower())
    param = _text(fields.get("param"))
    if status == 404 and param not in (None, "model"):
        # What is missing is named in the request, such as an item or an earlier response; the model is there.
        status = 400
    return _type_for(status, reasons)(
        (_text(fields.get("message")) or f"HTTP {status}")[:_MAX_MESSAGE_CHARS],
        status=status,
        retry_after_s=retry_after_s,
        # llama.cpp repeats the HTTP status here, which would hide the code that clients test for.
        vendor_code=None if code is not None and code.isdecimal() else code,
        vendor_type=kind,
        param=param,
        details={"content_filter": inner} if isinstance(inner, dict) else None,
    )


def _said_in_words(message: str) -> set[str]:
    found = {"context_length_exceeded"} if any(phrase in message for phrase in _CONTEXT_PHRASES) else set()
    return found | ({"insufficient_quota"} if any(phrase in message for phrase in _QUOTA_PHRASES) else set())


def _type_for(status: int, reasons: set[str]) -> type[errors.ProviderError]:
    if status == 429 or (status == 400 and reasons & _QUOTA_CODES):
        return errors.QuotaSpent if reasons & _QUOTA_CODES else errors.RateLimited
    if reasons & _CONTEXT_CODES and status < 500:
        return errors.ContextLengthExceeded
    if reasons & _FILTER_CODES and status < 500:
        return errors.ContentFiltered
    if status == 404 and reasons & _FORGOTTEN_CODES:
        return errors.RequestRefused
    if status == 403 and "model_not_found" in reasons:
        # The credential is good, and this model is not for it (OpenAI's projects).
        return errors.ModelNotServed
    return _BY_STATUS.get(status) or _by_class(status)


def _by_class(status: int) -> type[errors.ProviderError]:
    if status >= 500:
        return errors.ServerFailed
    # A redirect or any other 3xx is no answer of this dialect: nothing was said about the request itself.
    return errors.RequestRefused if status >= 400 else errors.UnreadableAnswer


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, (dict, list, bool)):
        return None
    return str(value)
