"""What a client says of its machine: platform, architecture, version of the operating system; and what runs there."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from gateway.releases.model import Architecture, Platform

_PLATFORM_NAMES: Final = {
    Platform.WINDOWS: ("windows", "win32", "win64", "win", "mingw", "pc-windows-msvc", "pc-windows-gnu"),
    Platform.MACOS: ("macos", "darwin", "osx", "mac", "apple-darwin"),
    Platform.LINUX: ("linux", "unknown-linux-gnu", "unknown-linux-musl", "ubuntu", "debian", "alpine"),
}
_ARCHITECTURE_NAMES: Final = {
    Architecture.X64: ("x64", "x86_64", "x86-64", "amd64", "64-bit", "64bit"),
    Architecture.ARM64: ("arm64", "aarch64"),
    Architecture.X86: ("x86", "i386", "i686", "ia32", "32-bit"),
    Architecture.ARMV7: ("armv7", "armv7l", "armhf", "arm"),
    Architecture.UNIVERSAL: ("universal", "universal2"),
}
# What Go, Rust and Node call machines that run programs too, but that the catalogue has no builds for.
_OTHER_PLATFORMS: Final = frozenset(
    ("android", "ios", "freebsd", "openbsd", "netbsd", "dragonfly", "solaris", "sunos", "illumos", "aix")
)
_OTHER_ARCHITECTURES: Final = frozenset(
    (
        *("riscv64", "riscv64gc", "loong64", "loongarch64", "ppc64", "ppc64le", "powerpc64", "powerpc64le", "s390x"),
        *("mips", "mipsel", "mips64", "mips64el", "armv5", "armv6"),
    )
)
_PLATFORMS: Final = {name: platform for platform, names in _PLATFORM_NAMES.items() for name in names}
_ARCHITECTURES: Final = {name: arch for arch, names in _ARCHITECTURE_NAMES.items() for name in names}
_OS_NUMBERS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,7}", re.ASCII)
_OS_CHARS: Final = 80


class UnknownTarget(ValueError):
    """A platform or an architecture that nobody has heard of; `allowed` names those of the catalogue."""

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


def parse_platform(text: str) -> Platform:
    """Read a platform by any of its usual names, in any case. Raises `UnknownTarget`."""
    found = _PLATFORMS.get(text.lower())
    if found is None:
        raise UnknownTarget("is not a known platform", tuple(Platform))
    return found


def parse_architecture(text: str) -> Architecture:
    """Read an architecture by any of its usual names, in any case. Raises `UnknownTarget`."""
    found = _ARCHITECTURES.get(text.lower())
    if found is None:
        raise UnknownTarget("is not a known architecture", tuple(Architecture))
    return found


def platform_of_client(text: str) -> Platform | None:
    """Read the platform that a client runs on; None for one that there can be no build for. Raises `UnknownTarget`."""
    return None if text.lower() in _OTHER_PLATFORMS else parse_platform(text)


def architecture_of_client(text: str) -> Architecture | None:
    """Read a client's architecture; None for one that there can be no build for. Raises `UnknownTarget`."""
    return None if text.lower() in _OTHER_ARCHITECTURES else parse_architecture(text)


def runnable(platform: Platform, architecture: Architecture, *, arm64_runs_x64: bool) -> tuple[Architecture, ...]:
    """Return the architectures whose builds run on this machine, the best first."""
    found = [architecture]
    if platform is Platform.MACOS and architecture in (Architecture.X64, Architecture.ARM64):
        found.append(Architecture.UNIVERSAL)
    if architecture is Architecture.ARM64 and arm64_runs_x64:
        found.append(Architecture.X64)
    return tuple(found)


def parse_os_version(text: str) -> tuple[int, ...] | None:
    """Read the dotted numbers that a version of an operating system begins with; None if it begins otherwise.

    10.0 and 10 are the same, and 6.8.0-45-generic is 6.8.
    """
    # What is remembered must not be as long as a client pleases.
    return _os_numbers(text[:_OS_CHARS])


@lru_cache(maxsize=1024)
def _os_numbers(text: str) -> tuple[int, ...] | None:
    match = _OS_NUMBERS.match(text)
    if match is None:
        return None
    numbers = [int(part) for part in match[0].split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
