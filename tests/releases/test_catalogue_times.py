"""When a project last changed, which is what launchers and people sort by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.edge import KEY, asgi_client
from tests.gateway.keyring import DAY_S, Clock, clocked_app
from tests.releases.catalogue_http import STABLE, TRACKLY, VERSIONS, build, made, make_project

if TYPE_CHECKING:
    from pathlib import Path

CHANGES = {
    "project": ("PATCH", TRACKLY, {"description": "other"}),
    "channel": ("PATCH", STABLE, {"description": "other"}),
    "new-channel": ("POST", f"{TRACKLY}/channels", {"id": "beta"}),
    "publish": ("POST", VERSIONS, {"id": "2.0.0"}),
    "version": ("PATCH", f"{VERSIONS}/1.0.0", {"description": "other"}),
    "yank": ("POST", f"{VERSIONS}/1.0.0/yank", {"reason": "bad"}),
    "restore": ("POST", f"{VERSIONS}/1.0.0/restore", {}),
    "build": ("POST", f"{VERSIONS}/1.0.0/builds", build("1.0.0", platform="linux")),
}


@pytest.mark.parametrize("change", list(CHANGES))
async def test_every_change_inside_a_project_is_news_of_it(tmp_path: Path, change: str) -> None:
    """Whatever of a project has changed, its time says so; when it was made stays."""
    clock = Clock()
    async with asgi_client(clocked_app(tmp_path, clock)) as client:
        client.headers.update(KEY)
        await make_project(client, "1.0.0")
        before = (await client.get(TRACKLY)).json()
        clock.turn(DAY_S)
        method, path, body = CHANGES[change]
        response = await client.request(method, path, json=body)
        assert response.status_code < 300, response.text
        after = (await client.get(TRACKLY)).json()
    assert (before["updated_at"], after["updated_at"]) == ("2026-02-07T10:00:00Z", "2026-02-08T10:00:00Z")
    assert after["created_at"] == before["created_at"]


async def test_a_homepage_is_an_address_or_nothing(tmp_path: Path) -> None:
    """Launchers make a link of it."""
    async with asgi_client(clocked_app(tmp_path, Clock())) as client:
        client.headers.update(KEY)
        response = await client.post("/projects", json={"id": "x", "name": "X", "homepage": "javascript:alert(1)"})
        assert response.status_code == 400
        assert response.json()["error"]["details"]["errors"][0]["field"] == "homepage"
        await made(client, "/projects", {"id": "x", "name": "X", "homepage": ""})
