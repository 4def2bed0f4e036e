"""The echo provider is deterministic, and as slow and as finely cut as it is told to be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from providers.base import CompletionRequest
from providers.config import ProviderConfig
from providers.echo import EchoProvider
from tests.providers.support import collect, question, text_of


def echo(models: tuple[str, ...] | None = None, **options: Any) -> EchoProvider:
    """Return an echo with these options."""
    return EchoProvider(ProviderConfig("echo", "echo", models=models, options=options))


class Slept:
    """Stands in for `asyncio.sleep` and notes the waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[float] = []
        monkeypatch.setattr(asyncio, "sleep", self)

    async def __call__(self, seconds: float) -> None:
        """Note a wait and do not wait."""
        self.waits.append(seconds)


async def test_it_answers_with_the_last_user_message_twice_the_same() -> None:
    """Tests and first steps need an answer that can be foretold."""
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "naïve \u2028 日本語 🌍"},
        {"role": "system", "content": "be brief"},
    ]
    first = await collect(echo(), question(messages=messages))
    assert first == await collect(echo(), question(messages=messages))
    assert text_of(first) == "naïve \u2028 日本語 🌍"
    assert first[-1].finish_reason == "stop"
    assert first[-1].usage is not None
    assert (first[-1].usage.prompt_tokens, first[-1].usage.completion_tokens) == (7, 3)


@pytest.mark.parametrize(
    ("chars", "pieces"), [(1, ["a", "b", "c", "d", "e"]), (2, ["ab", "cd", "e"]), (0, list("abcde")), (99, ["abcde"])]
)
async def test_it_cuts_as_told(chars: int, pieces: list[str]) -> None:
    """Streams of any number of events can be had."""
    request = question(messages=[{"role": "user", "content": "abcde"}])
    events = await collect(echo(chunk_chars=chars), request)
    assert [event.content for event in events if event.content] == pieces


async def test_it_waits_before_the_first_piece_and_between_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow model can be imitated."""
    slept = Slept(monkeypatch)
    request = question(messages=[{"role": "user", "content": "abc"}])
    await collect(echo(chunk_chars=1, first_token_delay_s=0.5, chunk_delay_s=0.1), request)
    assert slept.waits == [0.5, 0.1, 0.1]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}, {"text": "b"}], "ab"),
        ([], ""),
        (None, ""),
        ([5, "x", {"text": 7}], ""),
    ],
)
async def test_it_reads_content_in_parts(content: Any, text: str) -> None:
    """Clients send text beside images as a list."""
    events = await collect(echo(), question(messages=[{"role": "user", "content": content}]))
    assert text_of(events) == text
    assert events[-1].commits, "an empty answer is an answer"


async def test_without_a_user_message_it_has_nothing_to_say() -> None:
    """It must not fail on requests that other providers would take."""
    assert text_of(await collect(echo(), question(messages=[{"role": "system", "content": "x"}]))) == ""
    assert text_of(await collect(echo(), CompletionRequest("m", {}))) == ""


async def test_a_whole_answer_is_the_streamed_one_together() -> None:
    """Both ways of asking give one text."""
    answer = await echo(chunk_chars=1).chat_completion(question("m"))
    assert (answer.content, answer.finish_reason, answer.model) == ("hi", "stop", "m")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 2


async def test_its_models_are_the_configured_ones_or_one_of_its_own() -> None:
    """It can stand in for any model."""
    assert await echo().get_models() == ["echo-1"]
    assert await echo(("gpt-4", "x")).get_models() == ["gpt-4", "x"]
    assert await echo().is_healthy()
