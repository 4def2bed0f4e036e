"""Scripts that answer well: text however it may be written down, tool calls, vendors' dialects, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Self, TypedDict, Unpack

from tests.upstream import frames
from tests.upstream.frames import DONE, JsonObject
from tests.upstream.recorded import Recorded
from tests.upstream.steps import (
    EVENT_STREAM,
    Body,
    End,
    Head,
    PerCall,
    Step,
    Steps,
    Whole,
    answer_members,
    json_answer,
    stream_of,
)
from tests.upstream.wire import Headers, Wire, header_pairs

DEFAULT_TEXT = "Hello world"
# Two-, three- and four-byte UTF-8, and the two line separators that str.splitlines would cut at.
TRICKY_TEXT = "naïve — 日本語 🌍\u2028line\u2029paragraph"

Encoder = Callable[[JsonObject | str], bytes]
Cutter = Callable[[bytes], Iterable[bytes]]


class TextOptions(TypedDict, total=False):
    """The options of `Script.text`; see `TextAnswer` for what each means."""

    finish_reason: str
    usage: JsonObject | None
    include_usage: bool | None
    role_frame: bool
    done: bool
    model: str | None
    headers: Headers
    delay_s: float
    head_delay_s: float
    first_token_delay_s: float
    hold_after: int | None
    hang_at_end: bool


@dataclass(frozen=True)
class TextAnswer:
    """A whole well-formed answer: a stream if the call asked for one, else one JSON document.

    `pieces` is the number of content events. `usage` is what is reported (None: nothing), in the stream only
    if the call asked for it, or as `include_usage` says. `role_frame` and `done` leave out the first frame
    and `[DONE]`. `model` replaces the model's name in the answer. `head_delay_s` passes before the head,
    `first_token_delay_s` before the first content, `delay_s` before each further one; an answer that is not
    streamed waits as long in all before its head. `hold_after` waits for `release` after so many content
    events (0: before the first). `hang_at_end` sends everything and then keeps the body open. `encode`,
    `prefix`, `cut` and `reshape` write the same stream down differently.
    """

    text: str = DEFAULT_TEXT
    pieces: int = 4
    finish_reason: str = "stop"
    usage: JsonObject | None = field(default_factory=frames.default_usage)
    include_usage: bool | None = None
    role_frame: bool = True
    done: bool = True
    model: str | None = None
    headers: Headers = ()
    delay_s: float = 0.0
    head_delay_s: float = 0.0
    first_token_delay_s: float = 0.0
    hold_after: int | None = None
    hang_at_end: bool = False
    encode: Encoder = frames.event
    prefix: bytes = b""
    cut: Cutter | None = None
    reshape: Callable[[list[JsonObject]], list[JsonObject]] | None = None

    async def run(self, wire: Wire) -> None:
        """Send the answer in the form the call asked for."""
        await asyncio.sleep(self.head_delay_s)
        if wire.call.stream:
            await self._stream(wire)
        else:
            await self._whole(wire)

    async def _whole(self, wire: Wire) -> None:
        await asyncio.sleep(self.first_token_delay_s + self.delay_s * max(self.pieces - 1, 0))
        if self.hold_after is not None:
            await wire.release.wait()
        members = answer_members(wire.call, self.model)
        document = frames.completion(self.text, finish_reason=self.finish_reason, usage=self.usage, **members)
        await Whole(frames.encode(document), headers=self.headers).run(wire)

    async def _stream(self, wire: Wire) -> None:
        await wire.head(headers=self.headers, content_type=EVENT_STREAM)
        await wire.body(self.prefix)
        sent, holds = 0, self.hold_after is not None
        for payload in self.payloads(wire.call):
            content = has_content(payload)
            if content:
                await asyncio.sleep(self.delay_s if sent else self.first_token_delay_s)
            if holds and sent == self.hold_after and (content or sent or has_finish(payload)):
                await wire.release.wait()
                holds = False
            await self._write(wire, payload)
            sent += content
        if self.done:
            await self._write(wire, DONE)
        if self.hang_at_end:
            await asyncio.get_running_loop().create_future()
        await wire.end()

    async def _write(self, wire: Wire, payload: JsonObject | str) -> None:
        data = self.encode(payload)
        for part in [data] if self.cut is None else self.cut(data):
            await wire.body(part)
            if self.cut is not None:
                # A reader in the same event loop gets its turn, so that it sees the parts one by one.
                await asyncio.sleep(0)

    def payloads(self, call: Recorded) -> list[JsonObject]:
        """All JSON payloads of the stream, in order."""
        asked = call.include_usage if self.include_usage is None else self.include_usage
        chunks = frames.text_stream(
            self.text,
            self.pieces,
            finish_reason=self.finish_reason,
            usage=self.usage if asked else None,
            **answer_members(call, self.model),
        )
        chunks = chunks if self.role_frame else chunks[1:]
        return chunks if self.reshape is None else self.reshape(chunks)


def has_content(payload: JsonObject) -> bool:
    """Whether the chunk's first choice carries text."""
    choices = payload.get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))


