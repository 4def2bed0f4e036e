"""LM Studio behind a whole gateway: where prompts go, what is never unloaded, and a client that is kept company."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.dialects.openai import DONE
from tests.e2e.client import LUNARBIT, OPENAI, Mode, ask, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import provider
from tests.upstream import Script, Upstream
from tests.upstream.frames import event, lmstudio_v1_models, text_stream
from tests.upstream.steps import Body, End, Head, Sleep

LONG = [{"role": "user", "content": "word " * 4_000}]
ROUTE = {"routing": {"routes": {"chat": {"targets": ["lm/small", "b/gpt-4"]}}}}


def lmstudio(up: Upstream, **settings: Any) -> dict[str, Any]:
    """Return the settings of an LM Studio machine at `up`, whose models are discovered."""
    return provider(up.origin, kind="lmstudio", models=None, **settings)


async def test_a_long_prompt_goes_to_the_target_that_takes_it(start: Start, a: Upstream, b: Upstream) -> None:
    """The machine's context is known from its state page, before anybody has asked it."""
    a.lmstudio_v1 = lmstudio_v1_models({"small": 4_096})
    gateway = await start({"lm": lmstudio(a), "b": provider(b)}, **ROUTE)
    for mode in (Mode(OPENAI, stream=True), Mode(LUNARBIT, stream=False)):
        assert_whole(await ask(gateway, mode, model="chat"), "Hello world", "lm", 1)
        long = await ask(gateway, mode, model="chat", messages=LONG)
        assert (long.status, long.headers["x-lunarbit-provider"]) == (200, "b")
    assert [len(up.chat_requests) for up in (a, b)] == [2, 2]
    assert len([call for call in a.requests if call.path == "/api/v1/models"]) <= 2


async def test_a_model_that_answers_is_not_unloaded(start: Start, a: Upstream, b: Upstream) -> None:
    """A load goes elsewhere while it would disturb, and to the machine when it would not."""
    a.lmstudio_v1 = lmstudio_v1_models({"big": 8_192}, ["small"])
    gateway = await start({"lm": lmstudio(a), "b": provider(b)}, **ROUTE)
    mode = Mode(OPENAI, stream=True)
    a.queue(Script.text("first", hold_after=1))
    first = asyncio.create_task(ask(gateway, mode, model="lm/big"))
    await a.wait_for(lambda: a.in_flight)
    assert_whole(await ask(gateway, mode, model="chat"), "Hello world", "b", 1)
    waiting = asyncio.create_task(ask(gateway, mode, model="lm/small"))
    await asyncio.sleep(0.2)
    assert len(a.chat_requests) == 1
    a.release.set()
    assert_whole(await first, "first", "lm", 1)
    assert_whole(await waiting, "Hello world", "lm", 1)
    assert_whole(await ask(gateway, mode, model="chat"), "Hello world", "lm", 1)


async def test_progress_keeps_both_sides_patient(start: Start, a: Upstream) -> None:
    """Far longer than the first token may take in silence, with comments for the client meanwhile."""
    report = b'event: prompt_processing.progress\ndata: {"type":"prompt_processing.progress","progress":0.5}\n\n'
    answer = b"".join(event(payload) for payload in text_stream("Hello world", model="small")) + DONE
    reports = [step for _ in range(8) for step in (Sleep(0.15), Body(report))]
    a.default = Script.steps(Head(), *reports, Body(answer), End())
    a.lmstudio_v1 = lmstudio_v1_models({"small": 8_192})
    gateway = await start(
        {"lm": lmstudio(a, timeouts={"first_token_s": 0.6})}, stream={"ping_s": 0.2, "send_timeout_s": 30.0}
    )
    seen = await ask(gateway, Mode(OPENAI, stream=True), model="lm/small")
    assert seen.is_whole
    assert seen.text == "Hello world"
    assert seen.pings >= 2
    assert b"prompt_processing" not in seen.reply.body
