"""`langchain-openai`: its chat model and its embeddings."""

from __future__ import annotations

import _shared as shared
import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

ADDRESS = f"{shared.BASE_URL}/v1"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    shared.same(city, "Paris")
    return shared.TOOL_RESULT


def model(name: str = shared.MODEL, key: str = shared.KEY) -> ChatOpenAI:
    """Make the chat model as an application does."""
    return ChatOpenAI(base_url=ADDRESS, api_key=key, model=name, max_tokens=shared.MAX_TOKENS, stream_usage=True)


def check(answer: object) -> None:
    """Hold a whole answer."""
    shared.text(answer.text)
    reasons = ("stop", "length") if shared.REAL else ("stop",)
    shared.holds(answer.response_metadata["finish_reason"] in reasons, answer)
    counted = (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"])
    shared.holds(min(counted) > 0 if shared.REAL else counted == (7, 5), counted)


def chat() -> None:
    """Invoke it."""
    check(model().invoke(shared.HELLO))


def stream() -> None:
    """Add the pieces up, as the library lets one do."""
    pieces = list(model().stream(shared.HELLO))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    shared.holds(sum(bool(piece.text) for piece in pieces) > 1, pieces)
    check(whole)


def tools() -> None:
    """Go through both turns, whole and streamed."""
    bound = model().bind_tools([get_weather])
    for streamed in (False, True):
        history = [HumanMessage(shared.WEATHER)]
        first = _turn(bound, history, streamed)
        [call] = first.tool_calls
        shared.same((call["name"], call["args"]), ("get_weather", {"city": "Paris"}))
        result = get_weather.invoke(call)
        shared.holds(isinstance(result, ToolMessage), result)
        shared.text(_turn(bound, [*history, first, result], streamed).text, shared.TOOL_TEXT)


def _turn(bound: object, history: list, streamed: bool) -> object:
    if not streamed:
        return bound.invoke(history)
    first, *rest = bound.stream(history)
    for piece in rest:
        first += piece
    return first


def structured() -> None:
    """Read an answer as a type by each of the library's methods that all providers can do."""
    methods = ("json_schema",) if shared.REAL else ("json_schema", "function_calling")
    for method in methods:
        answer = model().with_structured_output(Person, method=method).invoke(shared.WHO)
        shared.person(answer.name, answer.age)


def image() -> None:
    """Show a picture in the library's own form of it."""
    picture = {"type": "image", "base64": shared.PNG, "mime_type": "image/png"}
    answer = model().invoke([HumanMessage([{"type": "text", "text": "What is this?"}, picture])])
    shared.text(answer.text, shared.IMAGE_TEXT)


def embeddings() -> None:
    """Embed without the tokens that the library would count with a file from the network."""
    embedder = OpenAIEmbeddings(
        base_url=ADDRESS, api_key=shared.KEY, model=shared.EMBEDDINGS_MODEL, check_embedding_ctx_length=False
    )
    shared.vectors(embedder.embed_documents(shared.WORDS))
    shared.vectors([embedder.embed_query(word) for word in shared.WORDS])


def error() -> None:
    """Meet an unknown model and a wrong key."""
    for action in (lambda m: m.invoke(shared.HELLO), lambda m: list(m.stream(shared.HELLO))):
        error = shared.fails(openai.NotFoundError, lambda a=action: a(model(shared.UNKNOWN_MODEL)))
        shared.same((error.status_code, error.code), (404, "model_not_found"))
        shared.holds(shared.UNKNOWN_MODEL in error.message, error.message)
        error = shared.fails(openai.AuthenticationError, lambda a=action: a(model(key="wrong")))
        shared.same((error.status_code, error.code), (401, "invalid_api_key"))


def abort() -> None:
    """Leave the generator after its first piece."""
    pieces = model().stream(shared.HELLO)
    for piece in pieces:
        if piece.text:
            break
    pieces.close()


def failover() -> None:
    """Notice nothing of a provider that fails."""
    check(model().invoke(shared.HELLO))
    shared.text("".join(piece.text for piece in model().stream(shared.HELLO)))


def cut() -> None:
    """Notice that an answer is not whole."""
    error = shared.cut(lambda: (piece.text for piece in model().stream(shared.HELLO)), openai.APIError)
    shared.same(error.code, "stream_interrupted")


shared.main(
    "langchain-openai",
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
