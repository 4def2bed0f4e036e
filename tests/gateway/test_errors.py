"""The tree of errors: codes, statuses, documentation, and how each looks on every surface."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway import errors
from gateway.call_errors import client_error
from gateway.error_bodies import error_object, error_response, surface_of
from gateway.errors import GatewayError, InvalidRequest, RetryLater, all_errors
from providers import errors as upstream
from routing import errors as routing

DOCUMENT = Path(__file__).parents[2] / "docs" / "errors.md"
KINDS = all_errors()
# The table of the shared page, written down here once more.
STATUSES = {
    400: {"INVALID_REQUEST", "CONTEXT_LENGTH_EXCEEDED", "CONTENT_FILTERED"},
    401: {"UNAUTHORIZED", "KEY_EXPIRED", "KEY_REVOKED"},
    403: {"FORBIDDEN"},
    404: {
        "NOT_FOUND",
        "PROJECT_NOT_FOUND",
        "CHANNEL_NOT_FOUND",
        "VERSION_NOT_FOUND",
        "BUILD_NOT_FOUND",
        "KEY_NOT_FOUND",
        "MODEL_NOT_FOUND",
    },
    405: {"METHOD_NOT_ALLOWED"},
    409: {
        "KEY_NAME_EXISTS",
        "PROJECT_EXISTS",
        "CHANNEL_EXISTS",
        "VERSION_EXISTS",
        "BUILD_NOT_VERIFIED",
        "IDEMPOTENCY_KEY_REUSED",
    },
    410: {"API_VERSION_GONE", "VERSION_YANKED"},
    413: {"PAYLOAD_TOO_LARGE"},
    415: {"UNSUPPORTED_MEDIA_TYPE"},
    429: {"RATE_LIMIT_EXCEEDED", "TOKEN_LIMIT_EXCEEDED", "BUDGET_EXCEEDED", "PROVIDER_RATE_LIMITED"},
    500: {"INTERNAL_ERROR"},
    502: {"PROVIDER_ERROR"},
    503: {"NO_PROVIDER_AVAILABLE", "OVERLOADED", "SHUTTING_DOWN", "STORAGE_UNAVAILABLE"},
    504: {"PROVIDER_TIMEOUT"},
}
RETRY_LATER = {
    "RATE_LIMIT_EXCEEDED",
    "TOKEN_LIMIT_EXCEEDED",
    "PROVIDER_RATE_LIMITED",
    "NO_PROVIDER_AVAILABLE",
    "OVERLOADED",
    "SHUTTING_DOWN",
    "STORAGE_UNAVAILABLE",
}
NO_RETRY = {"PROVIDER_ERROR", "PROVIDER_TIMEOUT", "BUDGET_EXCEEDED"}


def test_every_code_stands_in_one_class_only() -> None:
    """Programs tell errors apart by their code."""
    codes = [kind.code for kind in KINDS]
    assert len(codes) == len(set(codes))


def test_the_tree_is_that_of_the_shared_page() -> None:
    """Every code with its status; `STREAM_INTERRUPTED` stands only inside streams."""
    ours = {(kind.status, kind.code) for kind in KINDS if kind is not errors.StreamInterrupted}
    assert ours == {(status, code) for status, codes in STATUSES.items() for code in codes}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_class_carries_what_it_promises(kind: type[GatewayError]) -> None:
    """Code in upper case, LC-ERR code, Retry-After where the page has it, a docstring that begins with the status."""
    error = kind("message")
    assert re.fullmatch(r"[A-Z][A-Z_]+[A-Z]", kind.code)
    assert error.lc_code == f"LC_ERR_{kind.code}"
    assert ("retry-after" in error.headers) == (kind.code in RETRY_LATER)
    assert ("www-authenticate" in error.headers) == (kind.status == 401)
    assert isinstance(error, errors.ClientError) == (kind.status < 500 and kind.code != "PROVIDER_RATE_LIMITED")
    assert kind.__doc__
    assert kind.__doc__.startswith((f"{kind.status}: ", "Only inside a stream"))


def test_the_document_has_an_anchor_for_each_code_and_no_other() -> None:
    """`documentation_url` points there, in upper case."""
    text = DOCUMENT.read_text(encoding="utf-8")
    anchors = re.findall(r'<a id="([A-Za-z_]+)"></a>', text) or re.findall(
        r"^#{2,4} `?([A-Z_]{4,})`?$", text, re.MULTILINE
    )
    assert sorted(anchors) == sorted(kind.code for kind in KINDS)


@pytest.mark.parametrize("given", [None, 0, 0.2, 1, 1.2, 59.01, -5])
def test_retry_after_is_in_whole_seconds_of_at_least_one(given: float | None) -> None:
    """RFC 9110 knows no fractions, and a client that waits that long must not be too early."""
    value = int(RetryLater("m", retry_after_s=given).headers["retry-after"])
    assert value >= 1
    assert given is None or value >= given
    assert given is None or value < max(given, 0) + 2


def test_an_invalid_request_always_lists_a_field() -> None:
    """The page promises at least one `{field, message}`."""
    assert InvalidRequest("bad").details == {"errors": [{"field": "body", "message": "bad"}]}
    assert InvalidRequest("bad", param="n").details == {"errors": [{"field": "n", "message": "bad"}]}
    several = InvalidRequest("bad", errors=[("a", "x"), ("b", "y")])
    assert [entry["field"] for entry in several.details["errors"]] == ["a", "b"]
    assert several.param == "a"


SURFACES = {
    "/ai/chat": "lunarbit",
    "/": "lunarbit",
    "/v1": "lunarbit",
    "/v10/x": "lunarbit",
    "/api/v1/messages": "lunarbit",
    "/v1/chat/completions": "openai",
    "/v1/messagesx": "openai",
    "/api/v2/v1/models": "openai",
    "/v1/messages": "anthropic",
    "/v1/messages/count_tokens": "anthropic",
    "/api/v2/v1/messages": "anthropic",
}


@pytest.mark.parametrize(("path", "surface"), SURFACES.items())
def test_the_surface_follows_from_the_path(path: str, surface: str) -> None:
    """Also for paths that do not exist, since their 404 has a shape too."""
    assert surface_of(path) == surface


def answer(error: GatewayError, path: str, **headers: bytes) -> Any:
    """Return the answer for `error` to a request for `path`."""
    given = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    context = SimpleNamespace(
        path=path, headers=given, request_id="req_1", docs_url="https://docs.example/e", error_code=None
    )
    response = error_response(error, context)  # type: ignore[arg-type]
    assert context.error_code == error.code
    return response


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_error_has_every_shape(kind: type[GatewayError]) -> None:
    """The body per surface, our code in a header where the body is another vendor's."""
    own = answer(kind("m", details={"a": 1}), "/ai/chat")
    body = msgspec.json.decode(own.body)["error"]
    assert body["documentation_url"] == f"https://docs.example/e#{kind.code}"
    assert body["details"]["a"] == 1
    assert "x-lunarbit-error-code" not in own.headers
    for path, fields in (("/v1/x", {"message", "type", "param", "code"}), ("/v1/messages", {"type", "message"})):
        foreign = answer(kind("m"), path)
        assert foreign.status_code == kind.status
        assert set(msgspec.json.decode(foreign.body)["error"]) == fields
        assert foreign.headers["x-lunarbit-error-code"] == kind.code
        assert (foreign.headers.get("x-should-retry") == "false") == (kind.code in NO_RETRY)


