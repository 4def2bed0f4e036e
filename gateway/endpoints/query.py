"""Strict reading of the parameters in a URL: what is wrong with any of them is told, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import InvalidRequest
from gateway.usage.report import TIME_RULE, instant_ms

if TYPE_CHECKING:
    from starlette.requests import Request

_MAX_TEXT = 200


class Query:
    """The parameters of a request, each of which may stand there once, and what is wrong with them."""

    def __init__(self, request: Request) -> None:
        self._left: dict[str, str] = {}
        self._errors: list[tuple[str, str]] = []
        for name, value in request.query_params.multi_items():
            if name in self._left:
                self._errors.append((name, "stands there twice"))
            self._left[name] = value

    def text(self, name: str) -> str | None:
        """Return a text, or None when it is absent."""
        value = self._left.pop(name, None)
        if value is not None and not (0 < len(value) <= _MAX_TEXT and value.isprintable()):
            self._errors.append((name, f"must be 1 to {_MAX_TEXT} printable characters"))
        return value

    def number(self, name: str, default: int, most: int) -> int:
        """Return a whole number from 1 to `most`."""
        value = self._left.pop(name, str(default))
        if value.isascii() and value.isdigit() and len(value) <= len(str(most)) and 1 <= int(value) <= most:
            return int(value)
        self._errors.append((name, f"must be a whole number from 1 to {most}"))
        return default

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """Return one of several words."""
        value = self._left.pop(name, default)
        if value in choices:
            return value
        self._errors.append((name, f"must be {' or '.join(choices)}"))
        return default

    def time_ms(self, name: str, *, whole_day: bool = False) -> int | None:
        """Return a time in Unix milliseconds, the end of its day if `whole_day` and it is a date; None without one."""
        value = self._left.pop(name, None)
        if value is None:
            return None
        found = instant_ms(value, whole_day=whole_day)
        if found is None:
            self._errors.append((name, TIME_RULE))
        return found

    def refuse_if_wrong(self) -> None:
        """Raise `InvalidRequest` that names every parameter which is wrong or which there is none of."""
        wrong = [*self._errors, *((name, "is not a parameter here") for name in self._left)]
        if wrong:
            raise InvalidRequest(f"{wrong[0][0]}: {wrong[0][1]}", errors=wrong)
