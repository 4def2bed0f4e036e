"""The product page's AI endpoints: status and chat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateway import chat as chats
from gateway.context import context_of
from gateway.dialects.lunarbit import LunarBitCodec, parse_request, usage_fields
from gateway.endpoints.responses import json_response
from gateway.state import state_of
from gateway.streaming import ChatEventResponse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from routing.targets import ProviderState


async def status(request: Request) -> Response:
    """Answer which providers there are and how they do, from what is known already."""
    state = state_of(request)
    shown = [entry for entry in state.router.providers.values() if entry.is_up or not entry.auto]
    providers = [_provider_status(entry) for entry in shown]
    off = {"available": False, "models": [], "latency_ms": None, "in_flight": 0, "breaker": "closed"}
    providers += [{"name": name, **off} for name in state.disabled_providers]
    return json_response({"enabled": bool(shown), "providers": providers})


def _provider_status(entry: ProviderState) -> dict[str, Any]:
    latency_s = entry.latency_s()
    breaker = entry.breaker_state()
    return {
        "name": entry.name,
        "available": entry.is_up and breaker != "open",
        "models": list(entry.models),
        "latency_ms": None if latency_s is None else round(latency_s * 1000, 1),
        "in_flight": entry.in_flight,
        "breaker": breaker,
    }


async def chat(request: Request) -> Response:
    """Answer a chat in the product's own shape, whole or as events."""
    started = time.perf_counter()
    state, context = state_of(request), context_of(request.scope)
    model, completion = parse_request(await chats.read_chat_body(request))
    if completion.stream:
        codec = LunarBitCodec(context.request_id, context.docs_url)
        stream = await chats.begin_stream(request, model, completion, codec)
        return ChatEventResponse(stream, chats.stream_headers(stream), state.settings.stream.send_timeout_s)
    answer, usage = await chats.answer_whole(request, model, completion)
    fields = {
        "response": answer.response.content,
        "model": answer.target.model,
        "provider": answer.target.provider.name,
        "finish_reason": answer.response.finish_reason,
        **usage_fields(usage),
        "processing_time_ms": round((time.perf_counter() - started) * 1000),
    }
    return json_response(fields, headers=chats.answer_headers(answer.target, answer.attempts, answer.response))