def has_finish(payload: JsonObject) -> bool:
    """Whether the chunk's first choice carries a finish reason."""
    choices = payload.get("choices") or [{}]
    return bool(choices[0].get("finish_reason"))


def _without_space(payload: JsonObject | str) -> bytes:
    return frames.event(payload, space="")


def _single_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def _after_each_cr(data: bytes) -> list[bytes]:
    parts = data.split(b"\r")
    return [part + b"\r" for part in parts[:-1]] + [parts[-1]]


def _usage_on_every_chunk(chunks: list[JsonObject]) -> list[JsonObject]:
    sent = 0
    counted = []
    for item in chunks:
        sent += has_content(item)
        usage = {"prompt_tokens": 7, "completion_tokens": sent, "total_tokens": 7 + sent}
        counted.append({**item, "usage": usage})
    return counted


def _usage_on_finish_chunk(chunks: list[JsonObject]) -> list[JsonObject]:
    return [*chunks[:-1], {**chunks[-1], "usage": frames.default_usage()}]


class Answers(Steps):
    """Constructors of well-formed answers and of plain HTTP errors."""

    @classmethod
    def text(cls, text: str = DEFAULT_TEXT, pieces: int = 4, **options: Unpack[TextOptions]) -> Self:
        """A whole well-formed answer, streamed if the call asked for a stream."""
        return cls.steps(TextAnswer(text, pieces, **options))

    @classmethod
    def tool_call_stream(cls) -> Self:
        """Two parallel tool calls with fragmented arguments, and the finish reason `tool_calls`."""

        def choose(call: Recorded) -> list[Step]:
            members = answer_members(call)
            if call.stream:
                return stream_of([*frames.tool_call_chunks(**members), DONE])
            message = {"tool_calls": frames.tool_calls()}
            usage = frames.default_usage()
            return [
                json_answer(
                    frames.completion(
                        None,
                        finish_reason="tool_calls",
                        usage=usage,
                        message=message,
                        **members,
                    )
                )
            ]

        return cls.steps(PerCall(choose))

    @classmethod
    def embeddings(cls, *, knows_base64: bool = True, usage: JsonObject | None = None) -> Self:
        """One vector for each input: its length, a half and minus one; in base64 if that is asked for and known."""

        def choose(call: Recorded) -> list[Step]:
            given = call.document.get("input")
            inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given or ""]
            as_base64 = knows_base64 and call.document.get("encoding_format") == "base64"
            counted = usage or {"prompt_tokens": 3 * len(inputs), "total_tokens": 3 * len(inputs)}
            vectors = [[float(len(text)), 0.5, -1.0] for text in inputs]
            return [json_answer(frames.embedding_list(vectors, call.model, counted, as_base64=as_base64))]

        return cls.steps(PerCall(choose))

    @classmethod
    def text_completion(cls, text: str = DEFAULT_TEXT) -> Self:
        """A whole text completion, streamed if the call asked for a stream, with one choice for each prompt."""

        def choose(call: Recorded) -> list[Step]:
            prompt = call.document.get("prompt")
            count = len(prompt) if isinstance(prompt, list) and isinstance(prompt[0], str) else 1
            members = answer_members(call)
            whole = [frames.text_choice(text, index, "stop") for index in range(count)]
            if not call.stream:
                return [json_answer(frames.text_completion(whole, usage=frames.default_usage(), **members))]
            parts = [
                frames.text_choice(part, index) for index in range(count) for part in frames.split_text(text, 4)
            ] + [frames.text_choice("", index, "stop") for index in range(count)]
            chunks = [frames.text_completion([part], **members) for part in parts]
            if call.include_usage:
                chunks.append(frames.text_completion([], usage=frames.default_usage(), **members))
            return stream_of([*chunks, DONE])

        return cls.steps(PerCall(choose))

    @classmethod
    def split_every_byte(cls, text: str = TRICKY_TEXT) -> Self:
        """A whole stream written one byte at a time, with multi-byte UTF-8, U+2028 and U+2029 in it."""
        return cls.steps(TextAnswer(text, cut=_single_bytes))

    @classmethod
    def line_endings(cls, text: str = DEFAULT_TEXT, eol: Literal["\r\n", "\r", "\n"] = "\r\n") -> Self:
        """A whole stream with other line endings, every write ending right after a CR if there is one."""

        def encode(payload: JsonObject | str) -> bytes:
            return frames.event(payload, eol=eol)

        return cls.steps(TextAnswer(text, encode=encode, cut=_after_each_cr))

    @classmethod
    def bom(cls, text: str = DEFAULT_TEXT) -> Self:
        """A whole stream that starts with a byte order mark, in a write of its own."""
        return cls.steps(TextAnswer(text, prefix=b"\xef\xbb\xbf"))

    @classmethod
    def no_space_after_colon(cls, text: str = DEFAULT_TEXT) -> Self:
        """A whole stream with `data:{` in place of `data: {`."""
        return cls.steps(TextAnswer(text, encode=_without_space))

    @classmethod
    def multi_line_data(cls, text: str = DEFAULT_TEXT) -> Self:
        """A whole stream in which every JSON stands on several `data:` lines."""
        return cls.steps(TextAnswer(text, encode=frames.multi_line_event))

    @classmethod
    def azure_stream(cls, text: str = DEFAULT_TEXT) -> Self:
        """A whole stream as Azure sends it: no choices in the first frame, annotation frames, base model."""
        return cls.steps(TextAnswer(text, model=frames.AZURE_BASE_MODEL, reshape=frames.azure_chunks))

    @classmethod
    def azure_late_filter(cls, text: str = DEFAULT_TEXT, *, filtered: bool = True) -> Self:
        """A stream of Azure's asynchronous filter: what it found stands behind the finish reason, before the end."""

        def reshape(chunks: list[JsonObject]) -> list[JsonObject]:
            return [*frames.azure_chunks(chunks), frames.azure_late_signal(filtered=filtered)]

        return cls.steps(TextAnswer(text, model=frames.AZURE_BASE_MODEL, reshape=reshape))

    @classmethod
    def azure_error_in_stream(cls, code: str = "429", text: str = "") -> Self:
        """A 200 that begins with Azure's frames, and `text` if there is any, and then turns out to be an error."""
        chunks = [*frames.text_stream(text, finish_reason=None, model=frames.AZURE_BASE_MODEL)]
        error = frames.error_body("The service cannot answer now.", None, code)
        return cls.steps(*stream_of([*frames.azure_chunks(chunks), error]))

    @classmethod
    def usage_on_every_chunk(cls, text: str = DEFAULT_TEXT) -> Self:
        """A whole stream with cumulative usage on each chunk and no usage chunk, asked for or not."""
        return cls.steps(TextAnswer(text, include_usage=False, reshape=_usage_on_every_chunk))

    @classmethod
    def usage_on_finish_chunk(cls, text: str = DEFAULT_TEXT) -> Self:
        """A whole stream with usage on the chunk that has the finish reason, asked for or not."""
        return cls.steps(TextAnswer(text, include_usage=False, reshape=_usage_on_finish_chunk))

    @classmethod
    def sse(cls, data: bytes, piece_bytes: int = 65_536) -> Self:
        """A clean event stream whose body is exactly `data`, in writes of `piece_bytes`."""
        parts = [Body(data[i : i + piece_bytes]) for i in range(0, len(data), piece_bytes)]
        return cls.steps(Head(), *parts, End())

    @classmethod
    def status(
        cls,
        code: int = 500,
        body: JsonObject | str | bytes | None = None,
        headers: Headers | None = None,
        content_type: str = "application/json",
        retry_after: float | str | None = None,
    ) -> Self:
        """An answer with this status code and body (by default an OpenAI error that fits the code)."""
        pairs = header_pairs(headers or ())
        if retry_after is not None:
            pairs.append(("retry-after", str(retry_after)))
        if body is None:
            body = default_error(code)
        data = body.encode() if isinstance(body, str) else body
        if not isinstance(data, bytes):
            data = frames.encode(data)
        return cls.steps(Whole(data, code, pairs, content_type))

    @classmethod
    def openai_error(
        cls,
        code: str | int | None,
        type: str = "invalid_request_error",  # noqa: A002 - the member's name on the wire.
        message: str = "The request was refused.",
        status: int = 400,
        param: str | None = None,
    ) -> Self:
        """An OpenAI error body with these members, and the HTTP status code `status`."""
        return cls.steps(json_answer(frames.error_body(message, type, code, param), status))

    @classmethod
    def azure_content_filter(cls) -> Self:
        """Azure's refusal of a prompt: 400 `content_filter` with an `innererror`."""
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}
        body = frames.error_body(
            "The response was filtered.", None, "content_filter", "prompt", status=400, innererror=inner
        )
        return cls.steps(json_answer(body, 400))

    @classmethod
    def html(cls, status: int = 200) -> Self:
        """An HTML page where JSON or an event stream was expected."""
        page = b"<!doctype html><html><head><title>Proxy</title></head><body>secret proxy page</body></html>"
        return cls.steps(Whole(page, status, content_type="text/html; charset=utf-8"))

    @classmethod
    def invalid_json(cls) -> Self:
        """A 200 answer that calls itself JSON and is cut in the middle, with a fitting Content-Length."""
        return cls.steps(Whole(b'{"id":"chatcmpl-broken","choices":[{"index":0,"mess'))


_ERRORS: dict[int, tuple[str, str, str | None]] = {
    400: ("Invalid value.", "invalid_request_error", None),
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    403: ("You do not have access.", "invalid_request_error", "permission_denied"),
    404: ("The model does not exist.", "invalid_request_error", "model_not_found"),
    429: ("Rate limit reached.", "requests", "rate_limit_exceeded"),
    503: ("The engine is currently overloaded.", "server_error", "server_is_overloaded"),
}


def default_error(code: int) -> JsonObject | bytes:
    """The OpenAI error body that goes with an HTTP status code; nothing below 400."""
    if code < 400:
        return b""
    return frames.error_body(*_ERRORS.get(code, ("The server had an error.", "server_error", None)))
