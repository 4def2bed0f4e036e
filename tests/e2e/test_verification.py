"""Verification through the whole gateway: what is wrong is found and never served, and what is good is verified."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.releases import binaries
from tests.releases import fileserver as fs
from tests.releases.checking import GOOD
from tests.releases.fileserver import Answer, FileServer
from tests.releases.verifying import LIMIT_S, MISSING, SELDOM, STABLE, Checked, declare, verifying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.slow

SIZE: Final = len(GOOD)
FLIPPED: Final = GOOD[:1000] + bytes([GOOD[1000] ^ 1]) + GOOD[1001:]
ARM: Final = binaries.elf(binaries.ELF_ARM64) + GOOD[100:]
PAGE: Final = b"<!DOCTYPE html><html><body>Sign in</body></html>"
# How the server answers, and the reason that is found. The declaration is right for GOOD but where `_declared` says so.
FAILED: Final[dict[str, tuple[Answer, str]]] = {
    "one bit flipped": (fs.file(FLIPPED), "sha256_mismatch"),
    "truncated": (fs.file(GOOD[:-1]), "too_short"),
    "cut without a length": (fs.until_close(GOOD[:1000]), "too_short"),
    "longer": (fs.file(GOOD + b"x"), "too_long"),
    "endless": (fs.endless(GOOD), "too_long"),
    "a page": (fs.answer(200, {"Content-Type": "text/html"}, PAGE), "html_page"),
    "a page called a file": (fs.file(PAGE, Content_Type="application/octet-stream"), "html_page"),
    "wrong program": (fs.file(ARM), "wrong_architecture"),
    "wrong md5": (fs.file(GOOD), "md5_mismatch"),
    "wrong sha512": (fs.file(GOOD), "sha512_mismatch"),
    "packed": (fs.gzipped(GOOD), "content_encoding"),
}
UNREACHABLE: Final[dict[str, tuple[Answer, str]]] = {
    "cut": (fs.broken(GOOD[:1000], SIZE), "connection_lost"),
    "reset": (fs.reset(GOOD[:1000], SIZE), "connection_lost"),
    "stalled": (fs.stalled(GOOD[:1000], SIZE), "stalled"),
    "404": (fs.answer(404), "status"),
    "500": (fs.answer(500), "status"),
    "no HTTP": (fs.raw(b"SSH-2.0-OpenSSH_9\r\n"), "not_http"),
    "a circle": (fs.redirect("/a%20circle"), "redirect_loop"),
    "to a private network": (fs.redirect("http://10.0.0.1/file"), "forbidden_address"),
    "to the metadata of a cloud": (fs.redirect("http://169.254.169.254/latest"), "forbidden_address"),
    "no such name": (fs.answer(200), "dns"),
}


def _path(case: str) -> str:
    return "/" + case.replace(" ", "%20")


def _declared(case: str, server: FileServer) -> dict[str, Any]:
    if case == "wrong program":
        return declare(ARM, server.url(_path(case)))
    other = {"wrong md5": {"md5": "0" * 32}, "wrong sha512": {"sha512": "0" * 128}}.get(case, {})
    url = f"https://{MISSING}/file" if case == "no such name" else server.url(_path(case))
    return declare(GOOD, url, checksum=other)


@contextlib.asynccontextmanager
async def _only_offering(checked: Checked, *versions: str | None) -> AsyncIterator[None]:
    """Ask for updates all the time, and hold that no other versions are offered."""
    seen = set()

    async def ask() -> None:
        while True:
            seen.add(await checked.latest())
            await asyncio.sleep(0)

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert seen <= set(versions)


async def test_every_wrong_file_is_found_and_never_served(tmp_path: Path) -> None:
    """Whatever is wrong with 2.0.0 and later, clients go on getting 1.0.0; and each build says what it is."""
    cases = FAILED | UNREACHABLE
    routes = {_path(case): answer for case, (answer, _) in cases.items()} | {"/good": fs.file(GOOD)}
    versions = {case: f"{number}.0.0" for number, case in enumerate(cases, 2)}
    async with FileServer(routes) as server, verifying(tmp_path) as checked:
        await checked.publish("1.0.0", declare(GOOD, server.url("/good")))
        await checked.until_status("1.0.0", "verified")
        async with _only_offering(checked, "1.0.0"):
            for case, version in versions.items():
                await checked.publish(version, _declared(case, server))
            expected = {case: ("failed" if case in FAILED else "unreachable", cases[case][1]) for case in cases}
            found: dict[str, tuple[str, str]] = {}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LIMIT_S):
                    while found != expected:
                        found = {case: await checked.status(version) for case, version in versions.items()}
            assert found == expected
        for version in versions.values():
            response = await checked.client.get(f"{STABLE}/versions/{version}/builds/linux-x64/download")
            assert response.status_code == 409, version
        assert checked.gateway.metric("lunarbit_release_builds", state="failed") == len(FAILED)
        assert checked.gateway.metric("lunarbit_release_build_checks_total", kind="verify", result="failed") >= 11


PROGRAMS: Final = {
    "linux x64": GOOD,
    "linux arm64": ARM,
    "windows x64": binaries.pe(binaries.PE_X64),
    "windows arm64": binaries.pe(binaries.PE_ARM64),
    "windows x86": binaries.pe(binaries.PE_X86),
    "macos x64": binaries.mach_o(binaries.MACH_X64),
    "macos universal": binaries.fat(binaries.MACH_X64, binaries.MACH_ARM64),
    "macos arm64": b"PK\x03\x04" + bytes(500),
}


async def test_good_files_of_every_kind_are_verified(tmp_path: Path) -> None:
    """A false alarm would take a good release away; checksums that nobody declared are shown afterwards."""
    slow = binaries.elf(binaries.ELF_X64)
    ways: dict[str, tuple[Answer, bytes]] = {
        "/redirected": (fs.redirect("/linux%20x64"), GOOD),
        "/chunked": (fs.chunked(GOOD), GOOD),
        "/until-close": (fs.until_close(GOOD), GOOD),
        "/slow": (fs.dripping(slow, len(slow)), slow),
        "/page": (fs.answer(200, {"Content-Type": "text/html"}, GOOD), GOOD),
    }
    routes = {_path(name): fs.file(body) for name, body in PROGRAMS.items()}
    routes |= {path: answer for path, (answer, _) in ways.items()}
    async with FileServer(routes) as server, verifying(tmp_path, schedule=SELDOM) as checked:
        builds = [
            declare(body, server.url(_path(name)), platform=name.split()[0], architecture=name.split()[1])
            for name, body in PROGRAMS.items()
        ]
        builds += [
            declare(body, server.url(path), id=f"way{path.replace('/', '-')}") for path, (_, body) in ways.items()
        ]
        await checked.publish("1.0.0", *builds)
        ids = [name.replace(" ", "-") for name in PROGRAMS] + [f"way{path.replace('/', '-')}" for path in ways]
        for name in ids:
            await checked.until_status("1.0.0", "verified", build=name)
        checksum = (await checked.build("1.0.0"))["checksum"]
        assert checksum == {name: hashlib.new(name, GOOD).hexdigest() for name in checksum}
        assert {"sha256", "md5"} <= set(checksum)
        states = [line["after"] for line in checked.gateway.log if line["event"] == "build_state"]
        assert states == ["verified"] * len(ids)
        assert checked.gateway.metric("lunarbit_release_build_check_bytes_total") == sum(
            len(body) for body in (*PROGRAMS.values(), *(body for _, body in ways.values()))
        )


@pytest.mark.parametrize(
    ("etag", "states"),
    [(None, ["pending", "verified", "pending", "failed"]), ("", ["pending", "verified", "failed"])],
    ids=["with an ETag", "without one"],
)
async def test_a_file_that_was_exchanged_is_not_served_any_more(
    tmp_path: Path, etag: str | None, states: list[str]
) -> None:
    """Also by one of the same size; a server that sends no validators is asked for the whole file each time."""
    routes = {"/good": fs.file(GOOD), "/swapped": fs.file(GOOD, etag=etag)}
    async with FileServer(routes) as server, verifying(tmp_path) as checked:
        await checked.publish("1.0.0", declare(GOOD, server.url("/good")))
        await checked.publish("1.1.0", declare(GOOD, server.url("/swapped")))
        await checked.until_status("1.0.0", "verified")
        await checked.until_status("1.1.0", "verified")
        server.routes["/swapped"] = fs.file(FLIPPED, etag=etag)
        await checked.until_status("1.1.0", "failed", "sha256_mismatch")
        assert await checked.latest() == "1.0.0"
        await checked.gateway.until(lambda: _states(checked, "1.1.0") == states)
        server.routes["/swapped"] = fs.file(GOOD, etag=etag)
        await checked.until_status("1.1.0", "verified")
        assert await checked.latest() == "1.1.0"


def _states(checked: Checked, version: str) -> list[str]:
    lines = [line for line in checked.gateway.log if line["event"] == "build_state" and line["version"] == version]
    return [*(line["before"] for line in lines[:1]), *(line["after"] for line in lines)]


async def test_a_file_that_is_away_for_a_moment_stays_served(tmp_path: Path) -> None:
    """Only failures in a row count; then it is unreachable, and comes back by itself."""
    calls = 0

    async def flaky(request: fs.Request, writer: fs.Writer) -> None:
        nonlocal calls
        calls += 1
        # A probe that is refused is HEAD and GET, so these are two failed checks between good ones.
        await (fs.answer(503) if calls % 6 in (2, 3, 4, 5) else fs.file(GOOD))(request, writer)

    async with FileServer({"/file": flaky}) as server, verifying(tmp_path) as checked:
        await checked.publish("1.0.0", declare(GOOD, server.url("/file")))
        await checked.until_status("1.0.0", "verified")
        async with _only_offering(checked, "1.0.0"):
            await server.asked(30)
        server.routes["/file"] = fs.answer(503)
        await checked.until_status("1.0.0", "unreachable", "status")
        assert await checked.latest() is None
        server.routes["/file"] = fs.file(GOOD)
        await checked.until_status("1.0.0", "verified")
        assert await checked.latest() == "1.0.0"
        audit = (await checked.client.get("/admin/audit", params={"actor": "verification"})).json()
        assert [event["after"]["state"] for event in audit["events"]] == ["verified", "unreachable", "verified"]


async def test_who_asks_has_a_build_verified_again_at_once(tmp_path: Path) -> None:
    """202 with the pending build; a key without the right to publish may not."""
    async with FileServer({"/file": fs.file(FLIPPED)}) as server, verifying(tmp_path, schedule=SELDOM) as checked:
        await checked.publish("1.0.0", declare(GOOD, server.url("/file")))
        await checked.until_status("1.0.0", "failed", "sha256_mismatch")
        server.routes["/file"] = fs.file(GOOD)
        path = f"{STABLE}/versions/v1.0.0/builds/linux-x64/verify"
        response = await checked.client.post(path)
        assert (response.status_code, response.json()["status"]) == (202, "pending")
        await checked.until_status("1.0.0", "verified")
        assert (await checked.client.post(path.replace("linux", "other"))).status_code == 404
        key = {"name": "reader", "permissions": {"canReadVersions": True}}
        made = (await checked.client.post("/admin/keys", json=key)).json()
        reader = {"authorization": f"Bearer {made['key']}"}
        assert (await checked.client.post(path, headers=reader)).status_code == 403


async def test_a_trusted_project_is_verified_too(tmp_path: Path) -> None:
    """It serves a build before that is done, and no longer once the file is known to be wrong."""
    gate = asyncio.Event()

    async def late(request: fs.Request, writer: fs.Writer) -> None:
        await gate.wait()
        await fs.file(FLIPPED)(request, writer)

    routes = {"/away": fs.answer(503), "/wrong": late}
    async with FileServer(routes) as server, verifying(tmp_path, schedule=SELDOM, policy="trusted") as checked:
        await checked.publish("1.0.0", declare(GOOD, server.url("/away")))
        await checked.until_status("1.0.0", "unreachable", "status")
        await checked.publish("1.1.0", declare(GOOD, server.url("/wrong")))
        assert await checked.latest() == "1.1.0"
        gate.set()
        await checked.until_status("1.1.0", "failed", "sha256_mismatch")
        assert await checked.latest() == "1.0.0"


async def test_a_build_that_is_replaced_while_it_is_verified_is_judged_by_its_own_file(tmp_path: Path) -> None:
    """The check of the old one ends, and whatever it found out says nothing of the new one."""
    routes = {"/old": fs.stalled(GOOD[:100], SIZE), "/new": fs.file(ARM)}
    async with FileServer(routes) as server, verifying(tmp_path, schedule=SELDOM) as checked:
        await checked.publish("1.0.0", declare(GOOD, server.url("/old")))
        await server.asked()
        new = declare(ARM, server.url("/new"), id="linux-x64", architecture="arm64")
        assert (await checked.client.post(f"{STABLE}/versions/1.0.0/builds", json=new)).status_code == 201
        await checked.until_status("1.0.0", "verified")
        await server.all_closed()
        await checked.gateway.until(lambda: _states(checked, "1.0.0") == ["pending", "verified"])


async def test_a_project_that_is_deleted_while_it_is_verified_is_no_problem(tmp_path: Path) -> None:
    """The download ends, nothing is logged as an error, and another one of that name begins anew."""
    routes = {"/file": fs.stalled(GOOD[:100], SIZE)}
    async with FileServer(routes) as server, verifying(tmp_path, schedule=SELDOM) as checked:
        await checked.publish("1.0.0", declare(GOOD, server.url("/file")))
        await server.asked()
        assert (await checked.client.delete("/projects/app")).status_code == 204
        await server.all_closed()
        server.routes["/file"] = fs.file(GOOD)
        assert (await checked.client.post("/projects", json={"id": "app", "name": "App"})).status_code == 201
        await checked.publish("1.0.0", declare(GOOD, server.url("/file")))
        await checked.until_status("1.0.0", "verified")


async def test_a_stop_ends_downloads_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """What was verified is not downloaded again, and what was under way is begun again."""
    routes = {"/done": fs.file(GOOD), "/under-way": fs.endless(GOOD[:100])}
    async with FileServer(routes) as server:
        async with verifying(tmp_path, schedule=SELDOM) as checked:
            await checked.publish("1.0.0", declare(GOOD, server.url("/done")))
            await checked.until_status("1.0.0", "verified")
            await checked.publish("1.1.0", declare(GOOD, server.url("/under-way"), file_size=10**12))
            await server.asked(2)
        await server.all_closed()
        server.routes["/under-way"] = fs.file(GOOD)
        async with verifying(tmp_path, schedule=SELDOM, policy=None) as checked:
            assert await checked.status("1.1.0") == ("pending", "")
            await checked.until_status("1.1.0", "failed", "too_short")
        assert [request.path for request in server.requests].count("/done") == 1
