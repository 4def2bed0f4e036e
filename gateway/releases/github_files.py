"""Reading checksums and signatures beside builds, within the rules against forged requests, never with the token."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.releases.checksums import MAX_CHARS, InvalidChecksums, parse_checksums
from gateway.releases.feeds.tauri import minisign_text
from gateway.releases.outcome import Problem
from gateway.releases.outgoing import reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.releases.github_release import GithubAsset
    from gateway.releases.outgoing import Outgoing

_TIMEOUT_S: Final = 60.0


class FilesUnreadable(Exception):
    """A file could not be downloaded this time; the text may be shown."""


async def read_sums(outgoing: Outgoing, files: Iterable[tuple[GithubAsset, str | None]]) -> dict[str, str]:
    """Return the SHA-256 digests that the files say, by the names of the files that these are of.

    A file that is no list of checksums says nothing, and a name with two different digests has none. Raises
    `FilesUnreadable` for one that could not be read at all, since its absence must not turn into trust.
    """
    found: dict[str, str] = {}
    disputed: set[str] = set()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            for asset, of in files:
                for name, digest in _parsed(await _text(outgoing, asset), of).items():
                    if found.setdefault(name, digest) != digest:
                        disputed.add(name)
    except TimeoutError as exc:
        raise FilesUnreadable("its files with checksums could not be read in time") from exc
    return {name: digest for name, digest in found.items() if name not in disputed}


async def read_signatures(outgoing: Outgoing, files: Iterable[tuple[GithubAsset, str]]) -> dict[str, str]:
    """Return the minisign signatures, by the names of the files that they are of; other kinds are passed over.

    Raises `FilesUnreadable`.
    """
    found: dict[str, str] = {}
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            for asset, of in files:
                text = await _text(outgoing, asset)
                if minisign_text(text) is not None:
                    found[of] = text.strip()
    except TimeoutError as exc:
        raise FilesUnreadable("its signatures could not be read in time") from exc
    return found


def _parsed(text: str, of: str | None) -> dict[str, str]:
    try:
        return parse_checksums(text, name=of)
    except InvalidChecksums:
        return {}


async def _text(outgoing: Outgoing, asset: GithubAsset) -> str:
    """Return a file's text, empty for one that is larger than any that we read."""
    if asset.size > MAX_CHARS:
        return ""
    body = bytearray()
    try:
        async with outgoing.open("GET", asset.browser_download_url) as response:
            if response.status != 200:
                raise FilesUnreadable(f"{asset.name} could not be read: status {response.status}")
            with reading(response.status):
                async for chunk in response.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > MAX_CHARS:
                        return ""
    except Problem as exc:
        raise FilesUnreadable(f"{asset.name} could not be read: {exc}") from exc
    return body.decode("utf-8", "replace")
