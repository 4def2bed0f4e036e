"""Changing the catalogue: projects, channels, versions, builds. Each change is one transaction, and audited with it.

Who may change it is the guard's to say (`canManageReleases`); a key that is restricted to some projects changes those
only, and learns of no other.
"""

from __future__ import annotations

import ipaddress
import secrets
from contextlib import suppress
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gateway.audit.entry import AuditEntry, log_head
from gateway.errors import (
    BuildNotFound,
    ChannelExists,
    ChannelNotFound,
    InvalidRequest,
    ProjectExists,
    ProjectNotFound,
    StorageUnavailable,
    VersionExists,
    VersionNotFound,
)
from gateway.field_rules import Rule, read_fields, text
from gateway.releases import fields as reading
from gateway.releases.batch import version_of
from gateway.releases.model import Build, BuildState, Channel, Project, Version
from gateway.releases.sources import missing_channels, source_view
from gateway.releases.store import BuildKey
from gateway.releases.updates import shown_channels

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from gateway.audit.chain import Head
    from gateway.auth.principal import Principal
    from gateway.releases.store import CatalogStore, CatalogTransaction

T = TypeVar("T")

MAX_REASON = 500
YANK_RULES: dict[str, Rule] = {"reason": text(MAX_REASON, lines=True)}


class Publisher(NamedTuple):
    """Who changes something, and from where."""

    principal: Principal
    client_ip: str
    request_id: str


