"""A gateway on a real socket with a product in it, and a server of the product's files at another origin."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from gateway.releases.model import BuildState
from gateway.releases.store import BuildKey
from tests.architecture.installation import free_port
from tests.e2e.server import ADMIN_KEY, Running, serving, settings
from tests.releases import fileserver as fs
from tests.releases.fileserver import FileServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT_S = 30.0


@dataclass
class Shop:
    """What a test has: the gateway, a client with the admin key, and the server of the files."""

    gateway: Running
    client: httpx.AsyncClient
    files: FileServer

    @property
    def base(self) -> str:
        """The gateway's own address."""
        return str(self.client.base_url).rstrip("/")

    async def open_project(self, project: str = "app", **fields: Any) -> None:
        """Make a project with the channel `stable` whose updates need no key, unless told otherwise."""
        body = {"id": project, "name": project, "verification": "trusted", "public_updates": True, **fields}
        await _made(self.client, "/projects", {"channels": [{"id": "stable"}], **body})

    def build(self, file_name: str, platform: str = "linux", architecture: str = "x64", **more: Any) -> dict[str, Any]:
        """Return a build as publishers send it, and serve its file."""
        content, path = content_of(file_name), f"/files/{quote(file_name)}"
        self.files.routes[path] = fs.file(content)
        checksum = {"sha256": hashlib.sha256(content).hexdigest(), "sha512": hashlib.sha512(content).hexdigest()}
        return {
            "platform": platform,
            "architecture": architecture,
            "file_name": file_name,
            "file_size": len(content),
            "download_url": self.files.url(path),
            "checksum": checksum,
            **more,
        }

    async def publish(self, version: str, *builds: dict[str, Any], project: str = "app", **fields: Any) -> None:
        """Publish a version."""
        path = f"/projects/{project}/channels/stable/versions"
        await _made(self.client, path, {"id": version, "builds": list(builds), **fields})

    async def settle(self, version: str, build_id: str, state: BuildState, project: str = "app") -> None:
        """Set what verification found out about a build."""
        parts = self.gateway.app.state
        key = BuildKey(project, "stable", version, build_id)
        found = parts.catalogue.now.project(project, None).build(*key[1:])[1]
        await parts.releases._store.administer(lambda tx: tx.put_build(key, replace(found, state=state)))
        await parts.catalogue.refresh()


def content_of(file_name: str) -> bytes:
    """Return the content of a file, which no other file has."""
    return f"the content of {file_name} ".encode() * 500


def digest_of(file_name: str) -> str:
    """Return the SHA-256 of that content."""
    return hashlib.sha256(content_of(file_name)).hexdigest()


@asynccontextmanager
async def open_shop(folder: Path, **server: Any) -> AsyncIterator[Shop]:
    """Run both servers; `server` are settings of the gateway's section of that name."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    configured = settings(
        folder,
        {"echo": {"kind": "echo"}},
        server={"port": port, "public_url": base, **server},
        verification={"enabled": False},
    )
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        FileServer({}) as files,
        serving(configured) as gateway,
        httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=LIMIT_S) as client,
    ):
        yield Shop(gateway, client, files)


async def _made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 201, response.text
