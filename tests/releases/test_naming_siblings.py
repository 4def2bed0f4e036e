"""What only the other files of a release can tell, and which of several files becomes the build."""

from __future__ import annotations

from gateway.releases.asset_files import Kind
from gateway.releases.asset_overrides import compile_overrides
from gateway.releases.model import Architecture, Platform
from gateway.releases.naming import AssetMap, map_assets


def mapped(text: str, project: str = "app", version: str = "1.2.3", *rules: dict[str, object]) -> AssetMap:
    """Map the names in `text`, one a line."""
    names = [line.strip() for line in text.strip().splitlines()]
    return map_assets(names, project=project, version=version, overrides=compile_overrides(rules))


def builds(found: AssetMap) -> dict[str, str]:
    """Return the names of the builds by platform and processor."""
    return {" ".join(target): asset.name for target, asset in found.builds.items()}


def reason(found: AssetMap, name: str) -> str:
    """Return why the file of this name is no build."""
    return next(asset.reason for asset in found.others if asset.name == name)


def test_an_unlabelled_file_beside_a_labelled_one_for_arm64_is_for_x64() -> None:
    """Many projects label only what is unusual, also where nothing could be assumed of one file alone."""
    found = mapped("""
        app-1.2.3.tar.gz
        app-linux.tar.gz
        app-linux-arm64.tar.gz
        app-macos
        app-macos-arm64
        App-1.2.3.AppImage
        App-1.2.3-arm64.AppImage
    """)
    assert builds(found) == {
        "linux arm64": "App-1.2.3-arm64.AppImage",
        "linux x64": "App-1.2.3.AppImage",
        "macos arm64": "app-macos-arm64",
        "macos x64": "app-macos",
    }
    assert "comes first" in reason(found, "app-linux.tar.gz")
    assert reason(found, "app-1.2.3.tar.gz") == "the name says no platform"


def test_formats_of_desktop_applications_without_a_label_are_for_x64() -> None:
    """electron-builder and Squirrel leave x64 out of these names."""
    for name, target in (
        ("App Setup 1.2.3.exe", "windows x64"),
        ("App.Setup.1.2.3.exe", "windows x64"),
        ("App-1.2.3-mac.zip", "macos x64"),
        ("App-1.2.3.dmg", "macos x64"),
        ("App.app.tar.gz", "macos x64"),
        ("App-1.2.3.AppImage", "linux x64"),
        ("app-win32.exe", "windows x64"),
    ):
        assert builds(mapped(name)) == {target: name}


def test_what_could_be_for_any_processor_is_left_out_and_says_so() -> None:
    """A wrong guess is a program that does not start; an override costs one line."""
    found = mapped("""
        app-linux.tar.gz
        app-macos
        app-osx-Setup.pkg
    """)
    assert builds(found) == {}
    assert {asset.reason for asset in found.others} == {"the name says no processor"}


def test_an_unlabelled_file_beside_one_for_x64_is_not_guessed() -> None:
    """It can be the 32-bit one, the universal one, or the same again."""
    found = mapped("""
        app-1.2.3.exe
        app-1.2.3-x64.exe
        app-mac.dmg
        app-mac-universal.dmg
    """)
    assert builds(found) == {"macos universal": "app-mac-universal.dmg", "windows x64": "app-1.2.3-x64.exe"}
    assert "a file beside it is for x64" in reason(found, "app-1.2.3.exe")


def test_win32_is_32_bits_only_beside_a_64_bit_file() -> None:
    """Node.js calls every Windows win32; by hand it is the opposite of win64."""
    assert builds(mapped("app-win32.zip\napp-win64.zip")) == {
        "windows x64": "app-win64.zip",
        "windows x86": "app-win32.zip",
    }
    assert builds(mapped("app-win32.zip\napp-darwin.zip")) == {
        "macos x64": "app-darwin.zip",
        "windows x64": "app-win32.zip",
    }


def test_a_universal_build_fills_both_processors_of_a_mac_and_no_others() -> None:
    """One file is one build, whoever asks for it."""
    found = mapped("App-1.2.3-universal.dmg")
    name = "App-1.2.3-universal.dmg"
    for architecture in (Architecture.X64, Architecture.ARM64, Architecture.UNIVERSAL):
        asset = found.find(Platform.MACOS, architecture)
        assert asset is not None
        assert asset.name == name
    assert found.find(Platform.MACOS, Architecture.X86) is None
    assert found.find(Platform.WINDOWS, Architecture.X64) is None
    both = mapped("App-1.2.3-universal.dmg\nApp-1.2.3-arm64.dmg")
    arm64 = both.find(Platform.MACOS, Architecture.ARM64)
    assert arm64 is not None
    assert arm64.name == "App-1.2.3-arm64.dmg"


