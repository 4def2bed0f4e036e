"""The admin key that development makes for itself: kept, private, and shown where it helps."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from gateway.app import create_app
from gateway.dev_key import KEY_FILE, development_admin_key
from gateway.server import announcement
from gateway.wiring import admin_key
from tests.gateway.edge import ECHO, HELLO, asgi_client
from tests.gateway.settings_files import GOOD_KEY, load

if TYPE_CHECKING:
    from pathlib import Path


def test_the_key_is_made_once_and_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """In a folder that need not exist yet."""
    folder = tmp_path / "deep" / "data"
    key = development_admin_key(folder)
    assert re.fullmatch(r"dev-admin-[A-Za-z0-9_-]{32}", key)
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert development_admin_key(folder) == key


def test_another_folder_gets_another_key(tmp_path: Path) -> None:
    """It is random, not derived."""
    assert development_admin_key(tmp_path / "a") != development_admin_key(tmp_path / "b")


def test_a_configured_key_makes_no_file(tmp_path: Path) -> None:
    """The operator has chosen; an empty development key would be one key too many."""
    settings = load(tmp_path, ECHO, GATEWAY_DATA_DIR=str(tmp_path / "data"), API_KEY_ADMIN=GOOD_KEY)
    assert admin_key(settings) == GOOD_KEY
    create_app(settings)
    assert not (tmp_path / "data" / KEY_FILE).exists()


async def test_the_shown_key_works(tmp_path: Path) -> None:
    """What is printed at the start can be pasted, also after a restart."""
    settings = load(tmp_path, ECHO, GATEWAY_DATA_DIR=str(tmp_path / "data"))
    for _ in range(2):
        app = create_app(settings)
        (key,) = set(re.findall(r"dev-admin-[\w-]+", announcement(settings)))
        async with asgi_client(app) as client:
            response = await client.post("/ai/chat", json=HELLO, headers={"authorization": f"Bearer {key}"})
            assert response.status_code == 200
