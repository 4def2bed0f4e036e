"""From a failed call (`providers.errors`, `routing.errors`) to the error that the client is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import errors
from providers import errors as upstream
from routing import errors as routing

if TYPE_CHECKING:
    from collections.abc import Callable

# What a provider says about its own trouble may hold addresses and secrets, so clients get these sentences instead.
_FAILED = "The provider did not give a usable answer"
_TIMED_OUT = "The provider did not answer in time"
_INTERRUPTED = "The answer was interrupted before it was complete"


def client_error(error: Exception, *, committed: bool = False) -> errors.GatewayError:
    """Return what the client is told about `error`. `committed`: part of the answer has already been sent."""
    if isinstance(error, errors.GatewayError):
        return error
    if committed and isinstance(error, (upstream.StreamBroken, upstream.TotalTimedOut)):
        return errors.StreamInterrupted(_INTERRUPTED, details={"retryable": True})
    for kind, make in _TABLE.items():
        if isinstance(error, kind):
            return make(error)
    # An adapter raised something unplanned; which type is in the log.
    return errors.ProviderFailed(_FAILED)


def _vendors_own(error: upstream.CallerError) -> errors.GatewayError:
    """Tell the client what the vendor said about its request, in the vendor's words."""
    kind = _CALLER_KINDS.get(type(error))
    if kind is None:
        told: errors.GatewayError = errors.InvalidRequest(error.message, param=error.param)
        if error.status == errors.PayloadTooLarge.status:
            told = errors.PayloadTooLarge(error.message)
        elif error.status == errors.NotFound.status:
            told = errors.NotFound(error.message, param=error.param)
    else:
        told = kind(error.message, param=error.param, details=dict(error.details))
    told.vendor_code, told.vendor_type = error.vendor_code, error.vendor_type
    told.vendor_body, told.vendor_headers = error.body, error.headers
    return told


_CALLER_KINDS: dict[type[Exception], type[errors.ClientError]] = {
    upstream.ContextLengthExceeded: errors.ContextTooLong,
    upstream.ContentFiltered: errors.ContentRefused,
}


def _unknown_model(error: routing.ModelNotFound) -> errors.GatewayError:
    return errors.UnknownModel(error.message, param="model", details={"available_models": error.available})


def _overloaded(_: upstream.Overloaded) -> errors.GatewayError:
    told = errors.ProviderFailed(_FAILED)
    # Anthropic's clients wait and try again when they read this, and only then.
    told.anthropic_type = "overloaded_error"
    return told


# The first row whose type fits is taken.
_TABLE: dict[type[Exception], Callable[..., errors.GatewayError]] = {
    upstream.CallerError: _vendors_own,
    upstream.RateLimited: lambda e: errors.ProviderRateLimited(
        "The provider limits requests now", retry_after_s=e.retry_after_s
    ),
    upstream.ModelNotServed: lambda _: errors.UnknownModel("No provider serves this model now", param="model"),
    upstream.ConnectTimedOut: lambda _: errors.ProviderTimedOut(_TIMED_OUT),
    upstream.FirstTokenTimedOut: lambda _: errors.ProviderTimedOut(_TIMED_OUT),
    upstream.TotalTimedOut: lambda _: errors.ProviderTimedOut(_TIMED_OUT),
    upstream.Unreachable: lambda _: errors.NoProviderAvailable("No provider can be reached now", retry_after_s=5),
    upstream.Overloaded: _overloaded,
    upstream.ProviderError: lambda _: errors.ProviderFailed(_FAILED),
    routing.ModelNotFound: _unknown_model,
    routing.OperationNotServed: lambda e: errors.InvalidRequest(
        f"model: {e.message}", errors=[("model", f"must have a provider that answers {e.operation}")], param="model"
    ),
    routing.AllRateLimited: lambda e: errors.ProviderRateLimited(e.message, retry_after_s=e.retry_after_s),
    routing.AllTargetsBusy: lambda e: errors.Overloaded(e.message, retry_after_s=e.retry_after_s),
    routing.RoutingError: lambda e: errors.NoProviderAvailable(e.message, retry_after_s=e.retry_after_s),
}
