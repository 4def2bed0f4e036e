"""The admin key that development makes for itself, so that the first request works without any set-up."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE = "development-admin-key"


class DataFolderUnusable(Exception):
    """The data folder cannot be written to; the message says which one and why."""


def development_admin_key(data_dir: Path) -> str:
    """Return the key kept in the data folder, making it on first use. Only the owner can read the file.

    Raises `DataFolderUnusable`.
    """
    try:
        return _read_or_make(data_dir)
    except OSError as exc:
        msg = f"data.dir (GATEWAY_DATA_DIR) is {str(data_dir)!r}, which cannot be used: {exc.strerror or exc}"
        raise DataFolderUnusable(msg) from exc


def _read_or_make(data_dir: Path) -> str:
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
