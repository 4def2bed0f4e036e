"""`instructor` around the `openai` package: structured answers, whole and streamed."""

from __future__ import annotations

import _shared as shared
import instructor
import openai
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel

WHO = [{"role": "user", "content": shared.WHO}]
MODES = (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA)
# A model of this size finds its way through a schema, and not through a tool.
USED = MODES[1:] if shared.REAL else MODES
NOT_STRUCTURED = shared.refuse("It gives structured answers only; what it wraps is the client openai.")


class Person(BaseModel):
    """The structured answer."""

    name: str
    age: int


def wrapped(mode: instructor.Mode, key: str = shared.KEY) -> instructor.Instructor:
    """Wrap the package's client."""
    return instructor.from_openai(openai.OpenAI(base_url=f"{shared.BASE_URL}/v1", api_key=key), mode=mode)


def ask(mode: instructor.Mode, key: str = shared.KEY, **fields: object) -> Person:
    """Ask for a person, once and not again when the answer does not fit."""
    wanted = {"model": shared.MODEL, "messages": WHO, "max_tokens": shared.MAX_TOKENS, **fields}
    return wrapped(mode, key).chat.completions.create(response_model=Person, max_retries=0, **wanted)


def parts(mode: instructor.Mode) -> list[Person]:
    """Ask for a person that grows while the answer streams."""
    return list(
        wrapped(mode).chat.completions.create_partial(
            response_model=Person, max_retries=0, model=shared.MODEL, messages=WHO, max_tokens=shared.MAX_TOKENS
        )
    )


def structured() -> None:
    """Ask in both modes, whole and streamed."""
    for mode in USED:
        answer = ask(mode)
        shared.person(answer.name, answer.age)
        last = parts(mode)[-1]
        shared.person(last.name, last.age)


def image() -> None:
    """Show a picture in its own form of it; it arrives, or the answer would be another."""
    picture = instructor.Image.from_base64(f"data:image/png;base64,{shared.PNG}")
    answer = wrapped(MODES[0]).chat.completions.create(
        response_model=None, model=shared.MODEL, messages=[{"role": "user", "content": ["What is this?", picture]}]
    )
    shared.text(answer.choices[0].message.content, shared.IMAGE_TEXT)


def error() -> None:
    """Meet an unknown model and a wrong key; it wraps the package's errors."""
    for mode in MODES:
        error = shared.fails(InstructorRetryException, lambda m=mode: ask(m, model=shared.UNKNOWN_MODEL))
        shared.holds(isinstance(_cause(error), openai.NotFoundError), error)
        shared.holds(shared.UNKNOWN_MODEL in str(error), error)
        error = shared.fails(InstructorRetryException, lambda m=mode: ask(m, key="wrong"))
        shared.holds(isinstance(_cause(error), openai.AuthenticationError), error)


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None and not isinstance(error, openai.APIError):
        error = error.__cause__
    return error


def failover() -> None:
    """Notice nothing of a provider that fails."""
    for mode in USED:
        answer = ask(mode)
        shared.person(answer.name, answer.age)
        last = parts(mode)[-1]
        shared.person(last.name, last.age)


def cut() -> None:
    """Notice that an answer is not whole."""
    for mode in MODES:
        shared.fails((InstructorRetryException, openai.APIError), lambda m=mode: parts(m))


shared.main(
    "instructor",
    {
        "list": NOT_STRUCTURED,
        "chat": NOT_STRUCTURED,
        "stream": NOT_STRUCTURED,
        "tools": NOT_STRUCTURED,
        "structured": structured,
        "image": image,
        "embeddings": NOT_STRUCTURED,
        "error": error,
        "abort": shared.refuse("It reads a stream to its end before it gives the first part."),
        "failover": failover,
        "cut": cut,
    },
)
