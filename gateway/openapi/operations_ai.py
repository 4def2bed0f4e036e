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
    ChangelogAnalysis,
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
from gateway.openapi.answers_anthropic import ModelInfo, ModelPage
from gateway.openapi.answers_responses import (
    ItemEvent,
    PartEvent,
    PieceEvent,
    ResponseErrorEvent,
    ResponseEvent,
    ResponseObject,
    WholePieceEvent,
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
_FOR_ANTHROPIC: Final = (
    "A request with the header `anthropic-version` has its answer, and its errors, in the shape of Anthropic's API."
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
_PIECES: Final = ("output_text", "refusal", "reasoning_text", "function_call_arguments")
_RESPONSE_EVENTS: Final = Events(
    (
        *((f"response.{kind}", ResponseEvent) for kind in ("created", "in_progress")),
        *((f"response.output_item.{kind}", ItemEvent) for kind in ("added", "done")),
        *((f"response.content_part.{kind}", PartEvent) for kind in ("added", "done")),
        *((f"response.{kind}.delta", PieceEvent) for kind in _PIECES),
        *((f"response.{kind}.done", WholePieceEvent) for kind in _PIECES),
        *((f"response.{kind}", ResponseEvent) for kind in ("completed", "incomplete", "failed")),
        ("error", ResponseErrorEvent),
    ),
    'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":4,'
    '"item_id":"msg_1_0","output_index":0,"content_index":0,"delta":"Hello!","logprobs":[]}\n\n',
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
    "POST /ai/analyze-changelog": Operation(
        "AI",
        (Answer(200, "The analysis.", ChangelogAnalysis, headers=ANSWERED_BY),),
        body=Body(
            "ChangelogRequest",
            {
                "version": "1.2.0",
                "changelog": "- Fixed memory leak\n- Added dark mode\n- Breaking: Removed Node 14 support",
            },
        ),
        errors=(UnknownModel, TokenLimitExceeded, BudgetExceeded, ShuttingDown),
        description=(
            "The changelog may have 64 KiB. What it marks as breaking stays so, whatever a model says. Where no model "
            "gives a readable answer, rules do, and `source` says so."
        ),
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
    "POST /v1/responses": Operation(
        "OpenAI",
        (
            Answer(200, "The whole response.", ResponseObject, headers=ANSWERED_BY),
            Answer(
                200,
                f"{STREAM} Providers may send events of further types.",
                _RESPONSE_EVENTS,
                EVENT_STREAM,
                ANSWERED_BY,
            ),
        ),
        body=Body("ResponseRequest", {"input": "Hello!"}),
        errors=AI_ERRORS,
        description=(
            "Passes through to providers that have the Responses API and is translated for all others; what a chat "
            "completion cannot express is refused there with the name of the field. Nothing is kept by the gateway: a "
            "`previous_response_id` goes to the provider that made that response, or is refused."
        ),
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
    "GET /v1/models": Operation(
        "OpenAI", (Answer(200, "The models.", (ModelList, ModelPage)),), description=_FOR_ANTHROPIC
    ),
    "GET /v1/models/{model:path}": Operation(
        "OpenAI", (Answer(200, "The model.", (ModelEntry, ModelInfo)),), description=_FOR_ANTHROPIC
    ),
    "GET /ai/status": Operation("AI", (Answer(200, "All providers.", AIStatus),)),
}
