"""`GET /metrics`: Prometheus' rules, bounded labels, one registry per app, and the numbers themselves."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import ROUTES, create_app
from gateway.observability.metrics import Metrics
from gateway.stores import DATABASE_FILE
from gateway.version import VERSION
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client, edge_client, settings_for, upstream_toml
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    import httpx

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROUTE_LABELS = {row.path for row in ROUTES} | {"other", "/api/v1"}
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(client: httpx.AsyncClient) -> Samples:
    """Return every sample by its name and labels."""
    page = await client.get("/metrics")
    assert page.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return one sample; 0 when it does not exist."""
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


def names(metrics: Metrics) -> set[str]:
    """Return the names under which the metrics of the code are scraped."""
    found = set()
    for family in metrics.registry.collect():
        found.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return found


async def test_the_page_is_prometheus_text(client: httpx.AsyncClient) -> None:
    """With the content type that says which version of the format, and never kept in a cache."""
    page = await client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=")
    assert page.headers["cache-control"] == "no-store"


async def test_promtool_finds_nothing(tmp_path: Path) -> None:
    """Prometheus' own linter reads the page after requests of every kind."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    async with Upstream() as up, edge_client(tmp_path, upstream_toml(up.base_url)) as client:
        up.queue(Script.status(500), Script.text("ok"))
        for path in ("/ai/chat", "/v1/chat/completions", "/nowhere", "/health"):
            await client.post(path, json=HELLO, headers=KEY)
        page = await client.get("/metrics")
    piped = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        promtool, "check", "metrics", stdin=piped, stdout=piped, stderr=piped
    )
    said = await process.communicate(page.content)
    assert (process.returncode, said) == (0, (b"", b""))


def test_names_follow_the_rules_of_prometheus() -> None:
    """One prefix, base units, `_total` on counters only, and help for each."""
    for family in Metrics().registry.collect():
        assert family.name.startswith("lunarbit_")
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent|count|sum|bucket)(_|$)", family.name)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        if family.type != "counter":
            assert not family.name.endswith("_total")


def test_the_document_and_the_code_list_the_same_metrics() -> None:
    """Whoever builds a dashboard reads the document; rows begin with the name in backticks."""
    listed = re.findall(r"^\|\s*`([a-z0-9_]+)(?:\{[^`]*\})?`", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    ours = [name for name in listed if name.startswith("lunarbit_")]
    assert sorted(ours) == sorted(names(Metrics()))


async def test_requests_are_counted_by_template_method_and_status(client: httpx.AsyncClient) -> None:
    """Both bases count as one route."""
    for path in ("/health", "/api/v2/health", "/ai/status"):
        await client.get(path)
    await client.post("/health")
    samples = await scrape(client)
    count = "lunarbit_http_requests_total"
    assert value(samples, count, route="/health", method="GET", status="200") == 2
    assert value(samples, count, route="/health", method="POST", status="405") == 1
    assert value(samples, count, route="/ai/status", method="GET", status="200") == 1
    assert value(samples, "lunarbit_http_request_duration_seconds_count", route="/health") == 3
    # The scrape itself is under way.
    assert value(samples, "lunarbit_http_requests_in_flight") == 1


async def test_what_clients_make_up_becomes_other(tmp_path: Path) -> None:
    """Paths, methods, model names and keys are theirs, and each new value would be a series for ever."""
    async with Upstream() as up:
        toml = f"[providers.up]\nkind = 'openai'\nbase_url = '{up.base_url}'\n"
        async with edge_client(tmp_path, toml) as client:
            for number in range(20):
                await client.get(f"/made-up-{number}")
                await client.get(f"/api/v1/made-up-{number}")
                await client.request(f"MADEUP{number}", f"/made-up-{number}")
                await client.get("/v1/models", headers={"authorization": f"Bearer made-up-{number}"})
                for model in (f"made-up-{number}", f"up/made-up-{number}"):
                    for path in ("/ai/chat", "/v1/chat/completions"):
                        await client.post(path, json={**HELLO, "model": model}, headers=KEY)
            page = await client.get("/metrics")
            samples = await scrape(client)
    assert "made-up" not in page.text.lower()
    assert "MADEUP" not in page.text
    labels = [dict(pairs) for _, pairs in samples]
    assert {found["route"] for found in labels if "route" in found} <= ROUTE_LABELS
    assert {found["model"] for found in labels if "model" in found} <= {"gpt-4", "gpt-3.5-turbo", "other", *up.models}
    assert value(samples, "lunarbit_http_requests_total", route="other", method="other", status="404") == 20
    assert value(samples, "lunarbit_ai_tokens_total", provider="up", model="other", direction="prompt") > 0


async def test_a_chat_counts_tokens_attempts_and_failovers(tmp_path: Path) -> None:
    """By provider, also those that failed."""
    async with Upstream() as bad, Upstream() as good:
        bad.default = Script.status(503)
        toml = upstream_toml(bad.base_url, name="bad", more="priority = 1") + upstream_toml(good.base_url, name="good")
        async with edge_client(tmp_path, toml) as client:
            response = await client.post("/ai/chat", json=HELLO, headers=KEY)
            usage = response.json()["usage"]
            samples = await scrape(client)
    attempts = {dict(pairs)["provider"] for name, pairs in samples if name == "lunarbit_provider_attempts_total"}
    assert attempts == {"bad", "good"}
    assert value(samples, "lunarbit_provider_attempts_total", provider="good", outcome="ok") == 1
    assert value(samples, "lunarbit_provider_failovers_total", provider="bad") == 1
    tokens = "lunarbit_ai_tokens_total"
    assert value(samples, tokens, provider="good", model="gpt-4", direction="prompt") == usage["prompt_tokens"]
    assert value(samples, tokens, provider="good", model="gpt-4", direction="completion") == usage["completion_tokens"]
    for name in ("up", "requests_in_flight", "breaker_state"):
        assert (f"lunarbit_provider_{name}", (("provider", "good"),)) in samples


async def test_the_build_and_the_lag_of_the_loop_are_there(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which version runs, and how late its tasks wake."""
    samples = await scrape(client)
    (labels,) = [dict(pairs) for name, pairs in samples if name == "lunarbit_build_info"]
    assert labels["version"] == VERSION
    assert ("lunarbit_event_loop_lag_seconds_count", ()) in samples


