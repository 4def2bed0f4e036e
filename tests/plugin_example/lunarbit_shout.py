"""A provider from outside the gateway: it answers with the last user message in capitals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.base import AIProvider, CompletionRequest, StreamEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.config import ProviderConfig


class ShoutProvider(AIProvider):
    """The smallest provider that is useful to read: everything but the answer is the interface's default."""

    def __init__(self, config: ProviderConfig) -> None:
        self._config = config

    async def stream_completion(self, request: CompletionRequest) -> AsyncIterator[str | StreamEvent]:
        """Answer word by word, as plain strings."""
        last = next(message for message in reversed(request.messages) if message["role"] == "user")
        for word in str(last["content"]).upper().split():
            yield f"{word} "

    async def get_models(self) -> list[str]:
        """List the one model."""
        return ["shout-1"]
