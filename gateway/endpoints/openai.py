"""The OpenAI-compatible surface: any OpenAI SDK with `base_url` set to this gateway's `/v1`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import chat as chats
from gateway.context import context_of
from gateway.dialects.openai import OpenAICodec, parse_request, whole_answer
from gateway.endpoints.responses import json_response
from gateway.state import state_of
from gateway.streaming import PassThroughResponse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


async def chat_completions(request: Request) -> Response | ASGIApp:
    """Answer a chat completion: the provider's bytes when it speaks this dialect, built ones when not."""
    state, context = state_of(request), context_of(request.scope)
    model, completion, wants_usage = parse_request(await chats.read_chat_body(request))
    if completion.stream:
        codec = OpenAICodec(context.request_id, context.docs_url, wants_usage=wants_usage)
        stream = await chats.begin_stream(request, model, completion, codec)
        headers = [(name.encode(), value.encode("latin-1")) for name, value in chats.stream_headers(stream).items()]
        return PassThroughResponse(stream, [_EVENT_STREAM, *headers], state.settings.stream.send_timeout_s)
    answer, usage = await chats.answer_whole(request, model, completion)
    body = whole_answer(answer.response, usage, context.request_id, answer.target.model)
    return json_response(body, headers=chats.answer_headers(answer.target, answer.attempts, answer.response))


async def models(request: Request) -> Response:
    """List the models that may be asked for, routes first, each with the providers that serve it."""
    state, principal = state_of(request), context_of(request.scope).principal
    allowed = principal.allowed_models if principal is not None else None
    entries = [
        {
            "id": entry.id,
            "object": "model",
            "created": state.started_at,
            "owned_by": entry.providers[0] if entry.providers else "lunarbit",
            "providers": list(entry.providers),
        }
        for entry in state.router.models(allowed)
    ]
    return json_response({"object": "list", "data": entries})
