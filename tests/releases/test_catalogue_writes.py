"""Changing the catalogue through the API, on SQLite and on PostgreSQL: all or nothing, audited, and seen by others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO
from tests.gateway.keyring import PERMISSIONS, make_key
from tests.releases.catalogue_http import (
    STABLE,
    TRACKLY,
    VERSIONS,
    build,
    made,
    make_project,
    publish,
    running,
    until_true,
    update,
)
from tests.services.postgres import postgres, postgres_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

__all__ = ["postgres", "postgres_url"]

PROJECT = {
    "id": "trackly",
    "name": "Trackly",
    "description": "ü 鍵",
    "repository": "LunarBit-dev/Trackly",
    "homepage": "https://trackly.lunarbit.dev",
    "channels": [{"id": "stable", "name": "Stable", "description": "Ready", "auto_update": True}],
}
BAD_URLS: list[Any] = [
    *(
        "",
        "ftp://x/y",
        "//x/y",
        "https:///y",
        "https://user:pw@x/y",
        "https://[x/y",
        "https://x:99999/y",
        "https://x:a/y",
    ),
    *("https://x/ü.exe", "https://x/a b.exe", "https://x/y\r\nset-cookie: a=b", "https://x/" + "y" * 1000, 5, None),
]
BAD_BUILDS: list[tuple[dict[str, Any], str]] = [
    ({"file_size": 0}, "file_size"),
    ({"platform": "beos"}, "platform"),
    *(({"download_url": url}, "download_url") for url in BAD_URLS),
    ({"checksum": {"sha256": "ab"}}, "checksum"),
    ({"checksum": {"md5": "ab" * 16}}, "checksum"),
    ({"id": "Windows"}, "id"),
    ({"min_os_version": "ten"}, "min_os_version"),
    *(({"ed_signature": text}, "ed_signature") for text in ("", "AAAA", "é" * 88, "A" * 87 + "*", 5)),
    ({"surprise": 1}, "surprise"),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return what a gateway needs to know of its database."""
    return {} if request.param == "sqlite" else {"DATABASE_URL": str(request.getfixturevalue("postgres_url"))}


