"""A provider without a model: it answers with the last user message. For trying the gateway and for tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from providers.base import AIProvider, CompletionRequest, StreamEvent, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.config import ProviderConfig

DEFAULT_MODEL = "echo-1"


class EchoProvider(AIProvider):
    """Answers deterministically.

    Options: `chunk_chars` (characters in one piece, default 8), `first_token_delay_s` and `chunk_delay_s` (seconds
    before the first piece and between pieces, default 0).
    """

    def __init__(self, config: ProviderConfig) -> None:
        self._models = list(config.models or (DEFAULT_MODEL,))
        self._chunk_chars = max(1, int(config.options.get("chunk_chars", 8)))
        self._first_token_delay_s = float(config.options.get("first_token_delay_s", 0.0))
        self._chunk_delay_s = float(config.options.get("chunk_delay_s", 0.0))

    async def stream_completion(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        """Yield the last user message in pieces, then the finish reason with a count of words as usage."""
        text = _last_user_text(request.messages)
        pieces = [text[at : at + self._chunk_chars] for at in range(0, len(text), self._chunk_chars)]
        await asyncio.sleep(self._first_token_delay_s)
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(self._chunk_delay_s)
            yield StreamEvent(content=piece, model=request.model)
        asked = sum(len(_text(message.get("content")).split()) for message in request.messages)
        usage = Usage(prompt_tokens=asked, completion_tokens=len(text.split()))
        yield StreamEvent(finish_reason="stop", usage=usage, model=request.model)

    async def get_models(self) -> list[str]:
        """Return the configured models, or `echo-1`."""
        return self._models


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    users = [message for message in messages if message.get("role") == "user"]
    return _text(users[-1].get("content")) if users else ""


def _text(content: Any) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
