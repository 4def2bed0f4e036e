"""What somebody who means harm tries with a key: each way was open once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.app import create_app
from gateway.auth.secret import new_secret
from gateway.errors import StorageUnavailable
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client, edge_client, served, settings_for, upstream_toml
from tests.gateway.keyring import make_key, path_of
from tests.gateway.settings_files import GOOD_KEY, GOOD_PEPPER, only_problem
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import httpx

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("choices", ["5", 5.0, True, [5]])
async def test_choices_that_are_no_whole_number_do_not_evade_the_longest_answer(tmp_path: Path, choices: Any) -> None:
    """Some providers take "5" for five choices, each as long as the key allows one to be."""
    async with edge_client(tmp_path) as client:
        client.headers.update(KEY)
        key = await make_key(client, "k", "canUseAI", maxTokensPerRequest=10)
        response = await client.post(CHAT, json={**HELLO, "model": "echo-1", "n": choices}, headers=key)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "n"


async def test_a_name_of_megabytes_is_no_model_and_is_not_repeated(tmp_path: Path) -> None:
    """What is kept of models that no list holds must not be as large as clients like."""
    async with (
        Upstream(),
        edge_client(tmp_path, upstream_toml("http://127.0.0.1:9/v1").replace("models", "#")) as client,
    ):
        response = await client.post(CHAT, json={**HELLO, "model": "up/" + "x" * 1_000_000}, headers=KEY)
        assert response.status_code == 404
        assert len(response.content) < 2_000


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": None}, {"input_tokens": 5}, None])
async def test_usage_without_numbers_is_estimated(tmp_path: Path, usage: dict[str, Any] | None) -> None:
    """Otherwise tokens and budgets of a key would never be used up."""
    async with Upstream() as up, edge_client(tmp_path, upstream_toml(up.base_url)) as client:
        up.default = Script.text("hello " * 40, usage=usage)
        client.headers.update(KEY)
        key = await make_key(client, "k", "canUseAI", tokensPerDay=50)
        assert (await client.post(CHAT, json={**HELLO, "model": "gpt-4"}, headers=key)).status_code == 200
        response = await client.post(CHAT, json={**HELLO, "model": "gpt-4"}, headers=key)
        assert (response.status_code, response.headers["x-lunarbit-error-code"]) == (429, "TOKEN_LIMIT_EXCEEDED")


async def test_a_secret_on_its_way_out_makes_nothing_that_outlives_it(tmp_path: Path) -> None:
    """Who has stolen the old secret could otherwise lock the owner out within the overlap."""
    async with edge_client(tmp_path) as client:
        client.headers.update(KEY)
        old = await make_key(client, "k", "canCreateKeys", "canUseAI")
        rotated = await client.post(f"{path_of('k')}/rotate", json={"overlap": "1h"})
        new = {"authorization": f"Bearer {rotated.json()['key']}"}
        child = {"name": "child", "permissions": {"canUseAI": True}}
        assert_canonical_error(await client.post("/admin/keys", json=child, headers=old), "FORBIDDEN", 403)
        assert_canonical_error(await client.post(f"{path_of('k')}/rotate", headers=old), "FORBIDDEN", 403)
        assert (await client.post("/admin/keys", json=child, headers=new)).status_code == 201
        short = {**child, "name": "short", "expiresIn": "30m"}
        assert (await client.post("/admin/keys", json=short, headers=old)).status_code == 201


async def test_made_up_keys_are_counted_although_nobody_can_look_them_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away must not open the door to as many guesses as somebody likes."""
    app = create_app(settings_for(tmp_path, ECHO, GATEWAY_LIMITS__UNAUTHENTICATED="3"))

    async def away(digests: Sequence[str]) -> None:
        raise StorageUnavailable("away")

    async with asgi_client(app) as client:
        monkeypatch.setattr(app.state.authenticator, "_find", away)
        statuses = [
            (await client.get("/v1/models", headers={"authorization": f"Bearer {new_secret()}"})).status_code
            for _ in range(6)
        ]
    assert statuses == [503, 503, 503, 429, 429, 429]


@pytest.mark.parametrize("change", [{"permissions": {"canCreateKeys": False}}, None])
async def test_a_request_that_was_kept_waiting_does_not_keep_what_its_key_has_lost(
    tmp_path: Path, change: dict[str, Any] | None
) -> None:
    """The head is sent with the right to make keys, the body after that was taken away, or the secret replaced."""
    async with served(create_app(settings_for(tmp_path))) as gateway:
        gateway.client.headers.update(KEY)
        key = await make_key(gateway.client, "k", "canCreateKeys", "canUseAI")
        body = json.dumps({"name": "stolen", "permissions": {"canUseAI": True}}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = f"POST /admin/keys HTTP/1.1\r\nhost: x\r\nauthorization: {key['authorization']}\r\n"
        writer.write(
            f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body[:10]
        )
        await writer.drain()
        # The gateway has admitted the request once it counts as under way beside the one that asks.
        await _until_in_flight(gateway.client, 2)
        if change is None:
            assert (await gateway.client.post(f"{path_of('k')}/rotate", json={"overlap": "0"})).status_code == 201
        else:
            assert (await gateway.client.patch(path_of("k"), json=change)).status_code == 200
        writer.write(body[10:])
        status = (await asyncio.wait_for(reader.readline(), 10)).split()[1]
        writer.close()
        await writer.wait_closed()
        assert status == (b"401" if change is None else b"403")
        names = [entry["name"] for entry in (await gateway.client.get("/admin/keys")).json()["keys"]]
    assert names == ["k"]


async def _until_in_flight(client: httpx.AsyncClient, count: int) -> None:
    async with asyncio.timeout(10):
        while f"lunarbit_http_requests_in_flight {count}.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.01)


async def test_a_routes_name_allows_no_model_of_the_same_name(tmp_path: Path) -> None:
    """The route is what the key was given, and not whatever an open provider calls the same."""
    async with Upstream() as up:
        toml = upstream_toml(up.base_url, name="closed") + (
            f"[providers.open]\nkind = 'openai'\nbase_url = '{up.base_url}'\n"
            "[routing.routes.chat]\ntargets = ['closed/gpt-4']\n"
        )
        async with edge_client(tmp_path, toml) as client:
            client.headers.update(KEY)
            key = await make_key(client, "k", "canUseAI", allowedModels=["chat"])
            asked = {**HELLO, "max_tokens": 5}
            assert (await client.post(CHAT, json={**asked, "model": "chat"}, headers=key)).status_code == 200
            assert (await client.post(CHAT, json={**asked, "model": "open/chat"}, headers=key)).status_code == 404


@pytest.mark.parametrize("variable", ["KEY_PEPPER", "API_KEY_READ", "AUDIT_KEY"])
def test_production_refuses_placeholders_for_every_secret_of_its_own(tmp_path: Path, variable: str) -> None:
    """A pepper that stands in some documentation protects nothing."""
    good = {"APP_ENV": "production", "API_KEY_ADMIN": GOOD_KEY, "KEY_PEPPER": GOOD_PEPPER}
    line = only_problem(tmp_path, **{**good, variable: "change_me_change_me"})
    assert variable in line
    assert "placeholder" in line
