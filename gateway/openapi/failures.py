"""How operations fail: every error of the tree, on the surface that it is shown on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.error_bodies import Surface, error_object, surface_of
from gateway.errors import (
    BudgetExceeded,
    Forbidden,
    GatewayError,
    InternalError,
    InvalidRequest,
    KeyExpired,
    KeyRevoked,
    NotFound,
    PayloadTooLarge,
    RateLimitExceeded,
    RetryLater,
    StorageUnavailable,
    Unauthorized,
    UnsupportedMediaType,
    all_errors,
)
from gateway.openapi import paths
from gateway.openapi.headers import ALWAYS, references

if TYPE_CHECKING:
    from gateway.field_rules import Schema
    from gateway.middleware.guard import Row
    from gateway.openapi.model import Operation

DOCS_URL: Final = "https://docs.lunarbit.dev/api-errors"
_REQUEST_ID: Final = "req_1f0c9d2b7a6e"
SCHEMAS: Final[dict[Surface, str]] = {"lunarbit": "Error", "openai": "OpenAIError", "anthropic": "AnthropicError"}
_STRING: Final[Schema] = {"type": "string"}


def schemas() -> dict[str, Schema]:
    """Return the schemas of errors: the three shapes, and every code."""
    codes = [kind.code for kind in all_errors()]
    listed = [
        {
            "code": kind.code,
            "lc_code": f"LC_ERR_{kind.code}",
            "status": kind.status,
            "description": _says(kind),
            "documentation_url": f"{DOCS_URL}#{kind.code}",
        }
        for kind in all_errors()
    ]
    fields: dict[str, Schema] = {
        "code": {"$ref": "#/components/schemas/ErrorCode"},
        "lc_code": _STRING,
        "message": _STRING,
        "details": {"type": "object"},
        "documentation_url": {"type": "string", "format": "uri"},
        "request_id": _STRING,
    }
    nullable: Schema = {"type": ["string", "null"]}
    openai: dict[str, Schema] = {"message": _STRING, "type": _STRING, "param": nullable, "code": nullable}
    return {
        "ErrorCode": {"type": "string", "description": "Every error.", "enum": codes, "x-errors": listed},
        "Error": _object({"error": _object(fields)}),
        "OpenAIError": _object({"error": _object(openai)}),
        "AnthropicError": _object(
            {
                "type": {"type": "string", "enum": ["error"]},
                "error": _object({"type": _STRING, "message": _STRING, "details": {"type": "object"}}, ("details",)),
                "request_id": _STRING,
            }
        ),
    }


def _object(properties: dict[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    return {"type": "object", "properties": properties, "required": [n for n in properties if n not in optional]}


def _says(kind: type[GatewayError]) -> str:
    """Return the first paragraph of a class's docstring, without the status that it begins with."""
    text = " ".join((kind.__doc__ or "").partition("\n\n")[0].split())
    return text.removeprefix(f"{kind.status}: ")


def errors_of(row: Row, operation: Operation, parameters: list[str]) -> list[type[GatewayError]]:
    """Return every error that an operation can answer with, once each."""
    found: list[type[GatewayError]] = [*operation.errors, InternalError]
    if row.access != "public":
        found += [Unauthorized, KeyExpired, KeyRevoked, Forbidden, StorageUnavailable]
    if row.counted != "free":
        found.append(RateLimitExceeded)
    if operation.body is not None:
        found += [InvalidRequest, PayloadTooLarge, UnsupportedMediaType]
    if parameters:
        # What a parameter holds may be no segment of a path, and so lead to no operation at all.
        found += [NotFound, *paths.not_found(parameters)]
    return sorted(dict.fromkeys(found), key=lambda kind: (kind.status, kind.code))


class Failures:
    """The errors of all operations as answers. Many fail in the same ways, so these are components."""

    def __init__(self) -> None:
        self.responses: dict[str, Schema] = {}
        self.examples: dict[str, Schema] = {}

    def of(self, row: Row, errors: list[type[GatewayError]]) -> dict[str, Schema]:
        """Return references to these errors as answers, by status."""
        surface = surface_of(row.path)
        by_status: dict[int, list[type[GatewayError]]] = {}
        for kind in errors:
            by_status.setdefault(kind.status, []).append(kind)
        found = {}
        for status, kinds in by_status.items():
            name = _component(".".join(kind.__name__ for kind in kinds), surface)
            self.responses[name] = _response(kinds, surface)
            for kind in kinds:
                shown = {"summary": _says(kind), "value": _example(kind, surface)}
                self.examples[_component(kind.code, surface)] = shown
            found[str(status)] = {"$ref": f"#/components/responses/{name}"}
        return found


def _component(name: str, surface: Surface) -> str:
    return name if surface == "lunarbit" else f"{surface}.{name}"


def _response(kinds: list[type[GatewayError]], surface: Surface) -> Schema:
    names = list(ALWAYS)
    if all(issubclass(kind, Unauthorized) for kind in kinds):
        names.append("WWW-Authenticate")
    if any(issubclass(kind, RetryLater) for kind in kinds):
        names.append("Retry-After")
    if surface != "lunarbit":
        names.append("X-LunarBit-Error-Code")
    examples = {kind.code: {"$ref": f"#/components/examples/{_component(kind.code, surface)}"} for kind in kinds}
    return {
        "description": "\n".join(f"- `{kind.code}`: {_says(kind)}" for kind in kinds),
        "headers": references(tuple(names)),
        "content": {
            "application/json": {
                "schema": {"$ref": f"#/components/schemas/{SCHEMAS[surface]}"},
                "examples": examples,
            }
        },
    }


def _example(kind: type[GatewayError], surface: Surface) -> dict[str, Any]:
    message = _says(kind)
    more: dict[str, Any] = {}
    if kind is InvalidRequest:
        more["errors"] = [("name", "is required")]
    if kind is Forbidden:
        more["details"] = {"required_permission": "canReadProjects"}
    if kind is BudgetExceeded:
        more["details"] = {"period": "month"}
    return error_object(kind(message, **more), surface, _REQUEST_ID, DOCS_URL)
