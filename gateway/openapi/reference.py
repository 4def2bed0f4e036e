"""The interactive reference at `/docs`: static files, which work under the gateway's own Content-Security-Policy.

They are read and compressed when the first asks, so that nobody else pays. What they are is said in
`docs/decisions/0015-reference-renderer.md`.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.endpoints.conditional import cached_body
from gateway.errors import NotFound
from gateway.openapi.endpoint import MAX_AGE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

PAGE: Final = "index.html"
_FOLDER: Final = Path(__file__).parent / "static"
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


class _File(NamedTuple):
    content: bytes
    compressed: bytes
    digest: str
    media_type: str


async def page(request: Request) -> Response:
    """Answer the interactive reference, a page that can also send requests."""
    return await _answer(request, PAGE)


async def file(request: Request) -> Response:
    """Answer a file of that page.

    Raises `NotFound`.
    """
    return await _answer(request, request.path_params["asset"])


async def _answer(request: Request, name: str) -> Response:
    # Nothing of a request ever becomes a path of the file system: the name is looked up among those that were read.
    found = (await asyncio.to_thread(_files)).get(name)
    if found is None:
        raise NotFound("There is nothing at this path")
    headers = {"cache-control": f"public, max-age={MAX_AGE_S}", "vary": "Accept-Encoding"}
    body, validator = found.content, found.digest
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        body, validator = found.compressed, f"gzip {found.digest}"
        headers["content-encoding"] = "gzip"
    return cached_body(request, validator, MAX_AGE_S, lambda: body, found.media_type, **headers)


@lru_cache(maxsize=1)
def _files() -> Mapping[str, _File]:
    """Return every file that is served by its name."""
    paths = (path for path in _FOLDER.rglob("*") if path.suffix in _MEDIA_TYPES)
    return {path.name: _read(path) for path in paths}


def _read(path: Path) -> _File:
    content = path.read_bytes()
    compressed = gzip.compress(content, mtime=0)
    return _File(content, compressed, hashlib.sha256(content).hexdigest(), _MEDIA_TYPES[path.suffix])


def _takes_gzip(accepted: str) -> bool:
    """Whether `Accept-Encoding` names gzip and does not give it the weight 0 (RFC 9110, section 12.5.3)."""
    for coding in accepted.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
