"""What the name of one release file says about it."""

from __future__ import annotations

import pytest

from gateway.releases.asset_files import Kind
from gateway.releases.naming import Asset, classify
from tests.releases.asset_names import RELEASES

ROWS = [
    pytest.param(name, release.project, release.version, expected, id=f"{release.packager}: {name}")
    for release in RELEASES
    for name, expected in release.rows
]


def told(asset: Asset) -> str:
    """Write an asset as the table writes what it expects."""
    if asset.undecided:
        return f"{asset.platform} ? {asset.kind}"
    if asset.target:
        return " ".join(filter(None, (*asset.target, asset.libc, asset.kind)))
    return str(asset.kind)


@pytest.mark.parametrize(("name", "project", "version", "expected"), ROWS)
def test_a_name_as_public_projects_give_them_says_what_it_is(
    name: str, project: str, version: str, expected: str
) -> None:
    """Launchers get the file for their machine only if the names of every packager are understood."""
    asset = classify(name, project=project, version=version)
    if expected.startswith("!"):
        assert asset.target is None, told(asset)
        assert not asset.undecided
        assert expected.removeprefix("! ") in asset.reason
    else:
        assert told(asset) == expected, asset.reason


def test_the_table_is_large() -> None:
    """The rules rest on what real projects do, so there have to be many of them."""
    assert len({row.values[0] for row in ROWS}) >= 150


def test_a_signature_and_a_checksum_name_the_file_that_they_belong_to() -> None:
    """Whoever checks a build has to find them by it; a list of checksums belongs to no single file."""
    found = {
        name: classify(name, project="app", version="1.0.0").of
        for name in (
            "app.exe.sig",
            "app.exe.sha256",
            "App.Setup.exe.SHA256.txt",
            "SHA256SUMS",
            "checksums.txt",
            "a.sum",
        )
    }
    assert found == {
        "app.exe.sig": "app.exe",
        "app.exe.sha256": "app.exe",
        "App.Setup.exe.SHA256.txt": "App.Setup.exe",
        "SHA256SUMS": None,
        "checksums.txt": None,
        "a.sum": None,
    }


def test_several_names_of_a_project_are_all_cut_out() -> None:
    """The id, the display name and the repository differ, and any of them may begin a file's name."""
    names = ("winbox", "Mac Box", "box-linux")
    for name in ("winbox-windows-x64.zip", "Mac.Box-windows-x64.zip", "box-linux_windows_x64.zip"):
        assert told(classify(name, project=names, version="1.0.0")) == "windows x64 archive"


def test_a_name_longer_than_github_takes_is_refused_without_being_read() -> None:
    """Nothing may cost more than the longest real name."""
    asset = classify("a" * 300 + "-linux-x64.zip", project="a", version="1.0.0")
    assert asset.kind is Kind.OTHER
    assert "longer than 255" in asset.reason
