"""Atom for feed readers: what RFC 4287 asks for, and that any text survives the way through XML and JSON."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID
from xml.etree.ElementTree import Element, fromstring

import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.endpoints.responses import json_response
from gateway.releases.decision import Client
from gateway.releases.feeds import atom, sparkle, squirrel, velopack
from gateway.releases.feeds.packages import Package
from gateway.releases.model import Architecture, Platform, Version
from gateway.releases.updates import compile_project
from tests.feeds.package_catalogue import FEEDS, NOTES, PUBLIC, feeds, make_notes, publish
from tests.releases.catalogue_http import Running, running
from tests.releases.small_catalogue import build, stable, version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


ATOM = f"{FEEDS}/releases.atom"
NAMESPACE = "{http://www.w3.org/2005/Atom}"
# RFC 4287, sections 4.1.1 and 4.1.2: what must be there once, and what may be there once.
ONCE = {"feed": {"id", "title", "updated"}, "entry": {"id", "title", "updated"}}
AT_MOST_ONCE = {"feed": {"subtitle", "rights"}, "entry": {"content", "published", "summary", "rights"}}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def read_feed(body: bytes) -> tuple[Element, list[Element]]:
    """Read a document as strictly as RFC 4287 says, and return the feed and its entries."""
    root = fromstring(body)  # noqa: S314 - the document is our own.
    assert root.tag == f"{NAMESPACE}feed"
    entries = root.findall(f"{NAMESPACE}entry")
    for kind, element in (("feed", root), *(("entry", each) for each in entries)):
        names = [child.tag.removeprefix(NAMESPACE) for child in element]
        assert all(names.count(name) == 1 for name in ONCE[kind]), names
        assert all(names.count(name) <= 1 for name in AT_MOST_ONCE[kind]), names
        assert urlsplit(text(element, "id")).scheme, "section 4.2.6: an id is an absolute IRI"
        for name in {"updated", "published"} & set(names):
            assert TIME.fullmatch(text(element, name)), "section 3.3: RFC 3339 with an upper-case T and Z"
            datetime.fromisoformat(text(element, name))
    assert text(root, "author", "name"), "section 4.1.1: who has not an author has to have one in every entry"
    alternate = [link for link in root.findall(f"{NAMESPACE}link") if link.get("rel") == "alternate"]
    assert len(alternate) <= 1, "section 4.1.1: no two alternates of one type"
    ids = [text(entry, "id") for entry in entries]
    assert len(set(ids)) == len(ids)
    return root, entries


def text(element: Element, *names: str) -> str:
    """Return the text of what is found by these names, one inside the other."""
    found = element.find("/".join(f"{NAMESPACE}{name}" for name in names))
    assert found is not None, names
    return found.text or ""


def titles(body: bytes) -> list[str]:
    """Return the titles of the entries of a feed."""
    return [text(entry, "title") for entry in read_feed(body)[1]]


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a gateway with an empty catalogue."""
    async with feeds(tmp_path) as found:
        yield found


def news(name: str, day: int, **more: Any) -> dict[str, Any]:
    """Return a version without builds that was published on a day of January."""
    return {"id": name, "published_at": f"2026-01-{day:02}T12:00:00Z", **more}


async def test_a_feed_has_what_the_standard_asks_for(gateway: Running) -> None:
    """And the address of itself and of the product's page."""
    notes = "## New\n- <b>a & b</b> \u2713"
    version = news("1.0.0", 5, release_notes=notes, description="First")
    await make_notes(gateway.client, version, homepage="https://notes.example.com")
    response = await gateway.client.get(ATOM)
    assert response.headers["content-type"] == "application/atom+xml; charset=utf-8"
    root, (entry,) = read_feed(response.content)
    links = {link.get("rel"): link.get("href") for link in root.findall(f"{NAMESPACE}link")}
    assert links == {"self": f"{PUBLIC}{ATOM}", "alternate": "https://notes.example.com"}
    assert (text(root, "title"), text(root, "updated")) == ("Notes: releases of Stable", "2026-01-05T12:00:00Z")
    assert (text(entry, "title"), text(entry, "summary")) == ("Notes 1.0.0", "First")
    assert (text(entry, "published"), text(entry, "content")) == ("2026-01-05T12:00:00Z", notes)
    content = entry.find(f"{NAMESPACE}content")
    assert content is not None
    assert content.get("type") == "text"


async def test_the_newest_come_first_whatever_their_number(gateway: Running) -> None:
    """A fix of an old line is news too; what was withdrawn is not, and no more than thirty are."""
    await make_notes(gateway.client, news("2.0.0", 1), news("1.0.1", 3), news("2.1.0", 2))
    assert titles((await gateway.client.get(ATOM)).content) == ["Notes 1.0.1", "Notes 2.1.0", "Notes 2.0.0"]
    await gateway.client.post(f"{NOTES}/versions/1.0.1/yank", json={})
    assert titles((await gateway.client.get(ATOM)).content) == ["Notes 2.1.0", "Notes 2.0.0"]
    for number in range(30):
        await publish(gateway.client, news(f"3.{number}.0", 4))
    found = titles((await gateway.client.get(ATOM)).content)
    assert len(found) == 30
    assert "Notes 2.1.0" not in found


async def test_a_channel_tells_of_its_own_versions(gateway: Running) -> None:
    """Who reads the feeds of both channels would otherwise see everything twice."""
    await make_notes(gateway.client, news("1.0.0", 1))
    await publish(gateway.client, news("1.1.0-beta.1", 2), "beta")
    assert titles((await gateway.client.get("/updates/notes/beta/releases.atom")).content) == ["Notes 1.1.0-beta.1"]


