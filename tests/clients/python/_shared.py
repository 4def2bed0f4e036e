"""What the programs share: their surroundings, the expected answers, and the report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version

BASE_URL = os.environ["LUNARBIT_BASE_URL"]
KEY = os.environ["LUNARBIT_KEY"]
MODEL = os.environ["LUNARBIT_MODEL"]
EMBEDDINGS_MODEL = os.environ["LUNARBIT_EMBEDDINGS_MODEL"]
REAL = os.environ["LUNARBIT_SERVER"] == "real"
UNKNOWN_MODEL = "no-such-model"

TEXT = "Hello from the moon."
HELLO = "Say hello."
WEATHER = "What is the weather in Paris?"
TOOL_RESULT = "15 degrees"
TOOL_TEXT = "It is 15 degrees in Paris."
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WHO = "Who is she? Give her name and her age."
WORDS = ["moon", "lunar"]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE_TEXT = "I see the moon."
MAX_TOKENS = 64 if REAL else 100
TOOL_SCHEMA = {"name": "get_weather", "description": "The weather of a city.", "parameters": CITY}
OPENAI_TOOL = {"type": "function", "function": TOOL_SCHEMA}


class NotApplicable(Exception):
    """The client itself cannot do this; the argument says why."""


def same(found: object, expected: object) -> None:
    """Hold that two values are equal."""
    if found != expected:
        raise AssertionError(f"{found!r} instead of {expected!r}")


def holds(truth: object, what: object = None) -> None:
    """Hold that something is true; `what` is shown when it is not."""
    if not truth:
        raise AssertionError(f"does not hold: {what!r}")


def text(found: str | None, expected: str = TEXT) -> None:
    """Hold a text to the scripted one, or a real one to not being empty."""
    if REAL:
        holds(found, "a text")
    else:
        same(found, expected)


def vectors(found: list[list[float]]) -> None:
    """Hold the vectors of `WORDS`."""
    if REAL:
        holds(len(found) == len(WORDS) and all(len(vector) > 100 for vector in found), [len(one) for one in found])
    else:
        same([list(vector) for vector in found], [[float(len(word)), 0.5, -1.0] for word in WORDS])


def person(name: object, age: object) -> None:
    """Hold the structured answer."""
    if REAL:
        holds(isinstance(name, str) and isinstance(age, int), (name, age))
    else:
        same((name, age), ("Luna", 4))


def fails(kind: type[BaseException] | tuple[type[BaseException], ...], action: Callable[[], object]) -> BaseException:
    """Hold that an action raises, and return what it raised."""
    try:
        result = action()
    except kind as error:
        return error
    raise AssertionError(f"{result!r} instead of {kind}")


def cut(pieces: Callable[[], Iterable[str | None]], kind: type[BaseException]) -> BaseException:
    """Hold that a stream breaks with an error after its first pieces, and return the error."""
    seen = ""

    def read() -> None:
        nonlocal seen
        for piece in pieces():
            seen += piece or ""

    error = fails(kind, read)
    same(seen, "tok0 tok1 ")
    return error


def report(status: str, package: str, **members: str) -> None:
    """Print the program's one line."""
    sys.stdout.write(json.dumps({"status": status, "version": version(package), **members}) + "\n")
    sys.stdout.flush()


def main(package: str, cases: dict[str, Callable[[], None]]) -> None:
    """Run the case that the command line names. A case that `cases` lacks is one to add, and fails."""
    case = sys.argv[1]
    try:
        cases[case]()
    except NotApplicable as reason:
        report("not-applicable", package, reason=str(reason))
        return
    report("ok", package)
    if case == "abort":
        # Our own end must not be what ends the answer.
        sys.stdin.read()


def refuse(reason: str) -> Callable[[], None]:
    """Return a case that the client cannot do."""

    def case() -> None:
        raise NotApplicable(reason)

    return case
