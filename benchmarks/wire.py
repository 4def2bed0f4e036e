"""The bytes of the benchmark: what the client sends, what the upstream answers, what the client must get back.

Client and upstream build them from the same functions, so the client knows every byte of every answer. An answer
depends on the variant named in the request: an answer that reaches the wrong connection is therefore seen.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

MODEL: Final = "bench-model"
VARIANTS: Final = 16
CHUNK_MARK: Final = b"tok-"  # Stands exactly once in every content chunk, also after a server rewrote the JSON.
DONE: Final = b"[DONE]"

_PARAMETERS: Final = re.compile(rb"variant-(\d\d) chunks-(\d{3}) gap-(\d{3})")
_STREAM: Final = re.compile(rb'"stream"\s*:\s*true')
_INCLUDE_USAGE: Final = re.compile(rb'"include_usage"\s*:\s*true')
_USAGE: Final = {"prompt_tokens": 42, "completion_tokens": 64, "total_tokens": 106}
_SENTENCE: Final = "The gateway passes this sentence on without a change. "


class Question(msgspec.Struct, frozen=True):
    """What one request asks of the upstream; `gap_ms` is the time between two chunks."""

    variant: int
    stream: bool = False
    chunks: int = 64
    gap_ms: int = 5
    include_usage: bool = False


def request_body(question: Question) -> bytes:
    """Return the JSON body (about 250 bytes) that a client sends."""
    parameters = f"variant-{question.variant:02d} chunks-{question.chunks:03d} gap-{question.gap_ms:03d}"
    text = f"{parameters} What is a gateway, and what does it cost?"
    body: dict[str, object] = {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": text}],
        "temperature": 0.7,
        "max_tokens": 200,
    }
    if question.stream:
        body["stream"] = True
    return msgspec.json.encode(body)


def read_question(body: bytes) -> Question | None:
    """Return what a request body asks for, or None when it does not name a variant."""
    found = _PARAMETERS.search(body)
    if found is None:
        return None
    variant, chunks, gap_ms = (int(group) for group in found.groups())
    stream = _STREAM.search(body) is not None
    return Question(variant % VARIANTS, stream, chunks, gap_ms, stream and _INCLUDE_USAGE.search(body) is not None)


def answer_text(variant: int) -> str:
    """Return the content of a unary answer."""
    return f"Answer {variant:02d}. " + _SENTENCE * 3


@lru_cache(maxsize=VARIANTS)
def answer_body(variant: int) -> bytes:
    """Return the JSON body (about 500 bytes) of a unary answer."""
    message = {"role": "assistant", "content": answer_text(variant), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return msgspec.json.encode(
        {
            "id": f"chatcmpl-bench-{variant:02d}",
            "object": "chat.completion",
            "created": 1700000000,
            "model": MODEL,
            "choices": [choice],
            "usage": _USAGE,
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        }
    )


def chunk_text(variant: int, number: int) -> str:
    """Return the content of one streamed chunk."""
    return f"tok-{number:03d} of {variant:02d}, "


def _chunk(variant: int, choices: list[object], usage: dict[str, int] | None = None) -> bytes:
    chunk: dict[str, object] = {
        "id": f"chatcmpl-bench-{variant:02d}",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": MODEL,
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": choices,
    }
    if usage is not None:
        chunk["usage"] = usage
    return msgspec.json.encode(chunk)


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


@lru_cache(maxsize=256)
def stream_payloads(variant: int, chunks: int) -> tuple[bytes, ...]:
    """Return the `data` of every event that a client has to get: the chunks, the finish reason and [DONE]."""
    payloads = []
    for number in range(chunks):
        delta = {"content": chunk_text(variant, number)}
        payloads.append(_chunk(variant, [_choice({"role": "assistant", **delta} if number == 0 else delta)]))
    return (*payloads, _chunk(variant, [_choice({}, "stop")]), DONE)


@lru_cache(maxsize=256)
def stream_body(variant: int, chunks: int) -> bytes:
    """Return the whole body of a stream as the upstream sends it when no usage was asked for."""
    return b"".join(event(payload) for payload in stream_payloads(variant, chunks))


def event(payload: bytes) -> bytes:
    """Return one Server-Sent Event."""
    return b"data: " + payload + b"\n\n"


def usage_payload(variant: int) -> bytes:
    """Return the chunk without choices that the upstream sends when usage was asked for."""
    return _chunk(variant, [], _USAGE)


def http_chunk(data: bytes) -> bytes:
    """Return the data in chunked transfer coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_HTTP_CHUNK: Final = b"0\r\n\r\n"


def http_request(port: int, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return a whole HTTP/1.1 POST request."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: */*", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def http_answer(body: bytes, status: str = "200 OK") -> bytes:
    """Return a whole HTTP/1.1 answer with a JSON body."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
