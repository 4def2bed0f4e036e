"""What a launcher is told of a decision, as JSON: the product page's fields, and those that settle the edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.releases.decision import Decision, Offer, Status, Verdict
from gateway.releases.views import checksum_view, time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.releases.model import Build

_MESSAGES = {
    Status.CURRENT: "You are running the latest version",
    Status.AHEAD: "You are running a newer version than the one that is offered",
    Status.NONE: "There is no version for you",
}
_HELD_BACK = "There is a newer version, which you may not take yet"


def update_answer(decision: Decision, current: str, address_of: Callable[[Offer], str]) -> dict[str, Any]:
    """Return the answer to one update check. `address_of` says where the build of an offer is to be had."""
    offered = decision.offered
    if offered is None:
        answer: dict[str, Any] = {
            "update_available": False,
            "current_version": current,
            "latest_version": decision.latest.key.text if decision.latest else current,
            "message": _HELD_BACK if decision.newest else _MESSAGES[decision.status],
        }
    else:
        build = offered.build
        answer = {
            "update_available": True,
            "current_version": current,
            "latest_version": offered.key.text,
            "breaking_changes": decision.breaking_changes,
            "release_notes": offered.version.release_notes,
            "download_url": address_of(offered),
            "file_size": build.file_size,
            "checksum": checksum_view(build),
            "published_at": time_text(offered.version.published_at),
            "breaking_versions": list(decision.breaking_versions),
            "highest_non_breaking": decision.highest_non_breaking.key.text if decision.highest_non_breaking else None,
            "path": [step.key.text for step in decision.path],
        }
    return answer | _edges(decision, address_of)


def batch_item(decision: Decision, project_id: str, current: str, address_of: Callable[[Offer], str]) -> dict[str, Any]:
    """Return the answer for one product of a launcher's list."""
    offered = decision.offered
    latest = offered or decision.latest
    answer: dict[str, Any] = {
        "project_id": project_id,
        "update_available": offered is not None,
        "current_version": current,
        "latest_version": latest.key.text if latest else current,
    }
    if offered is not None:
        answer |= {
            "breaking_changes": decision.breaking_changes,
            "download_url": address_of(offered),
            "file_size": offered.build.file_size,
            "checksum": checksum_view(offered.build),
            "path": [step.key.text for step in decision.path],
        }
    return answer | _edges(decision, address_of)


def explanation(verdicts: list[Verdict]) -> list[dict[str, str]]:
    """Return why each version is offered or is not."""
    return [{"version": each.key.text, "channel": each.channel_id, "reason": str(each.reason)} for each in verdicts]


def _edges(decision: Decision, address_of: Callable[[Offer], str]) -> dict[str, Any]:
    """Return what is only said where there is something to say."""
    found: dict[str, Any] = {"status": str(decision.status), "known": decision.known}
    if decision.reason is not None:
        found["reason"] = str(decision.reason)
    if decision.newest is not None:
        found["newest_version"] = decision.newest.key.text
        found["newest_reason"] = str(decision.newest.reason)
    if decision.blocked_by is not None:
        found["blocked_by"] = str(decision.blocked_by)
    if decision.yanked:
        found["current_yanked"] = True
    if decision.rollback is not None:
        found["rollback"] = _rollback(decision.rollback, address_of(decision.rollback))
    return found


def _rollback(offer: Offer, address: str) -> dict[str, Any]:
    build: Build = offer.build
    return {
        "version": offer.key.text,
        "download_url": address,
        "file_size": build.file_size,
        "checksum": checksum_view(build),
    }
