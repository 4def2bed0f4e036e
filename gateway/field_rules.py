"""Reading the fields of a request by rules: every field that breaks its rule is told, all at once.

A rule is a function that returns the value as the program wants it, or raises `Wrong` with what the value must be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.errors import InvalidRequest

Rule = Callable[[Any], Any]


class Wrong(Exception):
    """One field breaks its rule; the text says what it must be."""


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
    """Return the rule of a printable text of at most `longest` characters, with line breaks and tabs if `lines`."""
    kind = "printable characters and line breaks" if lines else "printable characters"
    what = f"must be a text of {'at most' if empty else '1 to'} {longest} {kind}"

    def rule(value: Any) -> str:
        plain = value.translate(_LINE_BREAKS) if lines and isinstance(value, str) else value
        if not isinstance(value, str) or len(value) > longest or not plain.isprintable() or not (empty or value):
            raise Wrong(what)
        return value

    return rule


def optional(rule: Rule, default: Any = None) -> Rule:
    """Return a rule that also takes null, which stands for `default`."""

    def with_null(value: Any) -> Any:
        return default if value is None else rule(value)

    return with_null


def flag(value: Any) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise Wrong("must be true or false")
    return value


def count(least: int, most: int) -> Rule:
    """Return the rule of a whole number."""

    def rule(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise Wrong(f"must be a whole number from {least} to {most}")
        return value

    return rule


_LINE_BREAKS = str.maketrans("", "", "\n\r\t")
