"""Reading the catalogue through the API: the product page's JSON, pages, errors, and validators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.gateway.canonical import assert_canonical_error, assert_security_headers
from tests.gateway.keyring import make_key
from tests.releases.catalogue_http import CDN, STABLE, TRACKLY, VERSIONS, import_example, publish, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

URL = f"{CDN}/trackly/1.2.5/trackly-1.2.5-win-x64.exe"
CHECKSUM = {"sha256": "c4d5e6f708192a3b4c5d6e7f8091a2b3" * 2, "md5": "ffeeddccbbaa99887766554433221100"}
HEAD = {
    "id": "1.2.5",
    "name": "v1.2.5",
    "description": "Bug fixes and performance improvements",
    "release_notes": "## Changes\n- Fixed dashboard loading issue\n- Improved query performance",
    "breaking_changes": False,
    "published_at": "2026-02-05T14:30:00Z",
    "downloads": 0,
}
BUILD = {
    "id": "windows-x64",
    "platform": "windows",
    "architecture": "x64",
    "file_size": 125829120,
    "download_url": URL,
    "checksum": CHECKSUM,
}
SUMMARY = {
    "id": "trackly",
    "name": "Trackly",
    "description": "Business asset management system with license tracking",
    "repository": "LunarBit-dev/Trackly",
}
READS = [
    *("/projects", TRACKLY, VERSIONS, f"{STABLE}/latest", f"{VERSIONS}/1.2.5"),
    *(f"{VERSIONS}/1.2.5/builds/windows-x64", f"{STABLE}/update?current_version=1&platform=windows&architecture=x64"),
]
READS[-1] = READS[-1].replace("=1&", "=1.0.0&")


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway that has the example's two projects."""
    async with running(tmp_path) as (_, client):
        await import_example(client)
        yield client


async def read_only(client: httpx.AsyncClient) -> None:
    """Go on with a key that may not change anything, which is shown what the page shows."""
    client.headers.update(await make_key(client, "reader", "canReadProjects", "canReadVersions"))


