"""What else of the OpenAI dialect passes through to providers beside chats: embeddings, and text completions.

Sources: OpenAI's API reference (embeddings, completions). A text completion's answer and chunks are those of a chat
with `text` in place of a message or delta, so `providers/wire.py` reads both.
"""

from __future__ import annotations

import base64
import struct
from typing import Any, Final

import msgspec

from providers import vendor_errors, wire
from providers.base import CompletionRequest, CompletionResponse
from providers.errors import UnreadableAnswer

COMPLETIONS: Final = "completions"
EMBEDDINGS: Final = "embeddings"
_CHARS_A_TOKEN = 4
_encode = msgspec.json.encode
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class TextRequest(CompletionRequest):
    """A request for the continuation of a text, or of several, in `prompt`."""

    __slots__ = ()
    operation = COMPLETIONS

    @property
    def choices(self) -> int:
        """How many answers are asked for, all prompts together; those that `best_of` throws away count as well."""
        each = [value for name in ("n", "best_of") if type(value := self.get(name)) is int and value > 0]
        return max(each, default=1) * len(_inputs(self.get("prompt")))

    @property
    def finish_reasons(self) -> int:
        """How many finish reasons a streamed answer has."""
        n = self.get("n")
        return (n if type(n) is int and n > 0 else 1) * len(_inputs(self.get("prompt")))

    def read_chars(self) -> tuple[list[int], list[int]]:
        """Return how many characters the prompts have together."""
        return [], [sum(map(_chars, _inputs(self.get("prompt")))) + _chars(self.get("suffix"))]


class EmbeddingsRequest(CompletionRequest):
    """A request for the vectors of `input`: a text or several, as they are or as numbers of tokens."""

    __slots__ = ()
    operation = EMBEDDINGS

    def read_chars(self) -> tuple[list[int], list[int]]:
        """Return how many characters the inputs have together."""
        return [], [sum(map(_chars, _inputs(self.get("input"))))]


def _inputs(value: Any) -> list[Any]:
    """Return the single inputs of a field that holds one or a list of them; a list of numbers is one."""
    many = isinstance(value, list) and bool(value) and not isinstance(value[0], int)
    return value if many else [value]


def _chars(value: Any) -> int:
    if isinstance(value, list):
        return len(value) * _CHARS_A_TOKEN
    return len(value) if isinstance(value, str) else 0


class _Vectors(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Vector(msgspec.Struct):
    embedding: list[float] | str


_decode_vectors = msgspec.json.Decoder(_Vectors).decode
_decode_vector = msgspec.json.Decoder(_Vector).decode


def read_embeddings(body: bytes, *, as_base64: bool) -> CompletionResponse:
    """Read an answer with embeddings, which keeps its bytes.

    With `as_base64`, which the client asked for, vectors that came as lists of numbers all the same are written anew:
    some servers do not know the field, and OpenAI's client for JavaScript decodes what it gets without a look.
    Raises `UnreadableAnswer`, and the typed error of an error inside a 200.
    """
    try:
        answer = _decode_vectors(body)
        if wire.is_set(answer.error):
            raise vendor_errors.from_event(msgspec.json.decode(answer.error))
        if answer.data is None:
            msg = "the answer has no data"
            raise UnreadableAnswer(msg)
        if as_base64 and answer.data and isinstance(_decode_vector(answer.data[0]).embedding, list):
            body = _in_base64(body, answer.data)
    except _DECODE_ERRORS as exc:
        msg = "the answer is not a list of embeddings"
        raise UnreadableAnswer(msg) from exc
    usage = wire.parse_usage(answer.usage)
    return CompletionResponse(model=answer.model or "", finish_reason=None, usage=usage, raw=body)


def _in_base64(body: bytes, data: list[msgspec.Raw]) -> bytes:
    """Write vectors as OpenAI does: little-endian numbers of 32 bits (API reference, `encoding_format`)."""
    written = []
    for raw in data:
        entry: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        vector = _decode_vector(raw).embedding
        if isinstance(vector, list):
            entry["embedding"] = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        written.append(entry)
    fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return _encode({**fields, "data": written})
