"""Sparkle's appcast. Sparkle does not run here, so the document is read strictly, and items are chosen by its rules."""

from __future__ import annotations

import base64
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree.ElementTree import Element, fromstring

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.releases.decision import Client
from gateway.releases.feeds.sparkle import NAMESPACE, appcast_items
from gateway.releases.model import Architecture, Platform, Project
from gateway.releases.updates import compile_project
from gateway.releases.versions import parse_version
from tests.feeds.package_catalogue import FEEDS, NOTES, PUBLIC, content, feeds, make_notes, publish
from tests.gateway.canonical import assert_canonical_error
from tests.releases.small_catalogue import build as small_build
from tests.releases.small_catalogue import stable, version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.releases.catalogue_http import Running

APPCAST = f"{FEEDS}/sparkle/appcast.xml"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MAC = Client(Platform.MACOS, Architecture.UNIVERSAL)


class Item(NamedTuple):
    """What Sparkle reads of an item."""

    version: str
    after: str | None
    system: str | None
    url: str
    length: int
    signature: str
    title: str
    published: str
    notes: str | None


def read_appcast(body: bytes) -> list[Item]:
    """Read a document as strictly as the page on publishing describes it."""
    root = fromstring(body)  # noqa: S314 - the document is our own.
    assert (root.tag, root.get("version")) == ("rss", "2.0")
    (channel,) = root
    assert channel.tag == "channel"
    assert all(text_of(channel, name) for name in ("title", "description"))
    return [_item(element) for element in channel.findall("item")]


def text_of(parent: Element, name: str) -> str | None:
    """Return the text of the one element of this name, None if there is none."""
    found = parent.findall(name.replace("sparkle:", f"{{{NAMESPACE}}}"))
    assert len(found) <= 1, name
    return (found[0].text or "") if found else None


def _item(element: Element) -> Item:
    (enclosure,) = element.findall("enclosure")
    assert enclosure.get("type") == "application/octet-stream"
    found = text_of(element, "sparkle:version")
    assert found
    assert text_of(element, "sparkle:shortVersionString") == found
    assert text_of(element, "sparkle:channel") is None, "an item of a channel is hidden from who has not chosen it"
    system = text_of(element, "sparkle:minimumSystemVersion")
    assert system is None or re.fullmatch(r"\d+(\.\d+){0,3}", system)
    return Item(
        found,
        text_of(element, "sparkle:minimumUpdateVersion"),
        system,
        enclosure.attrib["url"],
        int(enclosure.attrib["length"]),
        enclosure.attrib[f"{{{NAMESPACE}}}edSignature"],
        text_of(element, "title") or "",
        text_of(element, "pubDate") or "",
        text_of(element, "description"),
    )


def dmg(name: str, architecture: str = "universal", **more: Any) -> dict[str, Any]:
    """Return a signed disk image as publishers send it."""
    body = content(name)
    return {
        "platform": "macos",
        "architecture": architecture,
        "file_size": len(body),
        "download_url": f"https://cdn.example.com/Notes-{name}-{architecture}.dmg",
        "checksum": {"sha256": "ab" * 32},
        "ed_signature": base64.b64encode(PRIVATE.sign(body)).decode(),
        **more,
    }


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a gateway with an empty catalogue."""
    async with feeds(tmp_path) as found:
        yield found


async def items(found: Running, **parameters: str) -> list[Item]:
    """Ask for the appcast, and read it."""
    response = await found.client.get(APPCAST, params=parameters)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/rss+xml; charset=utf-8"
    return read_appcast(response.content)


async def test_an_item_has_what_sparkle_reads(gateway: Running) -> None:
    """With a signature that is one of the file, and the file at an absolute address of ours."""
    about = {"name": "Notes 1.1", "release_notes": "## New\n- <b>A & B</b>", "published_at": "2026-02-05T14:30:00Z"}
    await make_notes(
        gateway.client,
        {"id": "1.0.0", "builds": [dmg("1.0.0")]},
        {"id": "1.1.0", **about, "builds": [dmg("1.1.0", min_os_version="12.3")]},
        homepage="https://notes.example.com",
    )
    found = (await items(gateway))[0]
    assert (found.version, found.after, found.system, found.title) == ("1.1.0", None, "12.3", "Notes 1.1")
    assert found.url == f"{PUBLIC}{NOTES}/versions/1.1.0/builds/macos-universal/download"
    assert found.length == len(content("1.1.0"))
    assert parsedate_to_datetime(found.published).isoformat() == "2026-02-05T14:30:00+00:00"
    PRIVATE.public_key().verify(base64.b64decode(found.signature, validate=True), content("1.1.0"))
    led = await gateway.client.get(found.url.removeprefix(PUBLIC))
    assert led.headers["location"] == "https://cdn.example.com/Notes-1.1.0-universal.dmg"


async def test_notes_are_shown_as_they_were_written(gateway: Running) -> None:
    """Sparkle shows a description as a page of the web, so nothing in the notes may act as markup."""
    notes = "<script>alert(1)</script>\n- a & b ]]> \u2713"
    await make_notes(gateway.client, {"id": "1.1.0", "release_notes": notes, "builds": [dmg("1.1.0")]})
    (found,) = await items(gateway)
    page = fromstring(found.notes or "")  # noqa: S314 - the document is our own.
    assert (page.tag, list(page), page.text) == ("pre", [], notes)


async def test_a_build_without_a_signature_is_no_item(gateway: Running) -> None:
    """Sparkle refuses it, so the next lower version is the one to offer."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [dmg("1.0.0")]})
    await publish(gateway.client, {"id": "1.1.0", "builds": [dmg("1.1.0", ed_signature=None)]})
    assert [item.version for item in await items(gateway)] == ["1.0.0"]


