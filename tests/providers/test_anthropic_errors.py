"""Anthropic's errors: the type of each, by status and inside a stream, and what its words say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from providers import errors, vendor_errors


def refused(status: int, kind: str, message: str = "No.", **members: Any) -> errors.ProviderError:
    """Return what an HTTP answer with Anthropic's error object becomes."""
    body = {"type": "error", "error": {"type": kind, "message": message, **members}, "request_id": "req_1"}
    return vendor_errors.from_response(status, {}, msgspec.json.encode(body))


KINDS: list[tuple[int, str, type[errors.ProviderError]]] = [
    (400, "invalid_request_error", errors.RequestRefused),
    (401, "authentication_error", errors.CredentialRefused),
    (402, "billing_error", errors.CredentialRefused),
    (403, "permission_error", errors.CredentialRefused),
    (404, "not_found_error", errors.ModelNotServed),
    (413, "request_too_large", errors.RequestRefused),
    (429, "rate_limit_error", errors.RateLimited),
    (500, "api_error", errors.ServerFailed),
    (504, "timeout_error", errors.ServerFailed),
    (529, "overloaded_error", errors.Overloaded),
]


@pytest.mark.parametrize(("status", "kind", "expected"), KINDS)
def test_each_error_has_its_type(status: int, kind: str, expected: type[errors.ProviderError]) -> None:
    """The same whether it comes as a status or as an event of a stream that has begun with 200."""
    error = refused(status, kind)
    assert type(error) is expected
    assert (error.status, error.vendor_type, error.message) == (status, kind, "No.")
    event = vendor_errors.from_event({"type": kind, "message": "No."})
    assert type(event) is expected
    assert event.status == status


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000, decrease input length",
    ],
)
def test_a_prompt_that_does_not_fit_is_told_from_other_refusals(message: str) -> None:
    """A larger model may take it, and agents shorten their history on it."""
    assert type(refused(400, "invalid_request_error", message)) is errors.ContextLengthExceeded


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."),
        (400, "You have reached your specified API usage limits. You will regain access on 2026-12-01."),
    ],
)
def test_an_account_without_money_is_no_fault_of_the_client(status: int, message: str) -> None:
    """The request is good, so another provider may answer it."""
    assert type(refused(status, "invalid_request_error", message)) is errors.QuotaSpent


def test_a_spend_limit_is_not_waited_for() -> None:
    """It has no Retry-After, and the next minute changes nothing."""
    details = {"error_code": "enforced_spend_limit_reached"}
    assert type(refused(429, "rate_limit_error", details=details)) is errors.QuotaSpent
    assert type(refused(429, "rate_limit_error", details={"error_code": None})) is errors.RateLimited


def test_the_wait_that_was_asked_for_is_kept() -> None:
    """In whole seconds, as Anthropic sends it."""
    error = vendor_errors.from_response(
        429, {"retry-after": "12"}, b'{"type":"error","error":{"type":"rate_limit_error"}}'
    )
    assert error.retry_after_s == 12


def test_an_unknown_error_in_a_stream_is_the_servers() -> None:
    """New types appear without notice."""
    assert type(vendor_errors.from_event({"type": "strange_error", "message": "?"})) is errors.ServerFailed
