"""Answers that clients may keep: strong validators, and 304 for who has it already (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from gateway.endpoints.responses import json_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.releases.snapshot import Catalogue

# Some 3 MB when all of them are taken, with release notes of a usual length.
MAX_KEPT: Final = 2_000


def cached_json(request: Request, validator: str, max_age_s: int, make: Callable[[], Any], **headers: str) -> Response:
    """Return what `make` returns, or 304 when the client names its validator.

    `validator` says which state of the catalogue, and which representation of it, the answer shows; no counter is part
    of it, since then every download would make every client ask again.
    """
    kept = _kept(validator, max_age_s, headers)
    return _unchanged(request, kept) or json_response(make(), headers=kept)


def cached_body(
    request: Request, validator: str, max_age_s: int, make: Callable[[], bytes], media_type: str, **headers: str
) -> Response:
    """Return the bytes that `make` returns, or 304, as `cached_json` does."""
    kept = _kept(validator, max_age_s, headers)
    return _unchanged(request, kept) or Response(make(), headers=kept, media_type=media_type)


def _kept(validator: str, max_age_s: int, headers: dict[str, str]) -> dict[str, str]:
    return {
        "etag": f'"{hashlib.sha256(validator.encode()).hexdigest()[:32]}"',
        "cache-control": f"private, max-age={max_age_s}",
        "vary": "Authorization",
        **headers,
    }


def _unchanged(request: Request, kept: dict[str, str]) -> Response | None:
    has = _has(request.headers.get("if-none-match", ""), kept["etag"])
    return Response(status_code=304, headers=kept) if has else None


class ReadyAnswer:
    """JSON that many clients are sent again and again, with its headers as they go out."""

    __slots__ = ("_body", "_headers", "_tag", "_unchanged")

    def __init__(self, value: Any, validator: str, max_age_s: int, **headers: str) -> None:
        """Encode `value`; `validator` and the rest are those of `cached_json`."""
        kept = _kept(validator, max_age_s, headers)
        whole = json_response(value, headers=kept)
        self._tag = kept["etag"]
        self._headers = whole.raw_headers
        self._body = bytes(whole.body)
        self._unchanged = Response(status_code=304, headers=kept)

    @property
    def size(self) -> int:
        """The length of the body in bytes."""
        return len(self._body)

    def for_client(self, condition: bytes | None) -> ASGIApp:
        """Return the answer, or 304 for who names it in `If-None-Match`."""
        return self._unchanged if condition and _has(condition.decode("latin-1"), self._tag) else self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is left to read.
        """Send the answer."""
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


class ReadyAnswers(dict[Any, ReadyAnswer]):
    """Ready answers by what was asked; the oldest of too many makes room."""

    def keep(self, asked: Any, answer: ReadyAnswer) -> None:
        """Keep an answer."""
        if len(self) >= MAX_KEPT:
            del self[next(iter(self))]
        self[asked] = answer


def ready_answers(catalogue: Catalogue) -> ReadyAnswers:
    """Return the answers that depend on nothing but `catalogue` and what was asked. They go when it goes."""
    found = catalogue.kept.get(ReadyAnswers)
    if found is None:
        found = catalogue.kept[ReadyAnswers] = ReadyAnswers()
    return found


def _has(condition: str, tag: str) -> bool:
    """Whether `If-None-Match` names the tag; the comparison is weak (RFC 9110, section 13.1.2)."""
    if condition.strip() == "*":
        return True
    return any(part.strip().removeprefix("W/") == tag for part in condition.split(","))
