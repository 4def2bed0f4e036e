"""Why the router has no answer without having asked a provider, or after all of them failed.

RoutingError
├── ModelNotFound          no provider serves the model; `available` lists what could be asked for
├── OperationNotServed     the model's providers cannot be asked for this (embeddings, text completions)
├── NoTargetAvailable      targets exist, but breakers or health keep requests away
├── AllTargetsBusy         every target has as many requests in flight as it may have
└── AllRateLimited         every provider said 429

When attempts were made and failed otherwise, the last attempt's `providers.errors.ProviderError` is raised as it is.
"""

from __future__ import annotations

_SHOWN_CHARS = 256
# Most often a server then has been found, but at an address where it has nothing.
_CHECK = "check the base_url of each provider, most of which end in /v1, and its models"


class RoutingError(Exception):
    """No target could be asked. `retry_after_s` is when asking again may help, in seconds, if that is known."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class ModelNotFound(RoutingError):
    """No provider serves the model, or, where `model` is empty, there is none for a request that names none."""

    def __init__(self, model: str, available: list[str]) -> None:
        if model:
            message = f"Model '{model[:_SHOWN_CHARS]}' not found"
        elif available:
            message = "The request names no model, and the default one is not for this key"
        else:
            message = f"The request names no model, and no provider has a default one; {_CHECK}"
        super().__init__(message)
        self.model = model
        self.available = available


class OperationNotServed(RoutingError):
    """None of the model's providers knows the operation."""

    def __init__(self, operation: str) -> None:
        super().__init__(f"No provider of this model answers {operation}")
        self.operation = operation


class NoTargetAvailable(RoutingError):
    """Every target is kept from requests."""


class AllTargetsBusy(RoutingError):
    """Every target is at `max_in_flight`."""


class AllRateLimited(RoutingError):
    """Every target is limited by its provider."""
