"""`POST /ai/analyze-changelog` of the product page: a model's analysis of a changelog, or the rules' own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gateway import chat as chats
from gateway.changelog import model as models
from gateway.changelog.rules import analyse
from gateway.context import AIFacts, context_of
from gateway.dialects.lunarbit import DEFAULT_MAX_TOKENS
from gateway.endpoints.responses import json_response
from gateway.errors import (
    BudgetExceeded,
    Forbidden,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    RateLimitExceeded,
    ShuttingDown,
    TokenLimitExceeded,
    Unauthorized,
    UnknownModel,
)
from gateway.field_rules import Schema, Wrong, object_schema, optional, read_fields, takes, text, without_hidden
from gateway.json_body import check_media_type, parse_object, read_body, refuse_duplicate_keys
from gateway.state import state_of
from providers.base import CompletionRequest, Usage

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.changelog.model import Messages, Verdict
    from routing.whole import Answer

MAX_CHANGELOG_BYTES: Final = 65_536
_MAX_NAME_CHARS: Final = 200
# What is asked of the caller and not of a model stays an error; everything else has the rules' answer.
_CALLERS_OWN: Final = (Unauthorized, Forbidden, ShuttingDown)
_CALLERS_LIMITS: Final = (RateLimitExceeded, TokenLimitExceeded, BudgetExceeded)


class _Asked(NamedTuple):
    version: str
    changelog: str
    model: str | None


@takes(type="string", minLength=1, maxLength=MAX_CHANGELOG_BYTES)
def _changelog(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Wrong("must be a text that is not empty")
    return value


_RULES: Final = {
    "version": text(_MAX_NAME_CHARS, empty=False),
    "changelog": _changelog,
    "model": optional(text(_MAX_NAME_CHARS, empty=False)),
}
_REQUIRED: Final = ("version", "changelog")


def request_schema() -> Schema:
    """Return the JSON Schema of the body."""
    return object_schema(_RULES, _REQUIRED)


async def analyze(request: Request) -> Response:
    """Answer with what a changelog says, what it breaks, and how severe that is.

    `source` is "model", or "rules" where no model could be asked or none gave a readable answer.
    """
    check_media_type(context_of(request.scope).headers)
    asked = _read(await read_body(request.receive, state_of(request).settings.server.max_body_bytes))
    # A changelog of 64 KiB takes long enough to hold up every stream of this process.
    rules = await asyncio.to_thread(analyse, asked.changelog)
    answered = await _ask(request, asked)
    if answered is None:
        verdict, source, headers = models.Verdict(rules.summary, rules.breaking, rules.severity), "rules", {}
    else:
        verdict, source = models.with_rules(answered[0], rules), "model"
        headers = chats.answer_headers(answered[1].target, answered[1].attempts, answered[1].response)
    return json_response({"version": asked.version, **verdict._asdict(), "source": source}, headers=headers)


def _read(body: bytes) -> _Asked:
    given = parse_object(body)
    refuse_duplicate_keys(body)
    fields = read_fields(given, _RULES, required=_REQUIRED)
    size = len(fields["changelog"].encode())
    if size > MAX_CHANGELOG_BYTES:
        msg = f"changelog: must be at most {MAX_CHANGELOG_BYTES} bytes of UTF-8, and has {size}"
        raise PayloadTooLarge(msg, details={"max_bytes": MAX_CHANGELOG_BYTES}, param="changelog")
    return _Asked(fields["version"], without_hidden(fields["changelog"]), fields.get("model"))


async def _ask(request: Request, asked: _Asked) -> tuple[Verdict, Answer] | None:
    """Return a model's verdict, after one more try if its first answer was not readable; None when there is none.

    Raises what is the caller's own fault or limit, an unknown model that was asked for by name, and `ClientGone`.
    """
    messages = models.question(asked.version, asked.changelog)
    try:
        answer, has_format = await _first_answer(request, asked.model, messages)
    except (*_CALLERS_OWN, *_CALLERS_LIMITS):
        raise
    except GatewayError as exc:
        if isinstance(exc, UnknownModel) and asked.model is not None:
            raise
        return None
    try:
        return models.read_answer(answer.response.content), answer
    except models.Unreadable as exc:
        messages = models.question_again(messages, answer.response.content, str(exc))
    try:
        answer = await _answer(request, asked.model, messages, has_format=has_format)
        return models.read_answer(answer.response.content), answer
    except _CALLERS_OWN:
        raise
    except (GatewayError, models.Unreadable):
        return None


async def _first_answer(request: Request, model: str | None, messages: Messages) -> tuple[Answer, bool]:
    """Return the answer, and whether the provider took the field that holds it to a schema."""
    try:
        return await _answer(request, model, messages, has_format=True), True
    except InvalidRequest:
        # Not every provider knows that field, and not every refusal names it.
        return await _answer(request, model, messages, has_format=False), False


async def _answer(request: Request, model: str | None, messages: Messages, *, has_format: bool) -> Answer:
    """Ask once. What several calls of one request come to is added up for its log line and its usage record."""
    context = context_of(request.scope)
    before, context.ai = context.ai or AIFacts(), AIFacts()
    try:
        answer, _ = await chats.answer_whole(request, model, _completion(messages, has_format=has_format))
        return answer
    finally:
        context.ai = _together(before, context.ai)


def _completion(messages: Messages, *, has_format: bool) -> CompletionRequest:
    """Return the request. Providers may leave out every field but the messages, since the client sent none of them."""
    defaults: dict[str, Any] = {"temperature": 0, "max_tokens": DEFAULT_MAX_TOKENS}
    if has_format:
        defaults["response_format"] = models.RESPONSE_FORMAT
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in {"messages": messages, **defaults}.items()}
    return CompletionRequest("", raw, defaulted=frozenset(defaults))


def _together(before: AIFacts, last: AIFacts) -> AIFacts:
    """Return the facts of two calls as those of one; who answered last is who answered."""
    facts = AIFacts()
    facts.provider, facts.model = last.provider or before.provider, last.model or before.model
    facts.attempts = before.attempts + last.attempts
    one, other = before.usage, last.usage
    facts.usage = Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        cache_creation_tokens=one.cache_creation_tokens + other.cache_creation_tokens,
        cache_creation_1h_tokens=one.cache_creation_1h_tokens + other.cache_creation_1h_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        estimated=one.estimated or other.estimated,
    )
    costs = [facts.cost_nano for facts in (before, last) if facts.cost_nano is not None]
    facts.cost_nano = sum(costs) if costs else None
    return facts
