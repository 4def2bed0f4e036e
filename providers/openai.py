"""OpenAI and every server that speaks its chat-completions dialect.

Sources: OpenAI's API reference (chat completions, streaming) and the official SDKs. Bytes pass through: of an answer
only what decides something is read (`providers/wire.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import msgspec

from providers import errors, vendor_errors, wire
from providers.base import AIProvider, CompletionRequest, CompletionResponse, StreamEvent
from providers.sse import EventTooLarge, ServerSentEvent, SSEReader
from providers.transport import (
    MAX_ANSWER_BYTES,
    Endpoint,
    Reading,
    Transport,
    body_of,
    close,
    read_start,
    read_to_end,
    read_whole,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.config import ProviderConfig

DEFAULT_BASE_URL = "https://api.openai.com/v1"
HEALTH_TIMEOUT_S = 10.0
MAX_ENDPOINTS = 1_000
_CREDENTIAL_STATUS = frozenset({401, 402, 403})
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
_DOWNSTREAM_PREFIXES = ("x-ratelimit-limit-", "x-ratelimit-remaining-", "x-ratelimit-reset-", "anthropic-ratelimit-")
_DOWNSTREAM = {
    "retry-after": "retry-after",
    "x-request-id": "x-lunarbit-upstream-request-id",
    "request-id": "x-lunarbit-upstream-request-id",
    "apim-request-id": "x-lunarbit-upstream-request-id",
}


class OpenAIProvider(AIProvider):
    """An OpenAI-compatible server at `config.base_url`, reached through `transport`."""

    def __init__(self, config: ProviderConfig, transport: Transport) -> None:
        self.config = config
        self.transport = transport
        self.base_url = (config.base_url or self.default_base_url()).rstrip("/")
        self._headers = self.auth_headers() | {name.lower(): value for name, value in config.headers.items()}
        self._endpoints: dict[str, Endpoint] = {}

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

    def models_url(self) -> str:
        """Return the address of the list of models, which also shows whether the server answers."""
        return f"{self.base_url}/models"

    async def chat_completion(self, request: CompletionRequest) -> CompletionResponse:
        """Ask for a whole answer; raises types of `providers.errors`."""
        response = await self._open(request, stream=False)
        try:
            body = await read_whole(response, MAX_ANSWER_BYTES)
        except errors.StreamBroken as exc:
            # Nothing has reached the client, so a cut whole answer is a failed attempt like any other.
            raise errors.ServerFailed(exc.message) from exc
        finally:
            await close(response)
        answer, error = wire.parse_answer(body)
        if wire.is_set(error):
            raise vendor_errors.from_event(msgspec.json.decode(error))
        answer.headers = _downstream_headers(response.headers)
        return answer

    async def stream_completion(self, request: CompletionRequest) -> AsyncIterator[StreamEvent | list[StreamEvent]]:
        """Ask for a streamed answer; raises types of `providers.errors`, `StreamBroken` when it ends too early."""
        answer = _StreamedAnswer(choices=request.get("n", 1))
        response = await self._open(request, stream=True)
        try:
            yield StreamEvent(headers=_downstream_headers(response.headers))
            with Reading():
                async for data in body_of(response):
                    batch = answer.events(data)
                    if batch:
                        yield batch
                    if answer.done:
                        break
            rest = answer.end()
            if rest:
                yield rest
            await read_to_end(response)
        except errors.StreamBroken:
            # A reset after the finish reason took nothing away: the answer is whole.
            if not answer.finished:
                raise
        finally:
            await close(response)

    async def is_healthy(self) -> bool:
        """Say whether the server answers and takes our credential.

        A server without a list of models (404) or one that limits us (429) is there all the same.
        """
        try:
            response = await self._get_models_page()
        except errors.ProviderError:
            return False
        return not response.is_server_error and response.status_code not in _CREDENTIAL_STATUS

    async def get_models(self) -> list[str]:
        """List what `GET /models` shows, models that cannot chat last; raises types of `providers.errors`.

        The first one answers clients that name no model, and OpenAI lists its models in no particular order.
        """
        response = await self._get_models_page()
        if response.status_code != httpx.codes.OK:
            raise vendor_errors.from_response(response.status_code, response.headers, response.content)
        return sorted(wire.parse_models(response.content), key=_cannot_chat)

    async def _get_models_page(self) -> httpx.Response:
        return await self.transport.get(self.models_url(), self._headers, timeout_s=HEALTH_TIMEOUT_S)

    async def _open(self, request: CompletionRequest, *, stream: bool) -> httpx.Response:
        """Post the request and return the open response of a 200; everything else becomes a typed error."""
        fields = self._body_fields(request, stream=stream)
        while True:
            try:
                return await self._post(request, fields, stream=stream)
            except errors.RequestRefused as exc:
                # A field that only the gateway put in is taken out again, each one at most once.
                if not _without_refused_default(fields, request, exc):
                    raise

    async def _post(
        self, request: CompletionRequest, fields: dict[str, msgspec.Raw], *, stream: bool
    ) -> httpx.Response:
        endpoint = self._endpoint(request.model)
        content = msgspec.json.encode(fields)
        connect_s = self.config.timeouts.connect_s
        try:
            response = await self.transport.send(
                "POST", endpoint, connect_s=connect_s, headers=request.headers, content=content
            )
        except errors.ConnectionDropped:
            # An idle connection may be closed under us at any time; that says nothing about the server's health.
            response = await self.transport.send(
                "POST", endpoint, connect_s=connect_s, headers=request.headers, content=content, fresh=True
            )
        try:
            await _check_answer(response, stream=stream)
        except BaseException:
            await close(response)
            raise
        return response

    def _endpoint(self, model: str) -> Endpoint:
        url = self.chat_url(model)
        endpoint = self._endpoints.get(url)
        if endpoint is None:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                # Clients choose model names and Azure's addresses hold them, so this must not grow for ever.
                self._endpoints.clear()
            endpoint = Endpoint(url, {"content-type": "application/json", **self._headers})
            self._endpoints[url] = endpoint
        return endpoint

    def _body_fields(self, request: CompletionRequest, *, stream: bool) -> dict[str, msgspec.Raw]:
        options = self.config.options_for(request.model)
        fields = dict(request.fields)
        fields["model"] = msgspec.Raw(msgspec.json.encode(request.model))
        if options.max_tokens_field != "max_tokens" and "max_tokens" in fields:
            fields[options.max_tokens_field] = fields.pop("max_tokens")
        if stream:
            fields["stream"] = _TRUE
            fields["stream_options"] = _with_usage(fields.get("stream_options"))
        else:
            fields.pop("stream_options", None)
        for name in options.omit_params:
            fields.pop(name, None)
        return fields


def _cannot_chat(model: str) -> bool:
    """Guess from its name whether a model does something else than chat; the list itself does not say."""
    return any(word in model.lower() for word in _OTHER_USES)


_ONLY_USAGE = msgspec.Raw(b'{"include_usage":true}')


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    if options is None or not wire.is_set(options):
        return _ONLY_USAGE
    return msgspec.Raw(msgspec.json.encode({**msgspec.json.decode(options), "include_usage": True}))


def _without_refused_default(
    fields: dict[str, msgspec.Raw], request: CompletionRequest, refusal: errors.RequestRefused
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


async def _check_answer(response: httpx.Response, *, stream: bool) -> None:
    """Raise the typed error of a refusal, and refuse what cannot be the answer that was asked for."""
    if not response.is_success:
        body = await read_start(response)
        raise vendor_errors.from_response(response.status_code, response.headers, body)
    if response.headers.get("content-encoding", "identity") != "identity":
        msg = "the answer is compressed although identity was asked for"
        raise errors.UnreadableAnswer(msg, status=response.status_code)
    content_type = response.headers.get("content-type", "").lower()
    wanted = "text/event-stream" if stream else "json"
    if not content_type or wanted in content_type:
        return
    if "json" in content_type:
        _, error = wire.parse_answer(await read_start(response))
        if wire.is_set(error):
            raise vendor_errors.from_event(msgspec.json.decode(error))
    msg = f"the answer is of another content type than {wanted}"
    raise errors.UnreadableAnswer(msg, status=response.status_code)


def _downstream_headers(headers: httpx.Headers) -> dict[str, str]:
    kept: dict[str, str] = {}
    for raw_name, value in headers.raw:
        name = raw_name.decode("latin-1").lower()
        if name in _DOWNSTREAM:
            kept[_DOWNSTREAM[name]] = value.decode("latin-1")
        elif name.startswith(_DOWNSTREAM_PREFIXES):
            kept[name] = value.decode("latin-1")
    return kept


class _StreamedAnswer:
    """Reads the events of one streamed answer and knows when it is whole."""

    def __init__(self, choices: object) -> None:
        self._reader = SSEReader()
        self._open_choices = choices if isinstance(choices, int) and choices > 0 else 1
        self._content_seen = False
        self._failure: errors.ProviderError | None = None
        self.done = False

    @property
    def finished(self) -> bool:
        """Whether every choice has its finish reason."""
        return self._open_choices <= 0

    def events(self, data: bytes) -> list[StreamEvent]:
        """Return the events that `data` completes. Raises typed errors for broken or refused ones.

        If whole events came before the error in the same read, they are returned, and `end` raises the error.
        """
        batch: list[StreamEvent] = []
        try:
            self._read(self._reader.feed(data), batch)
        except EventTooLarge as exc:
            self._fail(errors.UnreadableAnswer(str(exc)), batch)
        except errors.ProviderError as exc:
            self._fail(exc, batch)
        return batch

    def end(self) -> list[StreamEvent]:
        """Return what was still open at the end of the body; raises `StreamBroken` if the answer is not whole."""
        if self._failure is not None:
            raise self._failure
        batch: list[StreamEvent] = []
        self._read(self._reader.flush(), batch)
        if not (self.done or self.finished):
            msg = "the stream ended without a finish reason"
            raise errors.StreamBroken(msg)
        return batch

    def _fail(self, error: errors.ProviderError, batch: list[StreamEvent]) -> None:
        if not batch:
            raise error
        self._failure = error
        self.done = True

    def _read(self, arrived: list[ServerSentEvent], batch: list[StreamEvent]) -> None:
        for _, data in arrived:
            if data.startswith(_DONE):
                self.done = True
                return
            event = self._read_one(data)
            if event is not None:
                batch.append(event)

    def _read_one(self, data: bytes) -> StreamEvent | None:
        try:
            chunk = wire.parse_chunk(data)
        except wire.MalformedEvent as exc:
            if not self._content_seen:
                msg = "an event is not a chunk of the dialect"
                raise errors.UnreadableAnswer(msg) from exc
            # After content the event is left out; if the stream then completes, nothing of the answer was lost.
            return None
        if wire.is_set(chunk.error):
            raise vendor_errors.from_event(msgspec.json.decode(chunk.error))
        event = wire.chunk_event(chunk, data)
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._open_choices -= 1
        self._content_seen = self._content_seen or event.commits
        return event
