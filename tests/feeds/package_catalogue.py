"""A product in packages: how tests publish its builds, and the real Velopack client that installs it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import zipfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import velopack

from gateway.app import create_app
from tests.gateway.edge import ECHO, KEY, served, settings_for
from tests.releases.catalogue_http import made, running
from tests.releases.fileserver import FileServer, file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from gateway.app import Gateway
    from tests.releases.catalogue_http import Running

PUBLIC = "https://releases.example.com"
NOTES = "/projects/notes/channels/stable"
FEEDS = "/updates/notes/stable"


@asynccontextmanager
async def feeds(tmp_path: Path, **environ: str) -> AsyncIterator[Running]:
    """Run a gateway with an empty catalogue that knows its public address."""
    async with running(tmp_path, GATEWAY_SERVER__PUBLIC_URL=PUBLIC, **environ) as found:
        yield found


async def make_notes(client: httpx.AsyncClient, *versions: dict[str, Any], **fields: Any) -> None:
    """Make the product with the channels stable and beta, which includes stable, and publish these versions."""
    channels = [{"id": "stable"}, {"id": "beta", "includes": ["stable"]}]
    project = {"id": "notes", "name": "Notes", "verification": "trusted", "channels": channels}
    await made(client, "/projects", project | fields)
    for version in versions:
        await publish(client, version)


async def publish(client: httpx.AsyncClient, version: dict[str, Any], channel: str = "stable") -> None:
    """Publish a version."""
    await made(client, f"/projects/notes/channels/{channel}/versions", version)


def content(version: str, kind: str = "full") -> bytes:
    """Return what a package holds: not a real archive, but long enough to take several reads."""
    return f"{version} {kind} ".encode() * 20_000


def package(
    version: str,
    channel: str = "linux",
    kind: str = "full",
    *,
    base: str = "https://cdn.example.com",
    body: bytes | None = None,
    sha1: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """Return a package as publishers send it, named as `vpk pack` names it."""
    body = content(version, kind) if body is None else body
    platform = {"win": "windows", "osx": "macos"}.get(channel.partition("-")[0], "linux")
    checksum = {"sha256": hashlib.sha256(body).hexdigest()}
    checksum |= {"sha1": hashlib.sha1(body).hexdigest()} if sha1 else {}  # noqa: S324 - the format is made of it.
    return {
        "id": f"{channel}-{kind}",
        "platform": platform,
        "architecture": channel.partition("-")[2] or "x64",
        "file_size": len(body),
        "download_url": f"{base}/Notes-{version}-{channel}-{kind}.nupkg",
        "checksum": checksum,
        **more,
    }


def versions_of(feed: dict[str, Any]) -> list[tuple[str, str]]:
    """Return version and type of every asset of a Velopack feed."""
    return [(asset["Version"], asset["Type"]) for asset in feed["Assets"]]


class OnSockets(NamedTuple):
    """A gateway and a server of files, both on loopback."""

    app: Gateway
    client: httpx.AsyncClient
    files: FileServer
    feed: str

    def add(self, version: str, kind: str = "full", body: bytes | None = None, **more: Any) -> dict[str, Any]:
        """Put a package on the server of files, and return it as publishers send it; `body` is what is served."""
        found = package(version, kind=kind, base=self.files.url(""), **more)
        path = found["download_url"].removeprefix(self.files.url(""))
        self.files.routes[path] = file(content(version, kind) if body is None else body)
        return found

    def asked_for(self) -> list[str]:
        """Return which files were asked for."""
        return [request.path for request in self.files.requests]


@asynccontextmanager
async def on_sockets(tmp_path: Path, **environ: str) -> AsyncIterator[OnSockets]:
    """Run both, with nothing in them."""
    app = create_app(settings_for(tmp_path, ECHO, GATEWAY_SERVER__PUBLIC_URL=PUBLIC, **environ))
    async with FileServer({}) as files, served(app) as gateway:
        gateway.client.headers.update(KEY)
        yield OnSockets(app, gateway.client, files, f"http://127.0.0.1:{gateway.port}{FEEDS}/velopack")


_MANIFEST = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://schemas.microsoft.com/packaging/2010/07/nuspec.xsd"><metadata>
<id>Notes</id><title>Notes</title><authors>Somebody</authors><description>Notes</description>
<version>{version}</version><channel>{channel}</channel><mainExe>notes</mainExe><os>linux</os>
</metadata></package>"""
# Velopack leaves patching to this program, which gets the base, the deltas and where to write.
_UPDATER = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in --output) out="$2";; --delta) cat "$2" >> "$out.parts";; esac
  shift
done
mv "$out.parts" "$out"
"""


class Installed:
    """Velopack's own client (Rust, behind its Python package) in an app that looks as if it were installed."""

    def __init__(
        self, folder: Path, feed: str, version: str, *, channel: str = "linux", key: str = "", downgrade: bool = False
    ) -> None:
        self.packages = folder / "packages"
        self.packages.mkdir(parents=True, exist_ok=True)
        self._version = version
        updater, manifest = folder / "UpdateNix", folder / "sq.version"
        updater.write_text(_UPDATER)
        updater.chmod(0o755)
        self._manifest = _MANIFEST.format(version=version, channel=channel)
        manifest.write_text(self._manifest)
        locator = velopack.VelopackLocatorConfig(
            RootAppDir=folder,
            UpdateExePath=updater,
            PackagesDir=self.packages,
            ManifestPath=manifest,
            CurrentBinaryDir=folder,
            IsPortable=False,
        )
        headers = [velopack.HttpHeader("Authorization", key)] if key else []
        source = velopack.HttpSource(feed, velopack.HttpOptions(headers, 20_000))
        self.manager = velopack.UpdateManager(source, velopack.UpdateOptions(downgrade, 10), locator)

    def call_itself(self, staging_id: str) -> None:
        """Set the id that the client otherwise draws when it is started for the first time."""
        (self.packages / ".betaId").write_text(staging_id)

    def keep_own_package(self) -> None:
        """Put the package of the installed version where the client looks for what deltas start from."""
        with zipfile.ZipFile(self.packages / f"Notes-{self._version}-linux-full.nupkg", "w") as archive:
            archive.writestr("Notes.nuspec", self._manifest)

    async def check(self) -> velopack.UpdateInfo | None:
        """Look for an update."""
        return await asyncio.to_thread(self.manager.check_for_updates)

    async def download(self, update: velopack.UpdateInfo) -> bytes:
        """Download an update, and return the package that the client then has."""
        await asyncio.to_thread(self.manager.download_updates, update)
        return (self.packages / update.TargetFullRelease.FileName).read_bytes()

    def left(self) -> list[str]:
        """Return the names of the packages that the client has."""
        return sorted(path.name for path in self.packages.iterdir() if re.search(r"\.nupkg$", path.name))
