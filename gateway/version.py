"""The version of the gateway, of the package and of the API (LC-VER)."""

from __future__ import annotations

from typing import Final

VERSION: Final = "2.0.0"
