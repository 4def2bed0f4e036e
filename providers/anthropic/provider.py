"""The adapter for Anthropic's Messages API (Anthropic's API reference, version 2023-06-01)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from providers import errors, vendor_errors
from providers.anthropic.answer import read_answer
from providers.anthropic.native import MessagesRequest, NativeStream, native_body
from providers.anthropic.request import to_messages
from providers.anthropic.stream import MessageStream
from providers.http import ANTHROPIC_BETA, HTTPProvider, with_token
from providers.transport import Endpoint, close, read_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providers.base import CompletionRequest, CompletionResponse
    from providers.config import ProviderConfig
    from providers.transport import Transport

DEFAULT_ORIGIN = "https://api.anthropic.com"
API_VERSION = "2023-06-01"
# What even the oldest models can write; newer ones say in the list of models how much they can.
DEFAULT_MAX_TOKENS = 4_096
MAX_MODEL_PAGES = 20
_PAGE_SIZE = 1_000


class _Model(msgspec.Struct):
    id: str
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class _Counted(msgspec.Struct):
    input_tokens: int


class _ModelPage(msgspec.Struct):
    data: list[_Model]
    has_more: bool = False
    last_id: str | None = None


class AnthropicProvider(HTTPProvider):
    """Anthropic, or a server that speaks its dialect; `base_url` with or without `/v1`.

    The option `max_tokens` is sent for requests that name no maximum; without it, the model's own maximum is if the
    list of models tells it, else `DEFAULT_MAX_TOKENS`. Headers such as `anthropic-beta` come from `config.headers`.
    """

    def __init__(self, config: ProviderConfig, transport: Transport) -> None:
        super().__init__(config, transport)
        self._models: dict[str, _Model] = {}
        self._default_max_tokens = config.options.get("max_tokens")
        if not isinstance(self._default_max_tokens, int | None):
            msg = "options.max_tokens must be a whole number"
            raise TypeError(msg)

    @property
    def origin(self) -> str:
        """The server's address without `/v1`."""
        return self.base_url.removesuffix("/v1")

    def default_base_url(self) -> str:
        """Return Anthropic's own address."""
        return DEFAULT_ORIGIN

    def auth_headers(self) -> dict[str, str]:
        """Return the `x-api-key` header and the version of the API."""
        key = {"x-api-key": self.config.api_key} if self.config.api_key else {}
        return {"anthropic-version": API_VERSION, **key}

    def chat_url(self, model: str) -> str:  # noqa: ARG002 - one address serves every model.
        """Return the address of messages."""
        return f"{self.origin}/v1/messages"

    def models_url(self) -> str:
        """Return the address of the first page of the list of models."""
        return f"{self.origin}/v1/models?limit={_PAGE_SIZE}"

    async def get_models(self) -> list[str]:
        """List the models of every page, in Anthropic's order, which is the newest first."""
        url, found = self.models_url(), list[_Model]()
        for _ in range(MAX_MODEL_PAGES):
            page = _read_page(await self.get_models_page(url))
            found += page.data
            if not page.has_more or not page.last_id:
                break
            url = f"{self.models_url()}&after_id={quote(page.last_id, safe='')}"
        self._models = {model.id: model for model in found}
        return list(self._models)

    def context_length(self, model: str) -> int | None:
        """Return the length that the list of models told, if it did."""
        known = self._models.get(model)
        return known.max_input_tokens if known is not None else None

    def body_fields(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        """Return the request in this dialect; raises `NotExpressible`."""
        omitted = self.config.options_for(request.model).omit_params
        if isinstance(request, MessagesRequest):
            return {**native_body(request, omitted), "stream": True} if stream else native_body(request, omitted)
        fields = {name: request.get(name) for name in request.fields if name not in omitted and name != "messages"}
        fields["messages"] = request.messages
        usual = self._max_tokens(request.model)
        if "max_tokens" in request.defaulted and isinstance(fields.get("max_tokens"), int):
            # What a key allows may be more than the model can write, which the client did not ask for.
            fields["max_tokens"] = min(fields["max_tokens"], usual)
        body = to_messages(fields, model=request.model, default_max_tokens=usual)
        return {**body, "stream": True} if stream else body

    def _max_tokens(self, model: str) -> int:
        known = self._models.get(model)
        return self._default_max_tokens or (known and known.max_tokens) or DEFAULT_MAX_TOKENS

    def read_answer(self, body: bytes) -> CompletionResponse:
        """Read a whole message."""
        return read_answer(body)

    def read_stream(self, request: CompletionRequest) -> MessageStream:
        """Return a reader of a message's events, which keeps them for a client that speaks this dialect itself."""
        return NativeStream() if isinstance(request, MessagesRequest) else MessageStream()

    def request_headers(self, request: CompletionRequest) -> Mapping[str, str]:
        """Return the client's headers; the betas that it asks for come beside those of the configuration."""
        headers = request.headers
        if isinstance(request, MessagesRequest) and request.native_headers:
            headers = {**headers, **request.native_headers}
        configured = self._headers.get(ANTHROPIC_BETA)
        if configured and ANTHROPIC_BETA in headers:
            return {**headers, ANTHROPIC_BETA: f"{configured},{headers[ANTHROPIC_BETA]}"}
        return headers

    async def count_tokens(self, request: CompletionRequest) -> int | None:
        """Ask for the number of tokens of a prompt; raises types of `providers.errors`.

        None for a request of another dialect, and from a server that cannot count, as compatible ones often cannot.
        """
        if not isinstance(request, MessagesRequest):
            return None
        if self._bearer is None:
            return await self._counted(request, self.request_headers(request))
        headers = self.request_headers(request)
        return await with_token(
            self._bearer, lambda token: self._counted(request, {**headers, "authorization": f"Bearer {token}"})
        )

    async def _counted(self, request: MessagesRequest, headers: Mapping[str, str]) -> int | None:
        body = native_body(request, self.config.options_for(request.model).omit_params)
        endpoint = Endpoint(f"{self.chat_url('')}/count_tokens", {"content-type": "application/json", **self._headers})
        response = await self.transport.send(
            "POST",
            endpoint,
            connect_s=self.config.timeouts.connect_s,
            headers=headers,
            content=msgspec.json.encode(body),
        )
        try:
            answer = await read_start(response)
        finally:
            await close(response)
        if not response.is_success:
            raise vendor_errors.from_response(response.status_code, response.headers, answer)
        try:
            return msgspec.json.decode(answer, type=_Counted).input_tokens
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def drop_refused_default(
        self, fields: dict[str, Any], request: CompletionRequest, refusal: errors.RequestRefused
    ) -> bool:
        """Take out the temperature if only the gateway had put it in and the model takes none; say whether it did.

        `max_tokens` is the other default, and this API does not answer without it.
        """
        is_ours = "temperature" in request.defaulted and "temperature" in fields
        if is_ours and "temperature" in refusal.message:
            del fields["temperature"]
            return True
        return False


def _read_page(body: bytes) -> _ModelPage:
    try:
        return msgspec.json.decode(body, type=_ModelPage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        msg = "the list of models is not readable"
        raise errors.UnreadableAnswer(msg) from exc
