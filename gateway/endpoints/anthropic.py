"""The Anthropic-compatible surface: any Anthropic SDK with `base_url` set to this gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway import chat as chats
from gateway.call_errors import client_error
from gateway.context import context_of
from gateway.dialects.anthropic import AnthropicCodec, parse_request, whole_answer
from gateway.endpoints.responses import json_response
from gateway.observability.logs import get_logger
from gateway.state import state_of
from gateway.streaming import PassThroughResponse
from gateway.tokens import estimated_usage
from providers.errors import CallerError, NotExpressible, ProviderError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from providers.anthropic.native import MessagesRequest
    from routing.plan import Plan

COUNT_TIMEOUT_S = 10.0
_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
# Only for providers of the same dialect; they say which version and which betas the body is written for.
_NATIVE_HEADERS = (b"anthropic-version", b"anthropic-beta")


async def messages(request: Request) -> Response | ASGIApp:
    """Answer a message: the provider's bytes when it speaks this dialect, built ones when not."""
    state, context = state_of(request), context_of(request.scope)
    model, completion = parse_request(await chats.read_chat_body(request), _native_headers(request))
    own = {"request-id": context.request_id}
    if completion.stream:
        codec = AnthropicCodec(context.request_id, context.docs_url)
        stream = await chats.begin_stream(request, model, completion, codec)
        found = {**chats.stream_headers(stream), **own}
        headers = [(name.encode(), value.encode("latin-1")) for name, value in found.items()]
        return PassThroughResponse(stream, [_EVENT_STREAM, *headers], state.settings.stream.send_timeout_s)
    answer, usage = await chats.answer_whole(request, model, completion)
    body = whole_answer(answer.response, usage, context.request_id, answer.target.model)
    headers_told = {**chats.answer_headers(answer.target, answer.attempts, answer.response), **own}
    return json_response(body, headers=headers_told)


async def count_tokens(request: Request) -> Response:
    """Count the tokens of a prompt: as the provider does, or by an estimate, marked as one, where none counts."""
    context = context_of(request.scope)
    body = await chats.read_chat_body(request)
    model, completion = parse_request(body, _native_headers(request), counts_only=True)
    plan = chats.prepare(request, state_of(request), model, completion)
    counted = await _counted(plan, completion)
    fields: dict[str, int | bool] = {"input_tokens": counted if counted is not None else 0}
    if counted is None:
        fields = {"input_tokens": estimated_usage(completion, 0).prompt_tokens, "usage_estimated": True}
    return json_response(fields, headers={"request-id": context.request_id})


async def _counted(plan: Plan, completion: MessagesRequest) -> int | None:
    """Return what the first provider that can be asked counts; None when none does.

    Raises the error of a request that is not one.
    """
    for target in plan.targets:
        provider = target.provider
        if not target.is_open_to_requests(provider.clock()):
            continue
        try:
            async with asyncio.timeout(COUNT_TIMEOUT_S):
                counted = await provider.provider.count_tokens(completion.for_model(target.model))
        except (TimeoutError, NotExpressible):
            continue
        except CallerError as exc:
            raise client_error(exc) from exc
        except ProviderError as exc:
            get_logger().info("count_tokens_failed", provider=provider.name, error=type(exc).__name__)
            continue
        if counted is not None:
            return counted
    return None


def _native_headers(request: Request) -> dict[str, str]:
    """Return the client's headers about the dialect; one that came several times is one list."""
    found: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        if name in _NATIVE_HEADERS:
            known, told = name.decode(), value.decode("latin-1")
            found[known] = f"{found[known]},{told}" if known in found else told
    return found