@pytest_asyncio.fixture
async def client(tmp_path: Path, environ: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway that has an empty catalogue."""
    async with running(tmp_path, **environ) as (_, client):
        yield client


async def everything(client: httpx.AsyncClient) -> list[Any]:
    """Return all that reads show of Trackly."""
    found = [(await client.get(path)).json() for path in (TRACKLY, VERSIONS)]
    ids = [version["id"] for version in found[1].get("versions", [])]
    return [*found, *[(await client.get(f"{VERSIONS}/{name}")).json() for name in ids]]


async def acts(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    """Return what the audit log tells of releases, the oldest first."""
    events = (await client.get("/admin/audit?per_page=100")).json()["events"][::-1]
    return [(event["action"], event["target"]) for event in events if not event["action"].startswith("key.")]


async def test_a_project_lives_and_ends(client: httpx.AsyncClient) -> None:
    """A field that is absent stays; deleted, it is gone with all that was in it, and its id is free."""
    answer = await made(client, "/projects", PROJECT)
    assert {name: answer[name] for name in PROJECT} == PROJECT
    assert answer == (await client.get(TRACKLY)).json()
    error = assert_canonical_error(await client.post("/projects", json=PROJECT), "PROJECT_EXISTS", 409)
    assert error["details"] == {"project": "trackly"}
    await publish(client, "1.0.0")
    changed = await client.patch(TRACKLY, json={"name": "Trackly 2"})
    assert changed.status_code == 200
    assert changed.json() == (await client.get(TRACKLY)).json()
    assert (changed.json()["name"], changed.json()["description"]) == ("Trackly 2", "ü 鍵")
    response = await client.delete(TRACKLY)
    assert (response.status_code, response.content) == (204, b"")
    for path in (TRACKLY, VERSIONS):
        assert_canonical_error(await client.get(path), "PROJECT_NOT_FOUND", 404)
    assert_canonical_error(await client.delete(TRACKLY), "PROJECT_NOT_FOUND", 404)
    assert (await client.get("/projects")).json()["total"] == 0
    await made(client, "/projects", PROJECT)
    assert (await client.get(VERSIONS)).json()["versions"] == []


async def test_a_channel_lives_and_ends(client: httpx.AsyncClient) -> None:
    """One that another includes, or that is the default, stays."""
    await make_project(client, "1.0.0")
    channel = {"id": "beta", "name": "Beta", "description": "Previews", "auto_update": False}
    settings = {"settings": {"includes": ["stable"]}}
    assert await made(client, f"{TRACKLY}/channels", {**channel, "includes": ["stable"]}) == channel | settings
    again = await client.post(f"{TRACKLY}/channels", json={"id": "beta"})
    assert assert_canonical_error(again, "CHANNEL_EXISTS", 409)["details"] == {"channel": "beta"}
    assert_canonical_error(await client.delete(STABLE), "INVALID_REQUEST", 400)
    changed = await client.patch(f"{TRACKLY}/channels/beta", json={"auto_update": True})
    assert changed.json() == {**channel, "auto_update": True} | settings
    assert (await client.get(TRACKLY)).json()["channels"][1] == {**channel, "auto_update": True}
    assert (await client.get(f"{TRACKLY}/channels/beta/latest")).json()["id"] == "1.0.0"
    unknown = await client.patch(f"{TRACKLY}/channels/beta", json={"includes": ["x"]})
    assert_canonical_error(unknown, "INVALID_REQUEST", 400)
    assert (await client.delete(f"{TRACKLY}/channels/beta")).status_code == 204
    assert_canonical_error(await client.get(f"{TRACKLY}/channels/beta/versions"), "CHANNEL_NOT_FOUND", 404)
    assert_canonical_error(await client.delete(f"{TRACKLY}/channels/beta"), "CHANNEL_NOT_FOUND", 404)


async def test_a_version_is_published_with_its_builds(client: httpx.AsyncClient) -> None:
    """The answer is what reads then show; the same version again is refused, other build metadata is another one."""
    await make_project(client, "1.0.0")
    body = {
        "id": "v2.0.0-RC.1",
        "description": "First look",
        "release_notes": "## Changes\n- ü",
        "published_at": "2026-02-05T14:30:00Z",
        "builds": [build("2.0.0"), build("2.0.0", "linux", "arm64", id="appimage", file_name="trackly.AppImage")],
    }
    answer = await made(client, VERSIONS, body)
    assert answer == (await client.get(f"{VERSIONS}/2.0.0-RC.1")).json()
    assert (answer["id"], answer["name"], answer["breaking_changes"]) == ("2.0.0-RC.1", "v2.0.0-RC.1", True)
    assert [found["id"] for found in answer["builds"]] == ["windows-x64", "appimage"]
    error = assert_canonical_error(await client.post(VERSIONS, json=body), "VERSION_EXISTS", 409)
    assert error["details"] == {"version": "2.0.0-RC.1", "channel": "stable"}
    await publish(client, "2.0.0-RC.1+2")
    assert (await client.get(f"{VERSIONS}/2.0.0-RC.1%2B2")).json()["id"] == "2.0.0-RC.1+2"
    changed = await client.patch(f"{VERSIONS}/2.0.0-RC.1", json={"breaking_changes": False})
    settings = answer["settings"] | {"breaking_changes": False}
    assert changed.json() == {**answer, "breaking_changes": False, "settings": settings}


@pytest.mark.parametrize(("change", "field"), BAD_BUILDS, ids=[f"{field} {value}" for value, field in BAD_BUILDS])
async def test_a_bad_build_changes_nothing(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    """Of the good builds beside it nothing is left either, and no trace in the audit log."""
    async with running(tmp_path) as (_, client):
        await make_project(client, "1.0.0")
        before = await everything(client), await acts(client)
        body = {"id": "1.1.0", "builds": [build("1.1.0", "linux"), {**build("1.1.0"), **change}]}
        response = await client.post(VERSIONS, json=body)
        error = assert_canonical_error(response, "INVALID_REQUEST", 400)
        assert [entry["field"] for entry in error["details"]["errors"]] == [f"builds[1].{field}"]
        assert_canonical_error(
            await client.post(f"{VERSIONS}/1.0.0/builds", json=body["builds"][1]), "INVALID_REQUEST", 400
        )
        twice = {"id": "1.1.0", "builds": [build("1.1.0"), build("1.1.0")]}
        assert_canonical_error(await client.post(VERSIONS, json=twice), "INVALID_REQUEST", 400)
        assert (await everything(client), await acts(client)) == before


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        *(("/projects", {"id": name, "name": "x"}, "id") for name in ("", "X", "-x", "a" * 65, "ü", "a/b", 5)),
        ("/projects", {"id": "x"}, "name"),
        ("/projects", {"id": "x", "name": "x", "channels": [{"id": "a"}, {"id": "a"}]}, "channels"),
        (f"{TRACKLY}/channels", {"id": "Beta"}, "id"),
        *((VERSIONS, {"id": name}, "id") for name in ("1.2", "latest", "1.2.3.4", "01.0.0", 1)),
        *((VERSIONS, {"id": "1.1.0", "rollout_percent": value}, "rollout_percent") for value in (-1, 100.1, "5", True)),
        (VERSIONS, {"id": "1.1.0", "published_at": "yesterday"}, "published_at"),
    ],
)
async def test_what_is_malformed_is_named(tmp_path: Path, path: str, body: dict[str, Any], field: str) -> None:
    """And nothing is made of it."""
    async with running(tmp_path) as (_, client):
        await make_project(client, "1.0.0")
        before = await everything(client), await acts(client)
        error = assert_canonical_error(await client.post(path, json=body), "INVALID_REQUEST", 400)
        assert field in [entry["field"] for entry in error["details"]["errors"]]
        assert (await everything(client), await acts(client)) == before


async def test_a_version_is_withdrawn_and_restored(client: httpx.AsyncClient) -> None:
    """It stays visible, and says why; restored it is as it was."""
    await make_project(client, "1.0.0", "1.1.0")
    path = f"{VERSIONS}/1.1.0"
    before = (await client.get(path)).json()
    yanked = (await client.post(f"{path}/yank", json={"reason": "deletes files"})).json()
    assert yanked == (await client.get(path)).json()
    assert yanked["yanked"]["reason"] == "deletes files"
    assert (await client.get(TRACKLY)).json()["latest_version"] == "1.0.0"
    assert (await update(client, "1.0.0"))["update_available"] is False
    # Once more is no mistake, and the time is that of the first.
    assert (await client.post(f"{path}/yank")).json()["yanked"]["at"] == yanked["yanked"]["at"]
    assert (await client.post(f"{path}/restore")).json() == before == (await client.get(path)).json()
    assert_canonical_error(await client.post(f"{VERSIONS}/9.0.0/yank"), "VERSION_NOT_FOUND", 404)


async def test_a_build_is_added_and_replaced(client: httpx.AsyncClient) -> None:
    """At its place among the others."""
    await make_project(client, "1.0.0")
    path = f"{VERSIONS}/1.0.0/builds"
    assert (await made(client, path, build("1.0.0", "linux")))["status"] == "pending"
    await made(client, path, build("1.0.0", file_size=7))
    found = (await client.get(f"{VERSIONS}/1.0.0")).json()["builds"]
    assert [(each["id"], each["file_size"]) for each in found] == [("windows-x64", 7), ("linux-x64", 1000)]
    response = await client.post(f"{VERSIONS}/9.0.0/builds", json=build("1.0.0"))
    assert_canonical_error(response, "VERSION_NOT_FOUND", 404)


async def test_every_change_is_audited(client: httpx.AsyncClient) -> None:
    """With who did it, from where, and what was and is; one that failed is none."""
    await make_project(client, "1.0.0")
    await client.post("/projects", json={"id": "trackly", "name": "again"})
    await client.patch(TRACKLY, json={"name": "New"})
    await made(client, f"{TRACKLY}/channels", {"id": "beta"})
    await client.patch(f"{TRACKLY}/channels/beta", json={"name": "B"})
    await client.delete(f"{TRACKLY}/channels/beta")
    await client.patch(f"{VERSIONS}/1.0.0", json={"required": True})
    await client.post(f"{VERSIONS}/1.0.0/yank", json={"reason": "bad"})
    await client.post(f"{VERSIONS}/1.0.0/restore")
    await made(client, f"{VERSIONS}/1.0.0/builds", build("1.0.0", "linux"))
    await client.delete(TRACKLY)
    version = "trackly/stable/1.0.0"
    assert await acts(client) == [
        *(("project.create", "trackly"), ("version.publish", version), ("project.change", "trackly")),
        *((f"channel.{act}", "trackly/beta") for act in ("create", "change", "delete")),
        *((f"version.{act}", version) for act in ("change", "yank", "restore")),
        *(("build.put", f"{version}/linux-x64"), ("project.delete", "trackly")),
    ]
    (event,) = (await client.get("/admin/audit?action=project.change")).json()["events"]
    assert (event["before"]["name"], event["after"]["name"]) == ("Trackly", "New")
    assert event["actor"] == "bootstrap-admin"
    (event,) = (await client.get("/admin/audit?action=version.yank")).json()["events"]
    assert event["after"]["yank_reason"] == "bad"


async def test_a_restricted_key_changes_its_own_projects_only(client: httpx.AsyncClient) -> None:
    """And learns of no other; without canManageReleases it changes none."""
    await make_project(client, "1.0.0")
    await made(client, "/projects", {"id": "csviewer", "name": "CSViewer"})
    key = await make_key(client, "k", "canManageReleases", allowedProjects=["csviewer"])
    without = [name for name in PERMISSIONS if name != "canManageReleases"]
    reader = await make_key(client, "r", *without)
    before = await everything(client), await acts(client)
    calls = [
        *(("PATCH", TRACKLY), ("DELETE", TRACKLY), ("POST", f"{TRACKLY}/channels"), ("DELETE", STABLE)),
        *(("POST", VERSIONS), ("POST", f"{VERSIONS}/1.0.0/yank"), ("PATCH", f"{VERSIONS}/1.0.0")),
    ]
    for method, path in calls:
        body = {"id": "9.0.0"} if path == VERSIONS else {"id": "x"} if path.endswith("/channels") else {}
        response = await client.request(method, path, json=body, headers=key)
        error = assert_canonical_error(response, "PROJECT_NOT_FOUND", 404)
        assert error["details"]["project"] == "trackly"
        assert_canonical_error(await client.request(method, path, json=body, headers=reader), "FORBIDDEN", 403)
    assert (await client.patch("/projects/csviewer", json={"name": "N"}, headers=key)).status_code == 200
    assert (await everything(client), (await acts(client))[:-1]) == before


async def test_another_gateway_sees_a_change(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within its poll, and whole: no version is ever without its builds."""
    monkeypatch.setattr("gateway.upkeep.KEYS_EVERY_S", 0.02)
    async with running(tmp_path, ECHO, **environ) as (_, here), running(tmp_path, ECHO, **environ) as (_, there):
        await make_project(here, {"id": "1.0.0", "builds": [build("1.0.0"), build("1.0.0", "linux")]})
        expected = await everything(here)

        async def is_same() -> bool:
            found = await everything(there)
            assert all(len(version["builds"]) == 2 for version in found[2:] if "builds" in version)
            return found == expected

        await until_true(is_same)
        assert (await here.post(f"{VERSIONS}/1.0.0/yank")).status_code == 200
        expected = await everything(here)
        await until_true(is_same)
        assert (await here.delete(TRACKLY)).status_code == 204

        async def is_gone() -> bool:
            return (await there.get(TRACKLY)).status_code == 404

        await until_true(is_gone)
