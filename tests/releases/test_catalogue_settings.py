"""What publishers set and readers are not shown: the settings of projects, channels, versions and builds."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.keyring import make_key
from tests.releases.catalogue_http import STABLE, TRACKLY, VERSIONS, build, made, make_project, running
from tests.services.postgres import postgres, postgres_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

__all__ = ["postgres", "postgres_url"]

BUILD = f"{VERSIONS}/1.0.0/builds/windows-x64"
ED_SIGNATURE = base64.b64encode(bytes(range(64))).decode()
SOURCE = {
    "repository": "LunarBit-dev/Trackly",
    "tag_pattern": "app-v{version}",
    "channels": {"prerelease": "beta", "nightly": "beta"},
    "overrides": [{"pattern": "^trackly-setup", "platform": "windows"}, {"pattern": "debug", "skip": True}],
    "settle_s": 90,
}
DEFAULTS = {
    "default_channel": "stable",
    "verification": "trusted",
    "public_updates": False,
    "allow_rollback": False,
    "arm64_runs_x64": False,
    "github": None,
    "channels": {"stable": {"includes": []}, "beta": {"includes": ["stable"]}},
}
CHANNELS = [{"id": "stable", "auto_update": True}, {"id": "beta", "includes": ["stable"]}]
BAD_SOURCES: list[tuple[Any, str]] = [
    (5, "github"),
    ("a/b", "github"),
    ({}, "github.repository"),
    *(
        ({"repository": name}, "github.repository")
        for name in ("a", "a/b/c", "-a/b", "a/..", "a/b\n", "a/b c", 5, None)
    ),
    *(({"tag_pattern": pattern}, "github.tag_pattern") for pattern in ("v", "{version}{version}", "{x}{version}", 5)),
    ({"channels": []}, "github.channels"),
    ({"channels": {"beta": 5}}, "github.channels"),
    ({"channels": {"beta": "nowhere"}}, "github.channels.beta"),
    ({"channels": {"betta": "beta"}}, "github.channels.betta"),
    ({"overrides": {}}, "github.overrides"),
    ({"overrides": ["x"]}, "github.overrides"),
    ({"overrides": [{"pattern": "x", "skip": True}, {"pattern": "(", "skip": True}]}, "github.overrides[1].pattern"),
    ({"overrides": [{"pattern": "x", "platform": "beos"}]}, "github.overrides[0].platform"),
    *(({"settle_s": seconds}, "github.settle_s") for seconds in (-1, 3601, "45", True)),
    ({"surprise": 1}, "github.surprise"),
]


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway with one project, one version of it and one build."""
    environ = {} if request.param == "sqlite" else {"DATABASE_URL": str(request.getfixturevalue("postgres_url"))}
    async with running(tmp_path, **environ) as (_, client):
        await make_project(client, "1.0.0", channels=CHANNELS)
        yield client


async def settings_of(client: httpx.AsyncClient, path: str) -> Any:
    """Return the settings that a read shows to the administrator."""
    return (await client.get(path)).json()["settings"]


async def test_a_projects_settings_are_shown_to_who_manages_it(client: httpx.AsyncClient) -> None:
    """In the answers to changes, and when it is read; what was changed shows, and the rest stays."""
    assert await settings_of(client, TRACKLY) == DEFAULTS
    change = {"allow_rollback": True, "verification": "required", "arm64_runs_x64": True, "public_updates": True}
    changed = (await client.patch(TRACKLY, json={**change, "default_channel": "beta"})).json()
    assert changed["settings"] == {**DEFAULTS, **change, "default_channel": "beta"}
    assert (await client.get(TRACKLY)).json() == changed
    made_one = await made(client, "/projects", {"id": "other", "name": "Other", "github": {"repository": "a/b"}})
    empty: dict[str, Any] = {"tag_pattern": None, "channels": {}, "overrides": [], "settle_s": 45.0}
    assert made_one["settings"]["github"] == {"repository": "a/b", **empty}
    assert (await client.get("/projects/other")).json() == made_one


async def test_where_releases_come_from_can_be_set_and_taken_away(client: httpx.AsyncClient) -> None:
    """What is set is shown as it was sent, survives other changes, and stands in the audit log as JSON."""
    changed = await client.patch(TRACKLY, json={"github": SOURCE})
    assert changed.json()["settings"]["github"] == SOURCE
    await client.patch(TRACKLY, json={"name": "Trackly 2"})
    assert (await settings_of(client, TRACKLY))["github"] == SOURCE
    await client.patch(TRACKLY, json={"github": None})
    assert (await settings_of(client, TRACKLY))["github"] is None
    events = (await client.get("/admin/audit?action=project.change")).json()["events"][::-1]
    assert [event["before"]["github"] for event in events] == [None, SOURCE, SOURCE]
    assert [event["after"]["github"] for event in events] == [SOURCE, SOURCE, None]


