"""What the gateway says of itself, and to webhooks."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from gateway.openapi.scalars import Time, Version


class Health(TypedDict):
    """The product page's health document."""

    status: Literal["healthy"]
    timestamp: Time
    version: Version


class Live(TypedDict):
    """The process runs."""

    status: Literal["live"]


class Ready(TypedDict):
    """Traffic may come."""

    status: Literal["ready"]


class Index(TypedDict):
    """The front page."""

    name: Annotated[str, Meta(examples=["LunarBit API Gateway"])]
    version: Version
    links: Annotated[dict[str, str], Meta(examples=[{"health": "/health", "chat": "/ai/chat"}])]


class Pong(TypedDict):
    """The answer to GitHub's test delivery."""

    status: Literal["pong"]


class Delivery(TypedDict):
    """What will come of a delivery."""

    status: Literal["queued", "ignored"]
    reason: NotRequired[str]
