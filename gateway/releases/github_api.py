"""The client of GitHub's REST API: three endpoints, one request at a time, and never more than GitHub allows.

The rules are those of GitHub's own pages on rate limits and best practices: requests one after another; `retry-after`
and `x-ratelimit-reset` are waited for, since who goes on asking is shut out; pages by the `Link` header; the redirects
of renamed repositories are followed.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

import aiohttp
import msgspec
import yarl

from gateway.releases.github_release import GithubRelease, GithubRepository
from gateway.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

Outcome = Literal["200", "304", "404", "limited", "error"]

API_VERSION: Final = "2022-11-28"
PER_PAGE: Final = 100
MAX_PAGES: Final = 50
MAX_BODY_BYTES: Final = 32 << 20
_MAX_REDIRECTS: Final = 3
# Decoding more than this is left to a thread.
_LARGE_BYTES: Final = 256 << 10
# What GitHub asks for when it limits without saying for how long.
_UNNAMED_WAIT_S: Final = 60
_LONGEST_WAIT_S: Final = 24 * 3600
_REDIRECTS: Final = frozenset({301, 302, 307, 308})


class GithubError(Exception):
    """GitHub gave no answer that can be used; the text may be shown."""


class GithubUnreachable(GithubError):
    """No whole answer came in time, or the answer was a 5xx."""


class GithubBroken(GithubError):
    """The answer is not what the API promises, or larger than we take."""


class GithubRefused(GithubError):
    """The token is not valid, or may not do this."""


class GithubNotFound(GithubError):
    """There is no such thing, or the token may not see it."""


class GithubLimited(GithubError):
    """GitHub asks to be left alone until `until_ms` (Unix milliseconds)."""

    def __init__(self, until_ms: int) -> None:
        super().__init__("GitHub's rate limit is reached")
        self.until_ms = until_ms


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer; `now_ms` is the time by GitHub's own clock."""

    status: int
    body: bytes
    etag: str | None
    last_modified: str | None
    next_url: str | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class ReleasePage:
    """One page of the list; `releases` is None when nothing has changed since the ETag that was sent."""

    releases: tuple[GithubRelease, ...] | None
    etag: str | None
    next_url: str | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class OneRelease:
    """One release; None when it has not changed since the time that was sent."""

    release: GithubRelease | None
    last_modified: str | None
    now_ms: int


