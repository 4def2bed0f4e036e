"""OpenAI's Responses API, stateless: every OpenAI package whose `base_url` is this gateway's `/v1` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import chat as chats
from gateway.context import context_of
from gateway.dialects.openai_responses import ResponsesCodec, parse_request, whole_answer
from gateway.endpoints.openai import streamed
from gateway.endpoints.responses import json_response
from providers.responses.native import RESPONSES

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp


async def create_response(request: Request) -> Response | ASGIApp:
    """Answer with a response: the provider's own where it speaks this dialect, a built one where not."""
    context = context_of(request.scope)
    model, completion = parse_request(await chats.read_chat_body(request))
    if completion.stream:
        return await streamed(
            request, model, completion, ResponsesCodec(completion, context.request_id, context.docs_url)
        )
    answer, usage = await chats.answer_whole(request, model, completion)
    provider = answer.target.provider
    body = whole_answer(
        answer.response,
        usage,
        completion,
        provider.name,
        answer.target.model,
        is_native=RESPONSES in provider.provider.operations,
    )
    return json_response(body, headers=chats.answer_headers(answer.target, answer.attempts, answer.response))
