"""The names of electron-updater's files."""

from __future__ import annotations

import pytest

from gateway.releases.feeds.electron import read_file_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("latest.yml", ("windows", "universal")),
        ("beta.yml", ("windows", "universal")),
        ("my-linux-app.yml", None),
        ("latest-mac.yml", ("macos", "universal")),
        ("latest-linux.yml", ("linux", "x64")),
        ("latest-linux-arm64.yml", ("linux", "arm64")),
        ("latest-linux-arm.yml", ("linux", "armv7")),
        ("latest-linux-armv7l.yml", ("linux", "armv7")),
        ("latest-linux-ia32.yml", ("linux", "x86")),
        ("latest-linux-sparc.yml", None),
        (".yml", None),
        ("latest.json", None),
        ("latest.yml.blockmap", None),
    ],
)
def test_a_file_is_for_the_platform_in_its_name(name: str, expected: tuple[str, str] | None) -> None:
    """By the names that the client has for platforms and processors; the channel's can be any."""
    assert read_file_name(name) == expected
