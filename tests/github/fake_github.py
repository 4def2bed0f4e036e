"""`FakeGithub`: GitHub's releases on loopback, as its API is known to behave, with the faults that it is known for.

Every answer has GitHub's own date, the ETag of a body holds the download counts, and the counts change all the time if
`noisy`. `refuse` and `faults` make it go wrong. `violations` says what a client did that GitHub forbids.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    from types import TracebackType

HOUR_MS = 3_600_000


class Clock:
    """A clock that only goes when it is told to; Unix milliseconds."""

    def __init__(self, now_ms: int = 1_770_000_000_000) -> None:
        self.now = now_ms

    def __call__(self) -> int:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * 1000)


@dataclass
class Asset:
    """A file of a release; `state` is open until it is uploaded."""

    id: int
    name: str
    content: bytes
    state: str
    has_digest: bool
    updated_at: int
    downloads: int = 0

    @property
    def sha256(self) -> str:
        """The digest of what it holds."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Release:
    """A release or a draft; `touched_at` is what its Last-Modified tells."""

    id: int
    tag: str
    prerelease: bool
    draft: bool
    published_at: int | None
    touched_at: int
    body: str = ""
    name: str | None = None
    assets: list[Asset] = field(default_factory=list)


@dataclass
class Asked:
    """One request: its path with the query, its status, and its condition."""

    path: str
    status: int
    etag: str | None
    since: str | None
    authorization: str | None