async def read(client: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    """Return the JSON of a read that must succeed."""
    response = await client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def test_projects_are_as_the_page_shows_them(client: httpx.AsyncClient) -> None:
    """Exactly its fields; only the times of creation are of now."""
    await read_only(client)
    answer = await read(client, "/projects")
    assert [project["id"] for project in answer["projects"]] == ["csviewer", "trackly"]
    assert {name: answer[name] for name in ("total", "page", "per_page")} == {"total": 2, "page": 1, "per_page": 20}
    listed = answer["projects"][1]
    times = {name: listed[name] for name in ("created_at", "updated_at")}
    assert listed == {**SUMMARY, "channels": ["stable", "beta"], **times}
    assert await read(client, TRACKLY) == {
        **SUMMARY,
        "homepage": "https://trackly.lunarbit.dev",
        "channels": [
            {"id": "stable", "name": "Stable", "description": "Production-ready releases", "auto_update": True},
            {"id": "beta", "name": "Beta", "description": "Preview releases for testing", "auto_update": False},
        ],
        "latest_version": "1.2.5",
        "total_downloads": 0,
        **times,
    }


async def test_versions_are_as_the_page_shows_them(client: httpx.AsyncClient) -> None:
    """In the list, in detail, as the latest, and with a leading v."""
    await read_only(client)
    answer = await read(client, VERSIONS)
    assert answer["versions"][0] == {**HEAD, "build_count": 2}
    assert [version["id"] for version in answer["versions"]] == ["1.2.5", "1.2.3", "1.0.0"]
    assert {name: answer[name] for name in ("total", "page", "per_page")} == {"total": 3, "page": 1, "per_page": 20}
    detail = await read(client, f"{VERSIONS}/1.2.5")
    assert detail["builds"][0] == BUILD
    assert {name: value for name, value in detail.items() if name != "builds"} == HEAD
    for same in (f"{VERSIONS}/v1.2.5", f"{STABLE}/latest", f"{TRACKLY}/channels/beta/latest"):
        assert await read(client, same) == detail
    assert (await read(client, f"{VERSIONS}/1.2.3"))["breaking_changes"] is True


async def test_a_build_is_as_the_page_shows_it(client: httpx.AsyncClient) -> None:
    """With what its verification knows so far."""
    await read_only(client)
    answer = await read(client, f"{VERSIONS}/1.2.5/builds/windows-x64")
    created = answer.pop("created_at")
    assert created.endswith("Z")
    state = {"status": "pending", "status_reason": "", "status_at": None}
    more = {"version": "1.2.5", "file_name": "trackly-1.2.5-win-x64.exe", "downloads": 0, **state}
    assert answer == {**BUILD, **more}


async def test_the_latest_for_a_target_has_a_build_there(client: httpx.AsyncClient) -> None:
    """A universal build is for either processor of macOS; nothing is for Linux."""
    await publish(client, "1.3.0")
    assert (await read(client, f"{STABLE}/latest"))["id"] == "1.3.0"
    assert (await read(client, f"{STABLE}/latest", platform="macOS", architecture="arm64"))["id"] == "1.2.5"
    response = await client.get(f"{STABLE}/latest", params={"platform": "linux", "architecture": "x64"})
    assert_canonical_error(response, "VERSION_NOT_FOUND", 404)
    response = await client.get(f"{STABLE}/latest", params={"platform": "linux"})
    assert "architecture" in str(assert_canonical_error(response, "INVALID_REQUEST", 400)["details"])


async def test_pages_cover_every_version_once(client: httpx.AsyncClient) -> None:
    """By precedence, never by date or text; the total is of all, and a page past the end is empty."""
    for version in ("1.10.0", "1.9.0", "1.2.5-rc.1"):
        await publish(client, version)
    order = ["1.0.0", "1.2.3", "1.2.5-rc.1", "1.2.5", "1.9.0", "1.10.0"]
    for sort, expected in (("asc", order), ("desc", order[::-1])):
        seen = []
        for page in (1, 2):
            answer = await read(client, VERSIONS, page=page, per_page=4, sort=sort)
            assert (answer["total"], answer["page"], answer["per_page"]) == (6, page, 4)
            seen += [version["id"] for version in answer["versions"]]
        assert seen == expected
    assert (await read(client, VERSIONS, page=9))["versions"] == []


async def test_link_leads_through_the_pages(client: httpx.AsyncClient) -> None:
    """With the sort order kept (RFC 8288)."""
    response = await client.get(f"{VERSIONS}?sort=asc&per_page=1")
    seen = [response.json()["versions"][0]["id"]]
    assert set(response.links) == {"next", "last"}
    while "next" in response.links:
        response = await client.get(response.url.join(response.links["next"]["url"]))
        seen.append(response.json()["versions"][0]["id"])
    assert seen == ["1.0.0", "1.2.3", "1.2.5"]
    assert set(response.links) == {"first", "prev"}
    assert "link" not in (await client.get(VERSIONS)).headers


NOT_THERE = [
    ("/projects/x", "PROJECT_NOT_FOUND", {"project": "x", "available_projects": ["csviewer", "trackly"]}),
    (
        f"{TRACKLY}/channels/x/versions",
        "CHANNEL_NOT_FOUND",
        {"channel": "x", "available_channels": ["stable", "beta"]},
    ),
    (
        f"{VERSIONS}/9.9.9",
        "VERSION_NOT_FOUND",
        {"version": "9.9.9", "available_versions": ["1.2.5", "1.2.3", "1.0.0"]},
    ),
    (
        f"{VERSIONS}/1.2.5/builds/x",
        "BUILD_NOT_FOUND",
        {"build": "x", "available_builds": ["windows-x64", "macos-universal"]},
    ),
    (f"{VERSIONS}/1.2.5/builds/x/download", "BUILD_NOT_FOUND", None),
    (f"{TRACKLY}/channels/x/latest", "CHANNEL_NOT_FOUND", None),
    ("/projects/x/channels/stable/latest", "PROJECT_NOT_FOUND", None),
]


@pytest.mark.parametrize(("path", "code", "details"), NOT_THERE, ids=[path for path, _, _ in NOT_THERE])
async def test_what_is_not_there_has_its_code(
    client: httpx.AsyncClient, path: str, code: str, details: dict[str, Any] | None
) -> None:
    """And says what there is instead."""
    error = assert_canonical_error(await client.get(path), code, 404)
    assert details is None or error["details"] == details


@pytest.mark.parametrize(
    ("path", "field"),
    [
        *((f"{VERSIONS}?per_page={text}", "per_page") for text in ("0", "101", "-1", "1.0", "x", "")),
        *((f"{where}?page={text}", "page") for where in ("/projects", VERSIONS) for text in ("0", "x", "1&page=1")),
        (f"{VERSIONS}?sort=up", "sort"),
        (f"{VERSIONS}?order=asc", "order"),
        (f"{VERSIONS}/1.2", "version"),
        (f"{VERSIONS}/latest", "version"),
    ],
)
async def test_what_is_malformed_is_named(client: httpx.AsyncClient, path: str, field: str) -> None:
    """400, whatever there is."""
    error = assert_canonical_error(await client.get(path), "INVALID_REQUEST", 400)
    assert [entry["field"] for entry in error["details"]["errors"]] == [field]


@pytest.mark.parametrize("path", READS)
async def test_who_has_it_already_gets_304(client: httpx.AsyncClient, path: str) -> None:
    """With the headers that a cache needs, and no body; the comparison is weak, and takes lists and the star."""
    full = await client.get(path)
    tag = full.headers["etag"]
    assert tag.startswith('"')
    # A staged rollout looks at one more header.
    varied = "Authorization, X-User-Staging-Id" if "/update" in path else "Authorization"
    assert full.headers["vary"] == varied
    age = 300 if "/versions" in path or path.endswith("latest") else 60
    assert full.headers["cache-control"] == f"private, max-age={age}"
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        short = await client.get(path, headers={"if-none-match": condition})
        assert (short.status_code, short.content) == (304, b"")
        assert_security_headers(short)
        for name in ("etag", "cache-control", "vary", "x-ratelimit-limit"):
            assert name in short.headers, name
            assert name.startswith("x-") or short.headers[name] == full.headers[name]
    assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200
    nobody = await client.get(path, headers={"if-none-match": tag, "authorization": "Bearer lbapi_x"})
    assert_canonical_error(nobody, "UNAUTHORIZED", 401)


@pytest.mark.parametrize("path", READS)
async def test_a_change_changes_the_validator_and_a_download_does_not(client: httpx.AsyncClient, path: str) -> None:
    """Otherwise every download would make everybody ask again."""
    before = (await client.get(path)).headers["etag"]
    assert (await client.get(f"{VERSIONS}/1.2.5/builds/windows-x64/download")).status_code == 302
    assert (await client.get(path)).headers["etag"] == before
    await publish(client, "1.0.1")
    assert (await client.get(path)).headers["etag"] != before
    assert (await client.get(path, headers={"if-none-match": before})).status_code == 200


async def test_another_project_does_not_change_the_validator(client: httpx.AsyncClient) -> None:
    """Each has its own revision."""
    before = (await client.get(TRACKLY)).headers["etag"]
    assert (await client.patch("/projects/csviewer", json={"description": "other"})).status_code == 200
    assert (await client.get(TRACKLY)).headers["etag"] == before


async def test_a_restricted_key_learns_of_no_other_project(client: httpx.AsyncClient) -> None:
    """Not from lists, totals, errors, details, updates or lists of updates, and not by changing something."""
    key = await make_key(
        client, "k", "canReadProjects", "canReadVersions", "canCheckUpdates", allowedProjects=["csviewer"]
    )
    client.headers.update(key)
    answer = await read(client, "/projects")
    assert ([project["id"] for project in answer["projects"]], answer["total"]) == (["csviewer"], 1)
    for path in [path for path in READS if path.startswith(TRACKLY)] + [
        f"{VERSIONS}/1.2.5/builds/windows-x64/download"
    ]:
        error = assert_canonical_error(await client.get(path), "PROJECT_NOT_FOUND", 404)
        unknown = assert_canonical_error(await client.get(path.replace("trackly", "nothing")), "PROJECT_NOT_FOUND", 404)
        assert error["details"] == {"project": "trackly", "available_projects": ["csviewer"]}
        assert unknown["message"].replace("nothing", "trackly") == error["message"]
    installed = [{"project_id": name, "version": "1.0.0"} for name in ("trackly", "nothing", "csviewer")]
    body = {"client": {"launcher_version": "1.0.0", "os": "windows", "architecture": "x64"}, "installed": installed}
    items = (await client.post("/update/check", json=body)).json()["project_updates"]
    assert [item.get("error", {}).get("code") for item in items] == ["PROJECT_NOT_FOUND", "PROJECT_NOT_FOUND", None]
    assert items[2]["latest_version"] == "2.3.0"
