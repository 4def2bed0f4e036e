"""Which type each refusal of a vendor becomes, since the router decides from the type alone."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.vendor_errors import from_event, from_response, retry_after_seconds
from tests.upstream.frames import error_body

NO_HEADERS: dict[str, str] = {}


def refusal(status: int, **members: Any) -> errors.ProviderError:
    """Return what an OpenAI error body with these members becomes."""
    body = {"message": "m", "type": None, "code": None, "param": None, **members}
    return from_response(status, NO_HEADERS, json.dumps({"error": body}).encode())


def test_a_model_that_a_project_may_not_use_says_nothing_about_the_credential() -> None:
    """OpenAI answers 403 there, and the provider's other models must go on answering."""
    assert type(refusal(403, code="model_not_found")) is errors.ModelNotServed
    assert type(refusal(403, code="permission_denied")) is errors.CredentialRefused


STATUSES: dict[int, type[errors.ProviderError]] = {
    301: errors.UnreadableAnswer,
    304: errors.UnreadableAnswer,
    400: errors.RequestRefused,
    401: errors.CredentialRefused,
    402: errors.CredentialRefused,
    403: errors.CredentialRefused,
    404: errors.ModelNotServed,
    405: errors.RequestRefused,
    408: errors.ServerFailed,
    409: errors.RequestRefused,
    413: errors.RequestRefused,
    415: errors.RequestRefused,
    422: errors.RequestRefused,
    429: errors.RateLimited,
    451: errors.RequestRefused,
    500: errors.ServerFailed,
    501: errors.ServerFailed,
    502: errors.ServerFailed,
    503: errors.Overloaded,
    504: errors.ServerFailed,
    520: errors.ServerFailed,
    529: errors.Overloaded,
    599: errors.ServerFailed,
}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b"[]", b"null", b'{"error":null}', b'{"error":"why"}', b"\xff"]
)
def test_every_status_has_its_type_whatever_the_body(status: int, kind: type[Exception], body: bytes) -> None:
    """Proxies in front of a vendor answer with HTML or nothing, and the status must be enough."""
    error = from_response(status, NO_HEADERS, body)
    assert type(error) is kind
    assert error.status == status
    assert error.message == ("why" if b"why" in body else f"HTTP {status}")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refusal(429, code="rate_limit_exceeded"), errors.RateLimited),
        (refusal(429, code="slow_down"), errors.RateLimited),
        (refusal(429, code="insufficient_quota"), errors.QuotaSpent),
        (refusal(429, type="insufficient_quota"), errors.QuotaSpent),
        (refusal(429, code="credit_balance_exhausted"), errors.QuotaSpent),
        (refusal(429, code="billing_hard_limit_reached"), errors.QuotaSpent),
        (refusal(429, code="enforced_spend_limit_reached"), errors.QuotaSpent),
        (refusal(503, code="server_is_overloaded"), errors.Overloaded),
        (refusal(529, type="overloaded_error"), errors.Overloaded),
        (refusal(400, code="context_length_exceeded"), errors.ContextLengthExceeded),
        (refusal(400, message="This model's maximum context length is 8192 tokens."), errors.ContextLengthExceeded),
        (refusal(413, code="context_length_exceeded"), errors.ContextLengthExceeded),
        (refusal(400, code="content_filter"), errors.ContentFiltered),
        (refusal(400, code="content_policy_violation"), errors.ContentFiltered),
        (refusal(400, innererror={"code": "ResponsibleAIPolicyViolation"}), errors.ContentFiltered),
        (refusal(400, code="unsupported_parameter", param="max_tokens"), errors.RequestRefused),
        (refusal(401, code="invalid_api_key"), errors.CredentialRefused),
        (refusal(404, code="model_not_found"), errors.ModelNotServed),
        (refusal(404, code="DeploymentNotFound"), errors.ModelNotServed),
        (refusal(404, details={"error_code": "thread_not_found"}), errors.RequestRefused),
        # A server's own failure stays one, whatever words it uses.
        (refusal(500, message="maximum context length"), errors.ServerFailed),
        (refusal(500, code="content_filter"), errors.ServerFailed),
        # llama.cpp: the code is an integer, and the type says more.
        (refusal(400, code=400, type="exceed_context_size_error", n_ctx=256), errors.ContextLengthExceeded),
        (refusal(401, code=401, type="authentication_error"), errors.CredentialRefused),
        (refusal(503, code=503, type="unavailable_error", message="Loading model"), errors.Overloaded),
        (refusal(500, code=500, type="server_error"), errors.ServerFailed),
    ],
)
def test_vendors_codes_refine_the_status(error: errors.ProviderError, kind: type[Exception]) -> None:
    """What follows (wait, fail over, tell the client) hangs on these codes and not on the status alone."""
    assert type(error) is kind


def test_a_spent_quota_is_a_rate_limit_that_waiting_does_not_lift() -> None:
    """The router cools both down, for different times."""
    spent, limited = refusal(429, code="insufficient_quota"), refusal(429)
    assert isinstance(spent, errors.RateLimited)
    assert (spent.quota_spent, isinstance(limited, errors.RateLimited) and limited.quota_spent) == (True, False)


def test_the_fields_of_the_error_are_kept_for_the_client() -> None:
    """Agents read `param` and `code` of a refused request."""
    error = refusal(400, message="Bad.", type="invalid_request_error", code="unsupported_value", param="temperature")
    assert (error.message, error.vendor_type, error.vendor_code, error.param) == (
        "Bad.",
        "invalid_request_error",
        "unsupported_value",
        "temperature",
    )