class GithubApi:
    """Asks GitHub at `base_url`, with a token or, far more seldom, without one.

    `clock_ms` gives Unix milliseconds. `on_request` is told of every request. `held_until_ms` is when the next request
    may be sent; until then every method raises `GithubLimited`, and each of them raises the other `GithubError`s.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        clock_ms: Callable[[], int],
        on_request: Callable[[Outcome], object] = lambda _: None,
        timeout_s: float = 30.0,
        per_page: int = PER_PAGE,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._headers = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": API_VERSION,
            "User-Agent": f"LunarBit-Gateway/{VERSION}",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._clock_ms = clock_ms
        self._on_request = on_request
        self._timeout_s = timeout_s
        self.per_page = per_page
        self._session: aiohttp.ClientSession | None = None
        self._one_at_a_time = asyncio.Lock()
        self.held_until_ms = 0
        self.requests = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def repository(self, name: str) -> GithubRepository:
        """Return the repository `owner/name`, under whatever name it has by now."""
        fetched = await self._get(f"{self._base}/repos/{name}")
        found: GithubRepository = await _decoded(fetched.body, GithubRepository)
        return found

    async def releases(
        self, place: str, *, page: int = 1, url: str | None = None, etag: str | None = None
    ) -> ReleasePage:
        """Return a page of the list of releases, by its number or by the `url` that came with the page before.

        `place` is what `place_of` returns. `etag` is that of the page when it was last seen.
        """
        numbered = f"{self._base}/{place}/releases?per_page={self.per_page}" + (f"&page={page}" if page > 1 else "")
        fetched = await self._get(url or numbered, {"If-None-Match": etag} if etag else {})
        releases = None
        if fetched.status != HTTPStatus.NOT_MODIFIED:
            releases = await _decoded(fetched.body, tuple[GithubRelease, ...])
        return ReleasePage(releases, fetched.etag or etag, self._own(fetched.next_url), fetched.now_ms)

    async def release(self, place: str, release_id: int, *, since: str | None = None) -> OneRelease:
        """Return one release by its number; `since` is the `Last-Modified` of the last look.

        The ETag is never sent: it changes with every download, and beside it the date would not count
        (RFC 9110, section 13.2.2).
        """
        url = f"{self._base}/{place}/releases/{release_id}"
        fetched = await self._get(url, {"If-Modified-Since": since} if since else {})
        if fetched.status == HTTPStatus.NOT_MODIFIED:
            return OneRelease(None, fetched.last_modified or since, fetched.now_ms)
        release = await _decoded(fetched.body, GithubRelease)
        return OneRelease(release, fetched.last_modified, fetched.now_ms)

    def hold_until(self, until_ms: int) -> None:
        """Send nothing before this time; who asked before may have learned of it in another process."""
        self.held_until_ms = max(self.held_until_ms, until_ms)

    def _own(self, url: str | None) -> str | None:
        """Return the address of a next page. Raises `GithubBroken` for one elsewhere, which must not get the token."""
        if url is None or yarl.URL(url).origin() == yarl.URL(self._base).origin():
            return url
        raise GithubBroken("GitHub's list of pages leads to another server")

    async def _get(self, url: str, conditions: Mapping[str, str] | None = None) -> Fetched:
        async with self._one_at_a_time:
            for _ in range(_MAX_REDIRECTS + 1):
                if self._clock_ms() < self.held_until_ms:
                    raise GithubLimited(self.held_until_ms)
                self.requests += 1
                outcome: Outcome = "error"
                try:
                    status, headers, body = await self._send(url, conditions or {})
                    location = headers.get("Location") if status in _REDIRECTS else None
                    self._obey(status, headers, body)
                    outcome = _outcome(status)
                except GithubLimited:
                    outcome = "limited"
                    raise
                finally:
                    self._on_request(outcome)
                if location is None:
                    return self._checked(status, headers, body)
                url = self._own(str(yarl.URL(url).join(yarl.URL(location)))) or ""
        raise GithubBroken("GitHub redirects in a circle")

    async def _send(self, url: str, conditions: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, timeout=aiohttp.ClientTimeout(total=None)
            )
        headers = {**self._headers, **conditions}
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.get(yarl.URL(url, encoded=True), headers=headers, allow_redirects=False) as response,
            ):
                chunks, size = [], 0
                async for chunk in response.content.iter_chunked(1 << 16):
                    size += len(chunk)
                    if size > MAX_BODY_BYTES:
                        raise GithubBroken(f"GitHub's answer is larger than {MAX_BODY_BYTES} bytes")
                    chunks.append(chunk)
                return response.status, response.headers, b"".join(chunks)
        except TimeoutError as exc:
            raise GithubUnreachable("GitHub did not answer in time") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise GithubUnreachable("GitHub could not be reached, or broke off its answer") from exc

    def _obey(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Note until when nothing may be sent. Raises `GithubLimited` if this request was refused for that."""
        reset_ms = _whole(headers.get("X-RateLimit-Reset")) * 1000
        spent = headers.get("X-RateLimit-Remaining") == "0"
        if spent:
            self.hold_until(self._bounded(reset_ms))
        if status not in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
            return
        after_s = _whole(headers.get("Retry-After"))
        if after_s:
            self.hold_until(self._bounded(self._clock_ms() + after_s * 1000))
        elif not spent or not reset_ms:
            # A plain 403 is no limit: the token may not see this.
            if status == HTTPStatus.FORBIDDEN and b"rate limit" not in body[:4096].lower():
                return
            self.hold_until(self._clock_ms() + _UNNAMED_WAIT_S * 1000)
        if self.held_until_ms <= self._clock_ms():
            # Our clock and GitHub's differ.
            self.hold_until(self._clock_ms() + _UNNAMED_WAIT_S * 1000)
        raise GithubLimited(self.held_until_ms)

    def _bounded(self, until_ms: int) -> int:
        return min(until_ms, self._clock_ms() + _LONGEST_WAIT_S * 1000)

    def _checked(self, status: int, headers: Mapping[str, str], body: bytes) -> Fetched:
        """Return an answer that can be used. Raises the error of one that cannot."""
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise GithubNotFound("GitHub has no such repository or release, or the token may not see it")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS):
            raise GithubRefused(f"GitHub refused the request with {status}: look at github.token and its rights")
        if status not in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
            raise GithubUnreachable(f"GitHub answered with {status}")
        return Fetched(
            status=status,
            body=body,
            etag=headers.get("ETag"),
            last_modified=headers.get("Last-Modified"),
            next_url=next_page(headers.get("Link", "")),
            now_ms=_date_ms(headers.get("Date")) or self._clock_ms(),
        )


def place_of(repository: str, repository_id: int | None) -> str:
    """Return the path of a repository: by its number once that is known, so that nobody can take over its old name."""
    return f"repos/{repository}" if repository_id is None else f"repositories/{repository_id}"


def next_page(link: str) -> str | None:
    """Return the address of the next page from a `Link` header (RFC 8288)."""
    for part in link.split(","):
        address, _, parameters = part.strip().partition(">")
        if address.startswith("<") and re.search(r';\s*rel="?next"?(?:\s|;|$)', parameters):
            return address[1:]
    return None


async def _decoded(body: bytes, kind: Any) -> Any:
    try:
        if len(body) > _LARGE_BYTES:
            return await asyncio.to_thread(msgspec.json.decode, body, type=kind)
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise GithubBroken("GitHub's answer is not what its API promises") from exc


def _outcome(status: int) -> Outcome:
    known: dict[int, Outcome] = {200: "200", 304: "304", 404: "404"}
    return "200" if status in _REDIRECTS else known.get(status, "error")


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 13 else 0


def _date_ms(text: str | None) -> int | None:
    try:
        return int(parsedate_to_datetime(text or "").timestamp() * 1000)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
