"""What the provider tests share: requests, adapters for an upstream, and readers of their streams."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from providers.base import AIProvider, CompletionRequest, StreamEvent, StreamItem, events_of
from providers.config import ProviderConfig
from providers.openai import OpenAIProvider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from providers.transport import Transport
    from tests.upstream import Upstream

MODEL = "gpt-4"
KEY = "sk-of-the-gateway"


def question(model: str = MODEL, **fields: Any) -> CompletionRequest:
    """Return a small request; `fields` are those of its body."""
    messages = fields.pop("messages", [{"role": "user", "content": "hi"}])
    return CompletionRequest.of(model, messages, **fields)


def openai(up: Upstream, transport: Transport, **settings: Any) -> OpenAIProvider:
    """Return an adapter for `up`; `settings` are those of `ProviderConfig`."""
    values = {"name": "a", "kind": "openai", "base_url": up.base_url, "api_key": KEY, **settings}
    return OpenAIProvider(ProviderConfig(**values), transport)


async def collect(provider: AIProvider, request: CompletionRequest | None = None) -> list[StreamEvent]:
    """Return every event of a streamed answer."""
    stream = cast("AsyncGenerator[StreamItem]", provider.stream_completion(request or question()))
    async with aclosing(stream) as items:
        return [event async for item in items for event in events_of(item)]


def text_of(events: list[StreamEvent]) -> str:
    """Return the text that events carry."""
    return "".join(event.content for event in events)