async def test_a_source_that_breaks_a_rule_is_refused_naming_it(tmp_path: Path) -> None:
    """All mistakes of a project are told at once, and nothing of it is kept."""
    async with running(tmp_path) as (_, client):
        await make_project(client, channels=CHANNELS)
        for source, field in BAD_SOURCES:
            whole = {"repository": "a/b", **source} if isinstance(source, dict) and source else source
            response = await client.patch(TRACKLY, json={"github": whole, "name": "Other"})
            errors = assert_canonical_error(response, "INVALID_REQUEST", 400)["details"]["errors"]
            assert [error["field"] for error in errors] == [field], source
        both = {"repository": "a", "channels": {"x": "stable"}, "overrides": [{"pattern": "x"}]}
        response = await client.post("/projects", json={"id": "other", "name": 5, "github": both})
        errors = assert_canonical_error(response, "INVALID_REQUEST", 400)["details"]["errors"]
        fields = ["github.repository", "github.channels.x", "github.overrides[0].platform"]
        assert [error["field"] for error in errors] == ["name", *fields]
        assert await settings_of(client, TRACKLY) == DEFAULTS


async def test_a_channel_that_releases_go_into_cannot_be_removed(client: httpx.AsyncClient) -> None:
    """Before the source has been told otherwise."""
    await client.patch(TRACKLY, json={"github": SOURCE})
    response = await client.delete(f"{TRACKLY}/channels/beta")
    error = assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert error["details"]["errors"][0]["field"] == "github.channels.prerelease"
    await client.patch(TRACKLY, json={"github": {**SOURCE, "channels": {}}})
    assert (await client.delete(f"{TRACKLY}/channels/beta")).status_code == 204


async def test_the_settings_of_versions_and_builds_are_shown(client: httpx.AsyncClient) -> None:
    """A version's own word on what it breaks too, which readers see only together with notes and number."""
    nothing: dict[str, Any] = {"breaking_changes": None, "required": False, "min_launcher_version": None}
    assert await settings_of(client, f"{VERSIONS}/1.0.0") == {**nothing, "rollout_percent": 100.0}
    change = {"breaking_changes": False, "required": True, "min_launcher_version": "2.1.0", "rollout_percent": 12.5}
    changed = (await client.patch(f"{VERSIONS}/1.0.0", json=change)).json()
    assert changed["settings"] == change
    assert await settings_of(client, f"{VERSIONS}/1.0.0") == await settings_of(client, f"{STABLE}/latest") == change
    assert await settings_of(client, BUILD) == {"signature": None, "ed_signature": None, "min_os_version": None}
    of_build = {"signature": "a\nb", "ed_signature": ED_SIGNATURE, "min_os_version": "10.0.19045"}
    answer = await made(client, f"{VERSIONS}/1.0.0/builds", build("1.0.0", **of_build))
    assert answer["settings"] == await settings_of(client, BUILD) == of_build


@pytest.mark.parametrize("path", [TRACKLY, f"{VERSIONS}/1.0.0", f"{STABLE}/latest", BUILD])
async def test_readers_see_the_page_and_managers_more(tmp_path: Path, path: str) -> None:
    """So each has a validator of its own, and the one never gets 304 for what the other has."""
    async with running(tmp_path) as (_, client):
        await make_project(client, "1.0.0", public_updates=True, github={"repository": "a/b"}, channels=CHANNELS)
        reader = await make_key(client, "reader", "canReadProjects", "canReadVersions", "canCheckUpdates")
        manager = await make_key(
            client, "m", "canReadProjects", "canReadVersions", "canManageReleases", allowedProjects=["trackly"]
        )
        full, plain = await client.get(path, headers=manager), await client.get(path, headers=reader)
        assert plain.json() == {name: value for name, value in full.json().items() if name != "settings"}
        assert "settings" in full.json()
        assert full.headers["etag"] != plain.headers["etag"]
        for has, asked, status in (
            (full, reader, 200),
            (plain, reader, 304),
            (plain, manager, 200),
            (full, manager, 304),
        ):
            response = await client.get(path, headers={**asked, "if-none-match": has.headers["etag"]})
            assert (response.status_code, response.headers["vary"]) == (status, "Authorization")
