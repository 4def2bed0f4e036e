"""A scene: a fake GitHub, a database with one project that follows it, and what looks at it."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gateway.audit.chain import AuditKeys
from gateway.auth.principal import Permission, Principal
from gateway.releases.addresses import AddressRules
from gateway.releases.github_api import GithubApi
from gateway.releases.github_sync import GithubSync
from gateway.releases.github_worker import GithubWorker
from gateway.releases.model import Channel, GithubSource, Project, Verification
from gateway.releases.outgoing import Limits, Outgoing
from gateway.releases.service import CatalogService, Publisher
from gateway.storage.catalog import CatalogTable
from gateway.storage.database import Database, sqlite_url
from gateway.storage.github import GithubTable
from gateway.storage.leases import Leases
from tests.github.fake_github import Clock, FakeGithub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.releases.github_store import Seen
    from gateway.releases.github_sync import Report
    from gateway.releases.model import Build, Version

POLL_S = 300.0
SETTLE_S = 45.0
TOKEN = "ghp_" + "t" * 36
LINUX = "app-linux-x64.AppImage"
WINDOWS = "app-windows-x64.exe"
MAC = "app-macos-arm64.zip"


class Nobody:
    """What the worker tells of itself, kept."""

    def __init__(self) -> None:
        self.states: dict[str, int] = {}
        self.looks: list[bool] = []

    def github_looked(self, *, is_good: bool) -> None:
        """Keep it."""
        self.looks.append(is_good)

    def github_states(self, counts: dict[str, int]) -> None:
        """Keep it."""
        self.states = counts


class Scene:
    """Everything at hand; `restart` begins a new process on the same database."""

    def __init__(self, github: FakeGithub, database: Database, clock: Clock, **api: Any) -> None:
        keys = AuditKeys.derive("k" * 32, "p" * 32, "")
        self.github, self.clock, self.watcher = github, clock, Nobody()
        self.catalog = CatalogTable(database, keys)
        self.store = GithubTable(database, keys)
        self.leases = Leases(database)
        self._api_options = api
        self.outgoing = Outgoing(AddressRules(["127.0.0.0/8"]), Limits())
        self.api, self.worker = self._process()

    def _process(self) -> tuple[GithubApi, GithubWorker]:
        """Make what a process has."""
        api = GithubApi(self.github.url, TOKEN, clock_ms=self.clock, **self._api_options)
        sync = GithubSync(self.store, api, self.outgoing, clock_ms=self.clock, poll_s=POLL_S)
        return api, GithubWorker(
            self.store, self.leases, sync, clock_ms=self.clock, on_change=_nothing, watcher=self.watcher
        )

    async def restart(self) -> None:
        """End the process and begin another."""
        await self.api.aclose()
        self.api, self.worker = self._process()

    async def add_project(self, project_id: str = "app", **source: Any) -> None:
        """Add a project that follows the repository, and trusts what it finds."""
        found = GithubSource(**{"repository": self.github.repository, "settle_s": SETTLE_S, **source})
        channels = (Channel("stable"),)
        project = Project(project_id, "App", verification=Verification.TRUSTED, github=found, channels=channels)

        async def work(tx: Any) -> None:
            await tx.put_project(project)
            for channel in channels:
                await tx.put_channel(project_id, channel)

        await self.catalog.administer(work)

    async def change_source(self, **source: Any) -> None:
        """Change what the project says of its source."""

        async def work(tx: Any) -> None:
            project = await tx.project("app")
            values = {"repository": self.github.repository, "settle_s": SETTLE_S, **source}
            await tx.put_project(Project(**{**_fields(project), "github": GithubSource(**values)}))

        await self.catalog.administer(work)

    def service(self) -> tuple[CatalogService, Publisher]:
        """Return what a person changes the catalogue with."""
        root = Principal("root", "root", frozenset(Permission), is_root=True)
        service = CatalogService(self.catalog, clock_ms=self.clock, on_change=_nothing)
        return service, Publisher(root, "127.0.0.1", "req_test")

    async def round(self) -> list[Report]:
        """Do what is due."""
        return await self.worker.round()

    async def settle(self) -> None:
        """Look, let the settling time pass, and look again."""
        await self.round()
        self.clock.advance(SETTLE_S)
        await self.round()

    async def next_poll(self) -> list[Report]:
        """Wait for the next poll and do it."""
        self.clock.advance(POLL_S * 1.11)
        return await self.round()

    async def versions(self, project_id: str = "app") -> dict[tuple[str, str], Version]:
        """Return all versions of the catalogue by channel and version."""
        _, changes = await self.catalog.changes(-1)
        (project,) = [change.project for change in changes if change.project_id == project_id]
        assert project is not None
        return {(channel.id, version.id): version for channel in project.channels for version in channel.versions}

    async def served(self) -> dict[tuple[str, str], dict[str, Build]]:
        """Return the builds of every version that is not withdrawn."""
        found = await self.versions()
        return {
            key: {build.id: build for build in version.builds}
            for key, version in found.items()
            if version.yanked_at is None
        }

    async def seen(self) -> dict[str, Seen]:
        """Return what is remembered of each tag."""
        return {seen.tag: seen for seen in (await self.store.all_seen("app")).values()}


@asynccontextmanager
async def scene(tmp_path: Path, **api: Any) -> AsyncIterator[Scene]:
    """Set up a scene on SQLite."""
    clock = Clock()
    database = Database(sqlite_url(tmp_path / "scene.sqlite3"))
    await database.open()
    try:
        async with FakeGithub(clock) as github:
            made = Scene(github, database, clock, **api)
            try:
                yield made
            finally:
                await made.api.aclose()
    finally:
        await database.close()


def sums(**files: bytes) -> bytes:
    """Return a list of checksums."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


def _fields(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__dataclass_fields__}


async def _nothing() -> None:
    return
