"""The feeds of both Squirrels, which Electron's own `autoUpdater` uses.

Squirrel.Windows reads `RELEASES`, a line for each package (its `ReleaseEntry`). Squirrel.Mac asks with its version and
gets JSON, or 204 when it has to do nothing (its `README`, "Update Server JSON Format").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.releases.views import time_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.releases.decision import Decision, Offer
    from gateway.releases.model import Build


def releases_text(packages: Iterable[Build]) -> str:
    """Return the file `RELEASES`: SHA-1, name and size in bytes of each package that has a SHA-1.

    Names are relative to this file's own address. An absolute address would have to end in the package's name, because
    the client cuts it at its last slash and writes to the disk under what follows; the address of a download does not.
    """
    return "\n".join(f"{each.sha1.upper()} {each.file_name} {each.file_size}" for each in packages if each.sha1)


def mac_offer(decision: Decision) -> Offer | None:
    """Return what Squirrel.Mac is to install, which does whatever it is told: an update, or what to go back to."""
    return decision.offered or decision.rollback


def mac_answer(offer: Offer, address: str) -> dict[str, Any]:
    """Return what Squirrel.Mac reads of an update whose archive is at `address`."""
    return {
        "url": address,
        "name": offer.version.name or offer.version.id,
        "notes": offer.version.release_notes,
        "pub_date": time_text(offer.version.published_at),
    }
