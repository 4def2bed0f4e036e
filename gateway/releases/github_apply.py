"""Writing to the catalogue what a release on GitHub means, each release in one transaction, and audited with it."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.audit.entry import AuditEntry
from gateway.releases.github_plan import missing_channels, new_version, version_changes
from gateway.releases.github_store import OutOfTurn, Owned, ReleaseState
from gateway.releases.service import shown
from gateway.releases.store import BuildKey

if TYPE_CHECKING:
    from gateway.audit.chain import Head
    from gateway.releases.github_plan import Assessment, VersionChange
    from gateway.releases.github_release import GithubRelease
    from gateway.releases.github_store import GithubTransaction
    from gateway.releases.model import Project, Version

ACTOR: Final = "github"
_HOLDING: Final = (ReleaseState.PUBLISHED, ReleaseState.WAITING)


class Verdict(NamedTuple):
    """What became of a release, and why."""

    state: ReleaseState
    reason: str = ""


class Act:
    """One transaction for one project: what is changed in it, and what it leaves in the audit log."""

    def __init__(self, tx: GithubTransaction, project: Project, now_ms: int) -> None:
        self.tx = tx
        self.project = project
        self.now_ms = now_ms
        self.audited: list[tuple[AuditEntry, Head]] = []

    @classmethod
    async def begin(cls, tx: GithubTransaction, project_id: str, now_ms: int) -> Act:
        """Begin. Raises `OutOfTurn` if the project is not there any more."""
        project = await tx.project(project_id)
        if project is None:
            raise OutOfTurn
        return cls(tx, project, now_ms)

    async def publish(self, release: GithubRelease, assessment: Assessment) -> Verdict:
        """Make the catalogue say what a settled release says. Other versions that it was before are withdrawn."""
        channel_id, version_id = assessment.channel_id or "", assessment.version_id or ""
        place = (self.project.id, channel_id, version_id)
        await self.withdraw(
            release.id, f"the release is {version_id} in {channel_id} now", but=(channel_id, version_id)
        )
        owned, version = await self.tx.owned_at(*place), await self.tx.version(*place)
        taken = await self._taken(release, owned, version)
        if taken:
            return Verdict(ReleaseState.SKIPPED, taken)
        if version is None or owned is None:
            change = new_version(release, assessment, secrets.token_hex(8), self.now_ms)
        else:
            change = version_changes(release, assessment, version, owned, self.now_ms)
        await self._write(place, version, change)
        written = Owned(channel_id, version_id, release.id, change.written, change.builds_of)
        if written != owned:
            await self.tx.put_owned(self.project.id, written)
        reasons = [assessment.reason] if assessment.reason else []
        reasons += [f"changed by hand: {', '.join(change.left)}"] if change.left else []
        return Verdict(ReleaseState.PUBLISHED, "; ".join(reasons))

    async def withdraw(self, release_id: int, reason: str, *, but: tuple[str, str] | None = None) -> None:
        """Withdraw the versions that were made of a release, `but` one. What people withdrew or restored stays so."""
        for owned in await self.tx.owned(self.project.id, release_id):
            if owned.withdrawn_at is not None or (owned.channel_id, owned.version_id) == but:
                continue
            place = (self.project.id, owned.channel_id, owned.version_id)
            before = await self.tx.version(*place)
            if before is None or before.yanked_at is not None:
                continue
            after = replace(before, yanked_at=self.now_ms, yank_reason=reason)
            await self._audit("version.yank", "/".join(place), before, after)
            await self.tx.put_version(*place[:2], after)
            await self.tx.put_owned(self.project.id, replace(owned, withdrawn_at=self.now_ms))

    async def end(self) -> None:
        """Note on the project when something in it changed."""
        if self.audited:
            project = await self.tx.project(self.project.id)
            await self.tx.put_project(replace(project or self.project, updated_at=self.now_ms))

    async def _taken(self, release: GithubRelease, owned: Owned | None, version: Version | None) -> str:
        """Say why a version is not this release's to write; empty if it is."""
        if version is None:
            return ""
        if owned is None:
            return f"the version {version.id} is there already and was not taken over from GitHub"
        if owned.release_id == release.id:
            return ""
        other = await self.tx.seen(self.project.id, owned.release_id)
        is_held = other is not None and other.state in _HOLDING
        if other is None or not is_held or (other.channel_id, other.version_id) != (owned.channel_id, owned.version_id):
            return ""
        return f"the version {version.id} is that of the release {other.tag!r}"

    async def _write(self, place: tuple[str, str, str], before: Version | None, change: VersionChange) -> None:
        for channel in missing_channels(self.project, place[1]):
            await self._audit("channel.create", f"{self.project.id}/{channel.id}", None, channel)
            await self.tx.put_channel(self.project.id, channel)
        if change.version is not None:
            action = "version.restore" if change.restored else "version.change"
            await self._audit(action if before else "version.publish", "/".join(place), before, change.version)
            await self.tx.put_version(*place[:2], change.version)
        there = {build.id: build for build in before.builds} if before else {}
        for build in change.builds:
            key = BuildKey(*place, build.id)
            if before is not None:
                await self._audit("build.put", "/".join(key), there.get(build.id), build)
            await self.tx.put_build(key, build)
        for build_id in change.removed:
            key = BuildKey(*place, build_id)
            await self._audit("build.delete", "/".join(key), there[build_id], None)
            await self.tx.delete_build(key)

    async def _audit(self, action: str, target: str, before: Any, after: Any) -> None:
        entry = AuditEntry(
            at=self.now_ms,
            actor_id=ACTOR,
            actor=ACTOR,
            action=action,
            target=target,
            before=None if before is None else shown(before),
            after=None if after is None else shown(after),
            client_ip="",
            request_id="",
        )
        self.audited.append((entry, await self.tx.audit(entry)))
