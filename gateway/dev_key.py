"""The admin key that development makes for itself, so that the first request works without any set-up."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE = "development-admin-key"


def development_admin_key(data_dir: Path) -> str:
    """Return the key kept in the data folder, making it on first use. Only the owner can read the file."""
    path = data_dir / KEY_FILE
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(handle, "w", encoding="ascii") as file:
        key = "dev-admin-" + secrets.token_urlsafe(24)
        file.write(key + "\n")
    return key
