"""Providers that load models: no prompt to a context too small, nobody's answer unloaded, and work is no silence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.tokens import prompt_tokens
from providers import errors
from providers.base import StreamEvent
from routing.errors import AllTargetsBusy
from routing.plan import Route
from tests.routing.fakes import DONE, Fake, Setup, Step, collect, request, text
from tests.routing.virtual_time import in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.base import CompletionRequest, StreamItem

SLOW: tuple[Step, ...] = (5.0, "slow", DONE)


class Machine(Fake):
    """A machine with the models `x` and `y`, of which `loaded` are in memory."""

    def __init__(self, *scripts: tuple[Step, ...], loaded: str = "x", context: int | None = None) -> None:
        super().__init__(*scripts, context=context)
        self.loaded = set(loaded)

    def is_loaded(self, model: str) -> bool | None:
        """Say what stands in `loaded`."""
        return model in self.loaded if model in {"x", "y"} else None


def machine(*scripts: tuple[Step, ...], loaded: str = "x", beside: Fake | None = None, **each: Any) -> Setup:
    """Return a router over a machine `a` and, for the route `r`, another provider behind it."""
    fakes = [Machine(*scripts, loaded=loaded), *([beside] if beside else [])]
    route = Route((("a", "y"), *([("b", "m")] if beside else [])))
    return Setup(*fakes, routes={"r": route}, closed_models=("x", "y", "m"), **each)


async def ask(setup: Setup, model: str, **fields: Any) -> tuple[str, str]:
    """Ask for a whole answer; return who gave it and what it says."""
    answer = await setup.router.complete(setup.router.plan(model), request(**fields), caller="key")
    return answer.target.provider.name, answer.response.content


@in_virtual_time
async def test_a_load_goes_elsewhere_while_another_model_answers() -> None:
    """The other target may be slower or dearer, but unloading would end somebody's answer."""
    setup = machine(SLOW, beside=Fake())
    first = asyncio.create_task(ask(setup, "a/x"))
    await asyncio.sleep(1)
    assert await ask(setup, "r") == ("b", "hello")
    assert await first == ("a", "slow")
    assert (await ask(setup, "r"))[0] == "a"


@in_virtual_time
async def test_a_load_waits_for_the_answer_when_nobody_else_can() -> None:
    """And begins as soon as the answer is out."""
    setup = machine(SLOW)
    started = now()
    first = asyncio.create_task(ask(setup, "a/x"))
    await asyncio.sleep(1)
    assert await ask(setup, "r") == ("a", "slow")
    assert 10.0 <= now() - started < 10.5
    await first
    fake = setup.state("a").provider
    assert isinstance(fake, Machine)
    assert fake.most_open == 1


@in_virtual_time
async def test_the_wait_ends_at_the_first_tokens_limit() -> None:
    """A machine that is never free is a busy one, and the client hears when to come again."""
    setup = machine((1e6, "late", DONE))
    first = asyncio.create_task(ask(setup, "a/x"))
    await asyncio.sleep(1)
    started = now()
    with pytest.raises(AllTargetsBusy):
        await ask(setup, "r")
    assert 60.0 <= now() - started < 61.0
    first.cancel()
    await asyncio.wait([first])


@in_virtual_time
async def test_a_loaded_model_answers_beside_another_loaded_one() -> None:
    """Only what has to be loaded can unload anything; unknown models are as before."""
    setup = machine(SLOW, loaded="xy")
    first = asyncio.create_task(ask(setup, "a/x"))
    await asyncio.sleep(1)
    started = now()
    answers = list(await asyncio.gather(ask(setup, "r"), ask(setup, "a/x"), ask(setup, "a/m")))
    assert answers == [("a", "slow")] * 3
    assert now() - started == pytest.approx(5.0)
    await first


@in_virtual_time
async def test_a_model_that_is_being_loaded_is_left_alone() -> None:
    """What was loaded before may be gone by now, and asking for it would unload the new one."""
    setup = machine(SLOW, loaded="x", beside=Fake())
    loading = asyncio.create_task(ask(setup, "r"))
    await asyncio.sleep(1)
    again = asyncio.create_task(ask(setup, "a/y"))
    await asyncio.sleep(0)
    old = asyncio.create_task(ask(setup, "a/x"))
    assert await loading == ("a", "slow")
    started = now()
    assert await again == ("a", "slow")
    assert now() - started == pytest.approx(1.0)
    assert await old == ("a", "slow")
    assert now() - started == pytest.approx(6.0, abs=0.2)


LONG = [{"role": "user", "content": "word " * 4_000}]


def two(small: int | None, large: int | None) -> Setup:
    """Return a router over two providers with these contexts, asked in this order."""
    setup = Setup(Fake(context=small), Fake(context=large))
    setup.router._prompt_tokens = prompt_tokens
    return setup


@pytest.mark.parametrize(
    ("small", "large", "by"),
    [(4_096, 16_384, "b"), (4_096, None, "b"), (None, 16_384, "a"), (8_192, 16_384, "a"), (2_048, 4_096, "a")],
)
@in_virtual_time
async def test_a_prompt_goes_where_it_fits(small: int | None, large: int | None, by: str) -> None:
    """Five thousand tokens; an unknown context is no small one, and if none fits the provider says so itself."""
    setup = two(small, large)
    assert (await setup.ask(messages=LONG)).target.provider.name == by
    call = setup.stream(messages=LONG)
    assert text(await collect(call)) == "hello"
    assert call.target is not None
    assert call.target.provider.name == by
    assert (await setup.ask()).target.provider.name == "a"


@in_virtual_time
async def test_a_picture_is_not_counted_as_text() -> None:
    """It comes as a million letters, and takes some hundred tokens."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    setup = two(4_096, 16_384)
    answer = await setup.ask(messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}, picture]}])
    assert answer.target.provider.name == "a"


class Working(Fake):
    """Says `reports` times, every 40 s, that it is at work, and then answers."""

    def __init__(self, reports: int) -> None:
        super().__init__()
        self.reports = reports

    async def stream_completion(self, request: CompletionRequest) -> AsyncIterator[StreamItem]:  # type: ignore[override]
        """Report, then answer."""
        for _ in range(self.reports):
            await asyncio.sleep(40)
            yield []
        await asyncio.sleep(40)
        yield [StreamEvent(content="done"), DONE]


@in_virtual_time
async def test_reports_of_work_keep_the_first_token_waited_for() -> None:
    """The limit is for silence; the limit of the whole attempt holds all the same."""
    setup = Setup(Working(5))
    call = setup.stream()
    assert text(await collect(call)) == "done"
    assert call.ttft_s == pytest.approx(240.0)
    endless = Setup(Working(1_000)).stream()
    with pytest.raises(errors.TotalTimedOut):
        await collect(endless)
