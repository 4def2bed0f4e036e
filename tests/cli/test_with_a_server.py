"""The command line beside a gateway that runs: one set of keys, the same answers, no secret left behind."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.storage.usage import UsageTable
from gateway.stores import DATABASE_FILE
from gateway.usage.record import Batch, DayCount
from tests.cli.program import lunarbit
from tests.gateway.edge import KEY, LIMIT_S, Served, served, settings_for
from tests.gateway.settings_files import GOOD_PEPPER

pytestmark = pytest.mark.slow

SECRET = re.compile(r"lbapi_[0-9A-Za-z]{46}")


async def run(tmp_path: Path, *arguments: str, **environ: str) -> str:
    """Run a command on the database of `tmp_path` that must succeed; return what it printed."""
    environ = {"GATEWAY_DATA_DIR": str(tmp_path / "data"), "KEY_PEPPER": GOOD_PEPPER, **environ}
    code, out, err = await lunarbit(tmp_path, *arguments, toml="", **environ)
    assert code == 0, err
    return out


async def eventually(ask: Callable[[], Awaitable[httpx.Response]], status: int) -> httpx.Response:
    """Ask until the answer has this status."""
    async with asyncio.timeout(LIMIT_S):
        while (response := await ask()).status_code != status:
            await asyncio.sleep(0.02)
    return response


def bearer(secret: str) -> dict[str, str]:
    """Return the header of a key."""
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("first_start", [True, False])
async def test_a_server_sees_what_the_command_line_does(tmp_path: Path, first_start: bool) -> None:
    """A key made there is accepted, a rotated one too, a revoked one refused; also by the server that made the file."""
    settings = settings_for(tmp_path)
    (settings.data.dir / DATABASE_FILE).unlink()
    if not first_start:
        await run(tmp_path, "db", "upgrade")
    async with served(create_app(settings)) as gateway:

        def ask(secret: str) -> Awaitable[httpx.Response]:
            return gateway.client.get("/v1/models", headers=bearer(secret))

        made = json.loads(await run(tmp_path, "keys", "create", "mobile", "--permission", "canUseAI", "--json"))
        await eventually(partial(ask, made["key"]), 200)
        shown = await run(tmp_path, "keys", "rotate", "mobile")
        (rotated,) = SECRET.findall(shown)
        await eventually(partial(ask, rotated), 200)
        assert (await ask(made["key"])).status_code == 200
        await run(tmp_path, "keys", "revoke", "mobile")
        for secret in (made["key"], rotated):
            refused = await eventually(partial(ask, secret), 401)
            assert refused.headers["x-lunarbit-error-code"] == "KEY_REVOKED"
        # What the server acknowledges afterwards, the next command finds.
        response = await gateway.client.post("/admin/keys", json={"name": "later"}, headers=KEY)
        assert response.status_code == 201
        assert "later" in await run(tmp_path, "keys", "list")
        assert "intact: 4 rows" in await run(tmp_path, "audit", "verify")


async def used(gateway: Served) -> None:
    """Let some keys be there, and have been used."""
    for number in range(3):
        fields: dict[str, Any] = {"name": f"key {number}", "tags": ["t"], "permissions": {"canUseAI": True}}
        made = await gateway.client.post("/admin/keys", json=fields, headers=KEY)
        await gateway.client.get("/v1/models", headers=bearer(made.json()["key"]))
    await gateway.client.delete("/admin/keys/key%202", headers=KEY)
    async with asyncio.timeout(LIMIT_S):
        while (await gateway.client.get("/admin/keys/stats", headers=KEY)).json()["totals"]["requests"] < 3:
            await asyncio.sleep(0.02)


async def test_json_is_what_the_http_api_answers(tmp_path: Path) -> None:
    """Byte for byte, so that a script does not care which of them it asks."""
    async with served(create_app(settings_for(tmp_path))) as gateway:
        await used(gateway)
        for path, command in (
            ("/admin/keys?per_page=100", ("keys", "list")),
            ("/admin/keys?per_page=100&tag=t", ("keys", "list", "--tag", "t")),
            ("/admin/keys/stats", ("keys", "stats")),
        ):
            response = await gateway.client.get(path, headers=KEY)
            assert response.status_code == 200
            assert await run(tmp_path, *command, "--json") == response.text + "\n"
        answers = [
            (await gateway.client.post("/admin/keys", json={"name": "a"}, headers=KEY)).json(),
            json.loads(await run(tmp_path, "keys", "create", "b", "--json")),
            (await gateway.client.post("/admin/keys/a/rotate", headers=KEY)).json(),
            json.loads(await run(tmp_path, "keys", "rotate", "b", "--json")),
        ]
    assert list(answers[0]) == list(answers[1])
    assert list(answers[2]) == list(answers[3])
    assert list(answers[0]["permissions"]) == list(answers[1]["permissions"])


async def test_statistics_are_for_people_too(tmp_path: Path) -> None:
    """All keys with their totals, or the days of one."""
    async with served(create_app(settings_for(tmp_path))) as gateway:
        made = (await gateway.client.post("/admin/keys", json={"name": "busy"}, headers=KEY)).json()
        assert made["name"] == "busy"
        count = DayCount()
        count.requests, count.errors, count.prompt_tokens, count.completion_tokens = 1234, 5, 6_000, 70
        count.last_used_at = 1_770_458_400_000
        (key,) = await gateway.app.state.keys._store.everyone()
        usage = gateway.app.state.usage
        assert isinstance(usage, UsageTable)
        await usage.write_batch(Batch("test", 1, [], {(key.id, "2026-02-07"): count}))
    table = await run(tmp_path, "keys", "stats")
    for text in ("busy", "1,234", "6,000", "70", "total", "2026-02-07 10:00"):
        assert text in table
    days = await run(tmp_path, "keys", "stats", "busy")
    for text in ("2026-02-07", "1,234", "busy was last used: 2026-02-07 10:00 UTC"):
        assert text in days
    answer = json.loads(await run(tmp_path, "keys", "stats", "busy", "--json"))
    assert [key["name"] for key in answer["keys"]] == ["busy"]
    assert answer["totals"]["requests"] == 1234


async def test_no_secret_is_left_in_the_database_or_the_log(tmp_path: Path) -> None:
    """Neither in a row of the audit log nor anywhere else in the files, whoever made the key."""
    canary = "a-canary-as-pepper-of-the-tests"
    environ = {"KEY_PEPPER": canary, "AUDIT_KEY": "a-canary-as-audit-key"}
    secrets, told = [canary, "a-canary-as-audit-key"], ""
    async with served(create_app(settings_for(tmp_path, **environ))) as gateway:
        for name in ("a", "b"):
            response = await gateway.client.post("/admin/keys", json={"name": name}, headers=KEY)
            secrets.append(response.json()["key"])
        secrets.append((await gateway.client.post("/admin/keys/a/rotate", headers=KEY)).json()["key"])
        events = (await gateway.client.get("/admin/audit", headers=KEY)).text
    for command in (("create", "c", "--json"), ("rotate", "c", "--json")):
        data = {"GATEWAY_DATA_DIR": str(tmp_path / "data"), **environ}
        code, out, err = await lunarbit(tmp_path, "keys", *command, toml="", **data)
        assert code == 0
        secrets.append(json.loads(out)["key"])
        told += err
    found = [path for path in (tmp_path / "data").iterdir() if path.is_file()]
    assert any(path.suffix == ".sqlite3" for path in found)
    contents = b"".join(path.read_bytes() for path in found) + events.encode() + told.encode()
    assert len(set(secrets)) == 7
    for secret in secrets:
        assert secret.encode() not in contents
        # The part behind the prefix that lists may show.
        assert secret[10:].encode() not in contents
