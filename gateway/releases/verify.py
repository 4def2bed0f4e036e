"""Checks one build at its download address: whole (`Verifier.verify`), or whether it seems unchanged (`probe`).

A file is streamed once and never held: at most one block of it waits to be hashed. Hashing takes place in one thread of
its own, because four checksums of a block would hold up the event loop by a millisecond, and because a second thread
would only take processor time from the gateway's requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Self

import aiohttp

from gateway.releases.addresses import AddressRules, Lookup, system_lookup
from gateway.releases.executables import HEAD_BYTES, identify
from gateway.releases.model import Architecture, Build, BuildState, Platform
from gateway.releases.outcome import Digests, Outcome, Problem, Reason
from gateway.releases.outgoing import Limits, Outgoing, reading

CHUNK_BYTES: Final = 64 << 10
# Fewer and larger blocks spare changes of threads; this one takes about a millisecond.
_BLOCK_BYTES: Final = 256 << 10
_HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
_HTML_STARTS: Final = (b"<!doctype html", b"<html")
# What is wrong before anything was asked stays so whatever is asked.
_NO_CONNECTION: Final = frozenset(
    {Reason.FORBIDDEN_URL, Reason.FORBIDDEN_ADDRESS, Reason.DNS, Reason.CONNECT, Reason.CONNECT_TIMEOUT, Reason.TLS}
)
_CONTENT_RANGE: Final = re.compile(r"bytes 0-0/([0-9]{1,18})")
_WRONG_PROGRAM: Final = (
    "The file is a program for {found.executable}, but declared as {expected.platform} {expected.architecture}."
)
_MESSAGES: Final = {
    Reason.TOO_LONG: "The file is longer than the declared {expected.size} bytes.",
    Reason.TOO_SHORT: "The file ends after {found.size} of the declared {expected.size} bytes.",
    Reason.SHA256: "The SHA-256 checksum of the file is not the declared one.",
    Reason.SHA512: "The SHA-512 checksum of the file is not the declared one.",
    Reason.MD5: "The MD5 checksum of the file is not the declared one.",
    Reason.PLATFORM: _WRONG_PROGRAM,
    Reason.ARCHITECTURE: _WRONG_PROGRAM,
    Reason.HTML_PAGE: "The server sent a web page in place of the file.",
    Reason.CONTENT_ENCODING: "The server sent the file with a content encoding that was not asked for.",
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is declared of a build; `size` in bytes, checksums in hexadecimal, None for those that are not known."""

    url: str
    size: int
    platform: Platform
    architecture: Architecture
    sha256: str | None
    sha512: str | None = None
    md5: str | None = None

    @classmethod
    def of(cls, build: Build) -> Self:
        """Return what `build` declares."""
        return cls(
            url=build.download_url,
            size=build.file_size,
            platform=build.platform,
            architecture=build.architecture,
            sha256=build.sha256 or None,
            sha512=build.sha512,
            md5=build.md5,
        )