def test_of_several_kinds_the_one_that_a_launcher_can_install_is_taken() -> None:
    """The order stands beside the tables: what updaters take, without a person and without root."""
    found = mapped(
        """
        deploy-1.0.1-1.x86_64.rpm
        deploy_1.0.1_aarch64.dmg
        deploy_1.0.1_amd64.AppImage
        deploy_1.0.1_amd64.AppImage.sig
        deploy_1.0.1_amd64.deb
        deploy_1.0.1_x64-setup.exe
        deploy_1.0.1_x64-setup.exe.sig
        deploy_1.0.1_x64.dmg
        deploy_1.0.1_x64_en-US.msi
        deploy_aarch64.app.tar.gz
        deploy_aarch64.app.tar.gz.sig
        deploy_x64.app.tar.gz
        latest.json
        """,
        "deploy",
        "1.0.1",
    )
    assert builds(found) == {
        "linux x64": "deploy_1.0.1_amd64.AppImage",
        "macos arm64": "deploy_aarch64.app.tar.gz",
        "macos x64": "deploy_x64.app.tar.gz",
        "windows x64": "deploy_1.0.1_x64-setup.exe",
    }
    assert [asset.name for asset in found.beside("deploy_1.0.1_x64-setup.exe", Kind.SIGNATURE)] == [
        "deploy_1.0.1_x64-setup.exe.sig"
    ]
    assert found.beside("deploy_1.0.1_x64_en-US.msi", Kind.SIGNATURE) == ()
    assert reason(found, "deploy_1.0.1_amd64.deb") == "deploy_1.0.1_amd64.AppImage comes first"


def test_the_plain_build_comes_before_its_editions() -> None:
    """Profiles, updaters and other products lie in the same release and differ by a word that means nothing to us."""
    found = mapped(
        """
        bun-linux-x64-baseline-profile.zip
        bun-linux-x64-baseline.zip
        bun-linux-x64-musl.zip
        bun-linux-x64-profile.zip
        bun-linux-x64.zip
        bun-windows-x64.zip
        bun-windows-x64-cli.exe
        """,
        "bun",
    )
    assert builds(found) == {"linux x64": "bun-linux-x64.zip", "windows x64": "bun-windows-x64.zip"}


def test_gnu_comes_before_musl_msvc_before_gnu_and_armv7_before_arm() -> None:
    """Which C library comes first has to be the same everywhere, and a more exact name is the better match."""
    found = mapped("""
        app-x86_64-unknown-linux-musl.tar.gz
        app-x86_64-unknown-linux-gnu.tar.gz
        app-x86_64-pc-windows-gnu.zip
        app-x86_64-pc-windows-msvc.zip
        app-arm-unknown-linux-gnueabihf.tar.gz
        app-armv7-unknown-linux-gnueabi.tar.gz
        app-armv7-unknown-linux-gnueabihf.tar.gz
        app-aarch64-unknown-linux-musl.tar.gz
    """)
    assert builds(found) == {
        "linux arm64": "app-aarch64-unknown-linux-musl.tar.gz",
        "linux armv7": "app-armv7-unknown-linux-gnueabihf.tar.gz",
        "linux x64": "app-x86_64-unknown-linux-gnu.tar.gz",
        "windows x64": "app-x86_64-pc-windows-msvc.zip",
    }


def test_two_different_things_for_one_target_are_both_left_out() -> None:
    """Of two products or two distributions none is right for everybody, so a person has to say which."""
    text = """
        oxlint-linux-x64.tar.gz
        oxfmt-linux-x64.tar.gz
        oxfmt-linux-arm64.tar.gz
        app-1.2.3-ubuntu22.04-x64.deb
    """
    found = mapped(text, "oxc")
    assert builds(found) == {"linux arm64": "oxfmt-linux-arm64.tar.gz"}
    assert "an override has to choose for linux x64" in reason(found, "oxlint-linux-x64.tar.gz")
    chosen = mapped(text, "oxc", "1.2.3", {"pattern": "^oxlint-", "architecture": "x64"})
    assert builds(chosen)["linux x64"] == "oxlint-linux-x64.tar.gz"


def test_builds_for_two_releases_of_a_distribution_need_a_choice() -> None:
    """A newer system may run what was built on an older one, but the name does not promise it."""
    found = mapped("app-1.2.3-ubuntu-22.04-x64.deb\napp-1.2.3-ubuntu-24.04-x64.deb")
    assert builds(found) == {}
    assert "has to choose" in reason(found, "app-1.2.3-ubuntu-22.04-x64.deb")


def test_the_same_name_in_two_spellings_is_one_thing() -> None:
    """Nothing but separators and case differ, so either will do, and it is always the same one."""
    found = mapped("app_1.2.3_linux_x64.zip\nApp-1.2.3-Linux-x64.zip\napp_1.2.3_linux_x64.zip")
    assert builds(found) == {"linux x64": "App-1.2.3-Linux-x64.zip"}
    assert len(found.others) == 1


def test_every_file_is_told_of_exactly_once() -> None:
    """Whoever looks at a release sees for each file what became of it."""
    names = {"app-linux-x64.zip", "app-linux-x64.deb", "SHA256SUMS", "app.apk", "notes.md", "???", ""}
    found = map_assets(names, project="app", version="1.2.3")
    listed = [asset.name for asset in (*found.builds.values(), *found.others)]
    assert sorted(listed) == sorted(names)
    assert all(asset.reason for asset in found.others)
