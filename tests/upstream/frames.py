"""The JSON documents and Server-Sent Events of the OpenAI chat dialect, as an upstream sends them.

Shapes follow the OpenAI API reference (chat completions, streaming), the Azure OpenAI pages on content
streaming and LM Studio's REST pages. Every function returns fresh objects, so a test may change what it gets.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable
from typing import Any

JsonObject = dict[str, Any]

ANSWER_ID = "chatcmpl-upstream"
CREATED = 1_700_000_000
DEFAULT_MODEL = "gpt-4"
AZURE_BASE_MODEL = "gpt-4o-2024-08-06"
DONE = "[DONE]"


def default_usage() -> JsonObject:
    """The usage that every well-formed answer reports: 7 prompt and 5 completion tokens."""
    return {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def encode(value: object) -> bytes:
    """Compact UTF-8 JSON in which nothing is escaped that need not be, so U+2028 goes out as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(payload: JsonObject | str, *, eol: str = "\n", space: str = " ") -> bytes:
    """One Server-Sent Event with a single `data:` line (WHATWG HTML, section 9.2)."""
    data = payload.encode() if isinstance(payload, str) else encode(payload)
    return b"data:" + space.encode() + data + (eol * 2).encode()


def multi_line_event(payload: JsonObject | str) -> bytes:
    """One event whose JSON stands on several `data:` lines, to be joined with a line feed by the reader."""
    data = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, indent=1)
    return "".join(f"data: {line}\n" for line in data.split("\n")).encode() + b"\n"


def chunk(
    content: str | None = None,
    *,
    delta: JsonObject | None = None,
    finish_reason: str | None = None,
    index: int = 0,
    **members: Any,
) -> JsonObject:
    """One `chat.completion.chunk`; `members` add or replace top-level members (model, id, usage, choices)."""
    if delta is None:
        delta = {} if content is None else {"content": content}
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": ANSWER_ID,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": DEFAULT_MODEL,
        "choices": [choice],
        **members,
    }


def role_chunk(**members: Any) -> JsonObject:
    """The first chunk of a stream: it names the role and holds no content."""
    return chunk(delta={"role": "assistant", "content": "", "refusal": None}, **members)


def split_text(text: str, pieces: int) -> list[str]:
    """Cut `text` into `pieces` parts of nearly equal length, fewer if it has fewer characters."""
    count = min(pieces, len(text))
    return [text[len(text) * i // count : len(text) * (i + 1) // count] for i in range(count)]


def text_stream(
    text: str,
    pieces: int = 4,
    *,
    finish_reason: str | None = "stop",
    usage: JsonObject | None = None,
    **members: Any,
) -> list[JsonObject]:
    """All chunks of a whole streamed answer: role, content, finish, and a usage chunk if `usage` is given.

    With `usage`, every earlier chunk has `usage: null`, as OpenAI sends it for `include_usage`.
    """
    if usage is not None:
        members = {"usage": None, **members}
    chunks = [role_chunk(**members)]
    chunks += [chunk(part, **members) for part in split_text(text, pieces)]
    if finish_reason is not None:
        chunks.append(chunk(finish_reason=finish_reason, **members))
    if usage is not None:
        chunks.append(chunk(**{**members, "choices": [], "usage": usage}))
    return chunks


def completion(
    text: str | None,
    *,
    finish_reason: str = "stop",
    usage: JsonObject | None = None,
    message: JsonObject | None = None,
    **members: Any,
) -> JsonObject:
    """One whole `chat.completion`; `message` adds members to the message, `members` to the top level."""
    answer: JsonObject = {
        "id": ANSWER_ID,
        "object": "chat.completion",
        "created": CREATED,
        "model": DEFAULT_MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, **(message or {})},
                "logprobs": None,
                "finish_reason": finish_reason,
            },
        ],
        **members,
    }
    return answer if usage is None else {**answer, "usage": usage}


def text_choice(text: str, index: int = 0, finish_reason: str | None = None) -> JsonObject:
    """One choice of a text completion."""
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}


def text_completion(choices: list[JsonObject], *, usage: JsonObject | None = None, **members: Any) -> JsonObject:
    """A text completion, or one chunk of it; both have the same shape."""
    common = {"id": ANSWER_ID, "object": "text_completion", "created": CREATED, "model": DEFAULT_MODEL}
    return {**common, "choices": choices, "usage": usage, **members}


