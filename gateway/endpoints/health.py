"""Health, readiness, metrics and the front page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from gateway.endpoints.responses import json_response, timestamp
from gateway.errors import StorageUnavailable
from gateway.state import state_of
from gateway.version import VERSION

if TYPE_CHECKING:
    from starlette.requests import Request


async def index(request: Request) -> Response:  # noqa: ARG001 - every endpoint takes the request.
    """Answer name, version and where things are."""
    links = {
        "health": "/health",
        "ai_status": "/ai/status",
        "chat": "/ai/chat",
        "openai": "/v1",
        "projects": "/projects",
        "metrics": "/metrics",
        "openapi": "/openapi.json",
        "reference": "/docs",
        "documentation": "https://docs.lunarbit.dev",
    }
    return json_response({"name": "LunarBit API Gateway", "version": VERSION, "links": links})


async def health(request: Request) -> Response:  # noqa: ARG001
    """Answer the product page's health document."""
    return json_response({"status": "healthy", "timestamp": timestamp(), "version": VERSION})


async def live(request: Request) -> Response:  # noqa: ARG001
    """Answer as long as the process runs its event loop."""
    return json_response({"status": "live"})


async def ready(request: Request) -> Response:
    """Answer 200 when traffic may come.

    Raises `ShuttingDown` while draining, `StorageUnavailable` without a database.
    """
    state = state_of(request)
    state.drain.check()
    if not await state.database.ping():
        msg = "The database does not answer"
        raise StorageUnavailable(msg, retry_after_s=5)
    return json_response({"status": "ready"})


async def metrics(request: Request) -> Response:
    """Answer every metric in Prometheus' text format."""
    state = state_of(request)
    state.metrics.show_providers(list(state.router.providers.values()))
    headers = {"cache-control": "no-store", "content-type": CONTENT_TYPE_LATEST}
    return Response(state.metrics.exposition(), headers=headers)
