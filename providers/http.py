"""What every adapter has in common that posts JSON and reads JSON or Server-Sent Events over HTTP.

`HTTPProvider` holds the address, the credential, the connections and the order of one call; a subclass says how its
dialect writes a request (`body_fields`) and reads an answer (`read_answer`, `read_stream`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import msgspec

from providers import errors, vendor_errors, wire
from providers.base import CHAT, AIProvider, CompletionRequest, CompletionResponse, StreamEvent
from providers.bearer import BearerToken, CommandSource, FileSource
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
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from providers.config import ProviderConfig

T = TypeVar("T")

ANTHROPIC_BETA = "anthropic-beta"
HEALTH_TIMEOUT_S = 10.0
MAX_ENDPOINTS = 1_000
_CREDENTIAL_STATUS = frozenset({401, 402, 403})
_DOWNSTREAM_PREFIXES = ("x-ratelimit-limit-", "x-ratelimit-remaining-", "x-ratelimit-reset-", "anthropic-ratelimit-")
_DOWNSTREAM = {
    "retry-after": "retry-after",
    "x-request-id": "x-lunarbit-upstream-request-id",
    "request-id": "x-lunarbit-upstream-request-id",
    "apim-request-id": "x-lunarbit-upstream-request-id",
}


async def with_token(bearer: BearerToken, ask: Callable[[str], Awaitable[T]]) -> T:
    """Return what `ask` returns with the token of now; one that is refused is renewed, and asked with once more."""
    token = await bearer.get()
    try:
        return await ask(token)
    except errors.CredentialRefused as exc:
        newer = await bearer.renew(token) if exc.status == httpx.codes.UNAUTHORIZED else token
        if newer == token:
            raise
    return await ask(newer)


class HTTPProvider(AIProvider):
    """A server at `config.base_url`, reached through `transport`."""

    def __init__(self, config: ProviderConfig, transport: Transport) -> None:
        self.config = config
        self.transport = transport
        self.base_url = (config.base_url or self.default_base_url()).rstrip("/")
        self._headers = self.auth_headers() | {name.lower(): value for name, value in config.headers.items()}
        self._endpoints: dict[str, Endpoint] = {}
        self._bearer = _bearer_token(config)

    @abstractmethod
    def default_base_url(self) -> str:
        """Return the address that is used when none is configured."""

    @abstractmethod
    def auth_headers(self) -> dict[str, str]:
        """Return the headers that carry the credential and the account, with lower-case names."""

    @abstractmethod
    def chat_url(self, model: str) -> str:
        """Return the address that chats with `model` are posted to."""

    @abstractmethod
    def models_url(self) -> str:
        """Return the address of the list of models, which also shows whether the server answers."""

    @abstractmethod
    def body_fields(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        """Return the JSON body of a request; raises `errors.RequestRefused` for what the dialect cannot express."""

    @abstractmethod
    def read_answer(self, body: bytes) -> CompletionResponse:
        """Read a whole answer. Raises types of `providers.errors`, also for an error inside a 200."""

    def operation_of(self, request: CompletionRequest) -> str:
        """Return which of the provider's `operations` answers a request."""
        return request.operation

    def operation_url(self, operation: str, model: str) -> str:
        """Return the address of another of the provider's `operations`."""
        raise NotImplementedError

    def read_other(self, request: CompletionRequest, body: bytes) -> CompletionResponse:
        """Read the whole answer to a request that is no chat; raises as `read_answer` does."""
        raise NotImplementedError

    @abstractmethod
    def read_stream(self, request: CompletionRequest) -> StreamedAnswer:
        """Return the reader of one streamed answer."""

    @abstractmethod
    def drop_refused_default(
        self, fields: dict[str, Any], request: CompletionRequest, refusal: errors.RequestRefused
    ) -> bool:
        """Take out or rename the field that a refusal names if only the gateway had put it in; say whether it did."""

    def request_headers(self, request: CompletionRequest) -> Mapping[str, str]:
        """Return the headers of a request besides those of every one; Anthropic's betas are for its dialect alone."""
        headers = request.headers
        if ANTHROPIC_BETA not in headers:
            return headers
        return {name: value for name, value in headers.items() if name != ANTHROPIC_BETA}

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
        is_chat = self.operation_of(request) == CHAT
        answer = self.read_answer(body) if is_chat else self.read_other(request, body)
        answer.headers = _downstream_headers(response.headers)
        return answer

    async def stream_completion(self, request: CompletionRequest) -> AsyncIterator[StreamEvent | list[StreamEvent]]:
        """Ask for a streamed answer; raises types of `providers.errors`, `StreamBroken` when it ends too early."""
        answer = self.read_stream(request)
        response = await self._open(request, stream=True)
        try:
            yield StreamEvent(headers=_downstream_headers(response.headers))
            with Reading():
                async for data in body_of(response):
                    batch = answer.events(data)
                    if batch:
                        yield batch
                    elif answer.at_work:
                        answer.at_work = False
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
            response = await self.get_page(self.models_url())
        except errors.ProviderError:
            return False
        return not response.is_server_error and response.status_code not in _CREDENTIAL_STATUS

    async def get_page(self, url: str) -> httpx.Response:
        """Fetch a small document with our credential; raises types of `providers.errors`, but for no status."""
        if self._bearer is None:
            return await self.transport.get(url, self._headers, timeout_s=HEALTH_TIMEOUT_S)
        token = await self._bearer.get()
        response = await self.transport.get(url, _with_token(self._headers, token), timeout_s=HEALTH_TIMEOUT_S)
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return response
        newer = await self._bearer.renew(token)
        if newer == token:
            return response
        return await self.transport.get(url, _with_token(self._headers, newer), timeout_s=HEALTH_TIMEOUT_S)

    async def get_models_page(self, url: str) -> bytes:
        """Fetch a page of the list of models; raises types of `providers.errors` for every other status than 200."""
        response = await self.get_page(url)
        if response.status_code != httpx.codes.OK:
            raise vendor_errors.from_response(response.status_code, response.headers, response.content)
        return response.content

    async def _open(self, request: CompletionRequest, *, stream: bool) -> httpx.Response:
        """Post the request and return the open response of a 200; everything else becomes a typed error."""
        fields = self.body_fields(request, stream=stream)
        post = self._post if self._bearer is None else partial(self._post_with_token, self._bearer)
        while True:
            try:
                return await post(request, fields, stream=stream)
            except errors.RequestRefused as exc:
                # A field that only the gateway put in is taken out again, each one at most once.
                if not self.drop_refused_default(fields, request, exc):
                    raise

    async def _post_with_token(
        self, bearer: BearerToken, request: CompletionRequest, fields: dict[str, Any], *, stream: bool
    ) -> httpx.Response:
        return await with_token(bearer, lambda token: self._post(request, fields, stream=stream, token=token))

    async def _post(
        self, request: CompletionRequest, fields: dict[str, Any], *, stream: bool, token: str = ""
    ) -> httpx.Response:
        endpoint = self._endpoint(request)
        content = msgspec.json.encode(fields)
        connect_s = self.config.timeouts.connect_s
        headers = self.request_headers(request)
        if token:
            headers = _with_token(headers, token)
        try:
            response = await self.transport.send(
                "POST", endpoint, connect_s=connect_s, headers=headers, content=content
            )
        except errors.ConnectionDropped:
            # An idle connection may be closed under us at any time; that says nothing about the server's health.
            response = await self.transport.send(
                "POST", endpoint, connect_s=connect_s, headers=headers, content=content, fresh=True
            )
        try:
            await _check_answer(response, stream=stream)
        except BaseException:
            await close(response)
            raise
        return response

    def _endpoint(self, request: CompletionRequest) -> Endpoint:
        operation, model = self.operation_of(request), request.model
        url = self.chat_url(model) if operation == CHAT else self.operation_url(operation, model)
        endpoint = self._endpoints.get(url)
        if endpoint is None:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                # Clients choose model names and Azure's addresses hold them, so this must not grow for ever.
                self._endpoints.clear()
            endpoint = Endpoint(url, {"content-type": "application/json", **self._headers})
            self._endpoints[url] = endpoint
        return endpoint

    async def aclose(self) -> None:
        """Stop what reads the token; the connections are the transport's."""
        if self._bearer is not None:
            await self._bearer.aclose()


