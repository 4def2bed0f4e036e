"""The operations that models answer, and what is said of models."""

from __future__ import annotations

from typing import Final

from gateway.errors import (
    BudgetExceeded,
    ContentRefused,
    ContextTooLong,
    GatewayError,
    NoProviderAvailable,
    Overloaded,
    ProviderFailed,
    ProviderRateLimited,
    ProviderTimedOut,
    ShuttingDown,
    TokenLimitExceeded,
    UnknownModel,
)
from gateway.openapi.answers_ai import (
    AIStatus,
    ChatAnswer,
    ChatDelta,
    ChatDone,
    ChatStart,
    Completion,
    CompletionChunk,
    EmbeddingList,
    ModelEntry,
    ModelList,
    TextCompletion,
)
from gateway.openapi.headers import ANSWERED_BY
from gateway.openapi.model import EVENT_STREAM, Answer, Body, Events, Operation

AI_ERRORS: Final[tuple[type[GatewayError], ...]] = (
    ContextTooLong,
    ContentRefused,
    UnknownModel,
    TokenLimitExceeded,
    BudgetExceeded,
    ProviderRateLimited,
    ProviderFailed,
    NoProviderAvailable,
    Overloaded,
    ShuttingDown,
    ProviderTimedOut,
)
STREAM: Final = (
    "With `stream` true: Server-Sent Events, as they arrive. The last is an error event where the answer broke off; "
    "comments (`: ping`) keep the connection alive in between."
)
_MESSAGES: Final = [{"role": "user", "content": "Hello!"}]
_CHAT_EXAMPLE: Final = (
    'event: start\ndata: {"request_id":"req_1f0c9d2b7a6e","provider":"openai","model":"gpt-4"}\n\n'
    'data: {"delta":"Hel"}\n\ndata: {"delta":"lo!"}\n\n'
    'event: done\ndata: {"model":"gpt-4","provider":"openai","finish_reason":"stop","tokens_used":11,"usage":'
    '{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11},"processing_time_ms":412}\n\n'
)
_CHUNK: Final = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1770301800,"model":"gpt-4",'
    '"choices":[{"index":0,"delta":{"content":"Hello!"},"finish_reason":null}]}\n\n'
)
_TEXT_CHUNK: Final = (
    'data: {"id":"cmpl-1","object":"text_completion","created":1770301800,"model":"davinci-002",'
    '"choices":[{"text":" there","index":0,"logprobs":null,"finish_reason":null}]}\n\n'
)

OPERATIONS: Final[dict[str, Operation]] = {
    "POST /ai/chat": Operation(
        "AI",
        (
            Answer(200, "The whole answer.", ChatAnswer, headers=ANSWERED_BY),
            Answer(
                200,
                STREAM,
                Events((("start", ChatStart), ("", ChatDelta), ("done", ChatDone), ("error", "Error")), _CHAT_EXAMPLE),
                EVENT_STREAM,
                ANSWERED_BY,
            ),
        ),
        body=Body("ChatRequest", {"messages": _MESSAGES, "temperature": 0.7, "stream": False}),
        errors=AI_ERRORS,
        description="A field that is not listed is refused. Without `model` the default route answers.",
    ),
    "POST /v1/chat/completions": Operation(
        "OpenAI",
        (
            Answer(200, "The whole answer.", Completion, headers=ANSWERED_BY),
            Answer(
                200,
                STREAM,
                Events((("", CompletionChunk), ("", "OpenAIError")), _CHUNK + "data: [DONE]\n\n", "[DONE]"),
                EVENT_STREAM,
                ANSWERED_BY,
            ),
        ),
        body=Body("CompletionRequest", {"messages": _MESSAGES}),
        errors=AI_ERRORS,
        description="Only what the gateway itself needs is checked; every other field goes to the provider as it is.",
    ),
    "POST /v1/completions": Operation(
        "OpenAI",
        (
            Answer(200, "The whole answer.", TextCompletion, headers=ANSWERED_BY),
            Answer(
                200,
                STREAM,
                Events((("", TextCompletion), ("", "OpenAIError")), _TEXT_CHUNK + "data: [DONE]\n\n", "[DONE]"),
                EVENT_STREAM,
                ANSWERED_BY,
            ),
        ),
        body=Body("TextCompletionRequest", {"prompt": "Once upon a time", "max_tokens": 16}),
        errors=AI_ERRORS,
        description="For models that continue texts; only providers that speak OpenAI's dialect are asked.",
    ),
    "POST /v1/embeddings": Operation(
        "OpenAI",
        (Answer(200, "The vectors.", EmbeddingList, headers=ANSWERED_BY),),
        body=Body("EmbeddingsRequest", {"model": "text-embedding-3-small", "input": ["Hello!"]}),
        errors=AI_ERRORS,
        description="Vectors come as numbers or in base64, as `encoding_format` says.",
    ),
    "GET /v1/models": Operation("OpenAI", (Answer(200, "The models.", ModelList),)),
    "GET /v1/models/{model:path}": Operation("OpenAI", (Answer(200, "The model.", ModelEntry),)),
    "GET /ai/status": Operation("AI", (Answer(200, "All providers.", AIStatus),)),
}
