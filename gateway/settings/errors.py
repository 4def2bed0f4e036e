"""What is wrong with a configuration, in one message that never shows a secret."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from gateway.settings.keys import Key, KeyPath, KeyTable

HIDDEN: Final = "***"
NOT_SET: Final = "not set"
_SHOWN_CHARACTERS: Final = 120

_CREDENTIALS: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", re.DOTALL)
_QUERY: Final = re.compile(r"[?#].*$", re.DOTALL)

# Secrets that people paste into the wrong setting begin like this.
_LOOKS_SECRET: Final = re.compile(
    r"\s*(sk-|lbapi_|gh[opsur]_|github_pat_|xox[abp]-|bearer\s|basic\s|eyJ)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: its name as the operator knows it, its value ("" if hidden), and what is allowed."""

    name: str
    value_masked: str
    allowed: str

    def __str__(self) -> str:
        value = f" is {self.value_masked}" if self.value_masked else ""
        line = f"{self.name}{value}: {self.allowed}"
        # A name may hold anything that TOML or the environment can, and goes to a terminal.
        return "".join(character if character.isprintable() else "?" for character in line)


class SettingsError(Exception):
    """The configuration cannot be used; `str()` lists every problem, one a line."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.source = source
        super().__init__(self.problems, source)

    def __str__(self) -> str:
        count = f"{len(self.problems)} problem{'' if len(self.problems) == 1 else 's'}"
        where = f" (environment and {self.source})" if self.source else ""
        return "\n".join([f"The configuration{where} has {count}:", *(f"- {problem}" for problem in self.problems)])


def mask_text(text: str) -> str:
    """Return `text` without what looks like a secret: known key prefixes, credentials and queries."""
    if _LOOKS_SECRET.match(text):
        return HIDDEN
    masked = _CREDENTIALS.sub(lambda match: f"{match.group(1) or ''}{HIDDEN}@", text)
    return _QUERY.sub(f"?{HIDDEN}", masked) if "://" in masked else masked


def mask_path(text: str) -> str:
    """Return the path `text`, or `***` when it looks like a secret that was given in place of its file."""
    return mask_text(text) if re.search(r"[/\\.]", text) else HIDDEN


def mask_variable(text: str) -> str:
    """Return `text` if it looks like a variable's name, or `***` when it may be the secret itself."""
    return text if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", text) else HIDDEN


def mask_all(value: Any) -> Any:
    """Return `value` as it may be shown: texts masked, lists and tables item by item."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, list):
        return [mask_all(item) for item in value]
    if isinstance(value, dict):
        return {name: mask_all(item) for name, item in value.items()}
    return value


def show(value: Any, key: Key | None) -> str:
    """Return the value of `key` for a message; "" for an unknown key, which may be a misspelt secret."""
    if key is None:
        return ""
    if value is None or value == "":
        return "empty"
    if key.secret:
        return HIDDEN
    if isinstance(value, str) and key.path[-1] in _MASKS:
        return json.dumps(_MASKS[key.path[-1]](value))
    text = json.dumps(mask_all(value), ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


_MASKS: Final = {"api_key_env": mask_variable, "api_key_file": mask_path, "token_file": mask_path}


def value_at(data: Any, path: Sequence[str | int]) -> Any:
    """Return what stands at `path` in nested tables and lists, or None when there is nothing."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


@dataclass(frozen=True, slots=True)
class Describer:
    """Turns a path and a reason into a problem: names the variable that set it, masks its value."""

    table: KeyTable
    data: Mapping[str, Any]
    origins: Mapping[KeyPath, str]

    def name(self, path: Sequence[str | int]) -> str:
        """Return the variable that set `path` with its key, or the key alone when it came from the file."""
        keys = tuple(part for part in path if isinstance(part, str))
        dotted = ".".join(keys)
        variable = next((self.origins[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in self.origins), "")
        return f"{variable} ({dotted})" if variable else dotted

    def problem(self, path: Sequence[str | int], allowed: str, *, value: str | None = None) -> Problem:
        """Return the problem at `path`; `value` replaces what would be shown."""
        keys = tuple(part for part in path if isinstance(part, str))
        shown = show(value_at(self.data, path), self.table.find(keys)) if value is None else value
        return Problem(self.name(path), shown, allowed)

    def from_pydantic(self, error: ErrorDetails) -> Problem:
        """Return the problem for one entry of `ValidationError.errors(include_input=False)`."""
        path = [part for part in error["loc"] if part != "[key]"]
        keys = tuple(part for part in path if isinstance(part, str))
        if error["type"] == "extra_forbidden":
            nearest = self.table.nearest(keys)
            return Problem(self.name(path), "", f"no such key{f'; did you mean {nearest}?' if nearest else ''}")
        key = self.table.find(keys)
        if error["type"] == "missing":
            return Problem(self.name(path), NOT_SET, key.allowed if key else "must be given")
        if key is None:
            return Problem(self.name(path), "", "must be a table" if self.table.is_section(keys) else error["msg"])
        reason = str(error.get("ctx", {}).get("error", "")) if error["type"] == "value_error" else ""
        return self.problem(path, reason or key.allowed or error["msg"])
