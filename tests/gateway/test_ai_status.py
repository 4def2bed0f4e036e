"""`GET /ai/status` and `GET /v1/models`: what is known already, and nothing that is to stay inside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.gateway.edge import ECHO, KEY, edge_client, upstream_toml
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FIELDS = {"name", "available", "models", "latency_ms", "in_flight", "breaker"}
SECRET = "provider-key-of-the-tests"


async def test_the_status_has_the_shape_of_the_page(tmp_path: Path) -> None:
    """The page's three fields for each provider in configured order, and what the shared page adds."""
    async with Upstream() as up:
        toml = upstream_toml(up.base_url) + ECHO.replace("echo]", "second]")
        async with edge_client(tmp_path, toml) as client:
            status = (await client.get("/ai/status")).json()
    assert set(status) == {"enabled", "providers"}
    assert status["enabled"] is True
    assert [entry["name"] for entry in status["providers"]] == ["up", "second"]
    for entry in status["providers"]:
        assert set(entry) == FIELDS
        assert entry["available"] is True
        assert entry["breaker"] == "closed"
        assert entry["in_flight"] == 0
        assert entry["latency_ms"] is None or entry["latency_ms"] >= 0
    assert status["providers"][0]["models"] == ["gpt-4"]


async def test_the_status_never_waits_for_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that hangs from the start on is shown as not yet known to be down, at once and without being asked."""
    monkeypatch.setattr("gateway.wiring.FIRST_ROUND_S", 0.05)
    async with Upstream() as up:
        up.models_script = Script.hang()
        async with edge_client(tmp_path, upstream_toml(up.base_url)) as client:
            asked = len(up.requests)
            for _ in range(19):
                await client.get("/ai/status")
            status = (await client.get("/ai/status")).json()
            # The background's own first look may fall into this moment.
            assert len(up.requests) <= asked + 1
    assert [entry["name"] for entry in status["providers"]] == ["up"]


async def test_a_provider_that_is_down_is_shown_so(tmp_path: Path) -> None:
    """Configured but not there: it stays in the list, with its models."""
    async with Upstream() as up:
        up.healthy = False
        async with edge_client(tmp_path, upstream_toml(up.base_url)) as client:
            (entry,) = (await client.get("/ai/status")).json()["providers"]
    assert (entry["available"], entry["models"]) == (False, ["gpt-4"])


async def test_a_provider_that_is_switched_off_is_shown_so(tmp_path: Path) -> None:
    """It is configured, so it is listed; but it is never asked."""
    async with Upstream() as up:
        toml = upstream_toml(up.base_url, more="enabled = false") + ECHO
        async with edge_client(tmp_path, toml) as client:
            status = (await client.get("/ai/status")).json()
            models = (await client.get("/v1/models", headers=KEY)).json()
        assert up.requests == []
    off = {entry["name"]: entry for entry in status["providers"]}["up"]
    assert set(off) == FIELDS
    assert (off["available"], off["models"]) == (False, [])
    assert "gpt-4" not in json.dumps(models)


async def test_without_any_enabled_provider_ai_is_off_in_production(tmp_path: Path) -> None:
    """The echo provider never joins there by itself."""
    toml = "[providers.up]\nkind = 'openai'\nenabled = false\n[providers.lmstudio]\nenabled = false\n"
    async with edge_client(tmp_path, toml, APP_ENV="production") as client:
        status = (await client.get("/ai/status")).json()
    assert status["enabled"] is False
    assert {entry["available"] for entry in status["providers"]} == {False}


async def test_the_status_shows_no_addresses_and_no_keys(tmp_path: Path) -> None:
    """It needs no key itself."""
    async with Upstream() as up:
        up.require_key = "another"
        toml = upstream_toml(up.base_url, more=f"api_key = '{SECRET}'\norganization = 'org-secret'")
        async with edge_client(tmp_path, toml) as client:
            text = (await client.get("/ai/status")).text
        assert str(up.port) not in text
    for secret in (SECRET, "org-secret", "http", "127.0.0.1", "401"):
        assert secret not in text


async def test_models_are_listed_with_those_who_serve_them(tmp_path: Path) -> None:
    """Routes first, in OpenAI's shape, closed lists and discovered ones alike."""
    async with Upstream() as first, Upstream() as second:
        second.models = ["gpt-4", "llama-3"]
        toml = (
            upstream_toml(first.base_url, name="a")
            + f"[providers.b]\nkind = 'openai'\nbase_url = '{second.base_url}'\n"
            + "[routing.routes.chat]\ntargets = ['a/gpt-4', 'b/llama-3']\n"
        )
        async with edge_client(tmp_path, toml) as client:
            page = (await client.get("/v1/models", headers=KEY)).json()
    assert page["object"] == "list"
    assert [entry["id"] for entry in page["data"]] == ["chat", "gpt-4", "llama-3"]
    for entry in page["data"]:
        assert entry["object"] == "model"
        assert isinstance(entry["created"], int)
        assert isinstance(entry["owned_by"], str)
    assert page["data"][1]["providers"] == ["a", "b"]


async def test_asking_for_models_asks_no_provider(tmp_path: Path) -> None:
    """Discovery runs in the background."""
    async with Upstream() as up, edge_client(tmp_path, upstream_toml(up.base_url)) as client:
        before = len(up.requests)
        for _ in range(10):
            assert (await client.get("/v1/models", headers=KEY)).status_code == 200
        assert len(up.requests) == before
