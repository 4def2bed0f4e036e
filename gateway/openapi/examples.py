"""Examples of answers, made from the examples that their fields carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.field_rules import Schema

_BY_TYPE: dict[str, Any] = {"string": "", "boolean": True, "integer": 1, "number": 1.0, "null": None, "object": {}}


def example(schema: Schema, components: Mapping[str, Schema]) -> Any:
    """Return a value that fits the schema: required fields, and those of the others that have an example."""
    if "$ref" in schema:
        return example(components[schema["$ref"].rpartition("/")[2]], components)
    for values in ("examples", "enum"):
        if values in schema:
            return schema[values][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], components)
    if "properties" in schema:
        required = schema.get("required", ())
        fields = schema["properties"].items()
        return {name: example(each, components) for name, each in fields if name in required or "examples" in each}
    if schema["type"] == "array":
        return [example(schema["items"], components)]
    return _BY_TYPE[schema["type"]]