async def test_an_empty_feed_is_one(gateway: Running) -> None:
    """It has to say when it changed, also before there is anything."""
    await make_notes(gateway.client)
    root, entries = read_feed((await gateway.client.get(ATOM)).content)
    assert entries == []
    assert text(root, "updated") > "2020"


async def test_ids_stay_whatever_changes(gateway: Running) -> None:
    """Otherwise a reader shows everything again."""
    await make_notes(gateway.client, news("1.0.0", 1))

    async def ids() -> list[str]:
        root, entries = read_feed((await gateway.client.get(ATOM)).content)
        return [text(element, "id") for element in (root, *entries)]

    before = await ids()
    assert all(UUID(each).version == 5 for each in before)
    changes = {"release_notes": "Other", "published_at": "2026-01-09T12:00:00Z"}
    assert (await gateway.client.patch(f"{NOTES}/versions/1.0.0", json=changes)).status_code == 200
    assert (await gateway.client.patch("/projects/notes", json={"name": "Paint"})).status_code == 200
    assert await ids() == before


async def test_a_reader_that_has_the_feed_is_told_so(gateway: Running) -> None:
    """Readers ask every few minutes; downloads change nothing that they show."""
    builds = [
        {
            "platform": "linux",
            "architecture": "x64",
            "file_size": 1,
            "download_url": "https://cdn.example.com/notes",
            "checksum": {"sha256": "ab" * 32},
        }
    ]
    await make_notes(gateway.client, news("1.0.0", 1, builds=builds))
    first = await gateway.client.get(ATOM)
    assert first.headers["cache-control"] == "private, max-age=300"
    known = {"if-none-match": f"W/{first.headers['etag']}"}
    await gateway.client.get(f"{NOTES}/versions/1.0.0/builds/linux-x64/download")
    assert (await gateway.client.get(ATOM, headers=known)).status_code == 304
    await publish(gateway.client, news("1.0.1", 2))
    assert (await gateway.client.get(ATOM, headers=known)).status_code == 200


# --- any text at all --------------------------------------------------------------------------------------------------


def allowed(text: str) -> str:
    """Return what XML 1.0 can carry of a text, by its production `Char`."""
    return "".join(
        char
        for char in text
        if char in "\t\n\r" or "\x20" <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char >= "\U00010000"
    )


def kept(text: str) -> str:
    """Return what a reader sees of a text in an element, by section 2.11 on the ends of lines."""
    return allowed(text).replace("\r\n", "\n").replace("\r", "\n")


@given(notes=st.text(st.characters()), title=st.text(st.characters()))
@example(notes="a\r\nb\rc\n\td ]]> &amp; \x00\ud800\uffff\U0001f600", title="\"'<&>\r\n\t\x0b")
def test_any_text_gives_documents_that_can_be_read(notes: str, title: str) -> None:
    """Control characters, surrogates, ends of CDATA, quotes: nothing breaks a document, and what can be kept is."""
    mac = build(Platform.MACOS, Architecture.UNIVERSAL, ed_signature="c2ln", file_name="A-1.0.0-full.nupkg")
    project = stable(Version("1.0.0", title, title, notes, builds=(mac,)), name="App", description=title)
    channel = project.channels[0]
    root, (entry,) = read_feed(atom.atom_feed(project, channel, atom.newest(channel), f"{PUBLIC}/{title}"))
    assert text(entry, "content") == kept(notes)
    link = root.find(f"{NAMESPACE}link")
    assert link is not None
    assert link.get("href") == f"{PUBLIC}/{allowed(title)}"

    compiled = compile_project(project)["stable"]
    items = sparkle.appcast_items(compiled, Client(Platform.MACOS, Architecture.UNIVERSAL))
    document = fromstring(sparkle.appcast(project, channel, items, lambda _: title))  # noqa: S314 - it is our own.
    page = document.findtext("channel/item/description")
    if notes:
        assert page is not None
        assert "".join(fromstring(page).itertext()) == kept(notes)  # noqa: S314 - it is our own.


@given(notes=st.text())
def test_any_notes_survive_in_json(notes: str) -> None:
    """Lone surrogates never get into the catalogue, which is UTF-8."""
    mac = build(Platform.MACOS, Architecture.UNIVERSAL, file_name="A-1.0.0-full.nupkg", sha1="0" * 40)
    project = stable(version("1.0.0", mac, release_notes=notes))
    decision = compile_project(project)["stable"].decide(Client(Platform.MACOS, Architecture.UNIVERSAL))
    assert decision.offered is not None
    feed = velopack.feed(decision.offered, [Package(decision.offered.version, mac)])
    assert json.loads(bytes(json_response(feed).body)) == feed
    assert feed["Assets"][0]["NotesMarkdown"] == notes
    answer = squirrel.mac_answer(decision.offered, "https://example.com")
    assert json.loads(bytes(json_response(answer).body)) == answer


async def test_a_new_address_reaches_readers_that_have_the_feed(tmp_path: Path) -> None:
    """The feed names where it is to be had, which the settings say."""
    tags = set()
    for number, place in enumerate(("https://old.example.com", "https://new.example.com")):
        async with running(tmp_path, GATEWAY_SERVER__PUBLIC_URL=place) as found:
            if number == 0:
                await make_notes(found.client, news("1.0.0", 1))
            tags.add((await found.client.get(ATOM)).headers["etag"])
    assert len(tags) == 2