VENDOR: list[tuple[GatewayError, str, str | None]] = [
    (errors.Unauthorized("m"), "invalid_request_error", "invalid_api_key"),
    (errors.UnknownModel("m"), "invalid_request_error", "model_not_found"),
    (errors.ContextTooLong("m"), "invalid_request_error", "context_length_exceeded"),
    (errors.RateLimitExceeded("m"), "requests", "rate_limit_exceeded"),
    (errors.BudgetExceeded("m"), "insufficient_quota", "insufficient_quota"),
    (errors.InternalError("m"), "server_error", None),
]


@pytest.mark.parametrize(("error", "kind", "code"), VENDOR)
def test_openai_clients_see_openais_own_codes(error: GatewayError, kind: str, code: str | None) -> None:
    """Agents test for them."""
    body = error_object(error, "openai", "req_1", "https://docs.example")["error"]
    assert (body["type"], body["code"]) == (kind, code)


def test_the_vendors_own_words_are_kept() -> None:
    """Where a provider named code, type and field, its clients know them."""
    refusal = upstream.RequestRefused("m", status=422, vendor_code="string_above_max", vendor_type="t", param="user")
    body = error_object(client_error(refusal), "openai", "req_1", "https://docs.example")["error"]
    assert body == {"message": "m", "type": "t", "param": "user", "code": "string_above_max"}


