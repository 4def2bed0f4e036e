"""What Tauri 2 is told of an update (https://v2.tauri.app/plugin/updater/), under "Dynamic Update Server"."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from gateway.releases.versions import without_metadata
from gateway.releases.views import time_text

if TYPE_CHECKING:
    from gateway.releases.decision import Decision, Offer
    from gateway.releases.model import Build

# How the text of every minisign signature begins.
_MINISIGN: Final = "untrusted comment:"


def signature_of(build: Build) -> str | None:
    """Return a build's signature as Tauri wants it, the base64 of the whole minisign text; None without one.

    Tauri's own tool writes .sig files in base64 already, and minisign's are text: both are taken.
    """
    text = minisign_text(build.signature or "")
    return None if text is None else base64.b64encode(text.encode()).decode()


def minisign_text(signature: str) -> str | None:
    """Return the text of a minisign signature, which may have come in base64; None if it is none."""
    text = signature.strip()
    if not text.startswith(_MINISIGN):
        try:
            text = base64.b64decode(text, validate=True).decode().strip()
        except (binascii.Error, ValueError):
            return None
    return f"{text}\n" if text.startswith(_MINISIGN) else None


def update(decision: Decision, offered: Offer, signature: str, address: str) -> dict[str, Any]:
    """Return the answer to a client that gets a version.

    Fields that Tauri does not know reach the launcher as `rawJson`, so what breaks can be told there.
    """
    return {
        "version": without_metadata(offered.key),
        "url": address,
        "signature": signature,
        "notes": offered.version.release_notes,
        "pub_date": time_text(offered.version.published_at),
        "breaking_changes": decision.breaking_changes,
        "breaking_versions": list(decision.breaking_versions),
    }
