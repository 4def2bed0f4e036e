"""The official `openai` package as a client of the gateway, synchronous and asynchronous, with fixtures for both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.e2e.server import ADMIN_KEY, MODEL, Running

MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


class SDK(Protocol):
    """The package's client, asked in the same way whether it is the synchronous or the asynchronous one."""

    async def create(self, **fields: Any) -> ChatCompletion:
        """Ask for a whole answer."""

    async def chunks(self, **fields: Any) -> list[ChatCompletionChunk]:
        """Ask for a streamed answer and read it to its end."""

    async def models(self) -> list[str]:
        """List the models."""


class SyncSDK:
    """`openai.OpenAI` in a thread of its own."""

    def __init__(self, gateway: Running, **options: Any) -> None:
        self.client = openai.OpenAI(**options_of(gateway, options))

    async def create(self, **fields: Any) -> ChatCompletion:
        """Ask for a whole answer."""

        def ask() -> ChatCompletion:
            answer: ChatCompletion = self.client.chat.completions.create(**_fields(fields))
            return answer

        return await asyncio.to_thread(ask)

    async def chunks(self, **fields: Any) -> list[ChatCompletionChunk]:
        """Ask for a streamed answer and read it to its end."""

        def read() -> list[ChatCompletionChunk]:
            with self.client.chat.completions.create(**_fields(fields), stream=True) as stream:
                return list(stream)

        return await asyncio.to_thread(read)

    async def models(self) -> list[str]:
        """List the models."""
        return await asyncio.to_thread(lambda: [model.id for model in self.client.models.list()])

    async def aclose(self) -> None:
        """Close its connections."""
        self.client.close()


class AsyncSDK:
    """`openai.AsyncOpenAI`."""

    def __init__(self, gateway: Running, **options: Any) -> None:
        self.client = openai.AsyncOpenAI(**options_of(gateway, options))

    async def create(self, **fields: Any) -> ChatCompletion:
        """Ask for a whole answer."""
        answer: ChatCompletion = await self.client.chat.completions.create(**_fields(fields))
        return answer

    async def chunks(self, **fields: Any) -> list[ChatCompletionChunk]:
        """Ask for a streamed answer and read it to its end."""
        async with await self.client.chat.completions.create(**_fields(fields), stream=True) as stream:
            return [part async for part in stream]

    async def models(self) -> list[str]:
        """List the models."""
        return [model.id async for model in self.client.models.list()]

    async def aclose(self) -> None:
        """Close its connections."""
        await self.client.close()


def options_of(gateway: Running, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a client, those of the test last."""
    return {"base_url": f"http://127.0.0.1:{gateway.port}/v1", "api_key": ADMIN_KEY, "timeout": 20.0} | options


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {"model": MODEL, "messages": MESSAGES} | fields


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    """Return the text of a stream."""
    return "".join(part.choices[0].delta.content or "" for part in chunks if part.choices)


@pytest.fixture(autouse=True)
def _quiet_package() -> Iterator[None]:
    """Keep the package's own log lines out of the gateway's, since both are in this process."""
    loggers = [logging.getLogger(name) for name in ("anthropic", "openai", "httpx", "httpx2")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(params=[SyncSDK, AsyncSDK])
async def sdk(one: Running, request: pytest.FixtureRequest) -> AsyncIterator[SDK]:
    """Each of the two clients, which retry as the package does by default."""
    client = request.param(one)
    yield client
    await client.aclose()


@pytest.fixture
async def client(one: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous client itself."""
    async with AsyncSDK(one).client as made:
        yield made