class CatalogService:
    """Changes the catalogue of one store. `clock_ms` gives Unix milliseconds; `on_change` is awaited after each change.

    Downloads by plain http may lead to `networks` (in CIDR notation) and to this machine; all others need https.
    Every method raises `StorageUnavailable` when the store does not answer, `InvalidRequest` for fields that break
    their rules, and the `NotFound` of what is named and not there.
    """

    def __init__(
        self,
        store: CatalogStore,
        *,
        clock_ms: Callable[[], int],
        on_change: Callable[[], Awaitable[object]],
        networks: Iterable[str] = (),
    ) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._on_change = on_change
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]

    async def create_project(self, body: Mapping[str, Any], who: Publisher) -> Project:
        """Make a project with its channels. Raises `Conflict` when there is one of that id."""
        values, channels = reading.new_project(body)
        now = self._clock_ms()
        project = Project(**values, created_at=now, updated_at=now, channels=tuple(channels))
        _check_channels(project)

        async def work(act: _Act) -> Project:
            if not _may_see(who, project.id):
                raise _no_project(project.id)
            if await act.tx.project(project.id) is not None:
                raise ProjectExists(f"There is a project {project.id!r} already", details={"project": project.id})
            await act.audit("project.create", project.id, None, shown(project))
            await act.tx.put_project(project)
            for channel in channels:
                await act.tx.put_channel(project.id, channel)
            return project

        return await self._change(who, work)

    async def change_project(self, project_id: str, body: Mapping[str, Any], who: Publisher) -> Project:
        """Change a project's fields; one that is absent stays."""
        values = reading.project_changes(body)

        async def work(act: _Act) -> Project:
            before = await act.project(project_id)
            after = replace(before, **values, updated_at=act.now_ms)
            _check_channels(after)
            await act.audit("project.change", project_id, shown(before), shown(after))
            await act.tx.put_project(after)
            return after

        return await self._change(who, work)

    async def delete_project(self, project_id: str, who: Publisher) -> None:
        """Remove a project with all its channels, versions and builds."""

        async def work(act: _Act) -> None:
            before = await act.project(project_id)
            await act.audit("project.delete", project_id, shown(before), None)
            await act.tx.delete_project(project_id, act.now_ms)

        await self._change(who, work)

    async def create_channel(self, project_id: str, body: Mapping[str, Any], who: Publisher) -> Channel:
        """Add a channel to a project."""
        channel = reading.new_channel(body)

        async def work(act: _Act) -> Channel:
            project = await act.project(project_id)
            if project.channel(channel.id) is not None:
                raise ChannelExists(f"There is a channel {channel.id!r} already", details={"channel": channel.id})
            _check_channels(replace(project, channels=(*project.channels, channel)))
            await act.audit("channel.create", f"{project_id}/{channel.id}", None, shown(channel))
            await act.tx.put_channel(project_id, channel)
            await act.touch()
            return channel

        return await self._change(who, work)

    async def change_channel(
        self, project_id: str, channel_id: str, body: Mapping[str, Any], who: Publisher
    ) -> Channel:
        """Change a channel's fields; one that is absent stays."""
        values = reading.channel_changes(body)

        async def work(act: _Act) -> Channel:
            project = await act.project(project_id)
            before = _channel_of(project, channel_id)
            after = replace(before, **values)
            others = tuple(after if channel.id == channel_id else channel for channel in project.channels)
            _check_channels(replace(project, channels=others))
            await act.audit("channel.change", f"{project_id}/{channel_id}", shown(before), shown(after))
            await act.tx.put_channel(project_id, after)
            await act.touch()
            return after

        return await self._change(who, work)

    async def delete_channel(self, project_id: str, channel_id: str, who: Publisher) -> None:
        """Remove a channel with all its versions. Raises `InvalidRequest` for one that others need."""

        async def work(act: _Act) -> None:
            project = await act.project(project_id)
            before = _channel_of(project, channel_id)
            rest = tuple(channel for channel in project.channels if channel.id != channel_id)
            _check_channels(replace(project, channels=rest))
            await act.audit("channel.delete", f"{project_id}/{channel_id}", shown(before), None)
            await act.tx.delete_channel(project_id, channel_id)
            await act.touch()

        await self._change(who, work)

    async def publish(self, project_id: str, channel_id: str, body: Mapping[str, Any], who: Publisher) -> Version:
        """Publish a version with its builds, all or nothing. Raises `VersionExists`."""
        version = replace(
            reading.new_version(body, self._clock_ms(), self._networks), rollout_salt=secrets.token_hex(8)
        )

        async def work(act: _Act) -> Version:
            project = await act.project(project_id)
            _channel_of(project, channel_id)
            if await act.tx.version(project_id, channel_id, version.id) is not None:
                msg = f"The channel {channel_id!r} has the version {version.id} already"
                raise VersionExists(msg, details={"version": version.id, "channel": channel_id})
            await act.audit("version.publish", f"{project_id}/{channel_id}/{version.id}", None, shown(version))
            await act.tx.put_version(project_id, channel_id, version)
            for build in version.builds:
                await act.tx.put_build(BuildKey(project_id, channel_id, version.id, build.id), build)
            await act.touch()
            return version

        return await self._change(who, work)

    async def change_version(
        self, project_id: str, channel_id: str, version_id: str, body: Mapping[str, Any], who: Publisher
    ) -> Version:
        """Change a version's fields; one that is absent stays."""
        values = reading.version_changes(body)
        return await self._replace_version(
            "version.change", (project_id, channel_id, version_id), lambda before, _: replace(before, **values), who
        )

    async def yank(
        self, project_id: str, channel_id: str, version_id: str, body: Mapping[str, Any], who: Publisher
    ) -> Version:
        """Withdraw a version: it stays visible, and nobody is offered it any more. The body may say the `reason`."""
        reason = read_fields(body, YANK_RULES).get("reason", "")
        return await self._replace_version(
            "version.yank",
            (project_id, channel_id, version_id),
            lambda before, now: replace(before, yanked_at=before.yanked_at or now, yank_reason=reason),
            who,
        )

    async def restore(self, project_id: str, channel_id: str, version_id: str, who: Publisher) -> Version:
        """Take a withdrawal back."""
        return await self._replace_version(
            "version.restore",
            (project_id, channel_id, version_id),
            lambda before, _: replace(before, yanked_at=None, yank_reason=""),
            who,
        )

    async def add_build(
        self, project_id: str, channel_id: str, version_id: str, body: Mapping[str, Any], who: Publisher
    ) -> tuple[Version, Build]:
        """Add a build to a version, or replace the one of its id, which then has to be verified anew."""
        build = reading.new_build(body, self._clock_ms(), self._networks)

        async def work(act: _Act) -> tuple[Version, Build]:
            version = await act.version(project_id, channel_id, version_id)
            before = next((other for other in version.builds if other.id == build.id), None)
            target = f"{project_id}/{channel_id}/{version_id}/{build.id}"
            await act.audit("build.put", target, None if before is None else shown(before), shown(build))
            await act.tx.put_build(BuildKey(project_id, channel_id, version_id, build.id), build)
            await act.touch()
            return version, build

        return await self._change(who, work)

    async def verify_again(
        self, project_id: str, channel_id: str, version_id: str, build_id: str, who: Publisher
    ) -> tuple[Version, Build]:
        """Have a build verified from the beginning."""

        async def work(act: _Act) -> tuple[Version, Build]:
            version = await act.version(project_id, channel_id, version_id)
            before = next((build for build in version.builds if build.id == build_id), None)
            if before is None:
                known = [build.id for build in version.builds]
                details = {"build": build_id[:64], "available_builds": known}
                raise BuildNotFound(f"The version has no build {build_id[:64]!r}", details=details)
            after = replace(before, state=BuildState.PENDING, state_reason="", state_at=act.now_ms)
            target = f"{project_id}/{channel_id}/{version_id}/{build_id}"
            await act.audit("build.verify", target, shown(before), shown(after))
            await act.tx.put_build(BuildKey(project_id, channel_id, version_id, build_id), after)
            return version, after

        return await self._change(who, work)

    async def _replace_version(
        self, action: str, where: tuple[str, str, str], change: Callable[[Version, int], Version], who: Publisher
    ) -> Version:
        async def work(act: _Act) -> Version:
            before = await act.version(*where)
            after = change(before, act.now_ms)
            await act.audit(action, "/".join(where), shown(before), shown(after))
            await act.tx.put_version(where[0], where[1], after)
            await act.touch()
            return after

        return await self._change(who, work)

    async def _change(self, who: Publisher, work: Callable[[_Act], Awaitable[T]]) -> T:
        """Run `work` in one transaction, and tell of what it did once that is durable."""
        acts: list[_Act] = []
        now = self._clock_ms()

        async def run(tx: CatalogTransaction) -> T:
            acts.append(_Act(tx, who, now))
            return await work(acts[-1])

        result = await self._store.administer(run)
        for entry, head in acts[-1].audited:
            log_head(entry, head)
        # Who has changed something sees it with the next request; others hear of it within a second.
        with suppress(StorageUnavailable):
            await self._on_change()
        return result


