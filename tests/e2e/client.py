"""What a client of the gateway sees, told the same way for both surfaces, streamed or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

import httptools

from tests.e2e.server import ADMIN_KEY, LIMIT_S
from tests.upstream.raw_client import RawClient, Reply

LUNARBIT = "/ai/chat"
OPENAI = "/v1/chat/completions"
SURFACES = [LUNARBIT, OPENAI]


class Listening(Protocol):
    """A gateway, in this process or in one of its own."""

    port: int


# How OpenAI's surface writes our codes; clients of that surface test for these.
OPENAI_CODES = {
    "INVALID_REQUEST": None,
    "UNAUTHORIZED": "invalid_api_key",
    "KEY_REVOKED": "invalid_api_key",
    "CONTEXT_LENGTH_EXCEEDED": "context_length_exceeded",
    "CONTENT_FILTERED": "content_filter",
    "MODEL_NOT_FOUND": "model_not_found",
    "PAYLOAD_TOO_LARGE": "request_too_large",
    "PROVIDER_RATE_LIMITED": "rate_limit_exceeded",
    "PROVIDER_ERROR": "provider_error",
    "PROVIDER_TIMEOUT": "provider_timeout",
    "NO_PROVIDER_AVAILABLE": "no_provider_available",
    "OVERLOADED": "server_is_overloaded",
    "SHUTTING_DOWN": "shutting_down",
    "STREAM_INTERRUPTED": "stream_interrupted",
}


@dataclass(frozen=True)
class Mode:
    """A surface, and whether the answer is streamed."""

    path: str
    stream: bool

    def __str__(self) -> str:
        return f"{self.path}{' streamed' if self.stream else ''}"


MODES = [Mode(path, stream) for path in SURFACES for stream in (True, False)]
STREAMS = [mode for mode in MODES if mode.stream]
WHOLES = [mode for mode in MODES if not mode.stream]


@dataclass
class Seen:
    """One answer as a client of `mode` understands it."""

    mode: Mode
    reply: Reply

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.reply.status

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers, names in lower case."""
        return self.reply.headers

    @property
    def is_event_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def frames(self) -> list[str]:
        """The whole frames of the stream, comments included; the body must end with one."""
        body = self.reply.body.decode()
        assert body.endswith("\n\n") or not body, body[-200:]
        return body.split("\n\n")[:-1]

    @property
    def events(self) -> list[tuple[str, Any]]:
        """The stream's events in order: name ("" for unnamed) and JSON value, or text for `[DONE]`."""
        return [_event(frame) for frame in self.frames if not frame.startswith(":")]

    @property
    def pings(self) -> int:
        """How many comments came."""
        return self.frames.count(": ping")

    @property
    def document(self) -> Any:
        """The JSON body of an answer that is not a stream."""
        return json.loads(self.reply.body)

    @property
    def text(self) -> str:
        """The answer's text, as far as it came."""
        if not self.is_event_stream:
            document = self.document
            if self.mode.path == LUNARBIT:
                return str(document["response"])
            return str(document["choices"][0]["message"]["content"])
        if self.mode.path == LUNARBIT:
            return "".join(data["delta"] for name, data in self.events if not name)
        return self.reply.text

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that the answer is, or that ends it."""
        if not self.is_event_stream:
            return dict(self.document["error"]) if self.status >= 400 else None
        errors = [data["error"] for _, data in self.events if isinstance(data, dict) and "error" in data]
        assert len(errors) <= 1
        if errors:
            assert "error" in self.events[-1][1], "the error is the last event"
        return errors[0] if errors else None

    @property
    def is_whole(self) -> bool:
        """Whether the answer says that it is whole, which it may say once and only at its end."""
        if not self.is_event_stream:
            return self.status == 200
        ends = [number for number, (name, data) in enumerate(self.events) if name == "done" or data == "[DONE]"]
        assert ends in ([], [len(self.events) - 1])
        return bool(ends)


def _event(frame: str) -> tuple[str, Any]:
    lines = [line.split(": ", 1) for line in frame.split("\n")]
    data = "\n".join(value for name, value in lines if name == "data")
    name = next((value for name, value in lines if name == "event"), "")
    return name, data if data == "[DONE]" else json.loads(data)


def bearer(secret: str) -> dict[str, str]:
    """Return the header that shows a key."""
    return {"authorization": f"Bearer {secret}"}


class Client(RawClient):
    """One connection to the gateway, with the admin's key unless a request brings another."""

    def __init__(self, gateway: Listening) -> None:
        super().__init__(gateway.port)
        self._begun = False

    async def ask(self, mode: Mode, **members: Any) -> None:
        """Send a chat in the form of `mode`; `members` go into the body, except `key` and `headers`."""
        headers = {**bearer(members.pop("key", ADMIN_KEY)), **members.pop("headers", {})}
        await self.chat(path=mode.path, stream=mode.stream, headers=headers, **members)

    async def send_part(self, data: bytes) -> None:
        """Send the next bytes of this connection's only request."""
        if not self._begun:
            self._begun = True
            self._parser = httptools.HttpResponseParser(self)
        self._writer.write(data)
        await self._writer.drain()


async def ask(gateway: Listening, mode: Mode, **members: Any) -> Seen:
    """Send one chat on a connection of its own and read the answer to its end, for which it has `timeout_s`."""
    timeout_s = members.pop("timeout_s", LIMIT_S)
    async with Client(gateway) as client:
        await client.ask(mode, **members)
        seen = Seen(mode, await client.reply(timeout_s=timeout_s))
    assert seen.reply.ending == "complete"
    return seen


def assert_error(seen: Seen, status: int, code: str) -> None:
    """Hold that `seen` is the error `code` in the shape of its surface: an HTTP answer, or a stream's last event."""
    error = seen.error
    assert error is not None, seen.reply.body
    assert not seen.is_event_stream or not seen.is_whole
    assert seen.status == (200 if seen.is_event_stream else status), seen.reply.body
    if seen.mode.path == LUNARBIT:
        assert (error["code"], error["lc_code"]) == (code, f"LC_ERR_{code}")
        assert error["request_id"] == seen.headers["x-request-id"]
        return
    assert error.keys() == {"message", "type", "param", "code"}
    if not seen.is_event_stream:
        assert seen.headers["x-lunarbit-error-code"] == code
    assert error["code"] == OPENAI_CODES[code]


def assert_whole(seen: Seen, text: str, provider: str, attempts: int) -> None:
    """Hold that `seen` is a whole answer of `provider` after so many attempts."""
    assert (seen.status, seen.error, seen.is_whole) == (200, None, True), seen.reply.body
    assert seen.text == text
    assert seen.headers["x-lunarbit-provider"] == provider
    assert seen.headers["x-lunarbit-attempts"] == str(attempts)
