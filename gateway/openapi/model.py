"""What is said of an operation beside what its row in the route table says already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.field_rules import Schema

if TYPE_CHECKING:
    from gateway.errors import GatewayError

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


class Events(NamedTuple):
    """A stream of events: the name of each kind (empty for those without one) and the type of its data, and an example.

    `last` is the data of a last event that is no JSON.
    """

    kinds: tuple[tuple[str, Any], ...]
    example: str
    last: str = ""


class Answer(NamedTuple):
    """One way in which an operation succeeds.

    `body` is the type of a JSON answer, a tuple of those that it can be, `Events`, the JSON Schema of a text, or None
    without a body. `headers` name those of `headers.HEADERS` that it has besides the usual ones.
    """

    status: int
    description: str
    body: Any = None
    media_type: str = JSON
    headers: tuple[str, ...] = ()
    example: Any = None


class Body(NamedTuple):
    """The body of a request: the name of its schema, and an example that the gateway takes."""

    schema: str
    example: Any
    required: bool = True


class Operation(NamedTuple):
    """What one row of the route table does not say. `name` tells it from another row with the same endpoint."""

    tag: str
    answers: tuple[Answer, ...]
    parameters: tuple[Schema, ...] = ()
    body: Body | None = None
    errors: tuple[type[GatewayError], ...] = ()
    description: str = ""
    name: str = ""


def query(name: str, description: str, schema: Schema, *, required: bool = False, example: Any = None) -> Schema:
    """Return a parameter of the query."""
    return _parameter("query", name, description, schema, required=required, example=example)


def header(name: str, description: str, schema: Schema, *, required: bool = False, example: Any = None) -> Schema:
    """Return a header of the request."""
    return _parameter("header", name, description, schema, required=required, example=example)


def _parameter(where: str, name: str, description: str, schema: Schema, *, required: bool, example: Any) -> Schema:
    found: Schema = {"name": name, "in": where, "description": description, "required": required, "schema": schema}
    return found if example is None else found | {"example": example}


def paging(per_page: int, most: int, last: int) -> tuple[Schema, Schema]:
    """Return the parameters of lists that come in pages."""
    return (
        query("page", "Which page; the first is 1.", {"type": "integer", "minimum": 1, "maximum": last, "default": 1}),
        query(
            "per_page",
            "How many entries a page has.",
            {"type": "integer", "minimum": 1, "maximum": most, "default": per_page},
        ),
    )