async def test_the_stores_say_how_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the database answers, what waits to be written there, and what was given up."""
    monkeypatch.setattr("gateway.upkeep.KEYS_EVERY_S", 0.01)
    app = create_app(settings_for(tmp_path))
    async with asgi_client(app) as client:
        async with asyncio.timeout(10):
            while value(await scrape(client), "lunarbit_database_up") != 1:
                await asyncio.sleep(0.02)
        (tmp_path / "data" / DATABASE_FILE).rename(tmp_path / "gone.sqlite3")
        async with asyncio.timeout(10):
            while value(samples := await scrape(client), "lunarbit_database_up") != 0:
                await asyncio.sleep(0.02)
        assert ("lunarbit_usage_records_pending", ()) in samples
        assert value(samples, "lunarbit_usage_records_dropped_total") == 0
        assert value(samples, "lunarbit_redis_fallbacks_total") == 0
        # The gateway would otherwise end only after it has tried for some seconds to write the usage.
        (tmp_path / "gone.sqlite3").rename(tmp_path / "data" / DATABASE_FILE)


async def test_what_waits_for_the_database_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows while the database is away."""
    monkeypatch.setattr("gateway.upkeep.GAUGES_EVERY_S", 0.01)
    app = create_app(settings_for(tmp_path))
    async with asgi_client(app) as client:
        file = tmp_path / "data" / DATABASE_FILE
        file.rename(tmp_path / "gone.sqlite3")
        for _ in range(3):
            assert (await client.post("/ai/chat", json=HELLO, headers=KEY)).status_code == 200
        async with asyncio.timeout(10):
            while value(await scrape(client), "lunarbit_usage_records_pending") != 3:
                await asyncio.sleep(0.02)
        (tmp_path / "gone.sqlite3").rename(file)


async def test_the_lag_is_measured_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any request."""
    monkeypatch.setattr("gateway.upkeep.GAUGES_EVERY_S", 0.01)
    async with edge_client(tmp_path) as client:
        async with asyncio.timeout(10):
            while value(await scrape(client), "lunarbit_event_loop_lag_seconds_count") < 3:
                await asyncio.sleep(0.02)


async def test_two_apps_in_one_process_do_not_share_their_numbers(tmp_path: Path) -> None:
    """Each has a registry of its own."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = create_app(settings_for(tmp_path / "a", ECHO)), create_app(settings_for(tmp_path / "b", ECHO))
    async with asgi_client(first) as one, asgi_client(second) as other:
        for _ in range(3):
            await one.get("/health")
        of_first, of_second = await scrape(one), await scrape(other)
    labels = {"route": "/health", "method": "GET", "status": "200"}
    assert value(of_first, "lunarbit_http_requests_total", **labels) == 3
    assert value(of_second, "lunarbit_http_requests_total", **labels) == 0
