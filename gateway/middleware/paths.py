"""Finds the app behind a path. Starlette's router would try one route after the other, most of a microsecond each."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from starlette.routing import compile_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from re import Pattern

    from starlette.types import ASGIApp, Receive, Scope, Send

_MAX_KEPT: Final = 2048
_MAX_KEPT_CHARS: Final = 256


class Paths:
    """Hands each request to the app of its path, by Starlette's templates, at the root and under `prefix`.

    The first template that matches wins. What is below one of `gone` at the root goes to that app; every other unknown
    path goes to `default`. The first segment of a template has no parameter. A template whose last parameter may hold
    slashes (`{name:path}`) is tried after all others.
    """

    def __init__(
        self, apps: Mapping[str, ASGIApp], *, prefix: str, gone: Mapping[str, ASGIApp], default: ASGIApp
    ) -> None:
        self._prefix = prefix
        self._below_prefix = f"{prefix}/"
        self._gone = gone
        self._default = default
        # Most requests ask for a few paths again and again.
        self._found = lru_cache(_MAX_KEPT)(self._find)
        self._by_shape: dict[tuple[str, int], list[tuple[Pattern[str], ASGIApp]]] = {}
        self._open_ended: dict[str, list[tuple[Pattern[str], ASGIApp]]] = {}
        for template, app in apps.items():
            found = (compile_path(template)[0], app)
            if ":path}" in template:
                self._open_ended.setdefault(_shape(template)[0], []).append(found)
            else:
                self._by_shape.setdefault(_shape(template), []).append(found)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request; the parameters of its path are in `scope["path_params"]`."""
        path: str = scope["path"]
        app, parameters = self._found(path) if len(path) <= _MAX_KEPT_CHARS else self._find(path)
        scope["path_params"] = parameters.copy()
        return app(scope, receive, send)

    def _find(self, path: str) -> tuple[ASGIApp, dict[str, str]]:
        if path.startswith(self._below_prefix):
            path = path[len(self._prefix) :]
        elif path == self._prefix:
            # The prefix without a slash is what clients have as their base URL.
            path = "/"
        else:
            for root, app in self._gone.items():
                if path == root or path.startswith(f"{root}/"):
                    return app, {}
        shape = _shape(path)
        for pattern, app in self._by_shape.get(shape, ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return app, match.groupdict()
        return self._find_open_ended(path, shape[0])

    def _find_open_ended(self, path: str, first: str) -> tuple[ASGIApp, dict[str, str]]:
        for pattern, app in self._open_ended.get(first, ()):
            match = pattern.fullmatch(path)
            # Starlette's pattern takes nothing at all for a path as well.
            if match is not None and all(match.groups()):
                return app, match.groupdict()
        return self._default, {}


def _shape(path: str) -> tuple[str, int]:
    """Return the first segment of a path and how many there are: few templates have both in common."""
    return path[1:].partition("/")[0], path.count("/")
