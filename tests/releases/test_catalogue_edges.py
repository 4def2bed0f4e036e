"""What publishers and launchers get wrong, and what lies at the edge: each is told what is the matter with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO
from tests.releases.catalogue_http import STABLE, TRACKLY, VERSIONS, build, made, make_project, publish, running, update
from tests.services.postgres import postgres, postgres_url

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

__all__ = ["postgres", "postgres_url"]

ALLOW = f"{ECHO}[verification]\nallow_networks = ['10.0.0.0/8', 'fd00::/8']\n"
WRITES = [("PATCH", ""), ("POST", "/yank"), ("POST", "/restore"), ("POST", "/builds"), ("POST", "/builds/x/verify")]


def fields_of(response: httpx.Response) -> list[str]:
    """Return the fields that a refusal names."""
    error = assert_canonical_error(response, "INVALID_REQUEST", 400)
    return [each["field"] for each in error["details"]["errors"]]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_a_path_names_is_read_alike_for_changes_and_reads(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """400 for what is no version, 404 for ids that nothing can have, also for those that a database would not take."""
    environ = {} if kind == "sqlite" else {"DATABASE_URL": str(request.getfixturevalue("postgres_url"))}
    async with running(tmp_path, **environ) as (_, client):
        await make_project(client, "1.0.0", "1.1.0+5")
        body = build("1.0.0")
        for version in ("1.0", "latest", "1.0.0.0", "v", "01.0.0", "%00", "1" * 300):
            for method, rest in WRITES:
                response = await client.request(
                    method, f"{VERSIONS}/{version}{rest}", json=body if rest == "/builds" else {}
                )
                assert fields_of(response) == ["version"], (method, version)
            assert fields_of(await client.get(f"{VERSIONS}/{version}")) == ["version"]
            assert fields_of(await client.get(f"{VERSIONS}/{version}/builds/x/download")) == ["version"]
        for name in ("v1.1.0+5", "1.1.0%2B5", "1.1.0%205"):
            assert (await client.patch(f"{VERSIONS}/{name}", json={"description": name})).json()["description"] == name
        for name in ("Trackly", "a%00b", "-x", "x" * 70, "%F0%9F%8E%B5", "%ff"):
            for method, path, code in (
                ("PATCH", f"/projects/{name}", "PROJECT_NOT_FOUND"),
                ("DELETE", f"/projects/{name}", "PROJECT_NOT_FOUND"),
                ("GET", f"/projects/{name}", "PROJECT_NOT_FOUND"),
                ("PATCH", f"{TRACKLY}/channels/{name}", "CHANNEL_NOT_FOUND"),
                ("DELETE", f"{TRACKLY}/channels/{name}", "CHANNEL_NOT_FOUND"),
                ("GET", f"{TRACKLY}/channels/{name}/latest", "CHANNEL_NOT_FOUND"),
                ("POST", f"{VERSIONS}/1.0.0/builds/{name}/verify", "BUILD_NOT_FOUND"),
                ("GET", f"{VERSIONS}/1.0.0/builds/{name}", "BUILD_NOT_FOUND"),
            ):
                assert_canonical_error(await client.request(method, path, json={}), code, 404)


async def test_channels_cannot_include_each_other_in_a_circle(tmp_path: Path) -> None:
    """Neither when they are made nor by a change, and the channels stay as they were."""
    async with running(tmp_path) as (_, client):
        itself = [{"id": "stable", "includes": ["stable"]}]
        circle = [{"id": "stable", "includes": ["dev"]}, {"id": "dev", "includes": ["beta"]}]
        circle.append({"id": "beta", "includes": ["stable"]})
        for channels in (itself, circle):
            response = await client.post("/projects", json={"id": "trackly", "name": "T", "channels": channels})
            assert fields_of(response) == [f"channels.{channel['id']}.includes" for channel in channels]
        beside: list[dict[str, Any]] = [
            {"id": "stable"},
            {"id": "beta", "includes": ["stable"]},
            {"id": "dev", "includes": ["beta", "stable"]},
        ]
        await make_project(client, "1.0.0", channels=beside)
        for channel, includes in (("stable", ["dev"]), ("beta", ["beta"]), ("stable", ["beta"])):
            response = await client.patch(f"{TRACKLY}/channels/{channel}", json={"includes": includes})
            assert f"channels.{channel}.includes" in fields_of(response)
        response = await client.post(f"{TRACKLY}/channels", json={"id": "new", "includes": ["new"]})
        assert fields_of(response) == ["channels.new.includes"]
        settings = (await client.get(TRACKLY)).json()["settings"]["channels"]
        assert settings == {each["id"]: {"includes": each.get("includes", [])} for each in beside}
        assert (await update(client, "0.9.0", "dev"))["latest_version"] == "1.0.0"


PLAIN_HTTP = [
    *((url, True, True) for url in ("http://127.0.0.1:8000/x", "http://localhost/x", "http://LOCALHOST:1/x")),
    *((url, True, True) for url in ("http://[::1]/x", "https://files.example/x", "https://10.1.2.3/x")),
    *((url, False, True) for url in ("http://10.1.2.3/x", "http://[fd00::5]/x", "http://files.intranet/x")),
    *((url, False, False) for url in ("http://192.168.0.1/x", "http://8.8.8.8/x", "http://[2001:db8::1]/x")),
]


@pytest.mark.parametrize("allowed", [False, True], ids=["by itself", "with allow_networks"])
async def test_files_lie_behind_https(tmp_path: Path, allowed: bool) -> None:
    """Plain http is for this machine, and for networks that checks may reach: anybody else could change a file."""
    async with running(tmp_path, ALLOW if allowed else ECHO) as (_, client):
        await make_project(client, "1.0.0")
        for number, (url, always, with_networks) in enumerate(PLAIN_HTTP):
            body = {"id": f"2.0.{number}", "builds": [build("2.0.0", download_url=url)]}
            answers = [
                (await client.post(VERSIONS, json=body), "builds[0].download_url"),
                (await client.post(f"{VERSIONS}/1.0.0/builds", json=body["builds"][0]), "download_url"),
            ]
            for response, field in answers:
                if always or (allowed and with_networks):
                    assert response.status_code == 201, url
                else:
                    assert fields_of(response) == [field], url


@pytest.mark.parametrize(
    "machine", [("linux", "riscv64"), ("linux", "LOONG64"), ("freebsd", "x64"), ("android", "arm64")]
)
async def test_machines_that_there_can_be_no_build_for_are_no_mistake(tmp_path: Path, machine: tuple[str, str]) -> None:
    """200 with the reason; nothing is there for them to be led to either."""
    target = dict(zip(("platform", "architecture"), machine, strict=True))
    async with running(tmp_path) as (_, client):
        await make_project(client, {"id": "1.0.0", "builds": [build("1.0.0"), build("1.0.0", "linux")]})
        answer = await update(client, "0.9.0", explain="1", **target)
        assert (answer["update_available"], answer["status"]) == (False, "none")
        assert answer["reason"] == answer["explain"][0]["reason"] == "no_build_for_target"
        assert_canonical_error(await client.get(f"{STABLE}/latest", params=target), "VERSION_NOT_FOUND", 404)
        unknown = {"current_version": "1.0.0", "platform": "amiga", "architecture": "z80"}
        assert fields_of(await client.get(f"{STABLE}/update", params=unknown)) == ["platform", "architecture"]


@pytest.mark.parametrize(("given", "missing"), [("platform", "architecture"), ("architecture", "platform")])
async def test_half_of_a_target_names_the_other_half(tmp_path: Path, given: str, missing: str) -> None:
    """And only that."""
    value = {"platform": "linux", "architecture": "x64"}[given]
    async with running(tmp_path) as (_, client):
        await make_project(client, "1.0.0")
        response = await client.get(f"{STABLE}/latest", params={given: value})
        assert fields_of(response) == [missing]
        assert response.json()["error"]["message"] == f"{missing}: is required"
        response = await client.get(f"{STABLE}/update", params={"current_version": "1.0.0", given: value})
        assert fields_of(response) == [missing]


async def test_stable_hands_out_no_prerelease(tmp_path: Path) -> None:
    """One that was published there is listed, and offered to those only whose channel includes it."""
    async with running(tmp_path) as (_, client):
        await make_project(client, "1.0.0", channels=[{"id": "stable"}, {"id": "beta", "includes": ["stable"]}])
        await publish(client, "2.0.0-rc.1")
        assert [each["id"] for each in (await client.get(VERSIONS)).json()["versions"]] == ["2.0.0-rc.1", "1.0.0"]
        for path in (f"{STABLE}/latest", f"{STABLE}/latest?platform=windows&architecture=x64"):
            assert (await client.get(path)).json()["id"] == "1.0.0"
        assert (await client.get(TRACKLY)).json()["latest_version"] == "1.0.0"
        answer = await update(client, "1.0.0", explain="1")
        assert (answer["update_available"], answer["status"]) == (False, "current")
        assert [(each["version"], each["reason"]) for each in answer["explain"]] == [
            ("2.0.0-rc.1", "prerelease"),
            ("1.0.0", "installed"),
        ]
        assert (await update(client, "1.0.0", "beta"))["latest_version"] == "2.0.0-rc.1"
        installed: list[dict[str, Any]] = [
            {"project_id": "trackly", "version": "1.0.0", "channel": name} for name in ("stable", "beta")
        ]
        machine = {"launcher_version": "1.0.0", "os": "windows", "architecture": "x64"}
        items = (await client.post("/update/check", json={"client": machine, "installed": installed})).json()
        assert [item["update_available"] for item in items["project_updates"]] == [False, True]
        await made(client, f"{TRACKLY}/channels", {"id": "preview"})
        await publish(client, "3.0.0-alpha", "preview")
        await client.patch(f"{TRACKLY}/channels/stable", json={"includes": ["preview"]})
        assert (await update(client, "1.0.0"))["latest_version"] == "3.0.0-alpha"
