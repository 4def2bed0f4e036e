"""LM Studio: the OpenAI dialect under `/v1`, and pages of its own that say what is loaded.

`GET /api/v1/models` (LM Studio 0.4 and later) lists models with their loaded instances and context lengths, the older
`/api/v0/models` with a `state`; servers that have neither list ids under `/v1/models` (LM Studio, "REST API").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from providers import errors
from providers.http import HEALTH_TIMEOUT_S
from providers.openai import OpenAIProvider

DEFAULT_ORIGIN = "http://localhost:1234"
_CHAT_TYPES = frozenset({"llm", "vlm"})


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on an LM Studio machine.

    `context_length` in tokens, of the loaded instance or else the largest possible.
    """

    id: str
    loaded: bool
    context_length: int | None


class LMStudioProvider(OpenAIProvider):
    """An LM Studio server; `base_url` with or without `/v1`. A token is sent if one is configured."""

    local_models: tuple[LocalModel, ...] = ()

    def default_base_url(self) -> str:
        """Return the address of a local LM Studio."""
        return DEFAULT_ORIGIN

    @property
    def origin(self) -> str:
        """The server's address without `/v1`."""
        return self.base_url.removesuffix("/v1")

    def chat_url(self, model: str) -> str:  # noqa: ARG002 - one address serves every model.
        """Return the address of chat completions."""
        return f"{self.origin}/v1/chat/completions"

    def models_url(self) -> str:
        """Return the address of the OpenAI-style list of models."""
        return f"{self.origin}/v1/models"

    async def get_models(self) -> list[str]:
        """List chat models, loaded ones first; `local_models` then holds what is known of each.

        Raises types of `providers.errors` when no page can be read.
        """
        for path, read in (("/api/v1/models", _read_v1), ("/api/v0/models", _read_v0)):
            page = await self._state_page(path)
            models = read(page) if page is not None else None
            if models:
                self.local_models = tuple(sorted(models, key=lambda model: not model.loaded))
                return [model.id for model in self.local_models]
        ids = await super().get_models()
        self.local_models = tuple(LocalModel(name, loaded=True, context_length=None) for name in ids)
        return ids

    def context_length(self, model: str) -> int | None:
        """Return the loaded context length of `model`, or its largest one when it is not loaded."""
        return next((known.context_length for known in self.local_models if known.id == model), None)

    async def _state_page(self, path: str) -> dict[str, Any] | None:
        try:
            response = await self.transport.get(f"{self.origin}{path}", self._headers, timeout_s=HEALTH_TIMEOUT_S)
        except errors.UnreadableAnswer:
            return None
        if response.status_code != httpx.codes.OK:
            return None
        try:
            page = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return page if isinstance(page, dict) else None


def _entries(page: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = page.get(name)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _length(fields: Any, name: str) -> int | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def _read_v1(page: dict[str, Any]) -> list[LocalModel]:
    models: list[LocalModel] = []
    for entry in _entries(page, "models"):
        key = entry.get("key")
        if not isinstance(key, str) or entry.get("type", "llm") not in _CHAT_TYPES:
            continue
        instances = _entries(entry, "loaded_instances")
        for instance in instances:
            context = _length(instance.get("config"), "context_length")
            models.append(LocalModel(str(instance.get("id", key)), loaded=True, context_length=context))
        if key not in {model.id for model in models}:
            models.append(LocalModel(key, loaded=False, context_length=_length(entry, "max_context_length")))
    return models


def _read_v0(page: dict[str, Any]) -> list[LocalModel]:
    models: list[LocalModel] = []
    for entry in _entries(page, "data"):
        name = entry.get("id")
        if isinstance(name, str) and entry.get("type", "llm") in _CHAT_TYPES:
            loaded = entry.get("state") == "loaded"
            context = (_length(entry, "loaded_context_length") if loaded else None) or _length(
                entry, "max_context_length"
            )
            models.append(LocalModel(name, loaded=loaded, context_length=context))
    return models