async def test_one_document_serves_every_machine(gateway: Running) -> None:
    """It says of each item what has to be installed before it, and on which macOS it runs. Metadata is left out."""
    versions = [("1.0.0", {}), ("1.1.0+7", {"required": True}), ("1.2.0+8", {})]
    systems = {"1.0.0": "11.0", "1.1.0+7": "12.0", "1.2.0+8": "13.1"}
    builds = {name: [dmg(name, min_os_version=system)] for name, system in systems.items()}
    await make_notes(gateway.client, *({"id": name, **more, "builds": builds[name]} for name, more in versions))
    found = [(item.version, item.after, item.system) for item in await items(gateway)]
    assert sorted(found) == [("1.0.0", None, "11.0"), ("1.1.0", None, "12.0"), ("1.2.0", "1.1.0", "13.1")]


async def test_an_appcast_without_items_is_still_one(gateway: Running) -> None:
    """Sparkle then says that there is no update."""
    await make_notes(gateway.client)
    assert await items(gateway) == []


async def test_a_rollout_waits_for_those_who_say_no_id(gateway: Running) -> None:
    """Sparkle says none; an app can add `client_id` to the feed's parameters."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [dmg("1.0.0")]})
    await publish(gateway.client, {"id": "1.1.0", "rollout_percent": 50, "builds": [dmg("1.1.0")]})
    assert [item.version for item in await items(gateway)] == ["1.0.0"]
    seen = {(await items(gateway, client_id=f"app-{number}"))[0].version for number in range(20)}
    assert seen == {"1.0.0", "1.1.0"}


async def test_builds_for_single_processors_need_a_parameter(gateway: Running) -> None:
    """A universal build is for all; without one, x64 is what a file without a label is for."""
    await make_notes(gateway.client, {"id": "1.1.0", "builds": [dmg("1.1.0", "arm64"), dmg("1.1.0", "x64")]})
    ends = {name: (await items(gateway, architecture=name))[0].url.split("/")[-2] for name in ("arm64", "x64")}
    assert ends == {"arm64": "macos-arm64", "x64": "macos-x64"}
    assert (await items(gateway))[0].url.split("/")[-2] == "macos-x64"
    assert_canonical_error(await gateway.client.get(f"{APPCAST}?architecture=z80"), "INVALID_REQUEST", 400)


async def test_who_has_the_appcast_is_told_so(gateway: Running) -> None:
    """Sparkle asks again with the validator, as the system's own loader does."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [dmg("1.0.0")]})
    first = await gateway.client.get(APPCAST)
    assert first.headers["cache-control"] == "private, max-age=60"
    again = await gateway.client.get(APPCAST, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await publish(gateway.client, {"id": "1.1.0", "builds": [dmg("1.1.0")]})
    again = await gateway.client.get(APPCAST, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 200


# --- what a machine takes of an appcast -------------------------------------------------------------------------------


def chosen(project: Project, current: str, system: str) -> str | None:
    """Return what Sparkle 2 takes: the highest item that its version and its macOS are high enough for."""
    items = appcast_items(compile_project(project)["stable"], MAC)

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(map(int, text.split(".")))

    fitting = [
        parse_version(item.offer.version.id)
        for item in items
        if (item.after is None or parse_version(item.after) <= parse_version(current))
        and numbers(item.offer.build.min_os_version or "0") <= numbers(system)
    ]
    best = max(fitting, default=None)
    return best.text if best and best > parse_version(current) else None


def mac(**values: Any) -> Any:
    """Make a build for any Mac."""
    return small_build(Platform.MACOS, Architecture.UNIVERSAL, **values)


@pytest.mark.parametrize(
    ("current", "offered"),
    [
        ("0.9.0", "1.5.0"),
        ("1.0.0", "1.5.0"),
        ("1.5.0", "2.5.0"),
        ("2.0.0", "2.5.0"),
        ("2.5.0", "3.1.0"),
        ("3.1.0", None),
    ],
)
def test_no_machine_passes_a_version_that_must_not_be_skipped(current: str, offered: str | None) -> None:
    """Although all get the same document."""
    names = ("1.0.0", "1.5.0", "2.0.0", "2.5.0", "3.0.0", "3.1.0")
    required = ("1.5.0", "2.5.0")
    project = stable(*(version(name, mac(), required=name in required) for name in names))
    assert chosen(project, current, "14.0") == offered


@pytest.mark.parametrize(
    ("system", "offered"),
    [("14.0", "4.0.0"), ("13.9", "3.0.0"), ("12.0", "3.0.0"), ("11.7", "2.0.0"), ("10.15", "1.0.0"), ("10.12", None)],
)
def test_an_old_system_is_offered_what_runs_on_it(system: str, offered: str | None) -> None:
    """Sparkle passes over items that ask for a newer one, so there has to be one for each step."""
    needs = {"1.0.0": "10.13", "2.0.0": "11", "2.5.0": "12.0.1", "3.0.0": "12.0", "4.0.0": "14"}
    project = stable(*(version(name, mac(min_os_version=system)) for name, system in needs.items()))
    assert chosen(project, "0.1.0", system) == offered


def test_an_appcast_lists_what_is_needed_and_nothing_else() -> None:
    """One item of a hundred plain versions, and an end even for a build that any system runs."""
    plain = [version(f"1.{number}.0", mac(min_os_version="0")) for number in range(100)]
    items = appcast_items(compile_project(stable(*plain))["stable"], MAC)
    assert [item.offer.version.id for item in items] == ["1.99.0"]
    many = [version(f"1.{number}.0", mac(), required=True) for number in range(50)]
    items = appcast_items(compile_project(stable(*many))["stable"], MAC)
    assert [item.offer.version.id for item in items] == [f"1.{number}.0" for number in range(50)]
