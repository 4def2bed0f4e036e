"""The official `openai` package."""

from __future__ import annotations

import json

import _shared as shared
import openai
from pydantic import BaseModel

HELLO = [{"role": "user", "content": shared.HELLO}]


class Person(BaseModel):
    """The structured answer."""

    name: str
    age: int


def client(key: str = shared.KEY) -> openai.OpenAI:
    """Make the package's client with all its defaults."""
    return openai.OpenAI(base_url=f"{shared.BASE_URL}/v1", api_key=key)


def ask(**fields: object) -> object:
    """Ask for a chat."""
    wanted = {"model": shared.MODEL, "messages": HELLO, "max_tokens": shared.MAX_TOKENS, **fields}
    return client().chat.completions.create(**wanted)


def list_models() -> None:
    """Fill a menu."""
    shared.holds(shared.MODEL in [model.id for model in client().models.list()], shared.MODEL)


def check(answer: object) -> None:
    """Hold a whole answer."""
    shared.text(answer.choices[0].message.content)
    shared.holds(answer.choices[0].finish_reason in (("stop", "length") if shared.REAL else ("stop",)), answer)
    usage = answer.usage
    if shared.REAL:
        shared.holds(usage.prompt_tokens > 0 and usage.completion_tokens > 0, usage)
    else:
        shared.same((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (7, 5, 12))


def chat() -> None:
    """Ask for a whole answer."""
    check(ask())


def stream() -> None:
    """Read a streamed answer by hand, and let the package put one together."""
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    shared.holds(len(pieces) > 1, pieces)
    shared.text("".join(pieces))
    shared.holds(chunks[-1].usage.total_tokens > 0, chunks[-1])
    with client().chat.completions.stream(
        model=shared.MODEL, messages=HELLO, max_tokens=shared.MAX_TOKENS, stream_options={"include_usage": True}
    ) as events:
        check(events.get_final_completion())


def tools() -> None:
    """Go through both turns, whole and streamed."""
    for streamed in (False, True):
        history = [{"role": "user", "content": shared.WEATHER}]
        first = _final(history, streamed)
        shared.same(first.finish_reason, "tool_calls")
        [call] = first.message.tool_calls
        shared.same((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))
        history.append(first.message.to_dict())
        history.append({"role": "tool", "tool_call_id": call.id, "content": shared.TOOL_RESULT})
        shared.text(_final(history, streamed).message.content, shared.TOOL_TEXT)


def _final(history: list[dict], streamed: bool) -> object:
    if not streamed:
        return ask(messages=history, tools=[shared.OPENAI_TOOL]).choices[0]
    with client().chat.completions.stream(model=shared.MODEL, messages=history, tools=[shared.OPENAI_TOOL]) as events:
        return events.get_final_completion().choices[0]


def structured() -> None:
    """Let the package read the answer as a type."""
    answer = client().chat.completions.parse(
        model=shared.MODEL,
        messages=[{"role": "user", "content": shared.WHO}],
        response_format=Person,
        max_tokens=shared.MAX_TOKENS,
    )
    parsed = answer.choices[0].message.parsed
    shared.person(parsed.name, parsed.age)


def image() -> None:
    """Show a picture."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{shared.PNG}"}}
    answer = ask(messages=[{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}])
    shared.text(answer.choices[0].message.content, shared.IMAGE_TEXT)


def embeddings() -> None:
    """Ask as the package does by default, for base64 that it decodes, and for numbers."""
    for options in ({}, {"encoding_format": "float"}):
        answer = client().embeddings.create(model=shared.EMBEDDINGS_MODEL, input=shared.WORDS, **options)
        shared.vectors([one.embedding for one in answer.data])


def error() -> None:
    """Meet an unknown model and a wrong key, whole and streamed."""
    for streamed in (False, True):
        error = shared.fails(openai.NotFoundError, lambda s=streamed: ask(model=shared.UNKNOWN_MODEL, stream=s))
        shared.same((error.status_code, error.code, error.param), (404, "model_not_found", "model"))
        shared.holds(shared.UNKNOWN_MODEL in error.message, error.message)
        shared.holds(error.request_id, "a request id")
    error = shared.fails(openai.AuthenticationError, client("wrong").models.list)
    shared.same((error.status_code, error.code), (401, "invalid_api_key"))


def abort() -> None:
    """Close a stream after its first piece."""
    answer = ask(stream=True)
    for chunk in answer:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    answer.close()


def failover() -> None:
    """Notice nothing of a provider that fails."""
    check(ask())
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(stream=True)]
    shared.text("".join(pieces))


def cut() -> None:
    """Notice that an answer is not whole, by hand and with the package's own helper."""
    broken = shared.cut(lambda: (chunk.choices[0].delta.content for chunk in ask(stream=True)), openai.APIError)
    shared.same(broken.code, "stream_interrupted")

    def gather() -> object:
        with client().chat.completions.stream(model=shared.MODEL, messages=HELLO) as events:
            return events.get_final_completion()

    shared.same(shared.fails(openai.APIError, gather).code, "stream_interrupted")


shared.main(
    "openai",
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
