"""The secrets that development makes for itself, so that the first request works without any set-up."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import CannotStart

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE = "development-admin-key"
PEPPER_FILE = "development-pepper"


class DataFolderUnusable(CannotStart):
    """The data folder cannot be written to; the message says which one and why."""


def development_admin_key(data_dir: Path) -> str:
    """Return the admin key kept in the data folder, making it on first use. Raises `DataFolderUnusable`."""
    return _kept(data_dir, KEY_FILE, "dev-admin-")


def development_pepper(data_dir: Path) -> str:
    """Return the pepper kept in the data folder, making it on first use. Raises `DataFolderUnusable`."""
    return _kept(data_dir, PEPPER_FILE, "")


def _kept(data_dir: Path, file_name: str, prefix: str) -> str:
    """Return the secret in a file that only its owner can read."""
    try:
        secret = _read_or_make(data_dir, file_name, prefix)
    except OSError as exc:
        msg = f"data.dir (GATEWAY_DATA_DIR) is {str(data_dir)!r}, which cannot be used: {exc.strerror or exc}"
        raise DataFolderUnusable(msg) from exc
    if not secret:
        raise DataFolderUnusable(f"{data_dir / file_name} is empty: put the secret back, or remove the file")
    return secret


def _read_or_make(data_dir: Path, file_name: str, prefix: str) -> str:
    path = data_dir / file_name
    data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written whole before it has its name, so that a process that starts at the same moment never reads half of it.
        draft = data_dir / f".{file_name}-{secrets.token_hex(4)}"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(prefix + secrets.token_urlsafe(24) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii").strip()
