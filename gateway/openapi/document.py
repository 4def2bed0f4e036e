"""The whole document, made from the route table. Nobody writes it by hand."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import compile_path

from gateway.auth.principal import Permission
from gateway.error_bodies import API_PREFIX, surface_of
from gateway.openapi import (
    failures,
    headers,
    operations_ai,
    operations_anthropic,
    operations_feeds,
    operations_keys,
    operations_releases,
    operations_service,
    paths,
    schemas,
)
from gateway.openapi.examples import example
from gateway.openapi.model import JSON, Answer, Events, Operation
from gateway.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.field_rules import Schema
    from gateway.middleware.guard import Row

OPERATIONS: Final[dict[str, Operation]] = {
    **operations_ai.OPERATIONS,
    **operations_anthropic.OPERATIONS,
    **operations_releases.OPERATIONS,
    **operations_feeds.OPERATIONS,
    **operations_keys.OPERATIONS,
    **operations_service.OPERATIONS,
}
_TAGS: Final = {
    "AI": "Chat in the product's own shape.",
    "OpenAI": "The surface for OpenAI's SDKs, with `/v1` as their base URL.",
    "Anthropic": "The surface for Anthropic's SDKs.",
    "Releases": "Projects, channels, versions and builds, as they are read.",
    "Updates": "What launchers ask.",
    "Feeds": "The same in the formats of updaters that exist already.",
    "Catalogue": "Publishing.",
    "Keys": "Who may do what.",
    "Usage": "What was used, and what it cost.",
    "Audit": "Who did what.",
    "Service": "The gateway itself.",
}
_ABOUT: Final = (
    "A streaming-first AI gateway with a release module. Every path answers at the root and below "
    f"`{API_PREFIX}`. Errors come in one shape, or in the vendor's own below `/v1`; all codes stand in `ErrorCode`. "
    "Any path can answer 404 `NOT_FOUND`, 405 `METHOD_NOT_ALLOWED` with `Allow`, and below `/api/v1` 410 "
    "`API_VERSION_GONE`."
)
_BEARER: Final = {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer lbapi_...`"}

_API_KEY: Final = {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same API key."}


def build(rows: Iterable[Row]) -> dict[str, Any]:
    """Return the document of these routes. Raises `LookupError` that says what to add for one that is not described."""
    table = [(row, operation_of(row)) for row in rows]
    types = {id(kind): kind for _, operation in table for answer in operation.answers for kind in _types(answer.body)}
    by_type, named = schemas.components(types.values())
    writer = _Writer(by_type, named)
    described: dict[str, dict[str, Schema]] = {}
    for row, operation in table:
        # A parameter that may hold slashes is told as any other; there is no way to say so here.
        described.setdefault(compile_path(row.path)[1], {})[row.method.lower()] = writer.operation(row, operation)
    used = {operation.tag for _, operation in table}
    return {
        "openapi": "3.1.0",
        "info": {"title": "LunarBit API Gateway", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}, {"url": API_PREFIX}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items() if name in used],
        "paths": described,
        "components": {
            "schemas": named,
            "responses": dict(sorted(writer.failures.responses.items())),
            "examples": dict(sorted(writer.failures.examples.items())),
            "headers": headers.HEADERS,
            "securitySchemes": {"bearer": _BEARER, "x-api-key": _API_KEY},
        },
    }


def operation_of(row: Row) -> Operation:
    """Return what is said of a row. Raises `LookupError`."""
    found = OPERATIONS.get(f"{row.method} {row.path}")
    if found is None:
        raise LookupError(
            f"{row.method} {row.path} is not described: add it to OPERATIONS in one of gateway/openapi/operations_*.py,"
            " with its answers (and their types in answers_*.py), parameters, body and errors"
        )
    return found


class _Writer:
    """Writes operations; `types` are the schemas of the types of answers, by `id`."""

    def __init__(self, types: dict[int, Schema], named: dict[str, Schema]) -> None:
        self._types = types
        self._named = named
        self._names: Counter[str] = Counter()
        self.failures = failures.Failures()

    def operation(self, row: Row, operation: Operation) -> Schema:
        """Return the Operation Object of a row."""
        names = list(compile_path(row.path)[2])
        # A summary is plain text: what shows it writes out the marks of code.
        summary = (row.endpoint.__doc__ or "").strip().partition("\n")[0].replace("`", "")
        about = [operation.description, _access(row)]
        written: Schema = {
            "operationId": self._name(row, operation),
            "tags": [operation.tag],
            "summary": summary,
            "description": " ".join(filter(None, about)),
            "security": _security(row),
            "parameters": [*map(paths.parameter, names), *operation.parameters],
        }
        if operation.body is not None:
            content = {"schema": _reference(operation.body.schema), "example": operation.body.example}
            written["requestBody"] = {"required": operation.body.required, "content": {JSON: content}}
        errors = failures.errors_of(row, operation, names)
        written["responses"] = self._answers(row, operation.answers) | self.failures.of(row, errors)
        return written

    def _name(self, row: Row, operation: Operation) -> str:
        """Return the id of an operation: module and name of its endpoint."""
        parts = (row.endpoint.__module__.rpartition(".")[2], row.endpoint.__name__, operation.name)
        name = "_".join(filter(None, parts))
        self._names[name] += 1
        if self._names[name] > 1:
            raise LookupError(f"{row.method} {row.path} has the endpoint of another row: give its Operation a name")
        return name

    def _answers(self, row: Row, answers: tuple[Answer, ...]) -> dict[str, Schema]:
        written: dict[str, Schema] = {}
        for answer in answers:
            limited = headers.LIMITED if row.counted != "free" else ()
            names = (*headers.ALWAYS, *answer.headers, *limited)
            found = written.setdefault(str(answer.status), {"description": "", "headers": {}})
            found["description"] = f"{found['description']} {answer.description}".strip()
            found["headers"] |= headers.references(names)
            if answer.body is not None:
                found.setdefault("content", {})[answer.media_type] = self._content(answer)
        return written

    def _content(self, answer: Answer) -> Schema:
        body = answer.body
        if isinstance(body, Events):
            return {"schema": self._events(body), "example": body.example}
        schema = self._schema(body)
        shown = answer.example if answer.example is not None else example(schema, self._named)
        return {"schema": schema, "example": shown}

    def _events(self, events: Events) -> Schema:
        """Return the schema of each event, which is what a schema of a stream describes before OpenAPI 3.2."""
        kinds = []
        for name, kind in events.kinds:
            data = {"type": "string", "contentMediaType": JSON, "contentSchema": self._schema(kind)}
            kinds.append(_event(name, data))
        if events.last:
            kinds.append(_event("", {"type": "string", "enum": [events.last]}))
        return {"description": "One event of the stream.", "anyOf": kinds}

    def _schema(self, body: Any) -> Schema:
        if isinstance(body, dict):
            return body
        if isinstance(body, tuple):
            return {"anyOf": [self._schema(each) for each in body]}
        return _reference(body) if isinstance(body, str) else self._types[id(body)]


def _event(name: str, data: Schema) -> Schema:
    if name:
        named = {"event": {"type": "string", "enum": [name]}, "data": data}
        return {"type": "object", "properties": named, "required": ["event", "data"]}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def _types(body: Any) -> list[Any]:
    """Return the types that are part of the body of an answer."""
    if isinstance(body, Events):
        return [kind for _, kind in body.kinds if not isinstance(kind, str)]
    if isinstance(body, tuple):
        return list(body)
    return [] if body is None or isinstance(body, dict) else [body]


def _reference(name: str) -> Schema:
    return {"$ref": schemas.REFERENCE.format(name=name)}


def _security(row: Row) -> list[dict[str, list[str]]]:
    """Return who gets through: nobody without a key, unless the row is open or may be."""
    if row.access == "public":
        return []
    if row.is_open is not None:
        return [{"bearer": []}, {}]
    return [{"bearer": []}, {"x-api-key": []}] if surface_of(row.path) == "anthropic" else [{"bearer": []}]


def _access(row: Row) -> str:
    if row.access == "public":
        return ""
    needed = row.access if isinstance(row.access, tuple) else (row.access,)
    names = " or ".join(f"`{name}`" if isinstance(name, Permission) else "`canReadMetrics`" for name in needed)
    opened = " Projects with public updates need no key." if row.is_open is not None else ""
    return f"Needs the permission {names}.{opened}"
