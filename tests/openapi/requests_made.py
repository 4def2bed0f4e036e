"""Asking a gateway what its description says can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import httpx

from gateway.app import ROUTES
from gateway.openapi import document

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENT = document.build(ROUTES)
LIMIT_S = 30.0
# What the examples in paths name; everything that can be made from an example is made before the requests begin.
MADE = {"project": "notes", "channel": "stable", "version": "1.2.3", "build": "windows-x64", "name": "launcher"}
_MAKES = (
    "POST /projects",
    "POST /projects/{project}/channels/{channel}/versions",
    "POST /admin/keys",
)


def operations() -> dict[str, dict[str, Any]]:
    """Return every operation of the document by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }


def resolved(value: Any) -> Any:
    """Return the component that a reference leads to, or the value itself."""
    while isinstance(value, dict) and "$ref" in value:
        found: Any = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


class Asked:
    """A gateway that runs, and who asks it with the admin key."""

    def __init__(self, url: str, key: Mapping[str, str]) -> None:
        self.url = url
        self.key = key
        self.client = httpx.Client(base_url=url, headers=key, trust_env=False, timeout=LIMIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def prepare(self) -> None:
        """Make the project, version and key of the examples where they are missing."""
        for name in _MAKES:
            assert self.ask(name).status_code in (200, 201, 409)
        self.client.patch("/projects/notes", json={"verification": "trusted", "public_updates": False})

    def ask(self, name: str, **more: Any) -> httpx.Response:
        """Send the example of an operation."""
        method, _, path = name.partition(" ")
        operation = operations()[name]
        parameters = operation["parameters"]
        path = path.format(**{each["name"]: each["example"] for each in parameters if each["in"] == "path"})
        query = {each["name"]: each["example"] for each in parameters if each["in"] == "query" and each["required"]}
        body = operation.get("requestBody")
        json = None if body is None else body["content"]["application/json"]["example"]
        return self.client.request(method, path, params=query, json=json, **more)
