"""The table of every setting, read off the settings model: its path, its shape, and whether it may be shown.

Reading the environment, naming the nearest known key and hiding secrets in messages all work from this one
table, so a field added to the model is known everywhere at once.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from gateway.settings.values import Allowed, Hidden

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic.fields import FieldInfo

KeyPath = tuple[str, ...]
Shape = Literal["value", "list", "table"]

PREFIX: Final = "GATEWAY_"
CONFIG_VARIABLE: Final = "GATEWAY_CONFIG"

# The product page's names, and the few that deployments expect beside them.
PAGE_NAMES: Final[dict[str, KeyPath]] = {
    "APP_ENV": ("app_env",),
    "NODE_ENV": ("app_env",),
    "HOST": ("server", "host"),
    "PORT": ("server", "port"),
    "GATEWAY_DATA_DIR": ("data", "dir"),
    "DATABASE_URL": ("database", "url"),
    "REDIS_URL": ("redis", "url"),
    "API_KEY_ADMIN": ("auth", "admin_key"),
    "API_KEY_READ": ("auth", "read_key"),
    "KEY_PEPPER": ("auth", "pepper"),
    "KEY_PEPPER_PREVIOUS": ("auth", "pepper_previous"),
    "AUDIT_KEY": ("audit", "key"),
    "METRICS_TOKEN": ("metrics", "token"),
    "LOG_LEVEL": ("log", "level"),
    "LOG_FORMAT": ("log", "format"),
    "GITHUB_TOKEN": ("github", "token"),
    "GITHUB_WEBHOOK_SECRET": ("github", "webhook_secret"),
    "CACHE_TTL": ("releases", "cache_ttl_ms"),
    "LMSTUDIO_ENABLED": ("providers", "lmstudio", "enabled"),
    "LMSTUDIO_BASE_URL": ("providers", "lmstudio", "base_url"),
    "OPENAI_ENABLED": ("providers", "openai", "enabled"),
    "OPENAI_API_KEY": ("providers", "openai", "api_key"),
    "OPENAI_BASE_URL": ("providers", "openai", "base_url"),
}

# URLs that carry a password are secrets for the purpose of `_FILE`, although the rest of them may be shown.
_URLS_WITH_PASSWORDS: Final[frozenset[KeyPath]] = frozenset({("database", "url"), ("redis", "url")})
_PLACEHOLDERS: Final = {"providers": "<name>", "routes": "<name>", "model_options": "<model>"}


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: `path` holds `<name>` where the operator chooses a name."""

    path: KeyPath
    shape: Shape
    secret: bool
    allowed: str
    in_environment: bool
    from_file: bool
    open_table: bool

    @property
    def dotted(self) -> str:
        """The key as it is written in messages and documentation."""
        return ".".join(self.path)


def variable_of(path: Sequence[str]) -> str:
    """Return the `GATEWAY_...` variable that sets the key at `path`."""
    return PREFIX + "__".join(part.upper().replace("-", "_").replace(".", "_") for part in path)


def _plain(field: FieldInfo) -> tuple[Any, list[Any]]:
    """Return a field's type and its marks, also where it may be None (`list[str] | None` is a list)."""
    annotation: Any = field.annotation
    marks = list(field.metadata)
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(member for member in get_args(annotation) if member is not NoneType)
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        marks += inner
    return annotation, marks


def _model_in(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _key(path: KeyPath, annotation: Any, marks: list[Any], *, in_environment: bool) -> Key:
    origin = get_origin(annotation)
    hidden = any(isinstance(mark, Hidden) for mark in marks)
    secret = hidden or annotation is SecretStr
    texts = [mark.text for mark in marks if isinstance(mark, Allowed)]
    return Key(
        path=path,
        shape="list" if origin is list else "table" if origin is dict else "value",
        secret=secret,
        allowed=texts[0] if texts else "",
        in_environment=in_environment,
        from_file=secret or path in _URLS_WITH_PASSWORDS,
        open_table=hidden,
    )


def _keys(model: type[BaseModel], prefix: KeyPath = (), *, in_environment: bool = True) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        annotation, marks = _plain(field)
        section = _model_in(annotation)
        if section is not None:
            yield from _keys(section, path, in_environment=in_environment)
            continue
        entry = _model_in(get_args(annotation)[1]) if get_origin(annotation) is dict else None
        if entry is None:
            yield _key(path, annotation, marks, in_environment=in_environment)
            continue
        placeholder = _PLACEHOLDERS[name]
        if placeholder == "<model>":
            # A model's name may hold slashes and capitals, which a variable's name cannot say.
            yield _key(path, annotation, marks, in_environment=in_environment)
        yield from _keys(entry, (*path, placeholder), in_environment=in_environment and placeholder == "<name>")


def _fits(template: KeyPath, path: Sequence[str]) -> bool:
    return len(template) == len(path) and all(
        expected == part or expected.startswith("<") for expected, part in zip(template, path, strict=True)
    )


class KeyTable:
    """Every key of a settings model, with look-up by path and by resemblance."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """All keys in the model's order."""
        return tuple(_keys(self._model))

    def find(self, path: Sequence[str]) -> Key | None:
        """Return the key at `path`, or the open table that `path` is an entry of."""
        exact = next((key for key in self.keys if _fits(key.path, path)), None)
        if exact is not None:
            return exact
        return next((key for key in self.keys if key.open_table and _fits(key.path, path[:-1])), None)

    def is_section(self, path: Sequence[str]) -> bool:
        """Tell whether `path` is a table that holds keys."""
        return any(len(key.path) > len(path) and _fits(key.path[: len(path)], path) for key in self.keys)

    def nearest(self, path: Sequence[str]) -> str:
        """Return the known key most like the unknown `path`: a neighbour, else one of that name elsewhere."""
        parent, leaf = tuple(path[:-1]), path[-1]
        depth = len(path)
        siblings = {
            key.path[depth - 1] for key in self.keys if len(key.path) >= depth and _fits(key.path[: depth - 1], parent)
        }
        close = difflib.get_close_matches(leaf, sorted(siblings), n=1)
        if close:
            return ".".join((*parent, close[0]))
        same_leaf = [key.dotted for key in self.keys if key.path[-1] == leaf]
        names = [".".join(self._fill(key.path, path)) for key in self.keys]
        return next(iter([*same_leaf, *difflib.get_close_matches(".".join(path), names, n=1)]), "")

    def nearest_variable(self, variable: str) -> str:
        """Return the known environment variable most like the unknown `variable`, or ""."""
        path = variable.removeprefix(PREFIX).lower().split("__")
        known = [variable_of(self._fill(key.path, path)) for key in self.keys if key.in_environment]
        known += [f"{name}_FILE" for name in known] + list(PAGE_NAMES) + [CONFIG_VARIABLE]
        return next(iter(difflib.get_close_matches(variable, known, n=1)), "")

    @staticmethod
    def _fill(template: KeyPath, path: Sequence[str]) -> KeyPath:
        """Put the names that the operator chose in `path` where `template` leaves them open."""
        return tuple(
            path[index] if part.startswith("<") and index < len(path) else part for index, part in enumerate(template)
        )
