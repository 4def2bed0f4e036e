"""The bootstrap keys: those that the configuration names and no database holds."""

from __future__ import annotations

import hashlib
import hmac

from gateway.auth.principal import Permission, Principal

ADMIN = Principal("bootstrap-admin", "bootstrap-admin", frozenset(Permission))
READER = Principal(
    "bootstrap-read",
    "bootstrap-read",
    frozenset({Permission.READ_PROJECTS, Permission.READ_VERSIONS, Permission.CHECK_UPDATES}),
)


class BootstrapAuthenticator:
    """Knows `API_KEY_ADMIN`, which may do everything, and `API_KEY_READ`; an empty one is no key.

    Digests are compared and not the secrets, in constant time, so that neither length nor content shows in the timing.
    """

    def __init__(self, admin_key: str, read_key: str = "") -> None:
        pairs = ((admin_key, ADMIN), (read_key, READER))
        self._known = [(_digest(secret), principal) for secret, principal in pairs if secret]

    async def authenticate(self, secret: str) -> Principal | None:
        """Return the bootstrap principal of `secret`, or None."""
        digest = _digest(secret)
        found = None
        for known, principal in self._known:
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
