"""The bootstrap keys: those that the configuration names and no database holds."""

from __future__ import annotations

from gateway.auth.principal import Permission, Principal

ADMIN = Principal("bootstrap-admin", "bootstrap-admin", frozenset(Permission), is_root=True)
READER = Principal(
    "bootstrap-read",
    "bootstrap-read",
    frozenset({Permission.READ_PROJECTS, Permission.READ_VERSIONS, Permission.CHECK_UPDATES}),
)
# No stored key may look like one of these in the logs.
BOOTSTRAP_NAMES = frozenset({ADMIN.name, READER.name})


def bootstrap_keys(admin_key: str, read_key: str = "") -> dict[str, Principal]:
    """Return the configured secrets with whose they are; an empty one is no key."""
    pairs = ((read_key, READER), (admin_key, ADMIN))
    return {secret: principal for secret, principal in pairs if secret}
