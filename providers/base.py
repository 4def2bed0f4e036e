"""The provider interface: implement `AIProvider` and the router can use it.

A provider answers chats in the OpenAI chat-completions dialect, which is the gateway's own: `CompletionRequest` carries
the request's top-level fields, `StreamEvent` what one event of an answer says. The smallest useful provider:

    class Shout(AIProvider):
        async def stream_completion(self, request):
            yield str(request.messages[-1]["content"]).upper()

        async def get_models(self):
            return ["shout-1"]

Everything else has a default. Register it with `router.register_provider("shout", Shout())`, or from another package
with an entry point in the group `lunarbit.providers` that names a callable taking a `providers.config.ProviderConfig`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

CHAT: Final = "chat"
_NO_HEADERS: Mapping[str, str] = {}
# What a model reads besides the messages.
_ALSO_READ = ("tools", "functions", "response_format")
_encode = msgspec.json.encode


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer, as the provider counted them, or `estimated` when it did not, or not yet to the end.

    `prompt_tokens` holds those that were read from a cache (`cached_tokens`) and written to it
    (`cache_creation_tokens`, of which `cache_creation_1h_tokens` for an hour); `completion_tokens` holds
    `reasoning_tokens`.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_creation_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    raw: dict[str, Any] | None = None
    cache_creation_1h_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def to_dict(self) -> dict[str, Any]:
        """Return the usage object of the OpenAI dialect, with every field that the provider sent."""
        totals = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }
        return {**(self.raw or {}), **totals}


class CompletionRequest:
    """One chat request: the top-level fields of an OpenAI chat-completions body, each kept as raw JSON.

    Fields that the gateway does not know survive, and large ones (inline images) are never decoded only to be encoded
    again. `defaulted` names fields that the gateway filled in and the client did not send. `headers` are those of the
    client's headers that may go upstream. `request_id` is the gateway's id of the exchange. `is_capped` is whether the
    length of the answer is limited for this client, so that the field that limits it must not be left out.
    """

    __slots__ = ("_messages", "defaulted", "fields", "headers", "is_capped", "model", "request_id", "stream")
    # What is asked for: "chat", or another operation that `AIProvider.operations` has to name.
    operation: ClassVar[str] = CHAT
    # Each of them limits the length of the answer, in tokens.
    length_fields: ClassVar[tuple[str, ...]] = ("max_tokens", "max_completion_tokens")

    def __init__(
        self,
        model: str,
        fields: Mapping[str, msgspec.Raw],
        *,
        stream: bool = False,
        defaulted: frozenset[str] = frozenset(),
        headers: Mapping[str, str] = _NO_HEADERS,
        request_id: str = "",
        is_capped: bool = False,
    ) -> None:
        self.model = model
        self.fields = fields
        self.stream = stream
        self.defaulted = defaulted
        self.headers = headers
        self.request_id = request_id
        self.is_capped = is_capped
        self._messages: list[dict[str, Any]] | None = None

    @classmethod
    def of(
        cls, model: str, messages: list[dict[str, Any]], *, stream: bool = False, **fields: Any
    ) -> CompletionRequest:
        """Build a request from plain values: `CompletionRequest.of("gpt-4", [{"role": "user", "content": "hi"}])`."""
        raw = {name: msgspec.Raw(_encode(value)) for name, value in {"messages": messages, **fields}.items()}
        return cls(model, raw, stream=stream)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation, decoded on first use: dicts with at least `role`, and `content` as a string or parts."""
        if self._messages is None:
            self._messages = msgspec.json.decode(self.fields.get("messages", b"[]"), type=list[dict[str, Any]])
        return self._messages

    def get(self, name: str, default: Any = None) -> Any:
        """Return one top-level field decoded, for example `request.get("temperature", 0.7)`."""
        raw = self.fields.get(name)
        return default if raw is None else msgspec.json.decode(raw)

    def limit_answer(self, tokens: int) -> None:
        """Put in the longest answer, in tokens, which the client did not ask for."""
        self.fields = {**self.fields, "max_tokens": msgspec.Raw(str(tokens).encode())}
        self.defaulted |= {"max_tokens"}

    def read_chars(self) -> tuple[list[int], list[int]]:
        """Return how many characters each message has, and each further field that the model reads, as JSON."""
        said = [text_chars(message.get("content")) for message in self.messages]
        return said, [len(self.fields[name]) for name in _ALSO_READ if name in self.fields]

    def json_bytes(self) -> int:
        """Return how many bytes of JSON the request is: four for each of its tokens at least, or nearly so."""
        return sum(map(len, self.fields.values()))

    def for_model(self, model: str) -> CompletionRequest:
        """Return the same request for another model."""
        return type(self)(
            model,
            self.fields,
            stream=self.stream,
            defaulted=self.defaulted,
            headers=self.headers,
            request_id=self.request_id,
            is_capped=self.is_capped,
        )


