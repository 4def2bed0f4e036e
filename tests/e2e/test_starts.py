"""Gateways that start at the same moment on a database that is still empty."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.admin import new_key
from tests.e2e.client import WHOLES, ask
from tests.e2e.process import gateway_process
from tests.e2e.tables import embedded_url
from tests.upstream import Upstream

GATEWAYS = 4


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_gateways_that_start_at_once_make_the_tables_once(
    tmp_path: Path, a: Upstream, kind: str, request: pytest.FixtureRequest
) -> None:
    """A deployment starts all its replicas together, and none of them may stumble over another one's migration."""
    url = embedded_url(tmp_path / "data") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    async with AsyncExitStack() as stack:
        starting = [
            stack.enter_async_context(gateway_process(tmp_path, {"a": a}, name=f"gateway-{n}", DATABASE_URL=url))
            for n in range(GATEWAYS)
        ]
        gateways = await asyncio.gather(*starting)
        upgrades = [line for gateway in gateways for line in gateway.log if line["event"] == "database_upgraded"]
        assert [(line["before"], line["after"]) for line in upgrades] == [(None, upgrades[0]["after"])]
        # Every one of them knows the key that another one makes.
        for number, gateway in enumerate(gateways):
            key = await new_key(gateway, f"key-{number}")
            for other in gateways:
                assert (await ask(other, WHOLES[0], key=key)).status == 200
