"""Asking for the update of one product through the API: the product page's answers, and the edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO
from tests.gateway.keyring import make_key
from tests.releases.catalogue_http import (
    CDN,
    STABLE,
    TRACKLY,
    VERSIONS,
    build,
    import_example,
    make_project,
    publish,
    running,
    update,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

URL = f"{CDN}/trackly/1.2.5/trackly-1.2.5-win-x64.exe"
NOTES = "## Changes\n- Fixed dashboard loading issue\n- Improved query performance"


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway that has an empty catalogue."""
    async with running(tmp_path) as (_, client):
        yield client


def some(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return these fields of an answer."""
    return {name: answer.get(name) for name in names}


async def test_the_answers_of_the_page(client: httpx.AsyncClient) -> None:
    """Every field that it shows, with the values of the example catalogue; what is more settles the edges."""
    await import_example(client)
    page = {
        "update_available": True,
        "current_version": "1.2.3",
        "latest_version": "1.2.5",
        "breaking_changes": False,
        "release_notes": NOTES,
        "download_url": URL,
        "file_size": 125829120,
        "checksum": {
            "sha256": "c4d5e6f708192a3b4c5d6e7f8091a2b3" * 2,
            "md5": "ffeeddccbbaa99887766554433221100",
        },
        "published_at": "2026-02-05T14:30:00Z",
    }
    edges = {"breaking_versions": [], "highest_non_breaking": "1.2.5", "path": ["1.2.5"]}
    assert await update(client, "1.2.3") == {**page, **edges, "status": "update", "known": True}
    assert await update(client, "1.2.5") == {
        "update_available": False,
        "current_version": "1.2.5",
        "latest_version": "1.2.5",
        "message": "You are running the latest version",
        "status": "current",
        "known": True,
    }


async def test_edges_of_the_installed_version(client: httpx.AsyncClient) -> None:
    """Ahead is never offered an older one, what nobody published is compared all the same, v and space are read."""
    await make_project(client, "1.0.0", "1.2.5", "1.2.5+2")
    ahead = await update(client, "2.0.0")
    expected = {"update_available": False, "status": "ahead", "known": False, "current_version": "2.0.0"}
    assert some(ahead, *expected) == expected
    assert ahead["latest_version"].startswith("1.2.5")
    unknown = {"update_available": True, "known": False, "status": "update"}
    assert some(await update(client, "1.1.0-dev.1"), *unknown) == unknown
    assert (await update(client, "v1.0.0"))["known"] is True
    for built in ("1.2.5+2", "1.2.5 2", "1.2.5+other"):
        assert some(await update(client, built), "update_available", "status") == {
            "update_available": False,
            "status": "current",
        }


async def test_without_a_build_for_the_target(client: httpx.AsyncClient) -> None:
    """The next lower version that has one is offered; without any, the reason is said; never an empty address."""
    await make_project(client, "1.0.0", {"id": "1.1.0", "builds": [build("1.1.0"), build("1.1.0", "linux")]})
    await publish(client, {"id": "1.2.0", "builds": [build("1.2.0", "linux")]})
    answer = await update(client, "1.0.0")
    expected = {"latest_version": "1.1.0", "newest_version": "1.2.0", "newest_reason": "no_build_for_target"}
    assert some(answer, *expected) == expected
    none = await update(client, "1.0.0", platform="macos")
    expected_none = {"update_available": False, "reason": "no_build_for_target"}
    assert some(none, *expected_none) == expected_none
    assert "download_url" not in none


async def test_a_yanked_version_is_not_offered_and_may_be_left(client: httpx.AsyncClient) -> None:
    """Who runs it goes back where the project allows that, and is told so; nobody else gets an older version."""
    await make_project(client, "1.0.0", "1.1.0")
    assert (await client.post(f"{VERSIONS}/1.1.0/yank")).status_code == 200
    assert some(await update(client, "1.0.0"), "update_available", "latest_version") == {
        "update_available": False,
        "latest_version": "1.0.0",
    }
    answer = await update(client, "1.1.0")
    assert (answer["status"], answer["current_yanked"], "rollback" in answer) == ("ahead", True, False)
    assert (await client.patch(TRACKLY, json={"allow_rollback": True})).status_code == 200
    back = (await update(client, "1.1.0"))["rollback"]
    assert (back["version"], back["download_url"]) == ("1.0.0", build("1.0.0")["download_url"])
    assert "rollback" not in await update(client, "1.2.0")


async def test_a_rollout_is_sticky_and_never_takes_back(client: httpx.AsyncClient) -> None:
    """Whoever names no installation waits for all; a higher percentage loses nobody; each name of the id is read."""
    await make_project(client, "1.0.0", {"id": "1.1.0", "rollout_percent": 0})
    before: set[str] = set()
    for percent in (0, 30, 60, 100):
        assert (await client.patch(f"{VERSIONS}/1.1.0", json={"rollout_percent": percent})).status_code == 200
        found = {str(n) for n in range(60) if (await update(client, "1.0.0", client_id=str(n)))["update_available"]}
        again = {str(n) for n in range(60) if (await update(client, "1.0.0", stagingId=str(n)))["update_available"]}
        assert before <= found == again
        assert (percent == 0) == (not found)
        assert (await update(client, "1.0.0"))["update_available"] is (percent == 100)
        before = found
    assert len(before) == 60
    assert (await client.patch(f"{VERSIONS}/1.1.0", json={"rollout_percent": 0})).status_code == 200
    waiting = await update(client, "1.0.0", client_id="1")
    assert some(waiting, "newest_version", "newest_reason") == {"newest_version": "1.1.0", "newest_reason": "rollout"}


async def test_what_is_required_comes_first(client: httpx.AsyncClient) -> None:
    """The offer is the lowest required version, and the path leads to the newest."""
    await make_project(client, "1.0.0", {"id": "1.1.0", "required": True}, "1.2.0")
    answer = await update(client, "1.0.0")
    expected = {"latest_version": "1.1.0", "newest_version": "1.2.0", "newest_reason": "watershed"}
    assert some(answer, *expected) == expected
    assert answer["path"] == ["1.1.0", "1.2.0"]
    assert answer["download_url"] == build("1.1.0")["download_url"]
    assert (await update(client, "1.1.0"))["path"] == ["1.2.0"]


async def test_breaking_changes_are_those_of_the_whole_way(client: httpx.AsyncClient) -> None:
    """A major version, a marker in the notes and a flag; an explicit no holds for its own version only."""
    marked = {"id": "1.2.0", "release_notes": "BREAKING CHANGE: the format"}
    await make_project(client, "1.0.0", "1.1.0", marked, {"id": "2.0.0", "breaking_changes": False})
    await publish(client, {"id": "2.1.0", "breaking_changes": True})
    answer = await update(client, "1.0.0")
    assert some(answer, "breaking_changes", "breaking_versions", "highest_non_breaking") == {
        "breaking_changes": True,
        "breaking_versions": ["1.2.0", "2.1.0"],
        "highest_non_breaking": "1.1.0",
    }
    assert (await update(client, "2.1.0"))["update_available"] is False


async def test_the_launcher_and_the_system_may_be_too_old(client: httpx.AsyncClient) -> None:
    """Then the next lower version is offered, and what stands in the way is said."""
    await make_project(client, "1.0.0", {"id": "1.1.0", "min_launcher_version": "2.0.0"})
    assert some(await update(client, "1.0.0", launcher_version="1.9.0"), "update_available", "blocked_by") == {
        "update_available": False,
        "blocked_by": "launcher",
    }
    assert (await update(client, "1.0.0", launcher_version="2.0.0"))["update_available"] is True
    await publish(client, {"id": "1.2.0", "builds": [build("1.2.0", min_os_version="10.0.20000")]})
    old = await update(client, "1.1.0", os_version="10.0.19045")
    assert some(old, "update_available", "blocked_by") == {"update_available": False, "blocked_by": "os_version"}
    assert (await update(client, "1.1.0", os_version="10.0.22000"))["update_available"] is True


async def test_explain_gives_the_reason_for_every_version(client: httpx.AsyncClient) -> None:
    """And is not there unless asked for."""
    await make_project(client, "1.0.0", "1.1.0", "1.2.0")
    assert (await client.post(f"{VERSIONS}/1.2.0/yank")).status_code == 200
    answer = await update(client, "1.0.0", explain="1")
    reasons = {entry["version"]: entry["reason"] for entry in answer["explain"]}
    assert reasons == {"1.2.0": "yanked", "1.1.0": "offered", "1.0.0": "installed"}
    assert "explain" not in await update(client, "1.0.0")


async def test_explain_tells_everything_that_holds_a_version_back(client: httpx.AsyncClient) -> None:
    """Whatever of it the answer itself has room for."""
    await make_project(client, "0.9.0", "1.0.0", "1.0.5", {"id": "1.1.0", "required": True}, "1.2.0")
    await publish(client, {"id": "1.3.0", "builds": [build("1.3.0", min_os_version="11")]})
    await publish(client, {"id": "1.4.0", "min_launcher_version": "2.0.0"})
    await publish(client, {"id": "1.5.0", "rollout_percent": 0})
    await publish(client, {"id": "1.6.0", "builds": [build("1.6.0", "linux")]})
    await publish(client, "1.7.0-rc.1")
    old = {"launcher_version": "1.9.0", "os_version": "10.0.19045", "client_id": "a"}
    answer = await update(client, "1.0.0", explain="1", **old)
    assert answer["path"] == ["1.1.0", "1.2.0"]
    assert [(entry["version"], entry["reason"], entry["channel"]) for entry in answer["explain"]] == [
        ("1.7.0-rc.1", "prerelease", "stable"),
        ("1.6.0", "no_build_for_target", "stable"),
        ("1.5.0", "rollout", "stable"),
        ("1.4.0", "launcher", "stable"),
        ("1.3.0", "os_version", "stable"),
        ("1.2.0", "watershed", "stable"),
        ("1.1.0", "offered", "stable"),
        ("1.0.5", "superseded", "stable"),
        ("1.0.0", "installed", "stable"),
        ("0.9.0", "older", "stable"),
    ]


async def test_only_who_asks_for_them_sees_previews(client: httpx.AsyncClient) -> None:
    """A channel that includes a more stable one converges with it."""
    channels = [{"id": "stable"}, {"id": "beta", "includes": ["stable"]}]
    await make_project(client, "1.1.24", channels=channels)
    await publish(client, "1.1.25-beta.1", "beta")
    assert (await update(client, "1.1.24"))["update_available"] is False
    assert (await update(client, "1.1.24", "beta"))["latest_version"] == "1.1.25-beta.1"
    await publish(client, "1.1.25")
    assert (await update(client, "1.1.25-beta.1", "beta"))["latest_version"] == "1.1.25"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *(({"current_version": text}, "current_version") for text in ("", "1.2", "latest", "1.2.3.4", "01.2.3")),
        *(({"platform": text}, "platform") for text in ("", "beos")),
        *(({"architecture": text}, "architecture") for text in ("", "z80")),
        ({"launcher_version": "1"}, "launcher_version"),
        ({"surprise": "1"}, "surprise"),
    ],
)
async def test_what_is_malformed_is_named(client: httpx.AsyncClient, change: dict[str, str], field: str) -> None:
    """400; what is missing as well."""
    await make_project(client, "1.0.0")
    asked = {"current_version": "1.0.0", "platform": "windows", "architecture": "x64", **change}
    error = assert_canonical_error(await client.get(f"{STABLE}/update", params=asked), "INVALID_REQUEST", 400)
    assert [entry["field"] for entry in error["details"]["errors"]] == [field]
    if field in ("current_version", "platform", "architecture"):
        del asked[field]
        error = assert_canonical_error(await client.get(f"{STABLE}/update", params=asked), "INVALID_REQUEST", 400)
        assert field in [entry["field"] for entry in error["details"]["errors"]]


async def test_names_of_targets_are_those_of_every_system(client: httpx.AsyncClient) -> None:
    """In any case."""
    await make_project(client, "1.0.0", "1.1.0")
    for platform, architecture in (("WIN32", "amd64"), ("Windows", "x86_64")):
        answer = await update(client, "1.0.0", platform=platform, architecture=architecture)
        assert answer["latest_version"] == "1.1.0"


async def test_downloads_by_way_of_the_gateway(tmp_path: Path) -> None:
    """Where the settings say so, the address is the gateway's own, which counts."""
    toml = f"{ECHO}[server]\npublic_url = 'https://api.example'\n[releases]\ndownload_urls = 'gateway'\n"
    async with running(tmp_path, toml) as (_, client):
        await make_project(client, "1.0.0", "1.1.0+2")
        url = (await update(client, "1.0.0"))["download_url"]
        assert url == f"https://api.example{VERSIONS}/1.1.0%2B2/builds/windows-x64/download"
        response = await client.get(url.removeprefix("https://api.example"))
        assert response.headers["location"] == build("1.1.0+2")["download_url"]


@pytest.mark.parametrize("mode", ["development", "production"])
async def test_addresses_by_way_of_the_gateway_are_absolute(tmp_path: Path, mode: str) -> None:
    """Without a configured one, a developer's is this machine's, and elsewhere it is said that it is missing."""
    toml = f"{ECHO}[server]\nport = 8123\n[releases]\ndownload_urls = 'gateway'\n"
    async with running(tmp_path, toml, APP_ENV=mode, KEY_PEPPER="a pepper of some length for tests") as (_, client):
        await make_project(client, "1.0.0", "1.1.0")
        asked = {"current_version": "1.0.0", "platform": "windows", "architecture": "x64"}
        response = await client.get(f"{STABLE}/update", params=asked)
        if mode == "development":
            url = f"http://localhost:8123{VERSIONS}/1.1.0/builds/windows-x64/download"
            assert response.json()["download_url"] == url
        else:
            error = assert_canonical_error(response, "INTERNAL_ERROR", 500)
            assert "server.public_url" in error["message"]


async def test_a_public_project_needs_no_key(tmp_path: Path) -> None:
    """Its updates and downloads count for the address alone, even with a key; all else of it still needs one."""
    async with running(tmp_path, GATEWAY_LIMITS__PER_IP="8", GATEWAY_LIMITS__UNAUTHENTICATED="1") as (_, client):
        await make_project(client, "1.0.0", "1.1.0", public_updates=True)
        key = await make_key(client, "k", "canReadVersions", rateLimit=1)
        ask = f"{STABLE}/update?current_version=1.0.0&platform=windows&architecture=x64"
        got = f"{VERSIONS}/1.1.0/builds/windows-x64/download"
        for headers, path, status in ((key, ask, 200), ({}, ask, 200), ({}, got, 302)):
            client.headers.pop("authorization", None)
            response = await client.get(path, headers=headers)
            assert response.status_code == status, response.text
            assert response.headers["x-ratelimit-limit"] == "8"
        # Nothing of it was counted for the key, which had one request.
        assert (await client.get(VERSIONS, headers=key)).status_code == 200
        statuses = [(await client.get(ask)).status_code for _ in range(8)]
        assert statuses == sorted(statuses)
        assert statuses[-1] == 429


async def test_nothing_else_of_a_public_project_is_public(client: httpx.AsyncClient) -> None:
    """Nor the updates of another project, whether it is there or not."""
    await make_project(client, "1.0.0", public_updates=True)
    assert (await client.post("/projects", json={"id": "secret", "name": "Secret"})).status_code == 201
    del client.headers["authorization"]
    ask = "/update?current_version=1.0.0&platform=windows&architecture=x64"
    assert (await client.get(STABLE + ask)).status_code == 200
    assert (await client.head(STABLE + ask)).status_code == 200
    for path in (TRACKLY, VERSIONS, f"/projects/secret/channels/stable{ask}", f"/projects/x/channels/stable{ask}"):
        assert_canonical_error(await client.get(path), "UNAUTHORIZED", 401)