def text_chars(content: Any) -> int:
    """Return how many characters of text a message's content has, a string or a list of parts."""
    if isinstance(content, list):
        return sum(
            len(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return len(content) if isinstance(content, str) else 0


class StreamEvent(msgspec.Struct, kw_only=True, gc=False):
    """What one event of a streamed answer says.

    An adapter for the OpenAI dialect sets `raw` to the event's JSON exactly as received, and the gateway passes these
    bytes on; any other adapter leaves it None and fills the fields. `finish_reason` is `stop`, `length`, `tool_calls`
    or `content_filter`. `usage` may come on any event; the last one counts. `headers` (rate limits, request id of the
    vendor) may come on an event of their own before the first content. `thinking_blocks` are whole blocks of signed
    reasoning, each with its `index`, which a client has to send back as they are. `native` is the whole event as it
    came, when provider and client speak the same dialect and it is not OpenAI's.
    """

    content: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[dict[str, Any]] | None = None
    thinking_blocks: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    usage_only: bool = False
    other_content: bool = False
    model: str = ""
    raw: bytes | None = None
    native: bytes | None = None
    headers: Mapping[str, str] | None = None

    @property
    def commits(self) -> bool:
        """Whether this event is content: after the first such event a call never moves to another provider."""
        return bool(
            self.content
            or self.finish_reason
            or self.reasoning
            or self.tool_calls
            or self.refusal
            or self.thinking_blocks
            or self.other_content
        )


# What a stream yields: a content delta, an event, or several events that arrived together and go out together.
StreamItem = str | StreamEvent | list[StreamEvent]


def events_of(item: StreamItem) -> list[StreamEvent]:
    """Return the events that one item of a stream stands for."""
    if isinstance(item, list):
        return item
    return [StreamEvent(content=item) if isinstance(item, str) else item]


class CompletionResponse(msgspec.Struct, kw_only=True):
    """A whole answer. `raw` is the provider's own JSON body when it spoke the OpenAI dialect, else None.

    `native` is that body in the provider's own dialect when this is another one.
    """

    content: str = ""
    model: str = ""
    finish_reason: str | None = "stop"
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[dict[str, Any]] | None = None
    thinking_blocks: list[dict[str, Any]] | None = None
    usage: Usage | None = None
    raw: bytes | None = None
    native: bytes | None = None
    headers: Mapping[str, str] = {}


class AIProvider(ABC):
    """A source of chat completions.

    Every method may raise a type of `providers.errors`; any other exception counts as a failure of the provider. A
    method can be cancelled at any await (client gone, deadline): close what you opened in `finally` and let
    `CancelledError` pass.

    `operations` is what it can be asked for; only of these does it get requests. Beside chats there are "embeddings"
    and "completions" (`providers/operations.py`), which come to the same two methods and are told apart by
    `CompletionRequest.operation`. Their answers are the OpenAI dialect's own JSON in `raw`. With "responses" it gets
    `providers.responses.native.ResponsesRequest`s as they came, and otherwise as chats.
    """

    operations: frozenset[str] = frozenset({CHAT})

    @abstractmethod
    def stream_completion(self, request: CompletionRequest) -> AsyncIterator[StreamItem]:
        """Answer `request` piece by piece: an async generator of `str` (a content delta) or `StreamEvent`.

        An adapter that reads several events at once may yield them as one list; they then go out in one write. An
        empty list says that the provider is at work (loading, reading the prompt), so that its time starts anew.

        A generator that simply ends has given a whole answer with finish reason `stop`. One that finds its upstream cut
        off raises `providers.errors.StreamBroken`.
        """

    async def chat_completion(self, request: CompletionRequest) -> CompletionResponse:
        """Answer `request` at once. The default collects `stream_completion`."""
        text: list[str] = []
        answer = CompletionResponse(model=request.model)
        stream = self.stream_completion(request)
        async with aclosing(stream) as events:  # type: ignore[type-var]
            async for item in events:
                for event in events_of(item):
                    text.append(event.content)
                    answer.reasoning += event.reasoning
                    answer.refusal += event.refusal
                    answer.finish_reason = event.finish_reason or answer.finish_reason
                    answer.usage = event.usage or answer.usage
                    answer.model = event.model or answer.model
                    if event.tool_calls:
                        answer.tool_calls = [*(answer.tool_calls or []), *event.tool_calls]
        answer.content = "".join(text)
        return answer

    async def is_healthy(self) -> bool:
        """Say whether the provider can answer now; asked in the background about every 15 s."""
        return True

    async def get_models(self) -> list[str]:
        """List the ids of the models that can be asked for; asked in the background about once a minute."""
        return []

    async def count_tokens(self, request: CompletionRequest) -> int | None:  # noqa: ARG002 - few APIs count.
        """Return how many tokens the prompt of `request` has for its model; None where the provider does not count."""
        return None

    def context_length(self, model: str) -> int | None:  # noqa: ARG002 - known to adapters that can look it up.
        """Return how many tokens `model` can take now, or None when that is not known."""
        return None

    def is_loaded(self, model: str) -> bool | None:  # noqa: ARG002 - few providers load models on demand.
        """Say whether `model` is in memory, from what is known already; None where that is no question.

        Asking for a model that is not may unload one that is answering, so such a request waits or goes elsewhere.
        """
        return None

    async def aclose(self) -> None:  # noqa: B027 - most providers hold nothing.
        """Release what the provider holds; called once when the gateway stops."""