CALLS: list[tuple[Exception, type[GatewayError]]] = [
    (upstream.RequestRefused("m", status=413), errors.PayloadTooLarge),
    (upstream.ContextLengthExceeded("m", status=400), errors.ContextTooLong),
    (upstream.ContentFiltered("m", status=400), errors.ContentRefused),
    (upstream.RateLimited("m", status=429), errors.ProviderRateLimited),
    (upstream.ModelNotServed("m", status=404), errors.UnknownModel),
    (upstream.CredentialRefused("secret", status=401), errors.ProviderFailed),
    (upstream.ServerFailed("secret", status=500), errors.ProviderFailed),
    (upstream.UnreadableAnswer("secret"), errors.ProviderFailed),
    (upstream.ConnectTimedOut("secret"), errors.ProviderTimedOut),
    (upstream.FirstTokenTimedOut("secret"), errors.ProviderTimedOut),
    (upstream.TotalTimedOut("secret"), errors.ProviderTimedOut),
    (upstream.Unreachable("secret"), errors.NoProviderAvailable),
    (ValueError("secret"), errors.ProviderFailed),
    (errors.ShuttingDown("m"), errors.ShuttingDown),
]


@pytest.mark.parametrize(("failure", "told"), CALLS, ids=lambda value: getattr(value, "__name__", None))
def test_a_failed_call_becomes_the_agreed_error(failure: Exception, told: type[GatewayError]) -> None:
    """Never the client's 401 for our own credential, and never the provider's words about its own trouble."""
    error = client_error(failure)
    assert type(error) is told
    assert "secret" not in error.message


def test_a_broken_stream_is_an_interruption_only_after_content() -> None:
    """Before it, nothing of the answer has been seen."""
    broken = upstream.StreamBroken("secret")
    assert isinstance(client_error(broken, committed=True), errors.StreamInterrupted)
    assert client_error(broken, committed=True).details == {"retryable": True}
    assert not isinstance(client_error(broken), errors.StreamInterrupted)


def test_routing_errors_keep_their_retry_after() -> None:
    """The smallest wait of all targets is what the client is told."""
    busy = client_error(routing.AllTargetsBusy("m", retry_after_s=3))
    assert isinstance(busy, errors.Overloaded)
    assert busy.headers["retry-after"] == "3"
    limited = client_error(routing.AllRateLimited("m", retry_after_s=7.2))
    assert isinstance(limited, errors.ProviderRateLimited)
    assert limited.headers["retry-after"] == "8"
    assert isinstance(client_error(routing.RoutingError("m")), errors.NoProviderAvailable)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/a/b", "/api/v2/v1/models"])
def test_lists_of_models_have_the_errors_of_who_asks(path: str) -> None:
    """Two dialects list models at the same address, and one names its version; elsewhere that changes nothing."""
    error = InvalidRequest("No.")
    assert json.loads(answer(error, path).body)["error"]["type"] == "invalid_request_error"
    assert json.loads(answer(error, path, anthropic_version=b"1").body)["type"] == "error"
    for other in ("/v1/modelsx", "/v1/chat/completions", "/ai/chat"):
        assert "type" not in json.loads(answer(error, other, anthropic_version=b"1").body)
