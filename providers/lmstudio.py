"""LM Studio: the OpenAI dialect under `/v1`, and pages of its own that say what is loaded.

`GET /api/v1/models` (LM Studio 0.4 and later) lists models with their loaded instances and context lengths, the older
`/api/v0/models` with a `state`; servers that have neither list ids under `/v1/models` (LM Studio, "REST API").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from providers import errors
from providers.base import CHAT
from providers.openai import OpenAIProvider, StreamedChat, finish_reasons
from providers.responses.native import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from providers.base import CompletionRequest, StreamEvent
    from providers.http import StreamedAnswer
    from providers.sse import ServerSentEvent

DEFAULT_ORIGIN = "http://localhost:1234"
_CHAT_TYPES = frozenset({"llm", "vlm"})
_EMBEDDING_TYPES = frozenset({"embedding", "embeddings"})
# What is said of the work before the first token: LM Studio's named events, and a member of llama.cpp's chunks.
_WORK_EVENTS = (b"model_load.", b"prompt_processing.")
_WORK_MEMBER = b'"prompt_progress"'


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on an LM Studio machine.

    `context_length` in tokens, of the loaded instance or else the largest possible. One that `embeds` cannot chat.
    """

    id: str
    loaded: bool
    context_length: int | None
    embeds: bool = False


class LMStudioProvider(OpenAIProvider):
    """An LM Studio server; `base_url` with or without `/v1`. A token is sent if one is configured.

    What is loaded is known from the last check of its health or list of models, and never asked for a request's sake.
    """

    local_models: tuple[LocalModel, ...] = ()
    _by_id: Mapping[str, LocalModel] = {}
    _state_path: str | None = None

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

    def operation_url(self, operation: str, model: str) -> str:  # noqa: ARG002 - as above.
        """Return the address of embeddings, completions or responses."""
        return f"{self.origin}/v1/{operation}"

    def models_url(self) -> str:
        """Return the address of the OpenAI-style list of models."""
        return f"{self.origin}/v1/models"

    async def get_models(self) -> list[str]:
        """List chat models, loaded ones first, then those that embed; `local_models` then holds what is known of each.

        Raises types of `providers.errors` when no page can be read.
        """
        if not await self._look(tuple(_READERS)):
            self._know([LocalModel(name, loaded=True, context_length=None) for name in await super().get_models()])
        return [model.id for model in self.local_models]

    async def is_healthy(self) -> bool:
        """Say whether the server answers, by the page that also says what is loaded, if it has one."""
        paths = (self._state_path,) if self._state_path else () if self.local_models else tuple(_READERS)
        try:
            if await self._look(paths):
                return True
        except errors.ProviderError:
            return False
        return await super().is_healthy()

    def context_length(self, model: str) -> int | None:
        """Return the loaded context length of `model`, or its largest one when it is not loaded."""
        known = self._by_id.get(model)
        return known.context_length if known is not None else None

    def is_loaded(self, model: str) -> bool | None:
        """Say whether `model` is loaded; a request for one that is not loads it, and may unload another."""
        known = self._by_id.get(model)
        return known.loaded if known is not None else None

    def has_responses(self) -> bool:
        """Say that it has; LM Studio does since 0.3.29."""
        return True

    def body_fields(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        """Return the client's own fields, with a tool that is chosen by its name in words that this server knows."""
        fields = super().body_fields(request, stream=stream)
        if "tool_choice" in fields and self.operation_of(request) == CHAT:
            _require_only(fields)
        return fields

    def read_stream(self, request: CompletionRequest) -> StreamedAnswer:
        """Return a reader that takes reports of progress for signs of work."""
        if self.operation_of(request) == RESPONSES:
            return super().read_stream(request)
        return _StreamedChat(choices=finish_reasons(request))

    async def _look(self, paths: tuple[str, ...]) -> bool:
        """Take over what one of the pages says of the models; say whether any did."""
        for path in paths:
            page = await self._state_page(path)
            models = _READERS[path](page) if page is not None else None
            if models:
                self._state_path = path
                self._know(models)
                return True
        self._state_path = None
        return False

    def _know(self, models: list[LocalModel]) -> None:
        self.local_models = tuple(sorted(models, key=lambda model: (model.embeds, not model.loaded)))
        self._by_id = {model.id: model for model in self.local_models}

    async def _state_page(self, path: str) -> dict[str, Any] | None:
        try:
            response = await self.get_page(f"{self.origin}{path}")
        except errors.UnreadableAnswer:
            return None
        if response.status_code != httpx.codes.OK:
            return None
        try:
            page = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return page if isinstance(page, dict) else None


def _require_only(fields: dict[str, Any]) -> None:
    """Replace the choice of one tool by this tool alone and the word `required`.

    LM Studio refuses a choice that is an object, and llama.cpp takes it for `auto` and says nothing.
    """
    choice = msgspec.json.decode(fields["tool_choice"])
    tools = msgspec.json.decode(fields.get("tools", b"null"))
    if not isinstance(choice, dict) or not isinstance(tools, list):
        return
    wanted = _name_of(choice)
    chosen = [tool for tool in tools if wanted is not None and _name_of(tool) == wanted]
    if chosen:
        fields["tool_choice"] = msgspec.Raw(b'"required"')
        fields["tools"] = msgspec.Raw(msgspec.json.encode(chosen))


def _name_of(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


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
        kind = entry.get("type", "llm")
        if not isinstance(key, str) or kind not in _CHAT_TYPES | _EMBEDDING_TYPES:
            continue
        embeds = kind in _EMBEDDING_TYPES
        instances = _entries(entry, "loaded_instances")
        for instance in instances:
            context = _length(instance.get("config"), "context_length")
            models.append(LocalModel(str(instance.get("id", key)), True, context, embeds))
        if key not in {model.id for model in models}:
            models.append(LocalModel(key, False, _length(entry, "max_context_length"), embeds))
    return models


def _read_v0(page: dict[str, Any]) -> list[LocalModel]:
    models: list[LocalModel] = []
    for entry in _entries(page, "data"):
        name, kind = entry.get("id"), entry.get("type", "llm")
        if isinstance(name, str) and kind in _CHAT_TYPES | _EMBEDDING_TYPES:
            loaded = entry.get("state") == "loaded"
            context = (_length(entry, "loaded_context_length") if loaded else None) or _length(
                entry, "max_context_length"
            )
            models.append(LocalModel(name, loaded, context, kind in _EMBEDDING_TYPES))
    return models


_READERS: Mapping[str, Callable[[dict[str, Any]], list[LocalModel]]] = {
    "/api/v1/models": _read_v1,
    "/api/v0/models": _read_v0,
}


class _StreamedChat(StreamedChat):
    """Knows reports of progress from content; they come before it, while a model is loaded or reads its prompt."""

    def read_event(self, event: ServerSentEvent) -> StreamEvent | None:
        """Read one chunk; None for a report of progress."""
        if self.content_seen or not (event.event.startswith(_WORK_EVENTS) or _WORK_MEMBER in event.data):
            return super().read_event(event)
        found = None if event.event else super().read_event(event)
        self.at_work = True
        return found if found is not None and found.commits else None
