"""Tauri's answers, held to what its updater reads (https://v2.tauri.app/plugin/updater/)."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import semver

from gateway.releases.model import BuildState
from tests.feeds.shop import digest_of
from tests.gateway.canonical import assert_canonical_error

if TYPE_CHECKING:
    import httpx

    from tests.feeds.shop import Shop

# The text of a signature: 2 + 8 bytes of algorithm and key id and 64 of signature, then 64 for the trusted comment.
MINISIGN = (
    f"untrusted comment: signature from tauri secret key\n{base64.b64encode(b'ED' + bytes(72)).decode()}\n"
    f"trusted comment: timestamp:1\tfile:app\n{base64.b64encode(bytes(64)).decode()}\n"
)
# What Tauri's own tool writes into a .sig file.
SIG_FILE = base64.b64encode(MINISIGN.encode()).decode()
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def read_update(response: httpx.Response) -> dict[str, Any]:
    """Return an answer if Tauri could read it: every field that it needs, and of the right form."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    found: dict[str, Any] = response.json()
    semver.Version.parse(found["version"])
    assert found["url"].startswith("http")
    assert RFC_3339.fullmatch(found["pub_date"])
    assert datetime.fromisoformat(found["pub_date"]).tzinfo is not None
    assert isinstance(found["notes"], str)
    lines = base64.b64decode(found["signature"], validate=True).decode().splitlines()
    assert [line.partition(":")[0] for line in lines[::2]] == ["untrusted comment", "trusted comment"]
    assert [len(base64.b64decode(line, validate=True)) for line in lines[1::2]] == [74, 64]
    # A native answer would be an error to it.
    assert "update_available" not in found
    return found


def ask(shop: Shop, current: str, target: str = "linux", arch: str = "x86_64") -> Any:
    """Ask as Tauri's template does."""
    return shop.client.get(f"/updates/app/stable/tauri/{target}/{arch}/{current}")


@pytest.mark.parametrize("signature", [MINISIGN, MINISIGN.rstrip(), SIG_FILE, f"{SIG_FILE}\n"])
async def test_an_update_with_all_that_tauri_needs(shop: Shop, signature: str) -> None:
    """The signature is taken as minisign writes it and as Tauri does."""
    await shop.open_project()
    build = shop.build("app.AppImage", signature=signature)
    await shop.publish("1.1.0+5", build, release_notes="Fixes")
    found = read_update(await ask(shop, "1.0.0"))
    assert (found["version"], found["notes"], found["signature"]) == ("1.1.0", "Fixes", SIG_FILE)
    assert (found["breaking_changes"], found["breaking_versions"]) == (False, [])
    led = await shop.client.get(found["url"])
    assert led.headers["location"] == shop.files.url("/files/app.AppImage")
    assert shop.gateway.app.state.downloads.of("app") == 1
    assert digest_of("app.AppImage") == build["checksum"]["sha256"]


@pytest.mark.parametrize("current", ["1.1.0", "v1.1.0", "1.1.0+other", "1.1.0%2Bother", "1.1.0 other", "1.2.0-rc.1"])
async def test_the_same_and_a_newer_version_are_204(shop: Shop, current: str) -> None:
    """However the plus sign arrives. Nothing is in the answer, which Tauri takes for no update."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("app.AppImage", signature=MINISIGN))
    response = await ask(shop, current)
    assert (response.status_code, response.content) == (204, b"")


async def test_no_build_no_signature_and_no_servable_build_are_204(shop: Shop) -> None:
    """But a lower version that has all of it is offered."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("signed.AppImage", signature=MINISIGN))
    await shop.publish("1.2.0", shop.build("unsigned.AppImage"))
    await shop.publish("1.3.0", shop.build("broken.AppImage", signature="made up"))
    await shop.publish("1.4.0", shop.build("failed.AppImage", signature=MINISIGN))
    await shop.settle("1.4.0", "linux-x64", BuildState.FAILED)
    assert read_update(await ask(shop, "1.0.0"))["version"] == "1.1.0"
    for current, target, arch in (
        ("1.1.0", "linux", "x86_64"),
        ("1.0.0", "linux", "aarch64"),
        ("1.0.0", "linux", "i686"),
        ("1.0.0", "linux", "armv7"),
        ("1.0.0", "darwin", "aarch64"),
        ("1.0.0", "windows", "x86_64"),
    ):
        assert (await ask(shop, current, target, arch)).status_code == 204


async def test_a_universal_build_is_for_both_macs(shop: Shop) -> None:
    """By Tauri's names of them."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("app.tar.gz", "macos", "universal", signature=MINISIGN))
    for arch in ("x86_64", "aarch64"):
        assert read_update(await ask(shop, "1.0.0", "darwin", arch))["url"].endswith("/macos-universal/download")


async def test_a_required_version_comes_first(shop: Shop) -> None:
    """And what breaks on the way is told beside it."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("one.AppImage", signature=MINISIGN), required=True)
    await shop.publish("2.0.0", shop.build("two.AppImage", signature=MINISIGN))
    first = read_update(await ask(shop, "1.0.0"))
    assert (first["version"], first["breaking_changes"]) == ("1.1.0", False)
    second = read_update(await ask(shop, "1.1.0"))
    assert (second["version"], second["breaking_changes"], second["breaking_versions"]) == ("2.0.0", True, ["2.0.0"])


async def test_a_rollout_goes_by_the_id_that_the_launcher_sends(shop: Shop) -> None:
    """In a header, or in the address of the endpoint; who sends none waits until the rollout is complete."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("app.AppImage", signature=MINISIGN), rollout_percent=99.99)
    path = "/updates/app/stable/tauri/linux/x86_64/1.0.0"
    assert (await shop.client.get(path)).status_code == 204
    for query, headers in (("?stagingId=a", {}), ("?client_id=a", {}), ("", {"x-user-staging-id": "a"})):
        read_update(await shop.client.get(path + query, headers=headers))


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ("plan9/x86_64/1.0.0", "platform"),
        ("linux/sparc/1.0.0", "architecture"),
        ("linux/x86_64/1.0", "current_version"),
        ("linux/x86_64/%7B%7Bcurrent_version%7D%7D", "current_version"),
    ],
)
async def test_a_mistake_in_the_address_is_said(shop: Shop, place: str, field: str) -> None:
    """To the developer, who would not see it if there simply were no updates."""
    await shop.open_project()
    response = await shop.client.get(f"/updates/app/stable/tauri/{place}")
    assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert response.json()["error"]["details"]["errors"][0]["field"] == field


async def test_an_unknown_variable_in_the_query_is_passed_over(shop: Shop) -> None:
    """Tauri leaves those that it does not know as they stand."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("app.AppImage", signature=MINISIGN))
    path = "/updates/app/stable/tauri/linux/x86_64/1.0.0?bundle={{bundle_type}}"
    read_update(await shop.client.get(path))
