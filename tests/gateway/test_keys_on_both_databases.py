"""The life of a key through the API, on SQLite and on PostgreSQL: the same requests and the same answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.auth.secret import new_secret
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client, upstream_toml
from tests.gateway.keyring import (
    DAY_S,
    HOUR_S,
    KEYS,
    Clock,
    bearer,
    clocked_app,
    create,
    granted,
    listed,
    make_key,
    path_of,
)
from tests.services.postgres import postgres, postgres_url
from tests.upstream import Upstream

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["postgres", "postgres_url"]

FULL = {
    "description": "ü\n鍵",
    "rateLimit": 2**53,
    "aiRateLimit": 50,
    "maxTokensPerRequest": 2**53,
    "tokensPerDay": 2**53,
    "maxParallel": 4,
    "budget": {"amount": 10**9, "currency": "USD", "period": "total"},
    "allowedProjects": ["trackly", "ü"],
    "allowedModels": ["echo", "🔑"],
    "tags": ["b", "a", "Ü"],
}


@pytest.fixture(params=["sqlite", "postgresql"])
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return what a gateway needs to know of its database."""
    return {} if request.param == "sqlite" else {"DATABASE_URL": str(request.getfixturevalue("postgres_url"))}


async def test_a_key_lives_and_ends(tmp_path: Path, environ: dict[str, str]) -> None:
    """Every act once, with the largest values that there are, and across a restart."""
    clock = Clock()
    prices = tmp_path / "prices.toml"
    prices.write_text("currency = 'USD'\n", encoding="utf-8")
    toml = ECHO + f"[usage]\nprices = '{prices}'\n"
    async with asgi_client(clocked_app(tmp_path, clock, toml, **environ)) as client:
        old = await create(client, "k", "canUseAI", expiresIn="10y", **FULL)
        shown = (await listed(client))["k"]
        assert {field: shown[field] for field in FULL} == FULL
        assert (await client.get("/v1/models", headers=bearer(old["key"]))).status_code == 200
        clock.turn(HOUR_S)
        changed = await client.patch(path_of("k"), json={"tags": ["b"], "budget": None}, headers=KEY)
        assert (changed.json()["tags"], changed.json()["budget"]) == (["b"], None)
        new = (await client.post(path_of("k", "/rotate"), json={"overlap": "1d"}, headers=KEY)).json()
    async with asgi_client(clocked_app(tmp_path, clock, toml, **environ)) as client:
        for key, status in ((old, 200), (new, 200)):
            assert (await client.get("/v1/models", headers=bearer(key["key"]))).status_code == status
        clock.turn(DAY_S)
        for key, status in ((old, 401), (new, 200)):
            assert (await client.get("/v1/models", headers=bearer(key["key"]))).status_code == status
        assert list(await listed(client, tag="b")) == ["k"]
        assert list(await listed(client, tag="B")) == list(await listed(client, tag="a")) == []
        assert (await client.delete(path_of("k"), headers=KEY)).status_code == 204
        refused = await client.get("/v1/models", headers=bearer(new["key"]))
        assert_canonical_error(refused, "KEY_REVOKED", 401)
        clock.turn(1)
        await create(client, "k")
        keys = (await client.get(KEYS, headers=KEY)).json()["keys"]
        assert [key["status"] for key in keys] == ["revoked", "active"]
        assert keys[0]["lastUsedAt"] == "2026-02-08T11:00:00Z"
        events = (await client.get("/admin/audit", headers=KEY)).json()["events"]
    acts = ["key.create", "key.revoke", "key.rotate", "key.change", "key.create"]
    assert [event["action"] for event in events] == acts


async def test_the_statistics_add_up(tmp_path: Path, environ: dict[str, str]) -> None:
    """As whole numbers, and by day."""
    clock = Clock()
    async with Upstream() as up:
        app = clocked_app(tmp_path, clock, upstream_toml(up.base_url), **environ)
        async with asgi_client(app) as client:
            key = await make_key(client, "k", "canUseAI")
            for _ in range(3):
                await client.post("/ai/chat", json=HELLO, headers=key)
            clock.turn(DAY_S)
            await client.post("/ai/chat", json={}, headers=key)
            (row,) = (await client.get(f"{KEYS}/stats", headers=KEY)).json()["keys"]
    assert (row["requests"], row["errors"]) == (4, 1)
    assert row["tokens"] == {"prompt": 21, "completion": 15, "total": 36}
    assert [(day["date"], day["requests"], day["errors"]) for day in row["byDay"]] == [
        ("2026-02-07", 3, 0),
        ("2026-02-08", 1, 1),
    ]


async def test_acts_at_the_same_time_are_done_one_after_the_other(tmp_path: Path, environ: dict[str, str]) -> None:
    """From two gateways: one key for one name, one answer for one Idempotency-Key, one chain of audit rows."""
    apps = [clocked_app(tmp_path, Clock(), **environ) for _ in range(2)]
    async with asgi_client(apps[0]) as one, asgi_client(apps[1]) as other:
        clients = [one, other] * 6
        for client in (one, other):
            client.headers.update(KEY)
        made = await asyncio.gather(*(client.post(KEYS, json={"name": "k"}) for client in clients))
        assert sorted(answer.status_code for answer in made) == [201] + [409] * 11
        once = {"idempotency-key": "once"}
        made = await asyncio.gather(*(client.post(KEYS, json={"name": "i"}, headers=once) for client in clients))
        assert sorted(answer.status_code for answer in made) == [200] * 11 + [201]
        changed = await asyncio.gather(
            *(client.patch(path_of("k"), json={"tags": [f"t{number}"]}) for number, client in enumerate(clients))
        )
        assert {answer.status_code for answer in changed} == {200}
        ended = await asyncio.gather(*(client.delete(path_of("k")) for client in clients))
        assert sorted(answer.status_code for answer in ended) == [204] + [404] * 11
        events = (await other.get("/admin/audit", params={"per_page": 100})).json()["events"]
    assert [event["seq"] for event in events] == list(range(15, 0, -1))


@pytest.mark.parametrize("name", ["a\0b", "\0", "a\ufffd", "\U0010ffff", "'", "a" * 10_000, "a\nb"])
async def test_a_name_that_no_key_can_have_is_404(tmp_path: Path, environ: dict[str, str], name: str) -> None:
    """PostgreSQL has no NUL in texts, which is nobody's business outside."""
    async with asgi_client(clocked_app(tmp_path, Clock(), **environ)) as client:
        client.headers.update(KEY)
        for response in (
            await client.delete(path_of(name)),
            await client.patch(path_of(name), json={"permissions": granted("canUseAI")}),
            await client.post(path_of(name, "/rotate")),
        ):
            assert_canonical_error(response, "KEY_NOT_FOUND", 404)


async def test_unknown_keys_and_pages_far_away(tmp_path: Path, environ: dict[str, str]) -> None:
    """Neither is an error of the database."""
    async with asgi_client(clocked_app(tmp_path, Clock(), **environ)) as client:
        for secret in (new_secret(), "lbapi_" + "\0" * 46, "\udcff"):
            headers = {b"authorization": b"Bearer " + secret.encode("utf-8", "surrogateescape")}
            assert (await client.get(KEYS, headers=headers)).status_code == 401
        page = await client.get(KEYS, params={"page": 1_000_000_000, "per_page": 100}, headers=KEY)
        assert (page.json()["keys"], page.json()["total"]) == ([], 0)
