"""Every way to be wrong is found with its state and its reason, and good files raise no alarm."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.releases.model import Architecture, Build, BuildState, Platform
from gateway.releases.outcome import Reason
from gateway.releases.outgoing import Limits
from gateway.releases.verify import Expectation
from tests.releases import binaries as b
from tests.releases import fileserver as fs
from tests.releases.checking import GOOD, assert_bad, assert_good, check, declared, verifier
from tests.releases.fileserver import Answer, FileServer

SIZE: Final = len(GOOD)
HALF: Final = GOOD[: SIZE // 2]
FLIPPED: Final = GOOD[:-1000] + bytes([GOOD[-1000] ^ 1]) + GOOD[-999:]
PAGE: Final = b"\n<!DOCTYPE html><html><title>Sign in</title></html>".ljust(SIZE)
SMALL_PAGE: Final = b"<html>Sign in</html>"
IMPATIENT: Final = Limits(idle_s=0.2)
# Bytes at this rate are more than loopback carries, but the rate counts only after the grace.
HASTY: Final = Limits(grace_s=0.2, min_bytes_per_s=1e12)


@dataclass(frozen=True, slots=True)
class Wrong:
    """One way to be wrong; `status`, and whether digests are known, belong to the outcome.

    `content` is what is declared, with `other` in place of what would be right.
    """

    answer: Answer
    reason: Reason
    status: int | None = 200
    digests: bool = False
    limits: Limits | None = None
    content: bytes = GOOD
    other: dict[str, Any] = field(default_factory=dict)


def _mislabelled(content: bytes, platform: Platform, architecture: Architecture, reason: Reason) -> Wrong:
    """A program whose bytes are the declared ones, for another machine than the declared one."""
    other = {"platform": platform, "architecture": architecture}
    return Wrong(fs.file(content), reason, digests=True, content=content, other=other)


WRONG: Final = {
    "truncated upload": Wrong(fs.file(HALF), Reason.TOO_SHORT, digests=True),
    "cut without a length": Wrong(fs.until_close(HALF), Reason.TOO_SHORT, digests=True),
    "empty": Wrong(fs.file(b""), Reason.TOO_SHORT, digests=True),
    "one bit flipped": Wrong(fs.file(FLIPPED), Reason.SHA256, digests=True),
    "another file of the same size": Wrong(fs.file(GOOD[::-1]), Reason.SHA256, digests=True),
    "wrong sha512": Wrong(fs.file(GOOD), Reason.SHA512, digests=True, other={"sha512": "0" * 128}),
    "wrong md5": Wrong(fs.file(GOOD), Reason.MD5, digests=True, other={"md5": "0" * 32}),
    "longer than declared": Wrong(fs.file(GOOD + b"\0"), Reason.TOO_LONG),
    "longer, in chunks": Wrong(fs.chunked(GOOD + b"\0"), Reason.TOO_LONG),
    "longer by its length": Wrong(fs.stalled(b"some", SIZE + 1), Reason.TOO_LONG),
    "endless": Wrong(fs.endless(GOOD), Reason.TOO_LONG),
    "web page": Wrong(fs.file(SMALL_PAGE, Content_Type="text/html; charset=utf-8"), Reason.HTML_PAGE, digests=True),
    "web page of another type": Wrong(fs.file(PAGE, Content_Type="application/zip"), Reason.HTML_PAGE, digests=True),
    "endless web page": Wrong(fs.endless(PAGE), Reason.HTML_PAGE),
    "gzip": Wrong(fs.gzipped(GOOD), Reason.CONTENT_ENCODING, digests=True),
    "wrong architecture": _mislabelled(b.elf(b.ELF_X64), Platform.LINUX, Architecture.ARM64, Reason.ARCHITECTURE),
    "half of a universal program": _mislabelled(
        b.mach_o(b.MACH_ARM64), Platform.MACOS, Architecture.UNIVERSAL, Reason.ARCHITECTURE
    ),
    "unheard-of architecture": _mislabelled(
        b.pe(b.PE_RISCV64), Platform.WINDOWS, Architecture.X64, Reason.ARCHITECTURE
    ),
    "wrong platform": _mislabelled(b.pe(b.PE_X64), Platform.LINUX, Architecture.X64, Reason.PLATFORM),
    "unheard-of platform": _mislabelled(b.elf(b.ELF_X64, osabi=9), Platform.LINUX, Architecture.X64, Reason.PLATFORM),
    "redirect to itself": Wrong(fs.redirect("/file"), Reason.REDIRECT_LOOP, None),
    "redirect in a circle": Wrong(fs.redirect("/back"), Reason.REDIRECT_LOOP, None),
    "redirects without end": Wrong(fs.redirect("/hop/1"), Reason.TOO_MANY_REDIRECTS, None),
    "redirect to a private address": Wrong(fs.redirect("https://10.0.0.1/"), Reason.FORBIDDEN_ADDRESS, None),
    "redirect to metadata": Wrong(fs.redirect("http://169.254.169.254/latest/"), Reason.FORBIDDEN_ADDRESS, None),
    "redirect to mapped address": Wrong(fs.redirect("https://[::ffff:127.0.0.1]/"), Reason.FORBIDDEN_ADDRESS, None),
    "redirect to a public address without TLS": Wrong(fs.redirect("http://1.1.1.1/"), Reason.FORBIDDEN_ADDRESS, None),
    "redirect to file": Wrong(fs.redirect("file:///etc/passwd"), Reason.FORBIDDEN_URL, None),
    "redirect to ftp": Wrong(fs.redirect("ftp://127.0.0.1/file"), Reason.FORBIDDEN_URL, None),
    "redirect with a password": Wrong(fs.redirect("https://a:b@1.1.1.1/"), Reason.FORBIDDEN_URL, None),
    "redirect to another service": Wrong(fs.redirect("http://127.0.0.1:22/"), Reason.FORBIDDEN_URL, None),
    "redirect to nowhere": Wrong(fs.redirect(None), Reason.BAD_REDIRECT, 302),
    "redirect to no address": Wrong(fs.redirect("https://[::1/"), Reason.BAD_REDIRECT, 302),
    "not modified": Wrong(fs.answer(304), Reason.STATUS, 304),
    "no content": Wrong(fs.answer(204), Reason.STATUS, 204),
    "part of a file": Wrong(fs.answer(206, body=GOOD), Reason.STATUS, 206),
    "gone": Wrong(fs.answer(404, body=GOOD), Reason.STATUS, 404),
    "key needed": Wrong(fs.answer(401), Reason.STATUS, 401),
    "too many requests": Wrong(fs.answer(429), Reason.STATUS, 429),
    "server error": Wrong(fs.answer(500, body=GOOD), Reason.STATUS, 500),
    "gateway error": Wrong(fs.answer(502, body=SMALL_PAGE), Reason.STATUS, 502),
    "reset in the middle": Wrong(fs.reset(HALF, SIZE), Reason.CONNECTION_LOST),
    "closed in the middle": Wrong(fs.broken(HALF, SIZE), Reason.CONNECTION_LOST),
    "closed within a chunk": Wrong(
        fs.raw(fs.head(200, {"Transfer-Encoding": "chunked"}) + b"ffff\r\nMZ"), Reason.CONNECTION_LOST
    ),
    "closed without an answer": Wrong(fs.raw(b""), Reason.CONNECTION_LOST, None),
    "not HTTP": Wrong(fs.raw(b"220 mail.test ESMTP\r\n"), Reason.NOT_HTTP, None),
    "two lengths": Wrong(
        fs.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), Reason.NOT_HTTP, None
    ),
    "endless head": Wrong(fs.raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000), Reason.NOT_HTTP, None),
    "silent": Wrong(fs.silent(), Reason.STALLED, None, limits=Limits(connect_s=0.2, idle_s=0.2)),
    "dripping head": Wrong(fs.dripping_head(), Reason.STALLED, None, limits=Limits(connect_s=0.2, idle_s=0.2)),
    "stalled before the body": Wrong(fs.stalled(b"", SIZE), Reason.STALLED, limits=IMPATIENT),
    "stalled in the middle": Wrong(fs.stalled(HALF, SIZE), Reason.STALLED, limits=IMPATIENT),
    "slow drip": Wrong(fs.dripping(GOOD, SIZE), Reason.TOO_SLOW, limits=Limits(grace_s=0.3)),
}
ROUTES: Final = {"/back": fs.redirect("/file")} | {f"/hop/{n}": fs.redirect(f"{n + 1}") for n in range(1, 10)}


@pytest.mark.parametrize("name", WRONG)
async def test_every_way_to_be_wrong_is_found(name: str) -> None:
    """State, reason and sentence are right, nothing stays open, and no outcome claims what it does not know."""
    wrong = WRONG[name]
    async with FileServer(ROUTES | {"/file": wrong.answer}) as server:
        outcome = await check(server, declared(wrong.content, server.url("/file"), **wrong.other), wrong.limits)
    assert_bad(outcome, wrong.reason)
    assert outcome.status == wrong.status
    assert (outcome.digests is not None) is wrong.digests
    assert (outcome.size is not None) is wrong.digests


async def test_a_corpus_covers_every_reason_of_a_download() -> None:
    """A reason that no test brings about would be a promise; the others are shown beside their own tests."""
    elsewhere = {Reason.DNS, Reason.CONNECT, Reason.CONNECT_TIMEOUT, Reason.TLS, Reason.CHANGED}
    assert {wrong.reason for wrong in WRONG.values()} == set(Reason) - elsewhere


async def test_a_wrong_file_is_told_with_its_own_digests_and_header() -> None:
    """Who published it sees what lies there in place of the declared file."""
    content = b.elf(b.ELF_ARM64)
    async with FileServer({"/file": fs.file(content)}) as server:
        outcome = await check(server, declared(content, server.url("/file")))
    assert outcome.reason is Reason.ARCHITECTURE
    assert outcome.message == "The file is a program for linux arm64, but declared as linux x64."
    assert outcome.digests is not None
    assert outcome.digests.sha256 == hashlib.sha256(content).hexdigest()


PROGRAMS: Final[dict[str, tuple[bytes, Platform, Architecture]]] = {
    "elf x64": (b.elf(b.ELF_X64), Platform.LINUX, Architecture.X64),
    "elf x64, GNU": (b.elf(b.ELF_X64, osabi=3), Platform.LINUX, Architecture.X64),
    "elf arm64": (b.elf(b.ELF_ARM64), Platform.LINUX, Architecture.ARM64),
    "elf x86": (b.elf(b.ELF_X86, bits=32), Platform.LINUX, Architecture.X86),
    "elf armv7": (b.elf(b.ELF_ARM, bits=32), Platform.LINUX, Architecture.ARMV7),
    "AppImage": (b.elf(b.ELF_X64)[:8] + b"AI\x02" + b.elf(b.ELF_X64)[11:], Platform.LINUX, Architecture.X64),
    "thin x64": (b.mach_o(b.MACH_X64), Platform.MACOS, Architecture.X64),
    "thin arm64": (b.mach_o(b.MACH_ARM64), Platform.MACOS, Architecture.ARM64),
    "fat as universal": (b.fat(b.MACH_X64, b.MACH_ARM64), Platform.MACOS, Architecture.UNIVERSAL),
    "fat64 as universal": (b.fat(b.MACH_ARM64, b.MACH_X64, is_64_bit=True), Platform.MACOS, Architecture.UNIVERSAL),
    "fat as x64": (b.fat(b.MACH_X64, b.MACH_ARM64), Platform.MACOS, Architecture.X64),
    "fat as arm64": (b.fat(b.MACH_X64, b.MACH_ARM64), Platform.MACOS, Architecture.ARM64),
    "pe x64": (b.pe(b.PE_X64), Platform.WINDOWS, Architecture.X64),
    "pe arm64": (b.pe(b.PE_ARM64), Platform.WINDOWS, Architecture.ARM64),
    "pe x86": (b.pe(b.PE_X86), Platform.WINDOWS, Architecture.X86),
    "NSIS for arm64": (b.pe(b.PE_X86, sections=((b".ndata", 0),)), Platform.WINDOWS, Architecture.ARM64),
    "set-up for x64": (b.pe(b.PE_X86, overlay=1 << 20), Platform.WINDOWS, Architecture.X64),
    ".NET for any": (b.pe(b.PE_X86, clr_flags=b.IL_ONLY), Platform.WINDOWS, Architecture.X64),
    "zip": (b"PK\x03\x04" + bytes(500), Platform.MACOS, Architecture.UNIVERSAL),
    "tar.gz": (gzip.compress(b.elf(b.ELF_X64), mtime=0), Platform.LINUX, Architecture.ARM64),
    "deb": (b"!<arch>\ndebian-binary" + bytes(500), Platform.LINUX, Architecture.X64),
    "dmg": (bytes(4096) + b"koly" + bytes(508), Platform.MACOS, Architecture.ARM64),
    "msi": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), Platform.WINDOWS, Architecture.X64),
    "script": (b"#!/bin/sh\n", Platform.LINUX, Architecture.ARMV7),
    "one byte": (b"x", Platform.LINUX, Architecture.X64),
    "a page that is the file": (SMALL_PAGE, Platform.LINUX, Architecture.X64),
}


@pytest.mark.parametrize("name", PROGRAMS)
async def test_good_files_raise_no_alarm(name: str) -> None:
    """A build that is right and called wrong keeps an update from everybody."""
    content, platform, architecture = PROGRAMS[name]
    async with FileServer({"/file": fs.file(content)}) as server:
        expected = declared(content, server.url("/file"), platform=platform, architecture=architecture)
        assert_good(await check(server, expected), content)


async def test_real_programs_raise_no_alarm() -> None:
    """Made by compilers and not by the tests."""
    programs = dict.fromkeys(b.windows_programs().values(), Platform.WINDOWS) | {Path("/bin/ls"): Platform.LINUX}
    for path, platform in programs.items():
        content = path.read_bytes()
        machine = (
            "arm64" if "arm" in path.name else "x86" if "32" in path.stem or path.stem in {"cli", "gui"} else "x64"
        )
        if platform is Platform.LINUX and content[18:20] != b.ELF_X64.to_bytes(2, "little"):
            continue
        async with FileServer({"/file": fs.file(content)}) as server:
            expected = declared(content, server.url("/file"), platform=platform, architecture=Architecture(machine))
            assert_good(await check(server, expected), content)


WAYS: Final = {
    "with a length": fs.file(GOOD),
    "in chunks": fs.chunked(GOOD),
    "until the connection closes": fs.until_close(GOOD),
    "under a wrong content type": fs.file(GOOD, Content_Type="text/html"),
    # Web servers say so of every .tar.gz, and mean the file itself.
    "said to be gzip": fs.file(GOOD, Content_Encoding="gzip"),
    "five redirects away": fs.redirect("/hop/1", 301),
}


@pytest.mark.parametrize("way", WAYS)
async def test_good_files_are_good_in_whatever_way_they_are_served(way: str) -> None:
    """Only the bytes count, not how they come."""
    async with FileServer({}) as server:
        hops = {f"/hop/{n}": fs.redirect(f"{n + 1}", 302 + n % 2) for n in range(1, 4)}
        server.routes = hops | {"/hop/4": fs.redirect("../there", 308), "/there": fs.file(GOOD), "/file": WAYS[way]}
        assert_good(await check(server, declared(GOOD, server.url("/file"))), GOOD)


async def test_declared_checksums_are_compared_in_any_case_and_may_be_missing() -> None:
    """Some publish them in capitals; a file that is seen for the first time may have none."""
    digests = {name: hashlib.new(name, GOOD).hexdigest().upper() for name in ("sha256", "sha512", "md5")}
    async with FileServer({"/file": fs.file(GOOD)}) as server:
        for other in (digests, {"sha256": None}):
            assert_good(await check(server, declared(GOOD, server.url("/file"), **other)), GOOD)


async def test_what_is_expected_is_taken_from_the_build() -> None:
    """An empty checksum is one that nobody knows yet."""
    build = Build("b", Platform.MACOS, Architecture.ARM64, "f", 7, "https://a.example/f", "", "0" * 32, "1" * 128)
    assert Expectation.of(build) == Expectation(
        "https://a.example/f", 7, Platform.MACOS, Architecture.ARM64, None, "1" * 128, "0" * 32
    )


async def test_a_download_as_fast_as_can_be_is_too_slow_only_after_its_grace() -> None:
    """A rate says nothing about the first moments, so small files never fail by it."""
    async with FileServer({"/file": fs.file(GOOD), "/large": fs.endless(b"")}) as server:
        patient = Limits(grace_s=30, min_bytes_per_s=HASTY.min_bytes_per_s)
        assert_good(await check(server, declared(GOOD, server.url("/file")), patient), GOOD)
        endless = declared(GOOD, server.url("/large"), size=1 << 50)
        assert_bad(await check(server, endless, HASTY), Reason.TOO_SLOW)


async def test_a_download_may_last_as_long_as_it_flows() -> None:
    """The limit of a silence is no limit of the whole, which a large file would never keep."""
    content = bytes(200)
    async with FileServer({"/file": fs.dripping(content, len(content))}) as server:
        assert_good(await check(server, declared(content, server.url("/file")), Limits(idle_s=1.5)), content)


async def test_no_download_lasts_for_ever() -> None:
    """A few builds of a petabyte each, sent just fast enough, would keep all others waiting for years."""
    content = bytes(10_000)
    async with FileServer({"/file": fs.dripping(content, len(content))}) as server:
        flowing = Limits(longest_s=0.3)
        assert_bad(await check(server, declared(content, server.url("/file")), flowing), Reason.TOO_SLOW)


async def test_validators_are_kept_for_the_next_probe() -> None:
    """They are how a probe notices that a file was exchanged."""
    date = "Mon, 23 Nov 2026 10:00:00 GMT"
    async with FileServer({"/file": fs.file(GOOD, etag='"abc"', Last_Modified=date)}) as server:
        outcome = await check(server, declared(GOOD, server.url("/file")))
    assert (outcome.etag, outcome.last_modified) == ('"abc"', date)
    assert outcome.state is BuildState.VERIFIED
    assert str(outcome.executable) == "linux x64"


async def test_one_verifier_checks_several_builds_at_once() -> None:
    """Their blocks are hashed one after the other, and none gets another's."""
    contents = {f"/{n}": b.elf(b.ELF_X64) + bytes([n]) * 300_000 for n in range(8)}
    async with FileServer({path: fs.file(content) for path, content in contents.items()}) as server, verifier() as one:
        checks = [one.verify(declared(content, server.url(path))) for path, content in contents.items()]
        for outcome, content in zip(await asyncio.gather(*checks), contents.values(), strict=True):
            assert_good(outcome, content)
