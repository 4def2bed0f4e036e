"""One chat through the router, whole or streamed: what both surfaces that chat have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.call_errors import client_error
from gateway.context import NO_USAGE, context_of
from gateway.errors import InvalidRequest
from gateway.json_body import ClientGone, check_media_type, read_body
from gateway.state import state_of
from gateway.streaming import ClientStream, Codec, StreamFacts, run_whole
from gateway.tokens import answer_chars, usage_of
from providers.base import CHAT
from providers.responses.binding import tag_of
from providers.responses.native import RESPONSES, ResponsesRequest
from routing.errors import ModelNotFound, OperationNotServed

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.context import RequestContext
    from gateway.state import GatewayState
    from providers.base import CompletionRequest, CompletionResponse, Usage
    from routing.plan import Plan
    from routing.targets import Target
    from routing.whole import Answer

STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
# What of a client's headers goes upstream: nothing that identifies it to anybody else, least of all its key.
_UPSTREAM_HEADERS = frozenset({b"openai-beta", b"anthropic-beta", b"idempotency-key", b"traceparent", b"tracestate"})
_UNSAFE_IN_HEADER = re.compile(r"[^\x21-\x7e]")


async def read_chat_body(request: Request) -> bytes:
    """Read the body of an AI request, up to `max_ai_body_bytes`. Raises the typed errors of `gateway.json_body`."""
    check_media_type(context_of(request.scope).headers)
    return await read_body(request.receive, state_of(request).settings.server.max_ai_body_bytes)


async def answer_whole(request: Request, model: str | None, completion: CompletionRequest) -> tuple[Answer, Usage]:
    """Ask for a whole answer and account for it.

    Raises `GatewayError`s, and `ClientGone` when nobody waits any more.
    """
    state, context = state_of(request), context_of(request.scope)
    plan = prepare(request, state, model, completion)
    allowance = await state.allowances.begin(context.principal, completion)
    call = state.router.whole_call(plan, completion, caller=_caller(context))
    target, usage = None, NO_USAGE
    try:
        answer = await run_whole(call.run(), request.scope, request.receive, state.drain)
        usage = usage_of(answer.response.usage, completion, answer_chars(answer.response))
        target = answer.target
    except ClientGone:
        raise
    except Exception as exc:
        raise client_error(exc) from exc
    finally:
        state.accounts.answered(context, target, call.attempts, usage, None)
        if allowance is not None and context.ai is not None:
            await allowance.settle(usage.total_tokens, context.ai.cost_nano)
    return answer, usage


async def begin_stream(
    request: Request, model: str | None, completion: CompletionRequest, codec: Codec
) -> ClientStream:
    """Start a streamed answer and wait for its first content. The caller's response closes the returned stream.

    Raises `GatewayError`s for a failure before anything was sent, and `ClientGone`.
    """
    state, context = state_of(request), context_of(request.scope)
    plan = prepare(request, state, model, completion)
    allowance = await state.allowances.begin(context.principal, completion)
    call = state.router.open_stream(plan, completion, caller=_caller(context))
    stream = ClientStream(
        call,
        codec,
        StreamFacts(call, completion),
        scope=request.scope,
        receive=request.receive,
        state=state,
        allowance=allowance,
    )
    try:
        await stream.begin()
    except BaseException as exc:
        await stream.aclose()
        if isinstance(exc, ClientGone) or not isinstance(exc, Exception):
            raise
        raise client_error(exc) from exc
    return stream


def prepare(request: Request, state: GatewayState, model: str | None, completion: CompletionRequest) -> Plan:
    """Return who may answer. Raises `ShuttingDown`, `UnknownModel` and `InvalidRequest`."""
    state.drain.check()
    _address(completion, request)
    principal = context_of(request.scope).principal
    try:
        plan = state.router.plan(model, principal.allowed_models if principal is not None else None)
        if isinstance(completion, ResponsesRequest):
            return _who_understands(plan.preferring(RESPONSES), completion)
        return plan if completion.operation == CHAT else plan.for_operation(completion.operation)
    except (ModelNotFound, OperationNotServed) as exc:
        raise client_error(exc) from exc


def _who_understands(plan: Plan, completion: ResponsesRequest) -> Plan:
    """Leave only the provider that made what the request goes on with. Raises `InvalidRequest`."""
    targets = plan.targets
    for binding in completion.bindings:
        targets = tuple(target for target in targets if tag_of(target.provider.name) == binding.tag)
        if binding.is_native:
            targets = tuple(target for target in targets if RESPONSES in target.provider.provider.operations)
        if not targets:
            rule = "was made by a provider that does not answer here now; send the whole input without it"
            raise InvalidRequest(f"{binding.field}: {rule}", errors=[(binding.field, rule)])
    return plan._replace(targets=targets)


def _caller(context: RequestContext) -> str:
    return context.principal.name if context.principal is not None else ""


def answer_headers(target: Target, attempts: int, response: CompletionResponse | None = None) -> dict[str, str]:
    """Return the headers that say who answered, and those of the provider that clients may see."""
    headers = dict(response.headers) if response is not None else {}
    headers["x-lunarbit-provider"] = _header_value(target.provider.name)
    headers["x-lunarbit-model"] = _header_value(target.model)
    headers["x-lunarbit-attempts"] = str(attempts)
    return headers


def stream_headers(stream: ClientStream) -> dict[str, str]:
    """Return the headers of a streamed answer; who answers is known unless a comment had to go out first."""
    headers = STREAM_HEADERS | stream.upstream_headers()
    if stream.call.target is not None:
        headers |= answer_headers(stream.call.target, stream.call.attempts)
    return headers


def _address(completion: CompletionRequest, request: Request) -> None:
    """Note on the request which headers go upstream with it."""
    context = context_of(request.scope)
    completion.request_id = context.request_id
    completion.headers = {"x-request-id": context.request_id}
    for name in _UPSTREAM_HEADERS & context.headers.keys():
        completion.headers[name.decode()] = context.headers[name].decode("latin-1")


def _header_value(text: str) -> str:
    """Return `text` with everything that may not stand in a header replaced, since clients choose model names."""
    return _UNSAFE_IN_HEADER.sub("?", text)[:200]
