"""Sparkle's appcast (https://sparkle-project.org/documentation/publishing/): RSS 2.0 with elements of its own.

Sparkle does not say which version it runs, nor on which macOS, so one document has to serve all: it has an item for
the highest version, one for each version that must not be skipped, and those for machines that are too old for these.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple
from xml.etree.ElementTree import Element

from gateway.releases.feeds.xml_text import add, document
from gateway.releases.versions import parse_version, without_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.releases.decision import Client, Offer
    from gateway.releases.model import Channel, Project
    from gateway.releases.updates import CompiledChannel

NAMESPACE: Final = "http://www.andymatuschak.org/xml-namespaces/sparkle"
# No version precedes this one (SemVer 2.0, section 11).
_LOWEST: Final = parse_version("0.0.0-0")
# How many steps down to older systems an appcast goes.
_SYSTEMS: Final = 8
_HIGHEST_PART: Final = 999_999_999


class Item(NamedTuple):
    """One item: what is offered, and the version that has to be installed before it."""

    offer: Offer
    after: str | None


def appcast_items(compiled: CompiledChannel, client: Client) -> list[Item]:
    """Return what any machine of this platform and processor may need, each version and build once."""
    found: dict[tuple[str, str], Item] = {}
    asking = client
    for _ in range(_SYSTEMS):
        after: str | None = None
        needed: list[tuple[int, ...]] = []
        for offer in _way(compiled, asking):
            found.setdefault((offer.version.id, offer.build.id), Item(offer, after))
            after = without_metadata(offer.key)
            needed += [offer.min_os] if offer.min_os else []
        older = _just_below(max(needed)) if needed else None
        if older is None:
            break
        asking = replace(client, os_version=older)
    return list(found.values())


def _way(compiled: CompiledChannel, client: Client) -> list[Offer]:
    """Return all steps from nothing to the highest version."""
    steps: list[Offer] = []
    current = _LOWEST
    while path := compiled.decide(replace(client, current=current)).path:
        steps += path
        current = path[-1].key
    return steps


def _just_below(system: tuple[int, ...]) -> str | None:
    """Return the highest version of an operating system that is lower than this one; None for the lowest."""
    # Versions that were read have no zeros at their end.
    *first, last = system
    return ".".join(map(str, (*first, last - 1, _HIGHEST_PART))) if last else None


def appcast(project: Project, channel: Channel, items: Iterable[Item], address_of: Callable[[Offer], str]) -> bytes:
    """Return the document; `address_of` says where the build of an offer is to be had."""
    root = Element("rss", {"version": "2.0", "xmlns:sparkle": NAMESPACE})
    shown = add(root, "channel")
    add(shown, "title", f"{project.name or project.id} ({channel.name or channel.id})")
    if project.homepage:
        add(shown, "link", project.homepage)
    add(shown, "description", project.description or f"Updates of {project.name or project.id}")
    for item in items:
        _add_item(shown, project, item, address_of(item.offer))
    return document(root)


def _add_item(parent: Element, project: Project, item: Item, address: str) -> None:
    version, build = item.offer.version, item.offer.build
    element = add(parent, "item")
    add(element, "title", version.name or version.id)
    if project.homepage:
        add(element, "link", project.homepage)
    shown = without_metadata(item.offer.key)
    add(element, "sparkle:version", shown)
    add(element, "sparkle:shortVersionString", shown)
    add(element, "pubDate", format_datetime(datetime.fromtimestamp(version.published_at // 1000, UTC), usegmt=True))
    if version.release_notes:
        add(element, "description", _as_html(version.release_notes))
    if item.after is not None:
        add(element, "sparkle:minimumUpdateVersion", item.after)
    if build.min_os_version:
        add(element, "sparkle:minimumSystemVersion", build.min_os_version)
    enclosure = {
        "url": address,
        "length": str(build.file_size),
        "type": "application/octet-stream",
        "sparkle:edSignature": build.ed_signature or "",
    }
    add(element, "enclosure", **enclosure)


def _as_html(notes: str) -> str:
    """Return notes as the HTML that every Sparkle shows, as they were written; nothing in them acts as markup."""
    return f'<pre style="white-space: pre-wrap; font-family: inherit">{escape(notes, quote=False)}</pre>'
