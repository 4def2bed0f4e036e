"""Azure OpenAI behind both surfaces: its frames about filters commit nothing, and its token never shows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import MODES, STREAMS, Mode, ask, assert_error, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import MODEL, Running, provider
from tests.upstream import Script, Upstream

CANARY = "canary-of-an-entra-token"
STYLES = [{}, {"api_version": "2024-10-21"}]


def azure(up: Upstream, **settings: Any) -> dict[str, Any]:
    """Return the settings of an Azure resource at `up`."""
    return provider(up.origin, kind="azure_openai", **settings)


@pytest.fixture(params=STYLES, ids=["v1", "dated"])
async def mixed(start: Start, a: Upstream, b: Upstream, request: pytest.FixtureRequest) -> Running:
    """A gateway with the Azure resource `a`, and `b` behind it."""
    return await start({"a": azure(a, **request.param), "b": provider(b)})


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_both_surfaces_answer(mixed: Running, a: Upstream, mode: Mode) -> None:
    """Frames that are no content are in nobody's text."""
    a.default = Script.azure_stream("Hello world") if mode.stream else Script.text("Hello world")
    assert_whole(await ask(mixed, mode), "Hello world", "a", 1)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_an_error_behind_the_first_frames_moves_on(mixed: Running, a: Upstream, mode: Mode) -> None:
    """The frame about the prompt is no content, so another provider may still answer."""
    a.default = Script.azure_error_in_stream("503")
    seen = await ask(mixed, mode)
    assert_whole(seen, "Hello world", "b", 2)
    assert b"prompt_filter_results" not in seen.reply.body


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_an_error_behind_content_ends_the_answer(mixed: Running, a: Upstream, b: Upstream, mode: Mode) -> None:
    """What has gone out cannot be taken back."""
    a.default = Script.azure_error_in_stream("500", "Hello")
    seen = await ask(mixed, mode)
    assert seen.text == "Hello"
    assert_error(seen, 502, "PROVIDER_ERROR")
    assert not b.chat_requests


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_blocked_prompt_is_asked_nobody_else(mixed: Running, a: Upstream, b: Upstream, mode: Mode) -> None:
    """The client hears the vendor's reason."""
    a.default = Script.azure_content_filter()
    assert_error(await ask(mixed, mode), 400, "CONTENT_FILTERED")
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 0)


async def test_a_command_gives_the_token_and_nobody_sees_it(start: Start, a: Upstream, tmp_path: Path) -> None:
    """From the health check at the start to an answer, with the token renewed when it is refused."""
    (tmp_path / "now").write_text(CANARY)
    code = f"print(open({str(tmp_path / 'now')!r}).read())"
    a.require_key = CANARY
    settings = azure(a, api_key="", token_command=[sys.executable, "-c", code])
    gateway = await start({"a": settings})
    mode = MODES[0]
    assert_whole(await ask(gateway, mode), "Hello world", "a", 1)
    a.require_key = f"{CANARY}-2"
    (tmp_path / "now").write_text(f"{CANARY}-2")
    bearer = gateway.provider("a").provider._bearer  # type: ignore[attr-defined]
    bearer._read_at = 0.0
    assert_whole(await ask(gateway, mode), "Hello world", "a", 1)
    assert gateway.target("a", MODEL).breaker.is_closed
    a.require_key = "another"
    seen = await ask(gateway, mode)
    assert seen.status in {502, 503} or b"error" in seen.reply.body
    assert CANARY.encode() not in gateway.output.getvalue() + seen.reply.body
