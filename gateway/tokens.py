"""Estimates of tokens for providers that do not count them. No tokenizer: those download vocabularies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from providers.base import Usage

if TYPE_CHECKING:
    from providers.base import CompletionRequest, CompletionResponse

# English text has about four characters a token; the few tokens around each message are those of the chat format.
_CHARS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
# What a model reads besides the messages, as JSON.
_ALSO_READ = ("tools", "functions", "response_format")


def estimated_tokens(chars: int) -> int:
    """Return about how many tokens `chars` characters of text are."""
    return -(-chars // _CHARS_PER_TOKEN)


def estimated_usage(request: CompletionRequest, answer_chars: int) -> Usage:
    """Return a usage, marked as estimated, for a request and the characters that its answer has so far."""
    prompt = sum(
        estimated_tokens(_text_chars(message.get("content"))) + _TOKENS_PER_MESSAGE for message in request.messages
    )
    prompt += sum(estimated_tokens(len(request.fields[name])) for name in _ALSO_READ if name in request.fields)
    return Usage(prompt_tokens=prompt, completion_tokens=estimated_tokens(answer_chars), estimated=True)


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


def _text_chars(content: Any) -> int:
    if isinstance(content, list):
        return sum(
            len(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return len(content) if isinstance(content, str) else 0
