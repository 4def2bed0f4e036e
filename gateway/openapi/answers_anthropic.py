"""What the Anthropic-compatible surface answers with. A provider of this dialect may add fields of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from gateway.openapi.scalars import Count, Model, Time

Block = Annotated[dict[str, Any], Meta(examples=[{"type": "text", "text": "Hello!"}])]
Index = Annotated[int, Meta(examples=[0])]


class MessageUsage(TypedDict):
    """The tokens of one exchange."""

    input_tokens: Count
    output_tokens: Count


class Message(TypedDict):
    """A whole answer."""

    id: Annotated[str, Meta(examples=["msg_req_1f0c9d2b7a6e"])]
    type: Literal["message"]
    role: Literal["assistant"]
    model: Model
    content: list[Block]
    stop_reason: Annotated[str | None, Meta(examples=["end_turn"])]
    stop_sequence: str | None
    usage: MessageUsage


class MessageStart(TypedDict):
    """`event: message_start`, the first event of a stream."""

    type: Literal["message_start"]
    message: dict[str, Any]


class BlockStart(TypedDict):
    """`event: content_block_start`."""

    type: Literal["content_block_start"]
    index: Index
    content_block: Block


class BlockDelta(TypedDict):
    """`event: content_block_delta`: the next piece of a block."""

    type: Literal["content_block_delta"]
    index: Index
    delta: Annotated[dict[str, Any], Meta(examples=[{"type": "text_delta", "text": "Hel"}])]


class BlockStop(TypedDict):
    """`event: content_block_stop`."""

    type: Literal["content_block_stop"]
    index: Index


class MessageDelta(TypedDict):
    """`event: message_delta`: why it ended, and the tokens."""

    type: Literal["message_delta"]
    delta: dict[str, Any]
    usage: NotRequired[dict[str, Any]]


class MessageStop(TypedDict):
    """`event: message_stop`, the last event of a whole answer."""

    type: Literal["message_stop"]


class MessagePing(TypedDict):
    """`event: ping`, which keeps the connection alive."""

    type: Literal["ping"]


class TokenCount(TypedDict):
    """The tokens of a prompt."""

    input_tokens: Count
    usage_estimated: NotRequired[Annotated[bool, Meta(description="No provider counted them.")]]


class ModelInfo(TypedDict):
    """A model, or a route of the gateway under which several are asked, as Anthropic's clients read it."""

    type: Literal["model"]
    id: Model
    display_name: Model
    created_at: Time
    lifecycle: Literal["active"]
    max_input_tokens: Annotated[int | None, Meta(examples=[200_000])]


class ModelPage(TypedDict):
    """The models that the key may ask for, all on one page, as Anthropic's clients read them."""

    data: list[ModelInfo]
    has_more: Literal[False]
    first_id: Model | None
    last_id: Model | None
