"""What AI requests and the lists of models are answered with."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from gateway.openapi.scalars import Count, Milliseconds, Model, ProviderName, RequestId, Version


class Usage(TypedDict):
    """The tokens of one exchange; providers may add counts of their own."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class ChatAnswer(TypedDict):
    """A whole answer."""

    response: Annotated[str | None, Meta(examples=["Hello! How can I help?"])]
    model: Model
    provider: ProviderName
    finish_reason: Annotated[str | None, Meta(examples=["stop"])]
    tokens_used: Count
    usage: Usage
    usage_estimated: NotRequired[Annotated[bool, Meta(description="The provider reported no counts.")]]
    processing_time_ms: Count


class ChangelogAnalysis(TypedDict):
    """What a changelog says; `source` is whether a model read it, or rules alone."""

    version: Version
    analysis: Annotated[str, Meta(examples=["This update fixes a memory leak, adds dark mode, and drops Node.js 14."])]
    breaking: Annotated[bool, Meta(examples=[True])]
    severity: Annotated[Literal["major", "minor", "patch"], Meta(examples=["major"])]
    source: Annotated[Literal["model", "rules"], Meta(examples=["model"])]


class ChatStart(TypedDict):
    """`event: start`, the first event of a stream: who answers."""

    request_id: RequestId
    provider: ProviderName
    model: Model


class ChatDelta(TypedDict):
    """An event without a name: the next piece of the text."""

    delta: Annotated[str, Meta(examples=["Hel"])]


class ChatDone(TypedDict):
    """`event: done`, the last event of a whole answer; an answer that was cut off never has it."""

    model: Model
    provider: ProviderName
    finish_reason: Annotated[str | None, Meta(examples=["stop"])]
    tokens_used: Count
    usage: Usage
    usage_estimated: NotRequired[bool]
    processing_time_ms: Count


class CompletionMessage(TypedDict):
    """What the model said."""

    role: Annotated[str, Meta(examples=["assistant"])]
    content: Annotated[str | None, Meta(examples=["Hello! How can I help?"])]
    tool_calls: NotRequired[list[dict[str, Any]]]
    refusal: NotRequired[str | None]
    reasoning_content: NotRequired[str | None]


class CompletionChoice(TypedDict):
    """One of the answers."""

    index: Annotated[int, Meta(examples=[0])]
    message: CompletionMessage
    finish_reason: Annotated[str | None, Meta(examples=["stop"])]


class Completion(TypedDict):
    """A whole answer as the provider gave it, with every field that it has."""

    id: Annotated[str, Meta(examples=["chatcmpl-req_1f0c9d2b7a6e"])]
    object: Literal["chat.completion"]
    created: Annotated[int, Meta(examples=[1_770_301_800])]
    model: Model
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]


class CompletionDelta(TypedDict):
    """The next piece of what the model says."""

    role: NotRequired[str]
    content: NotRequired[Annotated[str | None, Meta(examples=["Hel"])]]
    tool_calls: NotRequired[list[dict[str, Any]]]


class ChunkChoice(TypedDict):
    """The next piece of one of the answers."""

    index: Annotated[int, Meta(examples=[0])]
    delta: CompletionDelta
    finish_reason: NotRequired[str | None]


class CompletionChunk(TypedDict):
    """One event of a streamed completion; the last event of a whole one is `[DONE]` instead."""

    id: Annotated[str, Meta(examples=["chatcmpl-req_1f0c9d2b7a6e"])]
    object: Literal["chat.completion.chunk"]
    created: Annotated[int, Meta(examples=[1_770_301_800])]
    model: Model
    choices: list[ChunkChoice]
    usage: NotRequired[Usage | None]
    usage_estimated: NotRequired[bool]


class ModelEntry(TypedDict):
    """A model, or a route of the gateway under which several are asked."""

    id: Model
    object: Literal["model"]
    created: Annotated[int, Meta(examples=[1_770_301_800])]
    owned_by: ProviderName
    providers: Annotated[list[ProviderName], Meta(description="The providers that serve it.")]
    context_length: Annotated[int | None, Meta(description="The largest known, in tokens.", examples=[8_192])]


class ModelList(TypedDict):
    """The models that the key may ask for, routes first."""

    object: Literal["list"]
    data: list[ModelEntry]


class TextChoice(TypedDict):
    """One continuation."""

    text: str
    index: Count
    logprobs: NotRequired[dict[str, Any] | None]
    finish_reason: str | None


class TextCompletion(TypedDict):
    """The provider's own answer, or one chunk of it."""

    id: str
    object: Literal["text_completion"]
    created: Annotated[int, Meta(examples=[1_770_301_800])]
    model: Model
    choices: list[TextChoice]
    usage: NotRequired[Usage | None]


class Embedding(TypedDict):
    """The vector of one input."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class EmbeddingsUsage(TypedDict):
    """What the inputs came to."""

    prompt_tokens: Count
    total_tokens: Count


class EmbeddingList(TypedDict):
    """The provider's own answer."""

    object: Literal["list"]
    data: list[Embedding]
    model: Model
    usage: NotRequired[EmbeddingsUsage]


class ProviderStatus(TypedDict):
    """A provider, as it was last seen."""

    name: ProviderName
    available: bool
    models: list[Model]
    latency_ms: Milliseconds | None
    in_flight: Count
    breaker: Literal["closed", "open", "half_open"]


class AIStatus(TypedDict):
    """All providers."""

    enabled: bool
    providers: list[ProviderStatus]
