"""A secret is shown once, to who asked for it, and stands nowhere else: no log, no list, no audit row, no file."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from gateway.observability import logs
from tests.gateway.edge import ECHO, HELLO, KEY, edge_client
from tests.gateway.keyring import KEYS, PERMISSIONS, bearer, create, path_of
from tests.gateway.settings_files import GOOD_KEY, GOOD_PEPPER

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

# What lists show of a secret is its beginning.
SHOWN = 10


async def everything(client: httpx.AsyncClient) -> tuple[list[str], list[str]]:
    """Do everything that can be done with a key; return the secrets that were shown and all other answers."""
    other: list[httpx.Response] = []
    once = {"idempotency-key": "once"}
    first = (await client.post(KEYS, json={"name": "k"}, headers=once)).json()["key"]
    other.append(await client.post(KEYS, json={"name": "k"}, headers=once))
    other.append(await client.patch(path_of("k"), json={"permissions": dict.fromkeys(PERMISSIONS, True)}))
    other.append(await client.post("/ai/chat", json=HELLO, headers=bearer(first)))
    other.append(await client.get("/nowhere", headers=bearer(first)))
    second = (await client.post(path_of("k", "/rotate"))).json()["key"]
    # Also where a secret is sent that should not be there.
    for secret in (first, second):
        other.append(await client.delete(path_of(secret)))
        other.append(await client.get(KEYS, params={"tag": secret}))
        other.append(await client.get(f"/{secret}"))
        other.append(await client.post(KEYS, json={"name": "x", "description": 1, "key": secret}))
        other.append(await client.get("/health", headers={"x-request-id": "mine", "authorization": f"ApiKey {secret}"}))
    child = (await create(client, "child"))["key"]
    other.append(await client.delete(path_of("k")))
    other.append(await client.get("/v1/models", headers=bearer(second)))
    pages = (KEYS, f"{KEYS}/stats", "/admin/usage", "/admin/audit?per_page=100", "/metrics", "/ai/status")
    other += [await client.get(page) for page in pages]
    return [first, second, child], [answer.text + repr(answer.headers) for answer in other]


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_a_secret_stands_nowhere_but_in_its_own_answer(
    tmp_path: Path, restored_logging: None, log_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """At the most talkative level; nor does the pepper, or a digest, leave the database."""
    log = BytesIO()
    logs.configure("debug", log_format, log)
    async with edge_client(tmp_path) as client:
        client.headers.update(KEY)
        secrets, answers = await everything(client)
        files = {path: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    console = capfd.readouterr()
    assert "audit" in log.getvalue().decode()
    for secret in [*secrets, GOOD_KEY, GOOD_PEPPER]:
        for text in (log.getvalue().decode(), console.out, console.err):
            assert secret[SHOWN:] not in text, text
        for path, content in files.items():
            assert secret[SHOWN:].encode() not in content, path
    # Whoever sends a secret as a name or in a path has shown it itself; nobody else's answer holds it.
    quoted = [text for text in answers if any(secret[SHOWN:] in text for secret in secrets)]
    assert len(quoted) == 2
    assert all("KEY_NOT_FOUND" in text for text in quoted)


async def test_the_audit_log_has_both_sides_of_every_act(tmp_path: Path) -> None:
    """Who, what, before and after, from where and by which request; what stays secret is not among it."""
    async with edge_client(tmp_path, ECHO + "[server]\ntrusted_proxies = ['127.0.0.0/8']\n") as client:
        client.headers.update({**KEY, "x-forwarded-for": "198.51.100.7", "x-request-id": "my-request"})
        key = bearer((await create(client, "boss", *PERMISSIONS))["key"])
        assert (await client.post(KEYS, json={"name": "k", "tags": ["t"]}, headers=key)).status_code == 201
        await client.patch(path_of("k"), json={"tags": [], "rateLimit": 5})
        rotated = (await client.post(path_of("k", "/rotate"))).json()
        await client.delete(path_of("k"), headers=key)
        # What was refused is no act.
        await client.delete(path_of("k"))
        await client.post(KEYS, json={"name": "boss"})
        events = (await client.get("/admin/audit")).json()["events"]
    told = [(event["action"], event["target"], event["actor"]) for event in reversed(events)]
    assert told == [
        ("key.create", "boss", "bootstrap-admin"),
        ("key.create", "k", "boss"),
        ("key.change", "k", "bootstrap-admin"),
        ("key.rotate", "k", "bootstrap-admin"),
        ("key.revoke", "k", "boss"),
    ]
    assert {(event["clientIp"], event["requestId"]) for event in events} == {("198.51.100.7", "my-request")}
    revoked, rotation, changed, created, _ = events
    assert created["before"] is None
    assert (created["after"]["tags"], created["after"]["status"]) == (["t"], "active")
    assert (changed["before"]["tags"], changed["before"]["rateLimit"]) == (["t"], None)
    assert (changed["after"]["tags"], changed["after"]["rateLimit"]) == ([], 5)
    assert rotation["before"] == changed["after"]
    assert rotation["after"] == {
        **changed["after"],
        "previousKeyValidUntil": rotated["previousKeyValidUntil"],
    }
    assert revoked["before"] == changed["after"]
    assert revoked["after"] == {**changed["after"], "status": "revoked"}
    assert "lbapi_" not in json.dumps(events)
