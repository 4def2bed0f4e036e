"""The files of `/docs`: kept by browsers, compressed, never anything beside them; tests/browser looks at the page."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.openapi import reference
from tests.gateway.canonical import assert_canonical_error, assert_security_headers

if TYPE_CHECKING:
    import httpx

FOLDER = Path(reference.__file__).parent / "static"
PLAIN = {"accept-encoding": "identity"}
FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js.LICENSE.txt": "text/plain; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


async def test_the_page_is_at_docs(client: httpx.AsyncClient) -> None:
    """Without a key, without counting, and below the prefix."""
    answer = await client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (FOLDER / "index.html").read_bytes()
    assert "x-ratelimit-limit" not in answer.headers
    assert_security_headers(answer)
    assert (await client.get("/api/v2/docs")).content == answer.content


@pytest.mark.parametrize("name", FILES)
async def test_files_are_kept_by_browsers(client: httpx.AsyncClient, name: str) -> None:
    """Each with its own type, since browsers take no script of another (nosniff), and with a strong validator."""
    answer = await client.get(f"/docs/{name}", headers=PLAIN)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == FILES[name]
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["etag"].startswith('"')
    again = await client.get(f"/docs/{name}", headers={**PLAIN, "if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await client.head(f"/docs/{name}", headers=PLAIN)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.content))


async def test_files_are_compressed_for_who_takes_it(client: httpx.AsyncClient) -> None:
    """As another representation with a validator of its own, told apart by caches."""
    plain = await client.get("/docs/swagger-ui-bundle.js", headers=PLAIN)
    small = await client.get("/docs/swagger-ui-bundle.js", headers={"accept-encoding": "br, gzip;q=0.5"})
    none = await client.get("/docs/swagger-ui-bundle.js", headers={"accept-encoding": "gzip; q=0, br"})
    assert small.headers["content-encoding"] == "gzip"
    assert small.content == plain.content == none.content
    assert int(small.headers["content-length"]) < len(plain.content) / 2
    assert small.headers["etag"] != plain.headers["etag"] == none.headers["etag"]
    assert {answer.headers["vary"] for answer in (plain, small)} == {"Accept-Encoding"}
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    "name",
    ["nothing.js", "%2e%2e%2freference.py", "..%2f..%2fapp.py", "LICENSE", "swagger-ui", "%00"],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    """What is asked for is looked up among names and never becomes a path."""
    assert_canonical_error(await client.get(f"/docs/{name}"), "NOT_FOUND", 404)


def test_no_file_holds_what_the_policy_forbids() -> None:
    """Inline scripts, styles and `data:` pictures would be left out by the browser without a word to the user."""
    page = (FOLDER / "index.html").read_text()
    assert re.findall(r"<style|<script(?![^>]* src=)| style=| on[a-z]+=|data:|https?:", page) == []
    sheets = list(FOLDER.rglob("*.css"))
    assert len(sheets) == 2
    for sheet in sheets:
        assert re.findall(r"url\((?!swagger-ui-icon-\d+\.svg\))[^)]*\)|@import", sheet.read_text()) == []


def test_the_renderer_is_small_and_has_its_licence() -> None:
    """It is in the repository and in every installation."""
    paths = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    assert sum(len(gzip.compress(path.read_bytes())) for path in paths) < 600_000
    assert {"LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"} <= {path.name for path in paths}
    assert len({path.name for path in paths}) == len(paths)
