"""Structured logs: one JSON object a line, or text for people (LC-LOG).

Nothing that a client sent besides method and path is ever logged, and whatever looks like a key is masked in the
finished line. Exceptions are logged as their type and the lines of code they passed, without their messages, since a
message may quote a prompt.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from gateway.observability.log_writer import LineWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_SECRET = re.compile(
    rb"((?:lbapi_|(?<![A-Za-z0-9])sk-|gh[a-z]_|github_pat_|[Bb]earer )[A-Za-z0-9_\-.]{2})[A-Za-z0-9_\-.~+/=]{6,}"
)
# One of these is in whatever the pattern finds. To look for them costs a twentieth of what the pattern costs.
_SECRET_MARKS = (b"lbapi_", b"sk-", b"gh", b"earer ")
_STAMP = ("timestamp", "level")
_TEXT_LEVEL_WIDTH = 8
_encode = msgspec.json.Encoder(enc_hook=str).encode
_LOGGERS_THAT_TELL_TOO_MUCH = (
    "httpx",
    "httpcore",
    "aiohttp",
    "sse_starlette",
    "asyncio",
    "aiosqlite",
    "sqlalchemy",
    "alembic",
)


class RequestLine(msgspec.Struct):
    """The line of one request, in the order of its fields; AI requests also have those from `provider` on.

    `timestamp` is that of `now`; times are in milliseconds. As a dictionary it would cost twice as much.
    """

    timestamp: str
    level: str
    event: str
    request_id: str
    method: str
    path: str
    status: int
    duration_ms: float
    key: str | None
    client_ip: str
    code: str | msgspec.UnsetType = msgspec.UNSET
    provider: str | msgspec.UnsetType | None = msgspec.UNSET
    model: str | msgspec.UnsetType | None = msgspec.UNSET
    attempts: int | msgspec.UnsetType = msgspec.UNSET
    ttft_ms: float | msgspec.UnsetType | None = msgspec.UNSET
    prompt_tokens: int | msgspec.UnsetType = msgspec.UNSET
    completion_tokens: int | msgspec.UnsetType = msgspec.UNSET

    def is_suspect(self) -> bool:
        """Whether one of `_SECRET_MARKS` is in the fields that people have a say in."""
        said = self.path + self.request_id + (self.key or "")
        if self.model:
            said += self.model
        return "lbapi_" in said or "sk-" in said or "gh" in said or "earer " in said


_log_request: Callable[[RequestLine], None] | None = None
_writer: LineWriter | None = None


def configure(level: str, log_format: str, stream: BinaryIO | None = None) -> None:
    """Set up structlog and the standard library's logging for the whole process. `log_format` is `json` or `text`.

    Lines go to `stream` at once; without one, to standard output, by a thread that writes what has gathered.
    """
    render = _render_text if log_format == "text" else _render_json

    def dropped(count: int) -> bytes:
        return render(None, "error", _stamp(None, "error", {"event": "log_lines_dropped", "lines": count}))

    global _log_request, _writer  # noqa: PLW0603 - logging is set up for the whole process, as structlog's is.
    if _writer is not None:
        _writer.close()
    _writer = None if stream is not None else LineWriter(sys.stdout.buffer, dropped)
    logger = _writer or structlog.BytesLogger(stream)
    structlog.configure(
        processors=[_stamp, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: logger,
        cache_logger_on_first_use=True,
    )
    write = logger.msg

    def log_request(line: RequestLine) -> None:
        if render is _render_json and not line.is_suspect():
            write(_encode(line))
        else:
            write(render(None, "info", _fields(line)))

    _log_request = log_request if LEVELS[level] <= LEVELS["info"] else None
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(LEVELS[level])
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
    # sse-starlette writes every chunk at debug, and so would put answers into the log.
    for name in _LOGGERS_THAT_TELL_TOO_MUCH:
        logging.getLogger(name).setLevel(logging.WARNING)


def log_request(line: RequestLine) -> None:
    """Log the line of one request."""
    if not structlog.is_configured():
        fields = _fields(line)
        get_logger().info(fields.pop("event"), **{name: fields[name] for name in fields if name not in _STAMP})
    elif _log_request is not None:
        _log_request(line)


def dropped_lines() -> int:
    """Return how many lines this process has dropped because standard output did not take them."""
    return _writer.dropped if _writer is not None else 0


def get_logger() -> FilteringBoundLogger:
    """Return the process's logger; call it with an event name and fields."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def exception_fields(error: BaseException) -> dict[str, Any]:
    """Return what may be logged of an exception: its type and where it passed, never its text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
    return {"error_type": type(error).__qualname__, "where": where}


def _stamp(_: WrappedLogger, method: str, fields: EventDict) -> EventDict:
    # Who logs names the fields in the order in which people read them; only these three come first.
    return {"timestamp": now(), "level": method, "event": fields.pop("event"), **fields}


def now() -> str:
    """Return the present time in UTC, ISO 8601 with milliseconds and `Z`."""
    return _stamp_of(int(time.time() * 1000))


def _fields(line: RequestLine) -> EventDict:
    return {name: value for name, value in msgspec.structs.asdict(line).items() if value is not msgspec.UNSET}


@lru_cache(maxsize=4)
def _stamp_of(at_ms: int) -> str:
    """Return Unix milliseconds as text; the lines of a busy gateway share them."""
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _mask(line: bytes) -> bytes:
    for mark in _SECRET_MARKS:
        if mark in line:
            return _SECRET.sub(rb"\1***", line)
    return line


def _render_json(_: WrappedLogger, __: str, fields: EventDict) -> bytes:
    return _mask(_encode(fields))


def _render_text(_: WrappedLogger, __: str, fields: EventDict) -> bytes:
    stamp, level, event = fields.pop("timestamp"), fields.pop("level"), fields.pop("event", "")
    rest = " ".join(f"{name}={_plain(value)}" for name, value in fields.items() if value is not None)
    return _mask(f"{stamp} {level:<{_TEXT_LEVEL_WIDTH}} {event} {rest}".encode("utf-8", "replace"))


def _plain(value: Any) -> str:
    """Return a value as one word: a path may hold line breaks and escape sequences, which would forge other lines."""
    text = str(value)
    return text if text and text.isprintable() and not set(text) & {" ", '"'} else json.dumps(text)


class _ToStructlog(logging.Handler):
    """Writes the records of libraries in the same shape as our own."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record under the event `library`."""
        fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            # asyncio's further lines quote the exception, and with it whatever the exception quotes.
            fields["message"] = fields["message"].partition("\n")[0]
            fields.update(exception_fields(record.exc_info[1]))
        name = record.levelname.lower()
        getattr(get_logger(), name if name in LEVELS else "info")("library", **fields)
