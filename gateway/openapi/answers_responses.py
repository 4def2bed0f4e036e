"""What `POST /v1/responses` is answered with. A provider of this API may add fields of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from gateway.openapi.scalars import Count, Model

Number = Annotated[int, Meta(description="Grows by one with each event, from 0.", ge=0, examples=[4])]
Place = Annotated[int, Meta(examples=[0])]
Item = Annotated[
    dict[str, Any],
    Meta(
        examples=[
            {
                "type": "message",
                "id": "msg_1_0",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello!", "annotations": []}],
            }
        ]
    ),
]


class ResponseUsage(TypedDict):
    """The tokens of one exchange."""

    input_tokens: Count
    output_tokens: Count
    total_tokens: Count
    usage_estimated: NotRequired[Annotated[bool, Meta(description="The provider reported no counts.")]]


class ResponseObject(TypedDict):
    """A response, with what it repeats of its request."""

    id: Annotated[str, Meta(examples=["resp_req_1f0c9d2b7a6e"])]
    object: Literal["response"]
    created_at: Annotated[float, Meta(examples=[1_770_301_800])]
    model: Model
    output: list[Item]
    status: NotRequired[Annotated[str, Meta(examples=["completed"])]]
    error: NotRequired[dict[str, Any] | None]
    incomplete_details: NotRequired[dict[str, Any] | None]
    store: NotRequired[Annotated[bool, Meta(description="False from providers that keep no responses.")]]
    usage: NotRequired[ResponseUsage | None]


class ResponseEvent(TypedDict):
    """The response as it is now."""

    type: str
    sequence_number: Number
    response: ResponseObject


class ItemEvent(TypedDict):
    """An item of the output, as it begins and when it is done."""

    type: str
    sequence_number: Number
    output_index: Place
    item: Item


class PieceEvent(TypedDict):
    """The next piece of an item."""

    type: str
    sequence_number: Number
    item_id: str
    output_index: Place
    content_index: NotRequired[Place]
    delta: str
    logprobs: NotRequired[list[Any]]


class PartEvent(TypedDict):
    """A part of an item, as it begins and when it is done."""

    type: str
    sequence_number: Number
    item_id: str
    output_index: Place
    content_index: Place
    part: dict[str, Any]


class WholePieceEvent(TypedDict):
    """All pieces of an item together, in the member that is named after what they are."""

    type: str
    sequence_number: Number
    item_id: str
    output_index: Place
    content_index: NotRequired[Place]
    text: NotRequired[str]
    logprobs: NotRequired[list[Any]]
    refusal: NotRequired[str]
    name: NotRequired[str]
    arguments: NotRequired[str]


class ResponseErrorEvent(TypedDict):
    """`event: error`, the last event of an answer that broke off."""

    type: Literal["error"]
    sequence_number: Number
    code: str | None
    message: str
    param: str | None
    error: dict[str, Any]
