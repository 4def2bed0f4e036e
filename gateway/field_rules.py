"""Reading the fields of a request by rules: every field that breaks its rule is told, all at once.

A rule is a function that returns the value as the program wants it, or raises `Wrong` with what the value must be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gateway.errors import InvalidRequest

Rule = Callable[[Any], Any]
Marked = TypeVar("Marked", bound=Callable[..., Any])
Schema = dict[str, Any]


class Wrong(Exception):
    """One field breaks its rule; the text says what it must be."""


def takes(**schema: Any) -> Callable[[Marked], Marked]:
    """Return a decorator that notes on a rule, as a JSON Schema (draft 2020-12), what it takes.

    The interface's description is made of these. Where a schema cannot say all, it says what it can.
    """

    def mark(rule: Marked) -> Marked:
        vars(rule)["schema"] = schema
        return rule

    return mark


def schema_of(rule: Callable[..., Any]) -> Schema:
    """Return the JSON Schema of what a rule takes. Raises `LookupError` for a rule that does not say."""
    try:
        found: Schema = vars(rule)["schema"]
    except KeyError as exc:
        where = f"{rule.__module__}.{rule.__qualname__}"
        raise LookupError(f"{where} does not say what it takes: decorate it with field_rules.takes") from exc
    return found


def object_schema(rules: Mapping[str, Callable[..., Any]], required: tuple[str, ...] = ()) -> Schema:
    """Return the JSON Schema of the object that `read_fields` reads by the same arguments."""
    properties = {name: schema_of(rule) for name, rule in rules.items()}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": list(required)} if required else {})


def or_null(schema: Schema) -> Schema:
    """Return the JSON Schema of what `schema` takes, and null."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def read_fields(
    fields: Mapping[str, Any], rules: Mapping[str, Rule], *, required: tuple[str, ...] = (), prefix: str = ""
) -> dict[str, Any]:
    """Return the values of `fields` by `rules`; an absent field stays absent.

    Raises `InvalidRequest` that names every field which is wrong, unknown, or missing from `required`, each with
    `prefix` before it.
    """
    found, errors = try_fields(fields, rules, required=required, prefix=prefix)
    refuse_if_wrong(errors)
    return found


def try_fields(
    fields: Mapping[str, Any], rules: Mapping[str, Rule], *, required: tuple[str, ...] = (), prefix: str = ""
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return what `read_fields` would, and the mistakes as pairs of field and rule."""
    found: dict[str, Any] = {}
    errors = [(prefix + name, "is required") for name in required if name not in fields]
    for name, value in fields.items():
        rule = rules.get(name)
        if rule is None:
            errors.append((prefix + name, f"is not a field here; there are {', '.join(rules)}"))
            continue
        try:
            found[name] = rule(value)
        except Wrong as wrong:
            errors.append((prefix + name, str(wrong)))
    return found, errors


def refuse_if_wrong(errors: list[tuple[str, str]]) -> None:
    """Raise `InvalidRequest` with these mistakes, if there are any."""
    if errors:
        field, rule = errors[0]
        raise InvalidRequest(f"{field}: {rule}", errors=errors)


def text(longest: int, *, lines: bool = False, empty: bool = True) -> Rule:
    """Return the rule of a printable text of at most `longest` characters.

    With `lines` it is what people write: with line breaks, tabs, and the spaces and joiners of other languages and of
    emoji, which are not printable by Python's word for it, nor are characters that are newer than this Python.
    """
    kind = "printable characters and line breaks" if lines else "printable characters"
    what = f"must be a text of {'at most' if empty else '1 to'} {longest} {kind}"
    least = {} if empty else {"minLength": 1}

    @takes(type="string", maxLength=longest, pattern=WRITTEN if lines else PRINTABLE, **least)
    def rule(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest or not (empty or value):
            raise Wrong(what)
        if _HIDDEN.search(value) if lines else not value.isprintable():
            raise Wrong(what)
        return value

    return rule


def optional(rule: Rule, default: Any = None) -> Rule:
    """Return a rule that also takes null, which stands for `default`."""

    @takes(**or_null(schema_of(rule)))
    def with_null(value: Any) -> Any:
        return default if value is None else rule(value)

    return with_null


@takes(type="boolean")
def flag(value: Any) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise Wrong("must be true or false")
    return value


def count(least: int, most: int) -> Rule:
    """Return the rule of a whole number."""

    @takes(type="integer", minimum=least, maximum=most)
    def rule(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise Wrong(f"must be a whole number from {least} to {most}")
        return value

    return rule


# Printable characters, as far as every dialect of regular expressions can say.
PRINTABLE = r"^[^\u0000-\u001f\u007f-\u00a0]*$"
PRINTABLE_LINES = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u00a0]*$"
# What no text needs and some reader stumbles over: control characters, other ends of lines, what turns the direction of
# what follows, and what is no character.
_HIDDEN_CLASS = (
    r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
    r"\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff"
)
WRITTEN = f"^[^{_HIDDEN_CLASS}]*$"
_HIDDEN = re.compile(f"[{_HIDDEN_CLASS}\\ud800-\\udfff]")


def without_hidden(value: str) -> str:
    """Return a text that a rule with `lines` takes, by leaving out what it does not."""
    return _HIDDEN.sub("", value)