def embedding_list(vectors: list[list[float]], model: str, usage: JsonObject, *, as_base64: bool) -> JsonObject:
    """The answer of `POST /v1/embeddings`; in base64 a vector is little-endian numbers of 32 bits."""

    def written(vector: list[float]) -> list[float] | str:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if as_base64 else vector

    data = [{"object": "embedding", "index": i, "embedding": written(vector)} for i, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": model, "usage": usage}


def error_body(
    message: str = "The server had an error while processing your request.",
    type: str | None = "server_error",  # noqa: A002 - the member's name on the wire.
    code: str | int | None = None,
    param: str | None = None,
    **members: Any,
) -> JsonObject:
    """An error in the OpenAI shape; `members` are added inside `error`."""
    return {"error": {"message": message, "type": type, "param": param, "code": code, **members}}


def _filter_results() -> JsonObject:
    names = ("hate", "self_harm", "sexual", "violence")
    return {name: {"filtered": False, "severity": "safe"} for name in names}


def azure_chunks(chunks: list[JsonObject]) -> list[JsonObject]:
    """The same stream as Azure OpenAI sends it.

    A frame without choices comes first, content chunks carry filter results, and annotation frames whose
    choice has no `delta` stand after the first content and after the finish reason.
    """
    empty = {"id": "", "object": "", "created": 0, "model": ""}
    prompt = {
        **empty,
        "choices": [],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _filter_results()}],
    }
    offsets = {"check_offset": 44, "start_offset": 44, "end_offset": 198}
    note = {"content_filter_results": _filter_results(), "content_filter_offsets": offsets}
    annotation = {**empty, "choices": [{"index": 0, "finish_reason": None, **note}], "usage": None}
    frames = [prompt]
    seen_content = False
    for item in chunks:
        choices = item["choices"]
        filtered = [{**choice, "content_filter_results": _filter_results()} for choice in choices]
        frames.append({**item, "choices": filtered})
        first_content = bool(choices and choices[0]["delta"].get("content")) and not seen_content
        seen_content = seen_content or first_content
        if first_content or (choices and choices[0]["finish_reason"]):
            frames.append(annotation)
    return frames


def azure_late_signal(*, filtered: bool) -> JsonObject:
    """What the asynchronous filter says after the text: a choice with no `delta`, and a finish reason if it objects."""
    results = _filter_results()
    if filtered:
        results["violence"] = {"filtered": True, "severity": "high"}
    offsets = {"check_offset": 506, "start_offset": 44, "end_offset": 571}
    note = {"content_filter_results": results, "content_filter_offsets": offsets}
    choice = {"index": 0, "finish_reason": "content_filter" if filtered else None, **note}
    return {"id": "", "object": "", "created": 0, "model": "", "choices": [choice], "usage": None}


def tool_call_chunks(**members: Any) -> list[JsonObject]:
    """A streamed answer of two parallel tool calls whose arguments come in fragments."""

    def call(index: int, **call_members: Any) -> JsonObject:
        return chunk(delta={"tool_calls": [{"index": index, **call_members}]}, **members)

    chunks = [chunk(delta={"role": "assistant", "content": None}, **members)]
    for index, whole in enumerate(tool_calls()):
        function = whole["function"]
        start = {"name": function["name"], "arguments": ""}
        chunks.append(call(index, id=whole["id"], type="function", function=start))
        parts = split_text(function["arguments"], 3)
        chunks += [call(index, function={"arguments": part}) for part in parts]
    chunks.append(chunk(finish_reason="tool_calls", **members))
    return chunks


def tool_calls() -> list[JsonObject]:
    """The two tool calls of `tool_call_chunks`, whole, as a not streamed answer carries them."""
    return [
        {
            "id": f"call_{city.lower()}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city, "unit": "celsius"})},
        }
        for city in ("Paris", "Tokyo")
    ]


def model_list(models: Iterable[str]) -> JsonObject:
    """The answer of `GET /v1/models`."""
    common = {"object": "model", "created": CREATED, "owned_by": "upstream"}
    return {"object": "list", "data": [{"id": name, **common} for name in models]}


def lmstudio_v1_models(loaded: dict[str, int], not_loaded: Iterable[str] = ()) -> JsonObject:
    """The answer of LM Studio's `GET /api/v1/models`; `loaded` maps a model to its context length."""

    def model(key: str, instances: list[JsonObject]) -> JsonObject:
        return {
            "type": "llm",
            "publisher": "upstream",
            "key": key,
            "display_name": key,
            "architecture": "llama",
            "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
            "size_bytes": 1_000_000,
            "params_string": "7B",
            "loaded_instances": instances,
            "max_context_length": 32_768,
            "format": "gguf",
            "capabilities": {"vision": False, "trained_for_tool_use": True},
            "description": None,
        }

    models = [model(key, [{"id": key, "config": {"context_length": size}}]) for key, size in loaded.items()]
    return {"models": models + [model(key, []) for key in not_loaded]}


def lmstudio_v0_models(loaded: Iterable[str], not_loaded: Iterable[str] = ()) -> JsonObject:
    """The answer of LM Studio's older `GET /api/v0/models`, in which each model has a `state`."""

    def model(name: str, state: str) -> JsonObject:
        return {
            "id": name,
            "object": "model",
            "type": "llm",
            "publisher": "upstream",
            "arch": "llama",
            "compatibility_type": "gguf",
            "quantization": "Q4_K_M",
            "state": state,
            "max_context_length": 32_768,
        }

    data = [model(name, "loaded") for name in loaded] + [model(name, "not-loaded") for name in not_loaded]
    return {"object": "list", "data": data}
