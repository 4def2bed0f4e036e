"""Random histories of a repository: what a maintainer does, what goes wrong, and what the catalogue must be like.

The truth is worked out from the fake's own state and from tables of names, and uses nothing of the gateway.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.github.fake_github import HOUR_MS
from tests.github.scene import SETTLE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.releases.model import Build
    from tests.github.fake_github import Asset, FakeGithub, Release
    from tests.github.scene import Scene

Place = tuple[str, str]
Files = frozenset[tuple[str, str, int, str, bool]]

# Tag, and the version and channel that it stands for when the release is not flagged, and when it is.
TAGS: dict[str, tuple[str, str, str] | None] = {
    "v1.0.0": ("1.0.0", "stable", "beta"),
    "v1.0.1": ("1.0.1", "stable", "beta"),
    "1.0.1": ("1.0.1", "stable", "beta"),
    "app-v1.1.0": ("1.1.0", "stable", "beta"),
    "v1.2.0-beta.1": ("1.2.0-beta.1", "beta", "beta"),
    "v1.2.0-rc.1": ("1.2.0-rc.1", "beta", "beta"),
    "v1.3.0-alpha.2": ("1.3.0-alpha.2", "dev", "dev"),
    "v2.0.0-nightly.20260201": ("2.0.0-nightly.20260201", "dev", "dev"),
    "v2.0.0": ("2.0.0", "stable", "beta"),
    "latest": None,
    "2026.01.02.3": None,
    "otherlib-v3.0.0": None,
}
# File, and the build that it is.
FILES = {
    "app-linux-x64.AppImage": "linux-x64",
    "app-linux-arm64.AppImage": "linux-arm64",
    "app-windows-x64.exe": "windows-x64",
    "app-macos-arm64.zip": "macos-arm64",
    "notes.txt": None,
    "app-linux-x64.AppImage.sig": None,
}
SUMS = "SHA256SUMS"
FAULTS = ("500", "502", "429", "secondary", "spent", "garbage", "cut", "slow", "404")


def place_of(release: Release) -> Place | None:
    """Return the channel and version of a release by the table."""
    known = TAGS[release.tag]
    if known is None or release.draft:
        return None
    return known[2] if release.prerelease else known[1], known[0]


def files_of(github: FakeGithub, release: Release) -> Files | None:
    """Return the builds that a release is: id, address, size, digest, and whether somebody declares that.

    None while an upload is under way, and if there is none.
    """
    if any(asset.state != "uploaded" for asset in release.assets):
        return None
    listed = "".join(asset.content.decode() for asset in release.assets if asset.name == SUMS)
    found = {
        (build, github.url_of(release, asset), len(asset.content), asset.sha256, _is_declared(asset, listed))
        for asset in release.assets
        if (build := FILES.get(asset.name)) is not None
    }
    return frozenset(found) or None


def fits(builds: dict[str, Build], files: Files) -> bool:
    """Whether the catalogue serves these files, and no others.

    A digest that is not declared may still be known, since the list of checksums may have been deleted later.
    """
    wanted = {file[0]: file for file in files}
    return builds.keys() == wanted.keys() and all(_is_file(build, wanted[name]) for name, build in builds.items())


def _is_file(build: Build, file: tuple[str, str, int, str, bool]) -> bool:
    _, url, size, digest, is_declared = file
    is_known = build.sha256 == digest or (build.sha256 == "" and not is_declared)
    return (build.download_url, build.file_size) == (url, size) and is_known


def _is_declared(asset: Asset, listed: str) -> bool:
    return asset.has_digest or f"{asset.sha256}  {asset.name}" in listed


@dataclass
class History:
    """One history: the scene, its chance, and since when until when each state of each version was seen."""

    at: Scene
    rng: random.Random
    log: list[str] = field(default_factory=list)
    lasted: dict[tuple[Place, Files], tuple[int, int]] = field(default_factory=dict)
    deliveries: list[tuple[str, int, str]] = field(default_factory=list)
    delivered: int = 0

    @property
    def github(self) -> FakeGithub:
        """The fake."""
        return self.at.github

    def note(self) -> None:
        """Note what every release is now."""
        now = self.at.clock()
        for release in self.github.releases.values():
            place, files = place_of(release), files_of(self.github, release)
            if place is not None and files is not None:
                since = self.lasted.get((place, files), (now, now))[0]
                self.lasted[place, files] = (since, now)

    def truth(self) -> dict[Place, set[Files]]:
        """Return what the catalogue must serve in the end; one of several where two releases are one version."""
        found: dict[Place, set[Files]] = {}
        for release in self.github.releases.values():
            place, files = place_of(release), files_of(self.github, release)
            if place is not None and files is not None:
                found.setdefault(place, set()).add(files)
        return found

    async def check(self) -> None:
        """Hold that nothing is served that was never whole for as long as it takes."""
        for place, builds in (await self.at.served()).items():
            spans = [span for (where, files), span in self.lasted.items() if where == place and fits(builds, files)]
            assert spans, (place, builds, self.log)
            assert max(span[1] - span[0] for span in spans) >= SETTLE_S * 1000, (place, spans, self.log)

    async def step(self) -> None:
        """Let one thing happen, and then everybody look who is due."""
        act = self.rng.choice(self._acts())
        said = act()
        self.log.append(f"{self.at.clock.now}: {act.__name__} {said}")
        self.note()
        await self._hear()
        if self.rng.random() < 0.1:
            await self.at.restart()
        self.at.clock.advance(self.rng.choice((0, 1, 5, 20, 46, 60, 200, 400)))
        self.note()
        await self.at.round()
        await self.check()

    async def end(self) -> None:
        """Let all faults and uploads end, and wait."""
        self.github.faults.clear()
        self.github.remaining = None
        self.github.is_gone = self.github.noisy = False
        for release in self.github.releases.values():
            for asset in release.assets:
                if asset.state != "uploaded":
                    self.github.finish(release, asset)
        self.note()
        for _ in range(5):
            await self.at.next_poll()
            self.note()
            self.at.clock.advance(SETTLE_S + 61)
            await self.at.round()
            self.note()
            await self.check()

    def _acts(self) -> list[Callable[[], Any]]:
        acts: list[Callable[[], Any]] = [self.publish, self.publish_empty, self.break_something, self.rename]
        if self.github.releases:
            acts += [self.upload, self.begin_upload, self.finish_upload, self.replace_file, self.delete_file]
            acts += [self.delete, self.to_draft, self.from_draft, self.flip_flag, self.edit_tag, self.edit_notes]
            acts += [self.download, self.upload, self.finish_upload, self.from_draft, self.download]
        return acts

    def _free_tags(self) -> list[str]:
        """Return the tags without a release; a tag has one at most, drafts apart."""
        used = {release.tag for release in self.github.releases.values() if not release.draft}
        return [tag for tag in TAGS if tag not in used]

    def _any(self) -> Release:
        return self.rng.choice(list(self.github.releases.values()))

    def _tell(self, release: Release) -> None:
        self.deliveries.append((f"delivery-{len(self.deliveries)}-{self.rng.random()}", release.id, release.tag))

    async def _hear(self) -> None:
        """Deliver webhooks, of which some are lost, some come twice, and their order is left to chance."""
        self.rng.shuffle(self.deliveries)
        while self.deliveries and self.rng.random() < 0.7:
            delivery, release_id, tag = self.deliveries.pop()
            if self.rng.random() < 0.3:
                continue
            for _ in range(self.rng.choice((1, 1, 1, 2))):
                repository_id, repository = self.github.repository_id, self.github.repository
                await self.at.store.take_delivery(
                    delivery, repository_id, repository, (release_id, tag), self.at.clock()
                )
                self.delivered += 1

    def publish(self) -> str:
        """Publish a release; some files come at once, and some of the old ones have no digest."""
        tags = self._free_tags()
        if not tags:
            return "nothing"
        tag = self.rng.choice(tags)
        release = self.github.publish(tag, prerelease=self.rng.random() < 0.3, draft=self.rng.random() < 0.15)
        for name in self.rng.sample(list(FILES), self.rng.randint(1, 4)):
            self.github.upload(release, name, digest=self.rng.random() < 0.7)
        if self.rng.random() < 0.5:
            lines = "".join(f"{asset.sha256}  {asset.name}\n" for asset in release.assets)
            self.github.upload(release, SUMS, lines.encode())
        if self.rng.random() < 0.2:
            # One of long ago, as in a repository that is connected for the first time.
            release.published_at = release.touched_at = self.at.clock() - 2 * HOUR_MS
            for asset in release.assets:
                asset.updated_at = release.published_at
            if release.draft:
                release.published_at = None
            place, files = place_of(release), files_of(self.github, release)
            if place is not None and files is not None:
                self.lasted[place, files] = (release.touched_at, self.at.clock())
        self._tell(release)
        return f"{tag} {release.id}"

    def publish_empty(self) -> str:
        """Publish before anything is uploaded."""
        tags = self._free_tags()
        if not tags:
            return "nothing"
        release = self.github.publish(self.rng.choice(tags))
        self._tell(release)
        return f"{release.tag} {release.id}"

    def _free_name(self, release: Release) -> str | None:
        names = sorted(set(FILES) - {asset.name for asset in release.assets})
        return self.rng.choice(names) if names else None

    def upload(self) -> str:
        """Add a file that is there at once. GitHub tells nobody."""
        release = self._any()
        name = self._free_name(release)
        if name is not None:
            self.github.upload(release, name)
        return f"{release.tag} {name}"

    def begin_upload(self) -> str:
        """Begin to upload."""
        release = self._any()
        name = self._free_name(release)
        if name is not None:
            self.github.upload(release, name, done=False)
        return f"{release.tag} {name}"

    def finish_upload(self) -> str:
        """End the uploads of a release."""
        release = self._any()
        for asset in release.assets:
            if asset.state != "uploaded":
                self.github.finish(release, asset)
        return release.tag

    def replace_file(self) -> str:
        """Delete a file and upload another of that name."""
        release = self._any()
        if not release.assets:
            return "nothing"
        asset = self.rng.choice(release.assets)
        if asset.name == SUMS:
            return "nothing"
        self.github.remove(release, asset)
        self.github.upload(release, asset.name, done=self.rng.random() < 0.7)
        self._tell(release)
        return f"{release.tag} {asset.name}"

    def delete_file(self) -> str:
        """Delete a file."""
        release = self._any()
        if not release.assets:
            return "nothing"
        asset = self.rng.choice(release.assets)
        self.github.remove(release, asset)
        return f"{release.tag} {asset.name}"

    def delete(self) -> str:
        """Delete a release."""
        release = self._any()
        del self.github.releases[release.id]
        self._tell(release)
        return f"{release.tag} {release.id}"

    def to_draft(self) -> str:
        """Unpublish a release."""
        release = self._any()
        release.draft = True
        self.github.touch(release)
        self._tell(release)
        return f"{release.tag} {release.id}"

    def from_draft(self) -> str:
        """Publish a draft."""
        release = self._any()
        if release.draft and release.tag in self._free_tags():
            release.draft = False
            release.published_at = release.published_at or self.at.clock()
            self.github.touch(release)
            self._tell(release)
        return f"{release.tag} {release.id}"

    def flip_flag(self) -> str:
        """Call it a pre-release, or not any more."""
        release = self._any()
        release.prerelease = not release.prerelease
        self.github.touch(release)
        self._tell(release)
        return f"{release.tag} {release.id}"

    def edit_tag(self) -> str:
        """Move a release to another tag."""
        release = self._any()
        before = release.tag
        release.tag = self.rng.choice([*self._free_tags(), before])
        self.github.touch(release)
        self._tell(release)
        return f"{before} {release.tag} {release.id}"

    def edit_notes(self) -> str:
        """Write something else."""
        release = self._any()
        release.body = f"Notes {self.rng.random()}"
        self.github.touch(release)
        self._tell(release)
        return release.tag

    def download(self) -> str:
        """Have users download, which changes every ETag."""
        self.github.noisy = self.rng.random() < 0.5
        for asset in self._any().assets:
            asset.downloads += 7
        return ""

    def break_something(self) -> str:
        """Make GitHub go wrong."""
        fault = self.rng.choice(FAULTS)
        self.github.faults += [fault] * self.rng.randint(1, 2)
        if self.rng.random() < 0.2:
            self.github.is_gone = not self.github.is_gone
        return fault

    def rename(self) -> str:
        """Rename the repository, at most twice."""
        if len(self.github.old_names) < 2 and self.rng.random() < 0.2:
            self.github.rename(f"octo-org/app-{len(self.github.old_names)}")
            self.note()
        return self.github.repository
