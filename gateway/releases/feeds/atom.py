"""Releases for feed readers: Atom (RFC 4287). What is news is said by the moment of publication, unlike in updates."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING, Final
from uuid import NAMESPACE_URL, uuid5
from xml.etree.ElementTree import Element

from gateway.releases.feeds.xml_text import add, document
from gateway.releases.views import time_text

if TYPE_CHECKING:
    from gateway.releases.model import Channel, Project, Version

NAMESPACE: Final = "http://www.w3.org/2005/Atom"
MAX_ENTRIES: Final = 30


def newest(channel: Channel) -> list[Version]:
    """Return the versions of a channel itself that were published last and not withdrawn, the last one first."""
    shown = (version for version in channel.versions if version.yanked_at is None)
    return nlargest(MAX_ENTRIES, shown, key=lambda version: (version.published_at, version.id))


def atom_feed(project: Project, channel: Channel, versions: list[Version], own_address: str) -> bytes:
    """Return the document; `own_address` is where it is to be had."""
    product = project.name or project.id
    root = Element("feed", {"xmlns": NAMESPACE})
    add(root, "id", _id(project, channel))
    add(root, "title", f"{product}: releases of {channel.name or channel.id}")
    changed = max((version.published_at for version in versions), default=project.created_at)
    add(root, "updated", time_text(changed) or "")
    add(add(root, "author"), "name", product)
    add(root, "link", rel="self", type="application/atom+xml", href=own_address)
    page = project.homepage or project.repository
    if page:
        add(root, "link", rel="alternate", href=page)
    for version in versions:
        at = time_text(version.published_at) or ""
        entry = add(root, "entry")
        add(entry, "id", _id(project, channel, version))
        add(entry, "title", f"{product} {version.id}")
        add(entry, "published", at)
        add(entry, "updated", at)
        if version.description:
            add(entry, "summary", version.description)
        add(entry, "content", version.release_notes, type="text")
    return document(root)


def _id(project: Project, channel: Channel, version: Version | None = None) -> str:
    """Return an id that is the same for ever, whatever the gateway's address (RFC 4287, section 4.2.6)."""
    place = f"lunarbit:projects/{project.id}/channels/{channel.id}"
    return uuid5(NAMESPACE_URL, place + (f"/versions/{version.id}" if version else "")).urn
