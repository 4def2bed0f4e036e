"""What publishers write: notes in any language, and names of files that are nothing but that."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pytest

from tests.releases.catalogue_http import VERSIONS, build, made, make_project, running

if TYPE_CHECKING:
    from pathlib import Path

NOTES = "Nouveautés\u00a0: 10\u202fMo\n\u5168\u3000\u89d2 👨\u200d👩\u200d👧 🩷 Auf\u200clage\t<b>&amp;</b>"


async def test_notes_may_be_written_in_any_language(tmp_path: Path) -> None:
    """French sets spaces that do not break, Persian and emoji have joiners, and Python does not know every emoji."""
    async with running(tmp_path) as (_, client):
        await make_project(client)
        await made(client, VERSIONS, {"id": "1.0.0", "release_notes": NOTES, "builds": [build("1.0.0")]})
        assert (await client.get(f"{VERSIONS}/1.0.0")).json()["release_notes"] == NOTES
        feed = await client.get("/updates/trackly/stable/releases.atom")
        assert escape(NOTES) in feed.text


@pytest.mark.parametrize("hidden", ["\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ufffe"])
async def test_notes_have_nothing_that_acts_on_who_shows_them(tmp_path: Path, hidden: str) -> None:
    """Terminals obey control characters, parsers of YAML refuse them, and some turn the text around."""
    async with running(tmp_path) as (_, client):
        await make_project(client)
        response = await client.post(VERSIONS, json={"id": "1.0.0", "release_notes": f"a{hidden}b"})
        assert response.status_code == 400
        assert response.json()["error"]["details"]["errors"][0]["field"] == "release_notes"


@pytest.mark.parametrize(
    "name", ["../app.exe", "a/app.exe", "a\\app.exe", "C:app.exe", "..", ".", " ", "a\nb", "a" * 256]
)
async def test_the_name_of_a_file_is_no_path(tmp_path: Path, name: str) -> None:
    """Launchers save under it, and the addresses of feeds end in it."""
    async with running(tmp_path) as (_, client):
        await make_project(client)
        response = await client.post(VERSIONS, json={"id": "1.0.0", "builds": [build("1.0.0", file_name=name)]})
        assert response.status_code == 400
        assert response.json()["error"]["details"]["errors"][0]["field"] == "builds[0].file_name"


@pytest.mark.parametrize("url", ["https://cdn.example.com/a/..", "https://cdn.example.com/a\\..\\b.exe"])
async def test_the_name_at_the_end_of_an_address_is_no_path_either(tmp_path: Path, url: str) -> None:
    """Who gives no name gets the one of the address, if that is one."""
    async with running(tmp_path) as (_, client):
        await make_project(client)
        response = await client.post(VERSIONS, json={"id": "1.0.0", "builds": [build("1.0.0", download_url=url)]})
        assert response.status_code == 400
        assert response.json()["error"]["details"]["errors"][0]["field"] == "builds[0].file_name"


@pytest.mark.parametrize("name", ["My App-1.0.0 (x64).exe", "Größe.zip", "app%20name.dmg", ".AppImage", "a..b"])
async def test_names_of_files_may_be_as_people_make_them(tmp_path: Path, name: str) -> None:
    """Spaces, letters of any language, dots."""
    async with running(tmp_path) as (_, client):
        await make_project(client)
        await made(client, VERSIONS, {"id": "1.0.0", "builds": [build("1.0.0", file_name=name)]})
