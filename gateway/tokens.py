"""Estimates of tokens for providers that do not count them. No tokenizer: those download vocabularies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from providers.base import Usage

if TYPE_CHECKING:
    from providers.base import CompletionRequest, CompletionResponse

# English text has about four characters a token; the few tokens around each message are those of the chat format.
_CHARS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4


def estimated_tokens(chars: int) -> int:
    """Return about how many tokens `chars` characters of text are."""
    return -(-chars // _CHARS_PER_TOKEN)


def estimated_usage(request: CompletionRequest, answer_chars: int) -> Usage:
    """Return a usage, marked as estimated, for a request and the characters that its answer has so far."""
    said, also_read = request.read_chars()
    prompt = sum(estimated_tokens(chars) + _TOKENS_PER_MESSAGE for chars in said)
    prompt += sum(map(estimated_tokens, also_read))
    return Usage(prompt_tokens=prompt, completion_tokens=estimated_tokens(answer_chars), estimated=True)


def prompt_tokens(request: CompletionRequest) -> int:
    """Return about how many tokens the prompt of `request` has."""
    return estimated_usage(request, 0).prompt_tokens


def answer_chars(answer: CompletionResponse) -> int:
    """Return how many characters a whole answer has, those of the arguments of its tool calls too."""
    functions = [call.get("function") for call in answer.tool_calls or ()]
    arguments = [function.get("arguments") for function in functions if isinstance(function, dict)]
    return len(answer.content) + sum(len(text) for text in arguments if isinstance(text, str))


def usage_of(reported: Usage | None, request: CompletionRequest, chars: int) -> Usage:
    """Return the provider's count of tokens or, when it counted none, an estimate for an answer of `chars`.

    A provider that had counted the prompt only, before its stream was cut, gets the answer's tokens estimated.
    """
    if reported is None or not reported.total_tokens:
        return estimated_usage(request, chars)
    if not reported.estimated:
        return reported
    answered = max(reported.completion_tokens, estimated_tokens(chars))
    return msgspec.structs.replace(reported, completion_tokens=answered)
