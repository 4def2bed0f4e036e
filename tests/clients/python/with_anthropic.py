"""The official `anthropic` package, on `/v1/messages`."""

from __future__ import annotations

import _shared as shared
import anthropic
from pydantic import BaseModel

HELLO = [{"role": "user", "content": shared.HELLO}]
TOOL = {"name": "get_weather", "description": "The weather of a city.", "input_schema": shared.CITY}


class Person(BaseModel):
    """The structured answer."""

    name: str
    age: int


def client(key: str = shared.KEY) -> anthropic.Anthropic:
    """Make the package's client with all its defaults."""
    return anthropic.Anthropic(base_url=shared.BASE_URL, api_key=key)


def ask(**fields: object) -> object:
    """Ask for a message."""
    wanted = {"model": shared.MODEL, "messages": HELLO, "max_tokens": shared.MAX_TOKENS, **fields}
    return client().messages.create(**wanted)


def gather(**fields: object) -> object:
    """Let the package put a streamed message together."""
    wanted = {"model": shared.MODEL, "messages": HELLO, "max_tokens": shared.MAX_TOKENS, **fields}
    with client().messages.stream(**wanted) as events:
        return events.get_final_message()


def list_models() -> None:
    """Fill a menu."""
    shared.holds(shared.MODEL in [model.id for model in client().models.list()], shared.MODEL)


def check(message: object) -> None:
    """Hold a whole message."""
    shared.text(message.content[0].text)
    shared.holds(message.stop_reason in (("end_turn", "max_tokens") if shared.REAL else ("end_turn",)), message)
    if shared.REAL:
        shared.holds(message.usage.input_tokens > 0 and message.usage.output_tokens > 0, message.usage)
    else:
        shared.same((message.usage.input_tokens, message.usage.output_tokens), (7, 5))


def chat() -> None:
    """Ask for a whole message."""
    check(ask())


def stream() -> None:
    """Read the pieces of a streamed message, and the message that the package makes of them."""
    with client().messages.stream(model=shared.MODEL, messages=HELLO, max_tokens=shared.MAX_TOKENS) as events:
        pieces = list(events.text_stream)
        message = events.get_final_message()
    shared.holds(len(pieces) > 1, pieces)
    shared.text("".join(pieces))
    check(message)


def tools() -> None:
    """Go through both turns, whole and streamed."""
    for turn in (ask, gather):
        history = [{"role": "user", "content": shared.WEATHER}]
        first = turn(messages=history, tools=[TOOL])
        shared.same(first.stop_reason, "tool_use")
        [use] = [block for block in first.content if block.type == "tool_use"]
        shared.same((use.name, use.input), ("get_weather", {"city": "Paris"}))
        history.append({"role": "assistant", "content": first.content})
        result = {"type": "tool_result", "tool_use_id": use.id, "content": shared.TOOL_RESULT}
        history.append({"role": "user", "content": [result]})
        shared.text(turn(messages=history, tools=[TOOL]).content[0].text, shared.TOOL_TEXT)


def structured() -> None:
    """Let the package read the message as a type."""
    answer = client().messages.parse(
        model=shared.MODEL,
        messages=[{"role": "user", "content": shared.WHO}],
        output_format=Person,
        max_tokens=shared.MAX_TOKENS,
    )
    shared.person(answer.parsed_output.name, answer.parsed_output.age)


def image() -> None:
    """Show a picture."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": shared.PNG}}
    answer = ask(messages=[{"role": "user", "content": [picture, {"type": "text", "text": "What is this?"}]}])
    shared.text(answer.content[0].text, shared.IMAGE_TEXT)


def error() -> None:
    """Meet an unknown model and a wrong key, whole and streamed."""
    for streamed in (False, True):
        error = shared.fails(anthropic.NotFoundError, lambda s=streamed: ask(model=shared.UNKNOWN_MODEL, stream=s))
        shared.same((error.status_code, error.body["error"]["type"]), (404, "not_found_error"))
        shared.holds(shared.UNKNOWN_MODEL in error.message, error.message)
        shared.holds(error.request_id, "a request id")
    wrong = client("wrong").messages
    error = shared.fails(anthropic.AuthenticationError, lambda: wrong.create(model="m", messages=HELLO, max_tokens=9))
    shared.same((error.status_code, error.body["error"]["type"]), (401, "authentication_error"))


def abort() -> None:
    """Close a stream after its first piece."""
    answer = ask(stream=True)
    for event in answer:
        if event.type == "content_block_delta":
            break
    answer.close()


def failover() -> None:
    """Notice nothing of a provider that fails."""
    check(ask())
    check(gather())


def cut() -> None:
    """Notice that a message is not whole, by hand and with the package's own helper."""
    shared.cut(
        lambda: (event.delta.text for event in ask(stream=True) if event.type == "content_block_delta"),
        anthropic.APIError,
    )
    shared.fails(anthropic.APIError, gather)


shared.main(
    "anthropic",
    {
        "list": list_models,
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "embeddings": shared.refuse("This dialect has no embeddings."),
        "error": error,
        "abort": abort,
        "failover": failover,
        "cut": cut,
    },
)
