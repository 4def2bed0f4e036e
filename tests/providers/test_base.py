"""The interface that other packages implement: its names, its defaults, its smallest implementation."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers import base, config, errors
from providers.base import AIProvider, CompletionRequest, StreamEvent, Usage
from tests.providers.support import question


class Scripted(AIProvider):
    """Yields what it was given, and notes whether its generator was closed."""

    def __init__(self, *items: str | StreamEvent | Exception) -> None:
        self.items = items
        self.closed = False

    async def stream_completion(self, request: CompletionRequest) -> AsyncIterator[str | StreamEvent]:
        """Yield the items; raise the one that is an exception."""
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed = True


def public_names(module: Any) -> set[str]:
    """Return the names that a module defines itself."""
    own = {name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
    return {name for name in own if not name.startswith("_")}


def test_the_public_names_are_these() -> None:
    """Packages of other people import them; a name that goes or changes is a new major version."""
    assert public_names(base) == {
        "AIProvider",
        "CompletionRequest",
        "CompletionResponse",
        "StreamEvent",
        "Usage",
        "events_of",
        "text_chars",
    }
    assert public_names(config) == {"ModelOptions", "ProviderConfig", "Timeouts"}
    assert public_names(errors) == {
        "CallerError",
        "ConnectTimedOut",
        "ConnectionDropped",
        "ContentFiltered",
        "ContextLengthExceeded",
        "CredentialRefused",
        "FirstTokenTimedOut",
        "ModelNotServed",
        "NotExpressible",
        "Overloaded",
        "ProviderError",
        "QuotaSpent",
        "RateLimited",
        "RequestRefused",
        "ServerFailed",
        "StreamBroken",
        "StreamStalled",
        "TotalTimedOut",
        "Unreachable",
        "UnreadableAnswer",
    }


def test_the_methods_of_a_provider_are_these() -> None:
    """The four of the product page, and three that most adapters leave as they are."""
    methods = {
        name: list(inspect.signature(value).parameters)[1:]
        for name, value in vars(AIProvider).items()
        if inspect.isfunction(value)
    }
    assert methods == {
        "stream_completion": ["request"],
        "chat_completion": ["request"],
        "is_healthy": [],
        "get_models": [],
        "count_tokens": ["request"],
        "context_length": ["model"],
        "is_loaded": ["model"],
        "aclose": [],
    }
    assert AIProvider.__abstractmethods__ == {"stream_completion"}


@pytest.mark.parametrize(
    ("struct", "fields"),
    [
        (
            Usage,
            (
                "prompt_tokens completion_tokens cached_tokens cache_creation_tokens reasoning_tokens estimated raw "
                "cache_creation_1h_tokens"
            ),
        ),
        (
            StreamEvent,
            (
                "content reasoning refusal tool_calls thinking_blocks finish_reason usage usage_only other_content "
                "model raw native headers"
            ),
        ),
        (
            base.CompletionResponse,
            "content model finish_reason reasoning refusal tool_calls thinking_blocks usage raw native headers",
        ),
    ],
)
def test_the_fields_are_these(struct: Any, fields: str) -> None:
    """Adapters fill them by name, and all of them have defaults."""
    assert set(struct.__struct_fields__) == set(fields.split())
    assert struct() == struct()


async def test_everything_but_the_stream_has_a_default() -> None:
    """A first provider is one method long."""
    provider = Scripted("a")
    assert await provider.is_healthy() is True
    assert await provider.get_models() == []
    assert provider.context_length("m") is None
    await provider.aclose()


async def test_a_whole_answer_is_collected_from_the_stream() -> None:
    """Text may come as plain strings, as events, or as both."""
    usage = Usage(prompt_tokens=3, completion_tokens=2)
    first, second = {"id": "1"}, {"id": "2"}
    provider = Scripted(
        "a",
        StreamEvent(content="b", model="other", usage=Usage(prompt_tokens=1)),
        StreamEvent(tool_calls=[first]),
        StreamEvent(tool_calls=[second], finish_reason="tool_calls"),
        StreamEvent(usage=usage),
        "c",
    )
    answer = await provider.chat_completion(question("m"))
    assert (answer.content, answer.model, answer.finish_reason) == ("abc", "other", "tool_calls")
    assert answer.tool_calls == [first, second]
    assert answer.usage == usage, "the last count is the whole one"
    assert provider.closed


async def test_an_empty_stream_is_an_empty_answer() -> None:
    """A generator that simply ends has given a whole answer."""
    answer = await Scripted().chat_completion(question("m"))
    assert (answer.content, answer.model, answer.finish_reason, answer.usage) == ("", "m", "stop", None)


async def test_a_failing_stream_fails_the_answer_and_is_closed() -> None:
    """Half an answer is never returned."""
    provider = Scripted("a", errors.StreamBroken("cut"))
    with pytest.raises(errors.StreamBroken):
        await provider.chat_completion(question())
    assert provider.closed


def test_a_request_is_decoded_only_where_it_is_read() -> None:
    """Raw fields stay as they came, and reading one does not change it."""
    request = question("m", temperature=0.5, tools=[{"type": "function"}])
    assert request.messages == [{"role": "user", "content": "hi"}]
    assert request.messages is request.messages
    assert (request.get("temperature"), request.get("tools"), request.get("top_p", 1)) == (
        0.5,
        [{"type": "function"}],
        1,
    )
    assert bytes(request.fields["temperature"]) == b"0.5"


def test_a_request_for_another_model_is_otherwise_the_same() -> None:
    """Failover asks the next provider for its own name of the model."""
    fields = question().fields
    request = CompletionRequest(
        "a", fields, stream=True, defaulted=frozenset({"x"}), headers={"h": "v"}, request_id="req_1"
    )
    other = request.for_model("b")
    assert (request.model, other.model) == ("a", "b")
    names = ("fields", "stream", "defaulted", "headers", "request_id")
    assert all(getattr(other, name) is getattr(request, name) for name in names)


def test_usage_adds_up_and_keeps_the_vendors_fields() -> None:
    """The client gets the vendor's object with totals that fit."""
    usage = Usage(prompt_tokens=3, completion_tokens=4, raw={"prompt_tokens": 3, "queue_time": 0.1, "total_tokens": 9})
    assert usage.total_tokens == 7
    assert usage.to_dict() == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "queue_time": 0.1}
    assert Usage().to_dict() == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def test_the_errors_keep_what_the_vendor_said() -> None:
    """The log and the router read these fields."""
    error = errors.QuotaSpent("spent", status=429, retry_after_s=1.0, vendor_code="insufficient_quota")
    assert (str(error), error.status, error.quota_spent, error.details) == ("spent", 429, True, {})
    assert issubclass(errors.StreamStalled, errors.StreamBroken)
    assert issubclass(errors.ConnectTimedOut, errors.Unreachable)
