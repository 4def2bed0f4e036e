"""A release as GitHub's REST API tells it, read strictly, and what is compared of it from one look to the next."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final

import msgspec

UPLOADED: Final = "uploaded"


class GithubAsset(msgspec.Struct, frozen=True):
    """A file of a release; `size` in bytes, `digest` such as `sha256:...`, which old files do not have.

    `id` is another one when the file was uploaded again. The download count is left out, since it changes all the time.
    """

    id: int
    name: str
    state: str
    size: int
    browser_download_url: str
    digest: str | None = None
    updated_at: str | None = None


class GithubRelease(msgspec.Struct, frozen=True):
    """A release, or a draft of one; times as GitHub writes them, ISO 8601 in UTC."""

    id: int
    tag_name: str
    draft: bool
    prerelease: bool
    name: str | None = None
    body: str | None = None
    published_at: str | None = None
    updated_at: str | None = None
    assets: tuple[GithubAsset, ...] = ()


class GithubRepository(msgspec.Struct, frozen=True):
    """What is used of a repository: GitHub's own number, `owner/name` as it is now, and who may see it."""

    id: int
    full_name: str
    private: bool = False


def fingerprint(release: GithubRelease) -> str:
    """Return a hash of all that counts in a release: neither its counters, nor when it was touched, nor the order."""
    assets = sorted(
        (asset.id, asset.name, asset.state, asset.size, asset.browser_download_url, asset.digest)
        for asset in release.assets
    )
    parts = (release.id, release.tag_name, release.draft, release.prerelease, release.name, release.body)
    return hashlib.sha256(msgspec.json.encode((*parts, release.published_at, assets))).hexdigest()


def newest_ms(release: GithubRelease) -> int | None:
    """Return when anything in a release was last touched, in Unix milliseconds; None if that is not known."""
    times = [release.published_at, release.updated_at, *(asset.updated_at for asset in release.assets)]
    known = [time_ms(text) for text in times if text is not None]
    if release.published_at is None or None in known:
        return None
    return max(moment for moment in known if moment is not None)


def time_ms(text: str | None) -> int | None:
    """Return an ISO 8601 time as Unix milliseconds; None for none, and for what is no time after 1970."""
    try:
        moment = datetime.fromisoformat(text or "")
        found = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found >= 0 else None
