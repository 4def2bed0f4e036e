"""Gateways with a catalogue for the tests of its endpoints: the product page's two projects, or one of the test's."""

from __future__ import annotations

import asyncio
import tomllib
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.app import create_app
from tests.gateway.edge import ECHO, KEY, LIMIT_S, asgi_client, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from gateway.app import Gateway

EXAMPLE = Path(__file__).parents[2] / "config" / "catalog.example.toml"
TRACKLY = "/projects/trackly"
STABLE = f"{TRACKLY}/channels/stable"
VERSIONS = f"{STABLE}/versions"
CDN = "https://cdn.lunarbit.dev"


class Running(NamedTuple):
    """A gateway that runs, and a client for it that has the admin key."""

    app: Gateway
    client: httpx.AsyncClient


@asynccontextmanager
async def running(tmp_path: Path, toml: str = ECHO, **environ: str) -> AsyncIterator[Running]:
    """Run a gateway with an empty catalogue."""
    app = create_app(settings_for(tmp_path, toml, **environ))
    async with asgi_client(app) as client:
        client.headers.update(KEY)
        yield Running(app, client)


async def import_example(client: httpx.AsyncClient) -> None:
    """Make the projects of the example file through the API, which takes the same fields."""
    for project in tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))["projects"]:
        channels = [{k: v for k, v in channel.items() if k != "versions"} for channel in project["channels"]]
        await made(client, "/projects", {**project, "channels": channels})
        for channel in project["channels"]:
            for version in channel.get("versions", []):
                await made(client, f"/projects/{project['id']}/channels/{channel['id']}/versions", version)


async def made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post something that must be created, and return the answer."""
    response = await client.post(path, json=body)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def build(version: str, platform: str = "windows", architecture: str = "x64", **more: Any) -> dict[str, Any]:
    """Return a build of Trackly as publishers send it."""
    return {
        "platform": platform,
        "architecture": architecture,
        "file_size": 1000,
        "download_url": f"{CDN}/trackly/{version}/trackly-{platform}-{architecture}.bin",
        "checksum": {"sha256": "ab" * 32},
        **more,
    }


async def make_project(client: httpx.AsyncClient, *versions: str | dict[str, Any], **fields: Any) -> None:
    """Make Trackly with one channel, and publish these versions, each for Windows unless it says its builds."""
    channels = [{"id": "stable", "auto_update": True}]
    project = {"id": "trackly", "name": "Trackly", "verification": "trusted", "channels": channels, **fields}
    await made(client, "/projects", project)
    for version in versions:
        await publish(client, version)


async def publish(client: httpx.AsyncClient, version: str | dict[str, Any], channel: str = "stable") -> None:
    """Publish one version of Trackly."""
    body = {"id": version} if isinstance(version, str) else version
    await made(client, f"{TRACKLY}/channels/{channel}/versions", {"builds": [build(body["id"])], **body})


async def update(client: httpx.AsyncClient, current: str, channel: str = "stable", **parameters: str) -> dict[str, Any]:
    """Ask for an update of Trackly on Windows unless told otherwise, and return the answer."""
    asked = {"current_version": current, "platform": "windows", "architecture": "x64", **parameters}
    response = await client.get(f"{TRACKLY}/channels/{channel}/update", params=asked)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def until_true(condition: Callable[[], Any]) -> None:
    """Wait until what `condition` returns, awaited, is true."""
    async with asyncio.timeout(LIMIT_S):
        while not await condition():
            await asyncio.sleep(0.01)
