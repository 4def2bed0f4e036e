"""Names of platforms and architectures, as clients of all kinds say them."""

from __future__ import annotations

import pytest

from gateway.releases.model import Architecture, Platform
from gateway.releases.targets import UnknownTarget, parse_architecture, parse_os_version, parse_platform


@pytest.mark.parametrize(
    ("platform", "names"),
    [
        (Platform.WINDOWS, ["windows", "Windows", "win32", "WIN64", "win", "mingw", "pc-windows-msvc"]),
        (Platform.MACOS, ["macos", "macOS", "darwin", "osx", "mac", "apple-darwin"]),
        (Platform.LINUX, ["linux", "Linux", "unknown-linux-gnu", "ubuntu", "debian", "alpine"]),
    ],
)
def test_platforms_have_many_names(platform: Platform, names: list[str]) -> None:
    """Node, Rust, Go, Python and .NET each have their own."""
    assert {parse_platform(name) for name in names} == {platform}


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        (Architecture.X64, ["x64", "X64", "x86_64", "x86-64", "amd64", "64bit"]),
        (Architecture.ARM64, ["arm64", "aarch64", "ARM64"]),
        (Architecture.X86, ["x86", "i386", "i686", "ia32"]),
        (Architecture.ARMV7, ["armv7", "armv7l", "armhf", "arm"]),
        (Architecture.UNIVERSAL, ["universal", "universal2"]),
    ],
)
def test_architectures_have_many_names(architecture: Architecture, names: list[str]) -> None:
    """The same."""
    assert {parse_architecture(name) for name in names} == {architecture}


@pytest.mark.parametrize("name", ["", "amiga", "windows ", "darwin-arm64", "x", "arm6", "sparc"])
def test_unknown_names_are_refused_with_the_known_ones(name: str) -> None:
    """A mistake in a launcher shows at once, and not as a product that never updates."""
    with pytest.raises(UnknownTarget) as platform:
        parse_platform(name)
    assert platform.value.allowed == ("windows", "macos", "linux")
    with pytest.raises(UnknownTarget) as architecture:
        parse_architecture(name)
    assert architecture.value.allowed == ("x64", "arm64", "x86", "armv7", "universal")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("10.0.19045", (10, 0, 19045)),
        ("10", (10,)),
        ("10.0.0", (10,)),
        ("0.0", (0,)),
        ("14.5 (23F79)", (14, 5)),
        ("6.8.0-45-generic", (6, 8)),
        ("1.2.3.4.5.6.7.8.9", (1, 2, 3, 4, 5, 6, 7, 8)),
        ("Windows 10", None),
        ("", None),
        (".5", None),
        ("\u0661", None),
    ],
)
def test_a_system_is_as_new_as_its_numbers(text: str, numbers: tuple[int, ...] | None) -> None:
    """Whatever follows them; zeros at the end say nothing."""
    assert parse_os_version(text) == numbers
