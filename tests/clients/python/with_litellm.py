"""`litellm` as a client, by both of its ways to the gateway: `openai/` on `/v1` and `anthropic/` on `/v1/messages`."""

from __future__ import annotations

import asyncio
import json
import os

# Otherwise it fetches a table of prices from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import _shared as shared
import litellm
from pydantic import BaseModel

WAYS = {"openai": f"{shared.BASE_URL}/v1", "anthropic": shared.BASE_URL}
HELLO = [{"role": "user", "content": shared.HELLO}]


class Person(BaseModel):
    """The structured answer."""

    name: str
    age: int


def ask(way: str, model: str = shared.MODEL, **fields: object) -> object:
    """Ask for a chat."""
    wanted = {"messages": HELLO, "max_tokens": shared.MAX_TOKENS, "api_key": shared.KEY, **fields}
    return litellm.completion(model=f"{way}/{model}", api_base=WAYS[way], **wanted)


def list_models() -> None:
    """Fill a menu."""
    models = litellm.get_valid_models(
        check_provider_endpoint=True, custom_llm_provider="openai", api_key=shared.KEY, api_base=WAYS["openai"]
    )
    shared.holds(any(model in (shared.MODEL, f"openai/{shared.MODEL}") for model in models), models)


def check(answer: object) -> None:
    """Hold a whole answer."""
    shared.text(answer.choices[0].message.content)
    shared.holds(answer.choices[0].finish_reason in (("stop", "length") if shared.REAL else ("stop",)), answer)
    counted = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    shared.holds(min(counted) > 0 if shared.REAL else counted == (7, 5), counted)


def gather(way: str, **fields: object) -> object:
    """Let the package put a streamed answer together."""
    messages = fields.get("messages", HELLO)
    chunks = list(ask(way, stream=True, stream_options={"include_usage": True}, **fields))
    return litellm.stream_chunk_builder(chunks, messages=messages)


def chat() -> None:
    """Ask for a whole answer."""
    for way in WAYS:
        check(ask(way))


def stream() -> None:
    """Read the pieces, and let the package put them together."""
    for way in WAYS:
        pieces = [chunk.choices[0].delta.content for chunk in ask(way, stream=True)]
        shared.holds(sum(map(bool, pieces)) > 1, pieces)
        shared.text("".join(filter(None, pieces)))
        check(gather(way))


def tools() -> None:
    """Go through both turns, whole and streamed."""
    for way in WAYS:
        for turn in (ask, gather):
            history = [{"role": "user", "content": shared.WEATHER}]
            first = turn(way, messages=history, tools=[shared.OPENAI_TOOL]).choices[0]
            shared.same(first.finish_reason, "tool_calls")
            [call] = first.message.tool_calls
            shared.same((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))
            history.append(first.message.model_dump(exclude_none=True))
            history.append({"role": "tool", "tool_call_id": call.id, "content": shared.TOOL_RESULT})
            second = turn(way, messages=history, tools=[shared.OPENAI_TOOL])
            shared.text(second.choices[0].message.content, shared.TOOL_TEXT)


def structured() -> None:
    """Give it a type; by Anthropic's way it makes a tool of it."""
    for way in ("openai",) if shared.REAL else WAYS:
        answer = ask(way, messages=[{"role": "user", "content": shared.WHO}], response_format=Person)
        found = json.loads(answer.choices[0].message.content)
        shared.person(found["name"], found["age"])


def image() -> None:
    """Show a picture."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{shared.PNG}"}}
    for way in WAYS:
        answer = ask(way, messages=[{"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}])
        shared.text(answer.choices[0].message.content, shared.IMAGE_TEXT)


def embeddings() -> None:
    """Embed two words."""
    answer = litellm.embedding(
        model=f"openai/{shared.EMBEDDINGS_MODEL}", input=shared.WORDS, api_base=WAYS["openai"], api_key=shared.KEY
    )
    shared.vectors([one["embedding"] for one in answer.data])


def error() -> None:
    """Meet an unknown model and a wrong key, whole and streamed."""
    for way in WAYS:
        for streamed in (False, True):
            error = shared.fails(
                litellm.NotFoundError, lambda w=way, s=streamed: ask(w, shared.UNKNOWN_MODEL, stream=s)
            )
            shared.same(error.status_code, 404)
            shared.holds(shared.UNKNOWN_MODEL in error.message.partition(" - ")[2], error.message)
            error = shared.fails(
                litellm.AuthenticationError, lambda w=way, s=streamed: ask(w, api_key="wrong", stream=s)
            )
            shared.same(error.status_code, 401)


def abort() -> None:
    """Close a stream after its first piece."""
    asyncio.run(_leave())


async def _leave() -> None:
    for way, address in WAYS.items():
        wanted = {"messages": HELLO, "max_tokens": shared.MAX_TOKENS, "api_key": shared.KEY, "stream": True}
        answer = await litellm.acompletion(model=f"{way}/{shared.MODEL}", api_base=address, **wanted)
        async for chunk in answer:
            if chunk.choices[0].delta.content:
                break
        await answer.aclose()


def failover() -> None:
    """Notice nothing of a provider that fails."""
    for way in WAYS:
        check(ask(way))
        check(gather(way))


def cut() -> None:
    """Notice that an answer is not whole; the class is its own, for an answer that might be had elsewhere."""
    for way in WAYS:
        shared.cut(
            lambda w=way: (chunk.choices[0].delta.content for chunk in ask(w, stream=True)),
            litellm.exceptions.MidStreamFallbackError,
        )


shared.main(
    "litellm",
    {
        "list": list_models,
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