def _bearer_token(config: ProviderConfig) -> BearerToken | None:
    if config.token_file:
        return BearerToken(FileSource(config.token_file))
    return BearerToken(CommandSource(config.token_command)) if config.token_command else None


def _with_token(headers: Mapping[str, str], token: str) -> dict[str, str]:
    return {**headers, "authorization": f"Bearer {token}"}


async def _check_answer(response: httpx.Response, *, stream: bool) -> None:
    """Raise the typed error of a refusal, and refuse what cannot be the answer that was asked for."""
    if not response.is_success:
        body = await read_start(response)
        refused = vendor_errors.from_response(response.status_code, response.headers, body)
        refused.body, refused.headers = body, _downstream_headers(response.headers)
        if "x-should-retry" in response.headers:
            refused.headers["x-should-retry"] = response.headers["x-should-retry"]
        raise refused
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


class StreamedAnswer(ABC):
    """Reads the events of one streamed answer and knows when it is whole.

    `done` is set once nothing more is to be read. `content_seen` is whether any event was content. `at_work` is whether
    there was a sign of work on an answer that has not begun.
    """

    def __init__(self) -> None:
        self._reader = SSEReader()
        self._failure: errors.ProviderError | None = None
        self.content_seen = False
        self.at_work = False
        self.done = False

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the answer has its finish reason, so that an end of the body takes nothing away."""

    @abstractmethod
    def read_event(self, event: ServerSentEvent) -> StreamEvent | None:
        """Read one event, None for one that says nothing; raises types of `providers.errors`."""

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

    def malformed(self, cause: Exception) -> None:
        """Raise `UnreadableAnswer` for an event that cannot be read, unless content has come already.

        After content the event is left out; if the stream then completes, nothing of the answer was lost.
        """
        if not self.content_seen:
            msg = "an event is not one of the dialect"
            raise errors.UnreadableAnswer(msg) from cause

    def _fail(self, error: errors.ProviderError, batch: list[StreamEvent]) -> None:
        if not batch:
            raise error
        self._failure = error
        self.done = True

    def _read(self, arrived: list[ServerSentEvent], batch: list[StreamEvent]) -> None:
        for one in arrived:
            event = self.read_event(one)
            if event is not None:
                self.content_seen = self.content_seen or event.commits
                batch.append(event)
            if self.done:
                return
