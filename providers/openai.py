"""OpenAI and every server that speaks its chat-completions dialect.

Sources: OpenAI's API reference (chat completions, streaming) and the official SDKs. Bytes pass through: of an answer
only what decides something is read (`providers/wire.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from providers import errors, vendor_errors, wire
from providers.base import CHAT
from providers.http import HTTPProvider, StreamedAnswer
from providers.operations import COMPLETIONS, EMBEDDINGS, TextRequest, read_embeddings
from providers.responses.binding import tag_of
from providers.responses.native import RESPONSES, NativeStream, ResponsesRequest, native_body, read_response

if TYPE_CHECKING:
    from providers.base import CompletionRequest, CompletionResponse, StreamEvent
    from providers.config import ProviderConfig
    from providers.sse import ServerSentEvent
    from providers.transport import Transport

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_DONE = b"[DONE]"
_OTHER_USES = (
    "babbage",
    "dall-e",
    "davinci",
    "embed",
    "image",
    "moderation",
    "realtime",
    "rerank",
    "sora",
    "transcribe",
    "tts",
    "whisper",
)
_TRUE = msgspec.Raw(b"true")


class OpenAIProvider(HTTPProvider):
    """An OpenAI-compatible server at `config.base_url`, reached through `transport`.

    The option `responses` says whether it has `/responses`; without it OpenAI itself is taken to, and nobody else.
    """

    operations = frozenset({CHAT, COMPLETIONS, EMBEDDINGS})

    def __init__(self, config: ProviderConfig, transport: Transport) -> None:
        super().__init__(config, transport)
        has_responses = config.options.get("responses", self.has_responses())
        if not isinstance(has_responses, bool):
            msg = "options.responses must be true or false"
            raise TypeError(msg)
        if has_responses:
            self.operations |= {RESPONSES}

    def has_responses(self) -> bool:
        """Say whether the server is known to have the Responses API."""
        return self.base_url == DEFAULT_BASE_URL

    def operation_of(self, request: CompletionRequest) -> str:
        """Return `responses` for such a request if the server has them; without them it is a chat."""
        is_native = isinstance(request, ResponsesRequest) and RESPONSES in self.operations
        return RESPONSES if is_native else request.operation

    def default_base_url(self) -> str:
        """Return the address that is used when none is configured."""
        return DEFAULT_BASE_URL

    def auth_headers(self) -> dict[str, str]:
        """Return the headers that carry the credential and the account."""
        headers = {"authorization": f"Bearer {self.config.api_key}"} if self.config.api_key else {}
        if self.config.organization:
            headers["openai-organization"] = self.config.organization
        if self.config.project:
            headers["openai-project"] = self.config.project
        return headers

    def chat_url(self, model: str) -> str:  # noqa: ARG002 - Azure's dated addresses hold the deployment's name.
        """Return the address that chats with `model` are posted to."""
        return f"{self.base_url}/chat/completions"

    def operation_url(self, operation: str, model: str) -> str:  # noqa: ARG002 - as above.
        """Return the address of embeddings, completions or responses."""
        return f"{self.base_url}/{operation}"

    def models_url(self) -> str:
        """Return the address of the list of models, which also shows whether the server answers."""
        return f"{self.base_url}/models"

    async def get_models(self) -> list[str]:
        """List what `GET /models` shows, models that cannot chat last; raises types of `providers.errors`.

        The first one answers clients that name no model, and OpenAI lists its models in no particular order.
        """
        return sorted(wire.parse_models(await self.get_models_page(self.models_url())), key=_cannot_chat)

    def body_fields(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        """Return the client's own fields as raw JSON, with this provider's model and usage asked for."""
        options = self.config.options_for(request.model)
        if isinstance(request, ResponsesRequest) and self.operation_of(request) == RESPONSES:
            return native_body(request, options.omit_params, stream=stream)
        fields = dict(request.fields)
        fields["model"] = msgspec.Raw(msgspec.json.encode(request.model))
        if options.max_tokens_field != "max_tokens" and "max_tokens" in fields and request.operation == CHAT:
            fields[options.max_tokens_field] = fields.pop("max_tokens")
        if stream:
            fields["stream"] = _TRUE
            fields["stream_options"] = _with_usage(fields.get("stream_options"))
        else:
            fields.pop("stream_options", None)
        for name in options.omit_params:
            fields.pop(name, None)
        return fields

    def read_answer(self, body: bytes) -> CompletionResponse:
        """Read a whole answer, which keeps its bytes."""
        answer, error = wire.parse_answer(body)
        if wire.is_set(error):
            raise vendor_errors.from_event(msgspec.json.decode(error))
        return answer

    def read_other(self, request: CompletionRequest, body: bytes) -> CompletionResponse:
        """Read embeddings, a response, or a text completion."""
        if self.operation_of(request) == RESPONSES:
            return read_response(body, tag_of(self.config.name))
        if request.operation == EMBEDDINGS:
            return read_embeddings(body, as_base64=request.get("encoding_format") == "base64")
        return self.read_answer(body)

    def read_stream(self, request: CompletionRequest) -> StreamedAnswer:
        """Return a reader that waits for the finish reason of every choice, or for the end of a response."""
        if self.operation_of(request) == RESPONSES:
            return NativeStream(tag_of(self.config.name))
        return StreamedChat(choices=finish_reasons(request))

    def drop_refused_default(
        self, fields: dict[str, Any], request: CompletionRequest, refusal: errors.RequestRefused
    ) -> bool:
        """Take out or rename the defaulted field that a refusal names; False when it names none that may be missing."""
        for name in request.defaulted & fields.keys():
            if refusal.param == name or f"'{name}'" in refusal.message or f"`{name}`" in refusal.message:
                is_renamed = name == "max_tokens" and "max_completion_tokens" in refusal.message
                if name == "max_tokens" and request.is_capped and not is_renamed:
                    return False
                value = fields.pop(name)
                if is_renamed:
                    fields["max_completion_tokens"] = value
                return True
        return False


def finish_reasons(request: CompletionRequest) -> object:
    """Return how many finish reasons a whole streamed answer has, as far as the request tells."""
    return request.finish_reasons if isinstance(request, TextRequest) else request.get("n", 1)


def _cannot_chat(model: str) -> bool:
    """Guess from its name whether a model does something else than chat; the list itself does not say."""
    return any(word in model.lower() for word in _OTHER_USES)


_ONLY_USAGE = msgspec.Raw(b'{"include_usage":true}')


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    if options is None or not wire.is_set(options):
        return _ONLY_USAGE
    return msgspec.Raw(msgspec.json.encode({**msgspec.json.decode(options), "include_usage": True}))


class StreamedChat(StreamedAnswer):
    """Reads chunks until `[DONE]`, or until every choice has its finish reason and the body ends."""

    def __init__(self, choices: object) -> None:
        super().__init__()
        self._open_choices = choices if isinstance(choices, int) and choices > 0 else 1

    @property
    def finished(self) -> bool:
        """Whether every choice has its finish reason."""
        return self._open_choices <= 0

    def read_event(self, event: ServerSentEvent) -> StreamEvent | None:
        """Read one chunk, which keeps its bytes."""
        data = event.data
        if data.startswith(_DONE):
            self.done = True
            return None
        try:
            chunk = wire.parse_chunk(data)
        except wire.MalformedEvent as exc:
            self.malformed(exc)
            return None
        if wire.is_set(chunk.error):
            raise vendor_errors.from_event(msgspec.json.decode(chunk.error))
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._open_choices -= 1
        return wire.chunk_event(chunk, data)
