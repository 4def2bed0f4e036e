"""The official `openai` package on `/v1/responses`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import _shared as shared
import openai
from pydantic import BaseModel

TOOL = {"type": "function", "strict": False, **shared.TOOL_SCHEMA}


class Person(BaseModel):
    """The structured answer."""

    name: str
    age: int


def client(key: str = shared.KEY) -> openai.OpenAI:
    """Make the package's client with all its defaults."""
    return openai.OpenAI(base_url=f"{shared.BASE_URL}/v1", api_key=key)


def wanted(fields: dict[str, object]) -> dict[str, object]:
    """Return the fields of a request."""
    limit = {"max_output_tokens": shared.MAX_TOKENS}
    return {"model": shared.MODEL, "input": shared.HELLO, **limit, **fields}


def ask(**fields: object) -> object:
    """Ask for a response."""
    return client().responses.create(**wanted(fields))


def gather(**fields: object) -> object:
    """Let the package put a streamed response together."""
    with client().responses.stream(**wanted(fields)) as events:
        return events.get_final_response()


def list_models() -> None:
    """Fill a menu."""
    shared.holds(shared.MODEL in [model.id for model in client().models.list()], shared.MODEL)


def check(response: object) -> None:
    """Hold a whole response."""
    shared.text(response.output_text)
    shared.holds(response.status in (("completed", "incomplete") if shared.REAL else ("completed",)), response)
    counted = (response.usage.input_tokens, response.usage.output_tokens)
    shared.holds(min(counted) > 0 if shared.REAL else counted == (7, 5), counted)


def chat() -> None:
    """Ask for a whole response."""
    check(ask())


def stream() -> None:
    """Read the events, which are numbered, and the response that the package makes of them."""
    events = list(ask(stream=True))
    shared.same([event.sequence_number for event in events], list(range(len(events))))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    shared.holds(len(pieces) > 1, pieces)
    shared.text("".join(pieces))
    check(events[-1].response)
    check(gather())


def tools() -> None:
    """Go through both turns, whole and streamed."""
    for turn in (ask, gather):
        history = [{"role": "user", "content": shared.WEATHER}]
        first = turn(input=history, tools=[TOOL])
        [call] = [item for item in first.output if item.type == "function_call"]
        shared.same((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Paris"}))
        result = {"type": "function_call_output", "call_id": call.call_id, "output": shared.TOOL_RESULT}
        shared.text(turn(input=[*history, *first.output, result], tools=[TOOL]).output_text, shared.TOOL_TEXT)


def structured() -> None:
    """Let the package read the response as a type."""
    response = client().responses.parse(**wanted({"input": shared.WHO, "text_format": Person}))
    shared.person(response.output_parsed.name, response.output_parsed.age)


def image() -> None:
    """Show a picture."""
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{shared.PNG}", "detail": "auto"}
    content = [{"type": "input_text", "text": "What is this?"}, picture]
    shared.text(ask(input=[{"role": "user", "content": content}]).output_text, shared.IMAGE_TEXT)


def error() -> None:
    """Meet an unknown model and a wrong key, whole and streamed."""
    for streamed in (False, True):
        error = shared.fails(openai.NotFoundError, lambda s=streamed: ask(model=shared.UNKNOWN_MODEL, stream=s))
        shared.same((error.status_code, error.code), (404, "model_not_found"))
        shared.holds(shared.UNKNOWN_MODEL in error.message, error.message)
        shared.holds(error.request_id, "a request id")
    wrong = client("wrong").responses
    error = shared.fails(openai.AuthenticationError, lambda: wrong.create(model="m", input=shared.HELLO))
    shared.same((error.status_code, error.code), (401, "invalid_api_key"))


def abort() -> None:
    """Close a stream after its first piece."""
    answer = ask(stream=True)
    for event in answer:
        if event.type == "response.output_text.delta":
            break
    answer.close()


def failover() -> None:
    """Notice nothing of a provider that fails."""
    check(ask())
    check(gather())


def cut() -> None:
    """Notice that a response is not whole, by hand and with the package's own helper."""
    kinds = []

    def deltas() -> Iterator[str]:
        for event in ask(stream=True):
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                yield event.delta

    shared.cut(deltas, openai.APIError)
    shared.same(kinds[-1], "response.failed")
    shared.fails(openai.APIError, gather)


shared.main(
    "openai",
    {
        "list": list_models,
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "embeddings": shared.refuse("This API has no embeddings."),
        "error": error,
        "abort": abort,
        "failover": failover,
        "cut": cut,
    },
)
