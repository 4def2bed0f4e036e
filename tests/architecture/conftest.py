"""One real installation for all tests of this folder, since making it takes several seconds."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.architecture.installation import Installation, install

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """Yield an installation in a folder that every user may read, unlike pytest's own temporary folders."""
    root = Path(tempfile.mkdtemp(prefix="lunarbit-image-"))
    try:
        yield install(root)
    finally:
        shutil.rmtree(root)