class _Act:
    """One change under way: who does it, and what it leaves in the audit log."""

    def __init__(self, tx: CatalogTransaction, who: Publisher, now_ms: int) -> None:
        self.tx = tx
        self.now_ms = now_ms
        self._who = who
        self._project: Project | None = None
        self.audited: list[tuple[AuditEntry, Head]] = []

    async def project(self, project_id: str) -> Project:
        """Return a project that the caller may change. Raises `ProjectNotFound`."""
        # A database may not even take what is no id.
        may_be = _may_see(self._who, project_id) and reading.ID.fullmatch(project_id)
        project = await self.tx.project(project_id) if may_be else None
        if project is None:
            raise _no_project(project_id)
        self._project = project
        return project

    async def touch(self) -> None:
        """Note on the project that was looked at when something in it changed."""
        if self._project is not None:
            await self.tx.put_project(replace(self._project, updated_at=self.now_ms))

    async def version(self, project_id: str, channel_id: str, version_id: str) -> Version:
        """Return a version that the caller may change. Raises the `NotFound` of what is missing."""
        _channel_of(await self.project(project_id), channel_id)
        version_of("version", version_id)
        version = await self.tx.version(project_id, channel_id, version_id)
        if version is None:
            msg = f"The channel {channel_id!r} has no version {version_id[:256]!r}"
            raise VersionNotFound(msg, details={"version": version_id[:256]})
        return version

    async def audit(
        self, action: str, target: str, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> None:
        """Append to the audit log what was and what is."""
        entry = AuditEntry(
            at=self.now_ms,
            actor_id=self._who.principal.id,
            actor=self._who.principal.name,
            action=action,
            target=target,
            before=before,
            after=after,
            client_ip=self._who.client_ip,
            request_id=self._who.request_id,
        )
        self.audited.append((entry, await self.tx.audit(entry)))


def _no_project(project_id: str) -> ProjectNotFound:
    return ProjectNotFound(f"Project {project_id[:64]!r} not found", details={"project": project_id[:64]})


def _may_see(who: Publisher, project_id: str) -> bool:
    allowed = who.principal.allowed_projects
    return allowed is None or project_id in allowed


def _channel_of(project: Project, channel_id: str) -> Channel:
    channel = project.channel(channel_id)
    if channel is None:
        known = [channel.id for channel in project.channels]
        details = {"channel": channel_id[:64], "available_channels": known}
        raise ChannelNotFound(f"Project {project.id!r} has no channel {channel_id[:64]!r}", details=details)
    return channel


def _check_channels(project: Project) -> None:
    """Refuse a project that names a channel which is not there, or whose channels include each other in a circle."""
    known = {channel.id for channel in project.channels}
    errors = []
    if project.default_channel not in known:
        errors.append(
            ("default_channel", f"must be one of the channels: {', '.join(sorted(known)) or 'there is none'}")
        )
    for channel in project.channels:
        missing = [name for name in channel.includes if name not in known]
        if missing:
            errors.append((f"channels.{channel.id}.includes", f"there is no channel {missing[0]!r}"))
        elif _leads_back(project, channel):
            errors.append((f"channels.{channel.id}.includes", "must not lead back to the channel itself"))
    errors += missing_channels(project)
    if errors:
        raise InvalidRequest(f"{errors[0][0]}: {errors[0][1]}", errors=errors)


def _leads_back(project: Project, channel: Channel) -> bool:
    included = (found for name in channel.includes if (found := project.channel(name)) is not None)
    return any(channel.id in shown_channels(project, other) for other in included)


def shown(item: Project | Channel | Version | Build) -> dict[str, Any]:
    """Return what the audit log keeps of an item: its fields, and of what is in it only the ids."""
    inside = {"channels", "versions", "builds"}
    shown = {field.name: getattr(item, field.name) for field in fields(item) if field.name not in inside}
    if isinstance(item, Project):
        shown["github"] = source_view(item.github)
    if isinstance(item, Version):
        shown["builds"] = [f"{build.id} {build.sha256}" for build in item.builds]
    return shown
