"""The OpenAI-compatible surface: any OpenAI SDK with `base_url` set to this gateway's `/v1`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway import chat as chats
from gateway.call_errors import client_error
from gateway.context import context_of
from gateway.dialects.anthropic import model_info, model_page
from gateway.dialects.openai import OpenAICodec, parse_request, whole_answer
from gateway.dialects.openai_texts import (
    TextCodec,
    embeddings_answer,
    parse_embeddings_request,
    parse_text_request,
    text_answer,
)
from gateway.endpoints.responses import json_response
from gateway.error_bodies import surface_of_request
from gateway.state import state_of
from gateway.streaming import PassThroughResponse
from routing.errors import ModelNotFound

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from gateway.state import GatewayState
    from gateway.streaming import Codec
    from providers.base import CompletionRequest
    from routing.plan import ModelEntry

_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


async def chat_completions(request: Request) -> Response | ASGIApp:
    """Answer a chat completion: the provider's bytes when it speaks this dialect, built ones when not."""
    context = context_of(request.scope)
    model, completion, wants_usage = parse_request(await chats.read_chat_body(request))
    if completion.stream:
        codec = OpenAICodec(context.request_id, context.docs_url, wants_usage=wants_usage)
        return await streamed(request, model, completion, codec)
    answer, usage = await chats.answer_whole(request, model, completion)
    body = whole_answer(answer.response, usage, context.request_id, answer.target.model)
    return json_response(body, headers=chats.answer_headers(answer.target, answer.attempts, answer.response))


async def completions(request: Request) -> Response | ASGIApp:
    """Continue a text, at a provider that can do it."""
    context = context_of(request.scope)
    model, completion, wants_usage = parse_text_request(await chats.read_chat_body(request))
    if completion.stream:
        codec = TextCodec(context.request_id, context.docs_url, wants_usage=wants_usage)
        return await streamed(request, model, completion, codec)
    answer, usage = await chats.answer_whole(request, model, completion)
    body = text_answer(answer.response, usage, context.request_id, answer.target.model)
    return json_response(body, headers=chats.answer_headers(answer.target, answer.attempts, answer.response))


async def embeddings(request: Request) -> Response:
    """Answer with the vectors of texts, as the provider wrote them."""
    model, completion = parse_embeddings_request(await chats.read_chat_body(request))
    answer, _ = await chats.answer_whole(request, model, completion)
    headers = chats.answer_headers(answer.target, answer.attempts, answer.response)
    return json_response(embeddings_answer(answer.response), headers=headers)


async def streamed(request: Request, model: str | None, completion: CompletionRequest, codec: Codec) -> ASGIApp:
    """Start a streamed answer that `codec` writes, and return the response that sends it."""
    state = state_of(request)
    stream = await chats.begin_stream(request, model, completion, codec)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in chats.stream_headers(stream).items()]
    return PassThroughResponse(stream, [_EVENT_STREAM, *headers], state.settings.stream.send_timeout_s)


async def models(request: Request) -> Response:
    """List the models that may be asked for, routes first, each with the providers that serve it."""
    state = state_of(request)
    found = state.router.models(_allowed(request))
    context = context_of(request.scope)
    if surface_of_request(context) == "anthropic":
        return json_response(model_page(found, state.started_at), headers={"request-id": context.request_id})
    return json_response({"object": "list", "data": [_model(entry, state) for entry in found]})


async def model(request: Request) -> Response:
    """Show one model, also by the name `provider/model`."""
    state = state_of(request)
    try:
        entry = state.router.model(request.path_params["model"], _allowed(request))
    except ModelNotFound as exc:
        raise client_error(exc) from exc
    context = context_of(request.scope)
    if surface_of_request(context) == "anthropic":
        return json_response(model_info(entry, state.started_at), headers={"request-id": context.request_id})
    return json_response(_model(entry, state))


def _allowed(request: Request) -> frozenset[str] | None:
    principal = context_of(request.scope).principal
    return principal.allowed_models if principal is not None else None


def _model(entry: ModelEntry, state: GatewayState) -> dict[str, Any]:
    return {
        "id": entry.id,
        "object": "model",
        "created": state.started_at,
        "owned_by": entry.providers[0] if entry.providers else "lunarbit",
        "providers": list(entry.providers),
        "context_length": entry.context_length,
    }
