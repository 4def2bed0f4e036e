"""OpenAI's Responses API: `POST /v1/responses`. Events of a provider that speaks it pass through; nothing is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.error_bodies import error_object
from gateway.errors import InvalidRequest
from gateway.json_body import parse_object, raw_fields
from providers.responses.answer import response_of
from providers.responses.binding import Binding, is_sealed, tag_of, unbound_id, unsealed_items
from providers.responses.native import ResponsesRequest
from providers.responses.stream import ResponseWriter

if TYPE_CHECKING:
    from gateway.errors import GatewayError
    from gateway.streaming import StreamFacts
    from providers.base import CompletionResponse, StreamEvent, Usage

PING: Final = b": ping\n\n"
_encode = msgspec.json.encode
# Whatever of it there is, there need be no input.
_IN_PLACE_OF_INPUT: Final = ("previous_response_id", "prompt", "conversation")
# What `parse_request` takes; all other fields go on as they are.
REQUEST_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "model": {"type": ["string", "null"]},
        "input": {"type": ["string", "array", "null"]},
        "stream": {"type": ["boolean", "null"]},
        "previous_response_id": {"type": ["string", "null"]},
        "background": {"enum": [False, None]},
    },
}


def parse_request(body: bytes) -> tuple[str | None, ResponsesRequest]:
    """Read the body of a response: the model asked for, and the request with the provider's own ids in it.

    Only what the gateway itself needs is checked; the rest is the provider's to judge. Raises `InvalidRequest`.
    """
    fields = parse_object(body)
    problems = _problems(fields)
    if problems:
        msg = f"{problems[0][0]}: {problems[0][1]}"
        raise InvalidRequest(msg, errors=problems)
    native, bindings = raw_fields(body), list[Binding]()
    previous = unbound_id(fields.get("previous_response_id") or "")
    if previous is not None:
        bindings.append(Binding(previous[0], "previous_response_id", is_native=True))
        native["previous_response_id"] = msgspec.Raw(_encode(previous[1]))
    if isinstance(fields.get("input"), list) and is_sealed(native["input"]):
        items, found = unsealed_items(fields["input"])
        if found:
            bindings += found
            native["input"] = msgspec.Raw(_encode(items))
    request = ResponsesRequest("", native, stream=bool(fields.get("stream")), bindings=tuple(bindings))
    return fields.get("model") or None, request


def _problems(fields: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    given = fields.get("input")
    if not isinstance(given, str | list | None):
        found.append(("input", "must be a text or a list of items"))
    elif given in (None, []) and all(fields.get(name) is None for name in _IN_PLACE_OF_INPUT):
        found.append(("input", "Field required"))
    for name, kind, rule in (
        ("model", str, "must be a string"),
        ("stream", bool, "must be true or false"),
        ("previous_response_id", str, "must be a string"),
    ):
        if not isinstance(fields.get(name), kind | None):
            found.append((name, rule))
    previous = fields.get("previous_response_id")
    if isinstance(previous, str) and unbound_id(previous) is None:
        found.append(("previous_response_id", "is not of a response that was kept; send the whole input instead"))
    background = fields.get("background")
    # Zero is equal to false, and is none.
    if background is not None and background is not False:
        found.append(("background", "must be false, since responses cannot be fetched later"))
    return found


def whole_answer(
    answer: CompletionResponse, usage: Usage, request: ResponsesRequest, provider: str, model: str, *, is_native: bool
) -> bytes:
    """Return the JSON body of a whole response: the provider's own if it `is_native`, or one made from its fields."""
    if is_native and answer.raw is not None:
        return answer.raw
    id_ = _response_id(request.request_id)
    return _encode(response_of(answer, usage, id_=id_, tag=tag_of(provider), asked=request.native, model=model))


def _response_id(request_id: str) -> str:
    return f"resp_{request_id}"


class ResponsesCodec:
    """Writes a streamed answer as the events of a response."""

    ping = PING

    def __init__(self, request: ResponsesRequest, request_id: str, docs_url: str) -> None:
        self._request = request
        self._request_id = request_id
        self._docs_url = docs_url
        self._writer: ResponseWriter | None = None
        self._first_native = b""
        self._last_native = b""

    def start(self, facts: StreamFacts) -> bytes:  # noqa: ARG002 - this dialect starts with its first event.
        """Return what goes out before the first event: nothing."""
        return b""

    def events(self, events: list[StreamEvent], facts: StreamFacts) -> bytes:
        """Return the events of this dialect, the provider's own as they came."""
        out: list[bytes] = []
        for event in events:
            native = event.native
            if native is not None:
                self._first_native = self._first_native or native
                self._last_native = native
                out.append(native)
            elif event.commits and not self._last_native:
                writer = self._begin(out, event.model or facts.model, facts)
                out += map(_frame, writer.events(event))
        return out[0] if len(out) == 1 else b"".join(out)

    def end(self, facts: StreamFacts) -> bytes:
        """Return what is missing of a whole answer's end: of a provider's own, nothing."""
        if self._last_native:
            return b""
        out: list[bytes] = []
        writer = self._begin(out, facts.model, facts)
        return b"".join([*out, *map(_frame, writer.end(facts.finish_reason, facts.usage))])

    def error(self, error: GatewayError, facts: StreamFacts) -> bytes:
        """Return the events that end a broken answer: the response that failed, and the error that packages raise."""
        told = error_object(error, "openai", self._request_id, self._docs_url)["error"]
        failure = {"code": "rate_limit_exceeded" if error.status == 429 else "server_error", "message": error.message}
        out: list[bytes] = []
        if self._last_native:
            number, begun = _number(self._last_native), _read(self._first_native).get("response")
            response = {**(begun if isinstance(begun, dict) else {}), "status": "failed", "error": failure}
            out.append(_frame({"type": "response.failed", "sequence_number": number + 1, "response": response}))
            last = {"type": "error", "sequence_number": number + 2}
        else:
            writer = self._begin(out, facts.model, facts)
            out += map(_frame, writer.fail(failure, facts.usage))
            last = writer.event("error")
        # Some clients read the members of the event, and packages raise what is in `error`.
        flat = {name: told[name] for name in ("code", "message", "param")}
        return b"".join([*out, _frame({**last, **flat, "error": told})])

    def _begin(self, out: list[bytes], model: str, facts: StreamFacts) -> ResponseWriter:
        """Return the writer; a new one's first events go to `out`."""
        if self._writer is None:
            id_ = _response_id(self._request_id)
            self._writer = ResponseWriter(id_, tag_of(facts.provider), self._request.native)
            out += map(_frame, self._writer.start(model))
        return self._writer


def _frame(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _encode(event))


def _read(frame: bytes) -> dict[str, Any]:
    """Return the data of an event that a provider sent; nothing where it cannot be read to its last letter."""
    lines = [line.removeprefix(b"data: ") for line in frame.split(b"\n") if line.startswith(b"data: ")]
    try:
        found: dict[str, Any] = msgspec.json.decode(b"\n".join(lines))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found


def _number(frame: bytes) -> int:
    number = _read(frame).get("sequence_number")
    return number if isinstance(number, int) else 0
