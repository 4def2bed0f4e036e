"""`POST /update/check`: what a launcher asks for itself and for everything that it has installed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO
from tests.gateway.keyring import make_key
from tests.releases.catalogue_http import CDN, import_example, made, make_project, publish, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

PATH = "/update/check"
CLIENT = {"launcher_version": "2.1.0", "os": "windows", "os_version": "10.0.19045", "architecture": "x64"}
TRACKLY = {"project_id": "trackly", "version": "1.0.0", "channel": "stable"}
CSVIEWER = {"project_id": "csviewer", "version": "2.3.1", "channel": "beta"}
JSON_TYPE = {"content-type": "application/json"}
MAX_BYTES = 65_536


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway that has the example's two projects."""
    async with running(tmp_path) as (_, client):
        await import_example(client)
        yield client


async def check(client: httpx.AsyncClient, *installed: Any, **more: Any) -> dict[str, Any]:
    """Ask for these products, and return the answer."""
    response = await client.post(PATH, json={"client": {**CLIENT, **more}, "installed": list(installed)})
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    answer: dict[str, Any] = response.json()
    return answer


async def test_the_example_of_the_page(client: httpx.AsyncClient) -> None:
    """Every field that it shows, with its values; what is more settles the edges."""
    answer = await check(client, TRACKLY, CSVIEWER)
    shown = [
        {
            "project_id": "trackly",
            "update_available": True,
            "current_version": "1.0.0",
            "latest_version": "1.2.5",
            "breaking_changes": True,
            "download_url": f"{CDN}/trackly/1.2.5/trackly-1.2.5-win-x64.exe",
        },
        {
            "project_id": "csviewer",
            "update_available": False,
            "current_version": "2.3.1",
            "latest_version": "2.3.1",
        },
    ]
    items = answer.pop("project_updates")
    assert answer == {
        "updates_available": True,
        "launcher_update": {"available": False, "current": "2.1.0", "latest": "2.1.0"},
    }
    assert len(items) == len(shown)
    for item, expected in zip(items, shown, strict=True):
        assert {name: item.get(name) for name in expected} == expected


async def test_every_entry_is_answered_in_its_place(client: httpx.AsyncClient) -> None:
    """Also one that stands there twice; none at all is no mistake."""
    installed = [
        CSVIEWER,
        TRACKLY,
        CSVIEWER,
        {**TRACKLY, "version": "1.2.5"},
        {"project_id": "csviewer", "version": "2.3.0"},
    ]
    items = (await check(client, *installed))["project_updates"]
    assert [(item["project_id"], item["current_version"]) for item in items] == [
        (entry["project_id"], entry["version"]) for entry in installed
    ]
    assert [item["update_available"] for item in items] == [False, True, False, False, False]
    empty = await check(client)
    assert (empty["updates_available"], empty["project_updates"]) == (False, [])


ODD: list[Any] = ["", "1.2", "x" * 400, 5, None, []]
BAD_ENTRIES: list[tuple[dict[str, Any], str]] = [
    ({"project_id": "x"}, "PROJECT_NOT_FOUND"),
    ({"project_id": "Trackly/../x"}, "PROJECT_NOT_FOUND"),
    ({"channel": "x"}, "CHANNEL_NOT_FOUND"),
    *(({"version": value}, "INVALID_REQUEST") for value in ODD),
    *(({"project_id": value}, "INVALID_REQUEST") for value in ODD[2:]),
    ({"channel": 5}, "INVALID_REQUEST"),
    ({"surprise": 1}, "INVALID_REQUEST"),
]


@pytest.mark.parametrize(("change", "code"), BAD_ENTRIES, ids=repr)
async def test_a_bad_entry_does_not_fail_the_others(
    client: httpx.AsyncClient, change: dict[str, Any], code: str
) -> None:
    """It is answered with an error of its own."""
    first, bad, last = (await check(client, TRACKLY, {**TRACKLY, **change}, TRACKLY))["project_updates"]
    assert first == last
    assert first["update_available"] is True
    assert (bad["update_available"], bad["error"]["code"]) == (False, code)
    assert bad["error"]["message"]


@pytest.mark.parametrize("entry", ["trackly", 5, None, True, ["trackly"]], ids=repr)
async def test_what_is_no_entry_at_all_is_answered_too(client: httpx.AsyncClient, entry: Any) -> None:
    """In its place, with an error of its own, and 200 for the rest."""
    items = (await check(client, TRACKLY, entry, CSVIEWER))["project_updates"]
    assert [item["project_id"] for item in items] == ["trackly", "", "csviewer"]
    assert items[1] == {
        "project_id": "",
        "update_available": False,
        "current_version": "",
        "error": {"code": "INVALID_REQUEST", "message": "installed[1]: must be an object"},
    }


async def test_a_machine_that_there_is_no_build_for_is_told_so(client: httpx.AsyncClient) -> None:
    """It is no mistake of the launcher's; the launcher itself is answered like its products."""
    for machine in ({"os": "linux", "architecture": "riscv64"}, {"os": "FreeBSD"}):
        answer = await check(client, TRACKLY, **machine)
        (item,) = answer["project_updates"]
        assert (item["update_available"], item["reason"]) == (False, "no_build_for_target")
        assert answer["launcher_update"]["available"] is False


async def test_a_hundred_entries_and_no_more(client: httpx.AsyncClient) -> None:
    """400 that names the list."""
    assert len((await check(client, *[TRACKLY] * 100))["project_updates"]) == 100
    response = await client.post(PATH, json={"client": CLIENT, "installed": [TRACKLY] * 101})
    error = assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert [entry["field"] for entry in error["details"]["errors"]] == ["installed"]


