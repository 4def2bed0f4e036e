"""LC-LOG: one JSON object a line for each request, with exactly the agreed fields, or text for people."""

from __future__ import annotations

import asyncio
import logging
import re
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from gateway.app import create_app
from gateway.observability import logs
from tests.gateway.edge import (
    ECHO,
    HELLO,
    KEY,
    edge_client,
    log_lines,
    request_lines,
    served,
    settings_for,
    until,
    upstream_toml,
)
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

PLAIN = {
    "timestamp",
    "level",
    "event",
    "request_id",
    "method",
    "path",
    "status",
    "duration_ms",
    "key",
    "client_ip",
}
AI = {"provider", "model", "attempts", "ttft_ms", "prompt_tokens", "completion_tokens"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_request_is_one_line_with_exactly_the_agreed_fields(client: httpx.AsyncClient, log: BytesIO) -> None:
    """In the agreed order too, so that lines can be read without a tool."""
    await client.get("/health?token=canary")
    (line,) = request_lines(log)
    assert set(line) == PLAIN
    assert list(line)[:4] == ["timestamp", "level", "event", "request_id"]
    assert TIME.fullmatch(line["timestamp"])
    assert (line["level"], line["event"], line["method"], line["path"]) == ("info", "request", "GET", "/health")
    assert (line["status"], line["key"], line["client_ip"]) == (200, None, "127.0.0.1")
    assert line["duration_ms"] >= 0
    assert b"canary" not in log.getvalue()


async def test_an_error_adds_its_code(client: httpx.AsyncClient, log: BytesIO) -> None:
    """The status alone would not say which of the many 404s it was; what there was no answer to has no provider."""
    await client.post("/ai/chat", json={**HELLO, "model": "nobody-serves-this"}, headers=KEY)
    (line,) = request_lines(log)
    assert set(line) == PLAIN | AI | {"code"}
    assert (line["status"], line["code"], line["key"]) == (404, "MODEL_NOT_FOUND", "bootstrap-admin")
    assert (line["provider"], line["model"], line["attempts"], line["prompt_tokens"]) == (None, None, 0, 0)


async def test_a_chat_adds_who_answered_and_what_it_took(tmp_path: Path, log: BytesIO) -> None:
    """Provider, model, attempts and tokens; the time to first token only where there is one."""
    async with Upstream() as up, edge_client(tmp_path, upstream_toml(up.base_url)) as client:
        up.queue(Script.status(500), Script.text("ok"))
        await client.post("/v1/chat/completions", json=HELLO, headers=KEY)
    (line,) = request_lines(log)
    assert set(line) == PLAIN | AI
    assert (line["provider"], line["model"], line["attempts"], line["ttft_ms"]) == ("up", "gpt-4", 2, None)
    assert line["prompt_tokens"] > 0
    assert line["completion_tokens"] > 0


async def test_a_streamed_chat_has_its_time_to_first_token(tmp_path: Path, log: BytesIO) -> None:
    """The figure that people feel."""
    async with served(create_app(settings_for(tmp_path))) as running:
        await running.client.post("/ai/chat", json={**HELLO, "stream": True}, headers=KEY)
        await until(lambda: request_lines(log))
    (line,) = request_lines(log)
    assert set(line) == PLAIN | AI
    assert 0 <= line["ttft_ms"] <= line["duration_ms"]


async def test_the_prefix_stays_in_the_path(client: httpx.AsyncClient, log: BytesIO) -> None:
    """The log says what was asked, the metrics which route it was."""
    await client.get("/api/v2/health")
    assert request_lines(log)[0]["path"] == "/api/v2/health"


async def test_a_path_cannot_forge_lines(client: httpx.AsyncClient, log: BytesIO) -> None:
    """An encoded line break is decoded before it gets here."""
    before = len(log.getvalue().splitlines())
    await client.get('/a%0a{"event":"request"}%00%1b[31m')
    assert len(log.getvalue().splitlines()) == before + 1
    assert request_lines(log)[0]["path"] == '/a\n{"event":"request"}\x00\x1b[31m'


@pytest.fixture
def text_log(restored_logging: None) -> BytesIO:
    """Write the log as text into memory."""
    stream = BytesIO()
    logs.configure("info", "text", stream)
    return stream


async def test_the_text_format_is_one_line_for_people(tmp_path: Path, text_log: BytesIO) -> None:
    """Time, level and event first, then what has a value; control characters only in writing."""
    async with edge_client(tmp_path) as client:
        await client.get("/health", headers={"x-request-id": "r1"})
        await client.get("/a%0aFAKE%20line%1b[31m%E2%80%A8x")
    lines = text_log.getvalue().decode().removesuffix("\n").split("\n")
    first, second = [line for line in lines if line.split()[2] == "request"]
    stamp, level, event, rest = first.split(maxsplit=3)
    assert TIME.fullmatch(stamp)
    assert (level, event) == ("info", "request")
    assert "request_id=r1 method=GET path=/health status=200 duration_ms=" in rest
    assert "key=" not in rest
    assert 'path="/a\\nFAKE line\\u001b[31m\\u2028x"' in second
    assert second.isprintable()


@pytest.mark.parametrize("level", ["warning", "error"])
async def test_a_higher_level_leaves_requests_out(tmp_path: Path, restored_logging: None, level: str) -> None:
    """`LOG_LEVEL` is for our own lines as much as for those of libraries."""
    stream = BytesIO()
    logs.configure(level, "json", stream)
    async with edge_client(tmp_path) as client:
        await client.get("/health")
    logging.getLogger("uvicorn.error").info("not this")
    logging.getLogger("uvicorn.error").error("but this")
    assert [line["message"] for line in log_lines(stream)] == ["but this"]


def test_records_of_libraries_have_the_same_shape(log: BytesIO) -> None:
    """Uvicorn's loggers and those of everybody else; levels that only the standard library knows become info."""
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("some.library").log(25, "odd level")
    logging.getLogger("httpx").info("GET https://provider.example/?key=canary")
    lines = log_lines(log)
    assert [(line["level"], line["event"], line["logger"]) for line in lines] == [
        ("warning", "library", "uvicorn.error"),
        ("info", "library", "some.library"),
    ]
    assert lines[0]["message"] == "Invalid HTTP request received."


@pytest.mark.parametrize("name", ["httpx", "httpcore", "aiohttp", "sse_starlette", "sse_starlette.sse", "asyncio"])
def test_libraries_that_log_contents_stay_silent_at_debug(restored_logging: None, name: str) -> None:
    """sse-starlette writes every chunk at debug, which is the answer itself."""
    stream = BytesIO()
    logs.configure("debug", "json", stream)
    logging.getLogger(name).debug("chunk: canary")
    logging.getLogger(name).info("chunk: canary")
    assert stream.getvalue() == b""


def _raise(message: str) -> None:
    raise ValueError(message)


def test_exceptions_are_logged_by_type_and_place_only(log: BytesIO) -> None:
    """A message may quote a prompt, and does so in many libraries."""
    with pytest.raises(ValueError, match="canary") as caught:
        _raise("canary: the prompt")
    fields = logs.exception_fields(caught.value)
    logs.get_logger().error("it_failed", **fields)
    logging.getLogger("x").error("the library says", exc_info=caught.value)
    assert fields["error_type"] == "ValueError"
    assert fields["where"][-1].startswith("test_access_log.py:")
    assert fields["where"][-1].endswith(" _raise")
    assert [line["error_type"] for line in log_lines(log)] == ["ValueError", "ValueError"]
    assert b"canary" not in log.getvalue()


async def test_an_exception_that_nobody_fetched_is_logged_without_its_text(log: BytesIO) -> None:
    """Asyncio's own message quotes the exception in its second line."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    future.set_exception(ValueError("canary: the prompt"))
    loop.call_exception_handler(
        {"message": "Future exception was never retrieved", "exception": future.exception(), "future": future}
    )
    (line,) = log_lines(log)
    assert line["message"] == "Future exception was never retrieved"
    assert line["error_type"] == "ValueError"
    assert b"canary" not in log.getvalue()


SECRETS = [
    "lbapi_0123456789abcdefghijABCDEFGHIJ0123456789xyzXYZ",
    "sk-proj-0123456789abcdef_-0123456789",
    "sk-0123456789abcdef",
    "ghp_0123456789abcdefghij",
    "github_pat_0123456789_abcdefghij",
    "Bearer 0123456789+abc/def==",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_whatever_looks_like_a_key_is_masked(restored_logging: None, secret: str, log_format: str) -> None:
    """The last net: in any field of any line."""
    stream = BytesIO()
    logs.configure("info", log_format, stream)
    logs.get_logger().info("event", path=f"/keys/{secret}", nested={"a": [secret]})
    logging.getLogger("x").warning("used %s here", secret)
    written = stream.getvalue().decode()
    assert secret[-8:] not in written
    assert written.count("***") == 3


@pytest.mark.parametrize("harmless", ["/task-management-of-things", "/risk-assessment", "sk-", "bearer of bad news"])
def test_ordinary_words_are_not_masked(log: BytesIO, harmless: str) -> None:
    """A log that hides what it should say helps nobody."""
    logs.get_logger().info("event", path=harmless)
    assert log_lines(log)[0]["path"] == harmless


def test_values_that_json_does_not_know_are_written_as_text(log: BytesIO) -> None:
    """Logging must never be what fails."""
    logs.get_logger().info("event", value=object, other={1, 2})
    assert "object" in log_lines(log)[0]["value"]


async def test_every_request_at_once_has_its_own_line(tmp_path: Path, log: BytesIO) -> None:
    """Nothing is shared between requests that run at the same time."""
    async with edge_client(tmp_path, ECHO) as client:
        await asyncio.gather(*(client.get("/health", headers={"x-request-id": f"r{n}"}) for n in range(50)))
    assert sorted(line["request_id"] for line in request_lines(log)) == sorted(f"r{n}" for n in range(50))
