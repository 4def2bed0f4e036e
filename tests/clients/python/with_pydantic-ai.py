"""`pydantic-ai`: its agents with OpenAI's model on `/v1` and Anthropic's on `/v1/messages`, and its embedder."""

from __future__ import annotations

import asyncio
import base64

import _shared as shared
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput, ToolOutput
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import AgentRunError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

WAYS = ("openai", "anthropic")


class Person(BaseModel):
    """The structured answer."""

    name: str
    age: int


def openai_provider(key: str = shared.KEY) -> OpenAIProvider:
    """The gateway as OpenAI's provider."""
    return OpenAIProvider(base_url=f"{shared.BASE_URL}/v1", api_key=key)


def agent(way: str, name: str = shared.MODEL, key: str = shared.KEY, **options: object) -> Agent:
    """Make an agent."""
    if way == "openai":
        model = OpenAIChatModel(name, provider=openai_provider(key))
    else:
        model = AnthropicModel(name, provider=AnthropicProvider(base_url=shared.BASE_URL, api_key=key))
    return Agent(model, model_settings={"max_tokens": shared.MAX_TOKENS}, **options)


def usage(counted: object) -> None:
    """Hold the count of one answer."""
    found = (counted.input_tokens, counted.output_tokens)
    shared.holds(min(found) > 0 if shared.REAL else found == (7, 5), found)


def chat() -> None:
    """Run an agent once."""
    for way in WAYS:
        result = agent(way).run_sync(shared.HELLO)
        shared.text(result.output)
        usage(result.usage)
        reasons = ("stop", "length") if shared.REAL else ("stop",)
        shared.holds(result.response.finish_reason in reasons, result.response)


def stream() -> None:
    """Run an agent and read the pieces of its text."""
    for way in WAYS:
        asyncio.run(_stream(way))


async def _stream(way: str) -> None:
    async with agent(way).run_stream(shared.HELLO) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        shared.text("".join(pieces))
        shared.holds(len(pieces) > 1, pieces)
        usage(result.usage)


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    shared.same(city, "Paris")
    return shared.TOOL_RESULT


def tools() -> None:
    """Let an agent go through both turns, whole and streamed."""
    for way in WAYS:
        result = agent(way, tools=[get_weather]).run_sync(shared.WEATHER)
        shared.text(result.output, shared.TOOL_TEXT)
        asyncio.run(_streamed_tools(way))


async def _streamed_tools(way: str) -> None:
    async with agent(way, tools=[get_weather]).run_stream(shared.WEATHER) as result:
        shared.text(await result.get_output(), shared.TOOL_TEXT)


def structured() -> None:
    """Ask for a type in the library's ways; models of Anthropic's that it does not know it asks by a tool only.

    That is beyond a model as small as the real one.
    """
    asked = [("openai", NativeOutput)]
    if not shared.REAL:
        asked += [("openai", ToolOutput), ("anthropic", ToolOutput)]
    for way, kind in asked:
        answer = agent(way, output_type=kind(Person)).run_sync(shared.WHO).output
        shared.person(answer.name, answer.age)


def image() -> None:
    """Show a picture."""
    picture = BinaryContent(base64.b64decode(shared.PNG), media_type="image/png")
    for way in WAYS:
        shared.text(agent(way).run_sync(["What is this?", picture]).output, shared.IMAGE_TEXT)


def embeddings() -> None:
    """Embed two words."""
    embedder = Embedder(OpenAIEmbeddingModel(shared.EMBEDDINGS_MODEL, provider=openai_provider()))
    shared.vectors([list(vector) for vector in embedder.embed_documents_sync(shared.WORDS).embeddings])


def error() -> None:
    """Meet an unknown model and a wrong key."""
    for way in WAYS:
        error = shared.fails(ModelHTTPError, lambda w=way: agent(w, shared.UNKNOWN_MODEL).run_sync(shared.HELLO))
        shared.same((error.status_code, error.model_name), (404, shared.UNKNOWN_MODEL))
        shared.holds("not_found" in str(error.body) and shared.UNKNOWN_MODEL in str(error.body), error.body)
        error = shared.fails(ModelHTTPError, lambda w=way: agent(w, key="wrong").run_sync(shared.HELLO))
        shared.same(error.status_code, 401)


def abort() -> None:
    """Leave a stream after its first piece, while the program goes on."""
    asyncio.run(_leave())


async def _leave() -> None:
    for way in WAYS:
        async with agent(way).run_stream(shared.HELLO) as result:
            async for _ in result.stream_text(delta=True, debounce_by=None):
                break


def failover() -> None:
    """Notice nothing of a provider that fails."""
    chat()
    stream()


def cut() -> None:
    """Notice that an answer is not whole."""
    for way in WAYS:
        seen = []
        shared.fails(AgentRunError, lambda w=way, s=seen: asyncio.run(_read(w, s)))
        shared.same("".join(seen), "tok0 tok1 ")


async def _read(way: str, seen: list[str]) -> None:
    async with agent(way).run_stream(shared.HELLO) as result:
        async for piece in result.stream_text(delta=True, debounce_by=None):
            seen += [piece]


shared.main(
    "pydantic-ai-slim",
    {
        "list": shared.refuse("It lists no models."),
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "embeddings": embeddings,
        "error": error,
        "abort": abort,
        "failover": failover,
        "cut": cut,
    },
)
