"""Staged rollout: which installations are among the first to be offered a version.

An installation's place is a hash of its own id and of the release's salt. So it stays where it is, every release draws
its places anew, and a higher percentage takes in more installations without losing one.
"""

from __future__ import annotations

import hashlib
from typing import Final

_BYTES: Final = 6


def bucket(salt: str, staging_id: str) -> float:
    """Return the place of an installation in [0, 100), evenly spread to far below a hundredth of a percent."""
    text = f"{salt}\0{staging_id}".encode(errors="backslashreplace")
    return int.from_bytes(hashlib.sha256(text).digest()[:_BYTES]) * 100 / (1 << 8 * _BYTES)


def admits(percent: float, salt: str, staging_id: str | None) -> bool:
    """Whether a rollout to `percent` of the installations reaches this one; 0 reaches nobody and 100 everybody.

    Who does not say which installation it is has no place, and waits until the rollout is complete.
    """
    if percent >= 100:
        return True
    return bool(staging_id) and percent > 0 and bucket(salt, staging_id or "") < percent