class Verifier:
    """Checks builds; one per process, since it owns the thread that hashes. Close it with `close`."""

    def __init__(
        self,
        rules: AddressRules,
        *,
        limits: Limits | None = None,
        ssl_context: ssl.SSLContext | None = None,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._limits = limits or Limits()
        self._outgoing = Outgoing(rules, self._limits, ssl_context=ssl_context, lookup=lookup)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="build-digests")

    def close(self) -> None:
        """Let the thread end; a block that is being hashed is finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def verify(self, expected: Expectation, *, on_bytes: Callable[[int], object] | None = None) -> Outcome:
        """Download the file and compare it with what is declared. Raises nothing but CancelledError.

        `on_bytes` is told of the bytes as they come.
        """
        try:
            async with self._outgoing.open("GET", expected.url) as response:
                _require_status(response, 200)
                return await self._download(response, expected, on_bytes)
        except Problem as problem:
            return problem.outcome

    async def probe(self, url: str, *, size: int, etag: str | None = None, last_modified: str | None = None) -> Outcome:
        """Ask whether the file is there and seems to be the one that was verified, without downloading it.

        `size` in bytes, and the validators of the last outcome. The state is verified, unreachable, or pending with
        reason `changed`, which asks for `verify`. A server that sends no validators can exchange a file for another
        of the same size unnoticed. Raises nothing but CancelledError.
        """
        known = _Sighting(200, size, etag, last_modified)
        try:
            sighting = await self._sight(url, known)
        except Problem as problem:
            return problem.outcome
        if not sighting.is_like(known):
            return Problem(Reason.CHANGED, "The file seems to have changed since it was verified.").outcome
        return Outcome(
            BuildState.VERIFIED,
            status=sighting.status,
            size=sighting.size,
            etag=sighting.etag,
            last_modified=sighting.last_modified,
        )

    async def _sight(self, url: str, known: _Sighting) -> _Sighting:
        """Ask with HEAD, and for one byte if that does not say that all is as before. Raises `Problem`.

        Many servers do not know HEAD, refuse it for signed addresses, or give it a wrong length.
        """
        try:
            sighting = await self._glance("HEAD", url, {})
        except Problem as problem:
            if problem.reason in _NO_CONNECTION:
                raise
        else:
            if sighting.size is not None and sighting.is_like(known):
                return sighting
        return await self._glance("GET", url, {"Range": "bytes=0-0"})

    async def _glance(self, method: str, url: str, headers: dict[str, str]) -> _Sighting:
        """Return what the head of a response tells. Raises `Problem`."""
        async with self._outgoing.open(method, url, headers) as response:
            _require_status(response, 200, 206)
            return _Sighting.of(response)

    async def _download(
        self, response: aiohttp.ClientResponse, expected: Expectation, on_bytes: Callable[[int], object] | None
    ) -> Outcome:
        """Read the body to its end, or to where it is sure to be wrong."""
        found = Outcome(
            BuildState.VERIFIED,
            status=response.status,
            etag=response.headers.get("ETag"),
            last_modified=response.headers.get("Last-Modified"),
        )
        digester = _Digester(self._thread)
        head = bytearray()
        pace = _Pace(self._limits)
        try:
            async with asyncio.timeout_at(pace.deadline) as limit:
                while chunk := await _read(response):
                    if len(head) < HEAD_BYTES:
                        head += chunk[: HEAD_BYTES - len(head)]
                    limit.reschedule(pace.advance(len(chunk)))
                    if on_bytes is not None:
                        on_bytes(len(chunk))
                    if max(pace.received, response.content_length or 0) > expected.size:
                        return _rejected(found, Reason.TOO_LONG, expected, response, head)
                    await digester.feed(chunk)
                digests = await digester.finish()
        except TimeoutError:
            raise pace.problem(response.status) from None
        found = replace(found, size=pace.received, digests=digests, executable=identify(bytes(head), pace.received))
        reason = _judge(found, digests, expected)
        return found if reason is None else _rejected(found, reason, expected, response, head)


@dataclass(frozen=True, slots=True)
class _Sighting:
    """What the head of a response tells of a file; `size` in bytes, None when the server does not say."""

    status: int
    size: int | None
    etag: str | None
    last_modified: str | None

    @classmethod
    def of(cls, response: aiohttp.ClientResponse) -> Self:
        size = response.content_length
        if response.status == 206:
            part = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            size = int(part[1]) if part else None
        return cls(response.status, size, response.headers.get("ETag"), response.headers.get("Last-Modified"))

    def is_like(self, known: Self) -> bool:
        """Whether nothing that both know differs; the date counts only where there are no ETags to compare."""
        if self.size is not None and self.size != known.size:
            return False
        if self.etag and known.etag:
            return self.etag.removeprefix("W/") == known.etag.removeprefix("W/")
        return not self.last_modified or not known.last_modified or self.last_modified == known.last_modified


class _Digester:
    """Hashes what it is fed, block by block in a thread; bytes that wait are at most a block and a chunk."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._hashes = [
            hashlib.sha256(),
            hashlib.sha512(),
            hashlib.sha1(usedforsecurity=False),
            hashlib.md5(usedforsecurity=False),
        ]
        self._block = bytearray()

    async def feed(self, chunk: bytes) -> None:
        self._block += chunk
        if len(self._block) >= _BLOCK_BYTES:
            await self._hash()

    async def finish(self) -> Digests:
        await self._hash()
        return Digests(*(one.hexdigest() for one in self._hashes))

    async def _hash(self) -> None:
        block, self._block = self._block, bytearray()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._update, block)

    def _update(self, block: bytearray) -> None:
        for one in self._hashes:
            one.update(block)


class _Pace:
    """The time that a body still has: until it was silent for too long, or until it is slower than it may be."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._now = asyncio.get_running_loop().time
        self._start = self._last = self._now()
        self.received = 0

    @property
    def deadline(self) -> float:
        """The time of the event loop at which to give up."""
        return min(self._last + self._limits.idle_s, self._slowest)

    @property
    def _slowest(self) -> float:
        allowed_s = self._limits.grace_s + self.received / self._limits.min_bytes_per_s
        return self._start + min(allowed_s, self._limits.longest_s)

    def advance(self, size: int) -> float:
        """Count bytes that have come, and return the new deadline."""
        self.received += size
        self._last = self._now()
        return self.deadline

    def problem(self, status: int) -> Problem:
        """Return what a deadline that has passed means."""
        if self._last + self._limits.idle_s <= self._slowest:
            return Problem(Reason.STALLED, "The download stopped in the middle.", status=status)
        return Problem(Reason.TOO_SLOW, "The download is too slow.", status=status)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    with reading(response.status):
        return await response.content.read(CHUNK_BYTES)


def _require_status(response: aiohttp.ClientResponse, *accepted: int) -> None:
    if response.status not in accepted:
        raise Problem(Reason.STATUS, f"The server answered with status {response.status}.", status=response.status)


def _judge(found: Outcome, digests: Digests, expected: Expectation) -> Reason | None:
    """Return the first thing that is wrong with a file, the more telling ones first."""
    checks = {
        Reason.TOO_SHORT: found.size == expected.size,
        Reason.SHA256: _agrees(expected.sha256, digests.sha256),
        Reason.SHA512: _agrees(expected.sha512, digests.sha512),
        Reason.MD5: _agrees(expected.md5, digests.md5),
        Reason.PLATFORM: found.executable.is_for_platform(expected.platform),
        Reason.ARCHITECTURE: found.executable.is_for(expected.architecture),
    }
    return next((reason for reason, is_right in checks.items() if not is_right), None)


def _agrees(declared: str | None, computed: str) -> bool:
    return declared is None or declared.lower() == computed


def _rejected(
    found: Outcome, reason: Reason, expected: Expectation, response: aiohttp.ClientResponse, head: bytearray
) -> Outcome:
    """Return the outcome of a wrong file. Wrong bytes are often no file at all but a page, or a packed form of it."""
    if reason not in {Reason.PLATFORM, Reason.ARCHITECTURE}:
        if response.content_type in _HTML_TYPES or head[:512].lstrip().lower().startswith(_HTML_STARTS):
            reason = Reason.HTML_PAGE
        elif response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            reason = Reason.CONTENT_ENCODING
    message = _MESSAGES[reason].format(found=found, expected=expected)
    return replace(found, state=reason.state, reason=reason, message=message)