class FakeGithub:
    """One repository on a server of its own. `clock` is GitHub's clock too."""

    def __init__(self, clock: Clock, *, repository: str = "octo-org/app", repository_id: int = 4711) -> None:
        self.clock = clock
        self.repository = repository
        self.repository_id = repository_id
        self.is_private = False
        self.old_names: list[str] = []
        self.releases: dict[int, Release] = {}
        self.requests: list[Asked] = []
        self.violations: list[str] = []
        self.faults: list[str] = []
        self.noisy = False
        self.is_gone = False
        self.remaining: int | None = None
        self.reset_at = 0
        self.closed_until = 0
        self._ids = count(1000)
        self._in_flight = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    # What a maintainer does.

    def publish(self, tag: str, *names: str, prerelease: bool = False, draft: bool = False, **more: Any) -> Release:
        """Make a release with files that are there already."""
        now = self.clock()
        release = Release(next(self._ids), tag, prerelease, draft, None if draft else now, now, **more)
        self.releases[release.id] = release
        for name in names:
            self.upload(release, name)
        return release

    def upload(
        self, release: Release, name: str, content: bytes | None = None, *, done: bool = True, digest: bool = True
    ) -> Asset:
        """Add a file, or begin to."""
        asset_id = next(self._ids)
        content = content if content is not None else f"{name} {asset_id}".encode()
        asset = Asset(asset_id, name, content, "uploaded" if done else "starter", digest, self.clock())
        release.assets.append(asset)
        self.touch(release)
        return asset

    def finish(self, release: Release, asset: Asset) -> None:
        """End an upload."""
        asset.state = "uploaded"
        asset.updated_at = self.clock()
        self.touch(release)

    def remove(self, release: Release, asset: Asset) -> None:
        """Delete a file."""
        release.assets.remove(asset)
        self.touch(release)

    def touch(self, release: Release) -> None:
        """Note that a release was changed."""
        release.touched_at = self.clock()

    def rename(self, repository: str) -> None:
        """Give the repository another name; the old one leads there."""
        self.old_names.append(self.repository)
        self.repository = repository

    def url_of(self, release: Release, asset: Asset) -> str:
        """Return the address of a file."""
        return f"{self.url}/{self.repository}/releases/download/{release.tag}/{asset.name}"

    # What a client sees.

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._in_flight += 1
        try:
            if "/releases/download/" in request.path:
                return self._file(request)
            if self._in_flight > 1:
                self.violations.append("two requests at once")
            if self.noisy:
                for release in self.releases.values():
                    for asset in release.assets:
                        asset.downloads += 1
            response = await self._api(request)
            headers = request.headers
            condition = (headers.get("If-None-Match"), headers.get("If-Modified-Since"))
            if all(condition):
                self.violations.append("a date beside an ETag, which does not count then")
            authorization = headers.get("Authorization")
            self.requests.append(Asked(request.path_qs, response.status, *condition, authorization))
            return response
        finally:
            self._in_flight -= 1

    async def _api(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Accept") != "application/vnd.github+json" or "User-Agent" not in request.headers:
            self.violations.append("headers are missing")
        if self.clock() < self.closed_until:
            self.violations.append(f"asked {self.closed_until - self.clock()} ms before the time it was told")
        if self.faults:
            return await self._go_wrong(request, self.faults.pop(0))
        if self.remaining is not None and self.clock() >= self.reset_at:
            self.remaining = None
        if self.remaining is not None and self.remaining <= 0:
            return self._limited(403, {})
        response = self._look_up(request)
        if self.remaining is not None and response.status != 304:
            self.remaining -= 1
            response.headers.update(self._budget())
            if self.remaining == 0:
                self.closed_until = self.reset_at
        return response

    def _budget(self) -> dict[str, str]:
        return {"X-RateLimit-Remaining": str(self.remaining), "X-RateLimit-Reset": str(-(-self.reset_at // 1000))}

    def _limited(self, status: int, headers: dict[str, str]) -> web.Response:
        if not headers:
            headers = self._budget()
            self.closed_until = self.reset_at
        return self._json(status, {"message": "API rate limit exceeded"}, headers)

    async def _go_wrong(self, request: web.Request, fault: str) -> web.StreamResponse:
        if fault == "429":
            self.closed_until = self.clock() + 30_000
            return self._limited(429, {"Retry-After": "30"})
        if fault == "secondary":
            self.closed_until = self.clock() + 60_000
            return self._json(403, {"message": "You have exceeded a secondary rate limit"})
        if fault == "spent":
            self.remaining, self.reset_at = 0, self.clock() + 120_000
            return self._limited(403, {})
        if fault == "garbage":
            return web.Response(status=200, text='[{"id": 1, "tag_', headers=self._date())
        if fault == "slow":
            await asyncio.sleep(60)
        if fault == "cut":
            response = web.StreamResponse(headers={**self._date(), "Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"[{")
            if request.transport is not None:
                request.transport.abort()
            return response
        return self._json(int(fault), {"message": "Server Error"})

    def _look_up(self, request: web.Request) -> web.Response:
        parts = request.path.strip("/").split("/")
        if parts[0] == "repos":
            name, rest = "/".join(parts[1:3]), parts[3:]
            if name.lower() in (old.lower() for old in self.old_names):
                location = "/".join((f"{self.url}/repositories/{self.repository_id}", *rest))
                return self._json(301, {"message": "Moved Permanently"}, {"Location": location})
            is_known = name.lower() == self.repository.lower()
        else:
            rest = parts[2:]
            is_known = parts[:2] == ["repositories", str(self.repository_id)]
        if not is_known or self.is_gone:
            return self._not_found()
        if not rest:
            shown = {"id": self.repository_id, "full_name": self.repository, "private": self.is_private}
            return self._json(200, shown)
        if rest == ["releases"]:
            return self._list(request)
        release = self.releases.get(int(rest[1]))
        if release is None or release.draft:
            return self._not_found()
        return self._one(request, release)

    def _list(self, request: web.Request) -> web.Response:
        per_page, page = int(request.query.get("per_page", "30")), int(request.query.get("page", "1"))
        visible = [release for release in sorted(self.releases.values(), key=lambda r: -r.id) if not release.draft]
        shown = [self._shown(release) for release in visible[(page - 1) * per_page : page * per_page]]
        headers = {"ETag": self._etag(shown)}
        if page * per_page < len(visible):
            base = f"{self.url}/repositories/{self.repository_id}/releases?per_page={per_page}"
            last = -(-len(visible) // per_page)
            headers["Link"] = f'<{base}&page={page + 1}>; rel="next", <{base}&page={last}>; rel="last"'
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers={**headers, **self._date()})
        return self._json(200, shown, headers)

    def _one(self, request: web.Request, release: Release) -> web.Response:
        modified = format_datetime(datetime.fromtimestamp(release.touched_at // 1000, UTC), usegmt=True)
        shown = self._shown(release)
        headers = {"ETag": self._etag(shown), "Last-Modified": modified}
        since = request.headers.get("If-Modified-Since")
        if since and parsedate_to_datetime(since) >= parsedate_to_datetime(modified):
            return web.Response(status=304, headers={**headers, **self._date()})
        return self._json(200, shown, headers)

    def _file(self, request: web.Request) -> web.Response:
        if "Authorization" in request.headers:
            self.violations.append("the token was sent to the host of the files")
        for release in self.releases.values():
            for asset in release.assets:
                if request.path == self.url_of(release, asset).removeprefix(self.url) and asset.state == "uploaded":
                    asset.downloads += 1
                    return web.Response(body=asset.content)
        return web.Response(status=404)

    def _shown(self, release: Release) -> dict[str, Any]:
        return {
            "id": release.id,
            "tag_name": release.tag,
            "name": release.name,
            "body": release.body,
            "draft": release.draft,
            "prerelease": release.prerelease,
            "published_at": _iso(release.published_at),
            "created_at": _iso(release.published_at),
            "updated_at": _iso(release.touched_at),
            "author": {"login": "octocat"},
            "assets": [
                {
                    "id": asset.id,
                    "name": asset.name,
                    "state": asset.state,
                    "size": len(asset.content),
                    "digest": f"sha256:{asset.sha256}" if asset.has_digest and asset.state == "uploaded" else None,
                    "download_count": asset.downloads,
                    "updated_at": _iso(asset.updated_at),
                    "browser_download_url": self.url_of(release, asset),
                }
                for asset in release.assets
            ],
        }

    def _etag(self, value: Any) -> str:
        return f'W/"{hashlib.sha256(json.dumps(value).encode()).hexdigest()}"'

    def _date(self) -> dict[str, str]:
        return {"Date": format_datetime(datetime.fromtimestamp(self.clock() / 1000, UTC), usegmt=True)}

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> web.Response:
        return web.json_response(value, status=status, headers={**self._date(), **(headers or {})})

    def _not_found(self) -> web.Response:
        return self._json(404, {"message": "Not Found"})


def _iso(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