async def test_64_kib_and_no_more(client: httpx.AsyncClient) -> None:
    """413, however the body is sent."""
    body = json.dumps({"client": CLIENT, "installed": [TRACKLY]}).encode()
    full = body + b" " * (MAX_BYTES - len(body))
    assert (await client.post(PATH, content=full, headers=JSON_TYPE)).status_code == 200
    response = await client.post(PATH, content=full + b" ", headers=JSON_TYPE)
    assert_canonical_error(response, "PAYLOAD_TOO_LARGE", 413)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 16_384

    assert_canonical_error(await client.post(PATH, content=pieces(), headers=JSON_TYPE), "PAYLOAD_TOO_LARGE", 413)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"installed": []}, "client"),
        ({"client": CLIENT}, "installed"),
        ({"client": [], "installed": []}, "client"),
        *(({"client": CLIENT, "installed": value}, "installed") for value in (*ODD[:-1], {})),
        *(({"client": {**CLIENT, "os": value}, "installed": []}, "client.os") for value in ODD),
        ({"client": {**CLIENT, "architecture": "z80"}, "installed": []}, "client.architecture"),
        ({"client": {**CLIENT, "launcher_version": "2.1"}, "installed": []}, "client.launcher_version"),
        ({"client": CLIENT, "installed": [], "surprise": 1}, "surprise"),
    ],
)
async def test_a_malformed_list_is_named(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    """400, since nothing of it can be answered."""
    error = assert_canonical_error(await client.post(PATH, json=body), "INVALID_REQUEST", 400)
    assert [entry["field"] for entry in error["details"]["errors"]] == [field]


@pytest.mark.parametrize("body", ['{"installed": [], "installed": [], "client": {}}', "[]", "{", '{"client": NaN}', ""])
async def test_what_is_not_one_object_is_refused(client: httpx.AsyncClient, body: str) -> None:
    """Also one in which a name stands twice, at any depth."""
    assert_canonical_error(await client.post(PATH, content=body, headers=JSON_TYPE), "INVALID_REQUEST", 400)
    twice = json.dumps({"client": CLIENT, "installed": [TRACKLY]}).replace('"os"', '"os": "linux", "os"')
    assert_canonical_error(await client.post(PATH, content=twice, headers=JSON_TYPE), "INVALID_REQUEST", 400)


async def test_a_list_counts_as_one_request(client: httpx.AsyncClient) -> None:
    """However long it is."""
    client.headers.update(await make_key(client, "k", "canCheckUpdates", rateLimit=2))
    for left in ("1", "0"):
        response = await client.post(PATH, json={"client": CLIENT, "installed": [TRACKLY] * 50})
        assert response.headers["x-ratelimit-remaining"] == left
    response = await client.post(PATH, json={"client": CLIENT, "installed": []})
    assert_canonical_error(response, "RATE_LIMIT_EXCEEDED", 429)


async def test_the_launcher_is_a_project_of_its_own(tmp_path: Path) -> None:
    """Its update counts for the whole answer; a product that needs a newer launcher says so."""
    async with running(tmp_path, f"{ECHO}[releases]\nlauncher_project = 'launcher'\n") as (_, client):
        await make_project(client, "1.0.0", {"id": "1.1.0", "min_launcher_version": "2.2.0"})
        project = {"id": "launcher", "name": "Launcher", "verification": "trusted"}
        await made(client, "/projects", {**project, "channels": [{"id": "stable"}, {"id": "beta"}]})
        nothing = {"available": False, "current": "2.1.0", "latest": "2.1.0"}
        assert (await check(client))["launcher_update"] == nothing
        for version, channel in (("2.1.0", "stable"), ("2.2.0", "stable"), ("3.0.0", "beta")):
            build = {"platform": "windows", "architecture": "x64", "file_size": 1, "checksum": {"sha256": "ab" * 32}}
            build["download_url"] = f"{CDN}/launcher/{version}.exe"
            await made(client, f"/projects/launcher/channels/{channel}/versions", {"id": version, "builds": [build]})
        answer = await check(client, TRACKLY)
        url = f"{CDN}/launcher/2.2.0.exe"
        expected = {"available": True, "current": "2.1.0", "latest": "2.2.0", "download_url": url}
        assert answer["launcher_update"] == expected
        assert answer["updates_available"] is True
        item = answer["project_updates"][0]
        assert (item["update_available"], item["blocked_by"]) == (False, "launcher")
        assert (await check(client, launcher_channel="beta"))["launcher_update"]["latest"] == "3.0.0"
        assert (await check(client, launcher_channel="x"))["launcher_update"] == nothing


async def test_a_staged_version_reaches_those_who_say_who_they_are(tmp_path: Path) -> None:
    """The launcher's id places all of its products, as it would one that asks alone."""
    async with running(tmp_path) as (_, client):
        await make_project(client, "1.0.0")
        await publish(client, {"id": "1.1.0", "rollout_percent": 50})
        ask = "/projects/trackly/channels/stable/update?current_version=1.0.0&platform=windows&architecture=x64"
        found = set()
        for number in range(20):
            answer = await check(client, TRACKLY, client_id=str(number))
            alone = (await client.get(ask, headers={"x-user-staging-id": str(number)})).json()
            assert answer["updates_available"] is alone["update_available"]
            found.add(answer["updates_available"])
        assert found == {True, False}
        assert (await check(client, TRACKLY))["updates_available"] is False