def test_azures_reason_for_a_filtered_prompt_is_kept() -> None:
    """The client may be told which category it was."""
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}
    error = refusal(400, code="content_filter", innererror=inner)
    assert error.details == {"content_filter": inner}


@pytest.mark.parametrize(
    ("members", "shown"),
    [
        ({"message": "x" * 5_000}, ("x" * 2_000, None, None)),
        ({"message": None, "code": 400}, ("HTTP 400", None, None)),
        ({"code": "429"}, ("m", None, None)),
        ({"code": "slow_down"}, ("m", "slow_down", None)),
        ({"message": ["a"], "code": True, "param": {"a": 1}}, ("HTTP 400", None, None)),
        ({"message": 7, "param": 3}, ("7", None, "3")),
    ],
)
def test_odd_members_become_bounded_text(members: dict[str, Any], shown: tuple[str, str | None, str | None]) -> None:
    """These go into headers, logs and answers, so they are text of a limited length or nothing."""
    error = refusal(400, **members)
    assert (error.message, error.vendor_code, error.param) == shown


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "vLLM says it at the top", "code": 400}, "vLLM says it at the top"),
        ({"error": "Unexpected endpoint or method."}, "Unexpected endpoint or method."),
        ({"detail": "Not Found"}, "HTTP 400"),
        (error_body("usual"), "usual"),
    ],
)
def test_the_message_is_found_in_every_shape(body: dict[str, Any], message: str) -> None:
    """Not every compatible server wraps its error as OpenAI does."""
    assert from_response(400, NO_HEADERS, json.dumps(body).encode()).message == message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "m", "type": "server_error", "code": None}, errors.ServerFailed),
        ({"message": "m", "code": 503}, errors.Overloaded),
        ({"message": "m", "code": "429"}, errors.RateLimited),
        ({"message": "m", "status": 400}, errors.RequestRefused),
        ({"message": "m", "status_code": 401}, errors.CredentialRefused),
        ({"message": "m", "code": 429, "status": "RESOURCE_EXHAUSTED"}, errors.RateLimited),
        ({"message": "m", "code": "rate_limit_exceeded"}, errors.RateLimited),
        ({"message": "m", "type": "rate_limit_error"}, errors.RateLimited),
        ({"message": "m", "code": "insufficient_quota"}, errors.QuotaSpent),
        ({"message": "m", "code": "server_is_overloaded"}, errors.Overloaded),
        ({"message": "m", "type": "overloaded_error"}, errors.Overloaded),
        ({"message": "m", "type": "invalid_request_error"}, errors.RequestRefused),
        ({"message": "m", "type": "invalid_request_error", "code": "invalid_api_key"}, errors.CredentialRefused),
        ({"message": "m", "code": "context_length_exceeded"}, errors.ContextLengthExceeded),
        ({"message": "m", "code": "content_filter"}, errors.ContentFiltered),
        ({"message": "m", "code": "model_not_found"}, errors.ModelNotServed),
        ({"message": "m", "code": 200}, errors.ServerFailed),
        ({"message": "m", "code": 10**30}, errors.ServerFailed),
        ("overloaded", errors.ServerFailed),
        (["odd"], errors.ServerFailed),
        (7, errors.ServerFailed),
    ],
)
def test_an_error_inside_a_200_is_classified_by_its_own_words(error: object, kind: type[Exception]) -> None:
    """There is no status to go by, and what cannot be understood is the server's failure."""
    assert type(from_event(error)) is kind


NOW = 1_792_567_680.0  # Wed, 21 Oct 2026 07:28:00 GMT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"x-ms-retry-after-ms": "1500", "retry-after": "3"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 +0000"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 +99999999999999"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        ({"retry-after": "NaN"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "later"}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], expected: float | None) -> None:
    """Seconds, milliseconds and dates are in use; nonsense must not become a wait of years."""
    assert retry_after_seconds(headers, NOW) == expected
    assert retry_after_seconds(httpx.Headers(headers), NOW) == expected


@given(st.one_of(st.text(), st.text(st.sampled_from("0123456789:, +-GMTWedOct")), st.floats().map(str)))
def test_no_retry_after_raises_or_asks_for_nonsense(value: str) -> None:
    """The header is the vendor's, so it is input like any other."""
    for name in ("retry-after", "retry-after-ms", "x-ms-retry-after-ms"):
        wait = retry_after_seconds({name: value}, NOW)
        assert wait is None or (math.isfinite(wait) and 0 <= wait < 1e9)


def test_the_wait_comes_with_the_error() -> None:
    """The router cools the target down for as long as it was asked to."""
    assert from_response(429, {"retry-after": "12"}, b"").retry_after_s == 12


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_error_objects = st.dictionaries(
    st.sampled_from(["message", "type", "code", "param", "status", "status_code", "innererror"]), _json_values
)


@given(st.integers(300, 599), _error_objects | _json_values)
def test_any_body_becomes_some_provider_error(status: int, error: object) -> None:
    """No answer of an upstream may make the gateway itself fail."""
    told = from_response(status, NO_HEADERS, json.dumps({"error": error}).encode())
    assert isinstance(told, errors.ProviderError)
    assert isinstance(from_event(error), errors.ProviderError)
    assert isinstance(from_response(status, NO_HEADERS, json.dumps(error).encode()), errors.ProviderError)
