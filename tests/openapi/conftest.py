"""One gateway on a real socket for requests made from the description, with the projects of its examples."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.architecture.installation import REPOSITORY, running
from tests.gateway.edge import GENEROUS, KEY, UNVERIFIED, edge_client
from tests.gateway.settings_files import GOOD_KEY, GOOD_PEPPER
from tests.openapi.requests_made import Asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Yield a gateway with the echo provider and a database that is thrown away."""
    folder = tmp_path_factory.mktemp("described")
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(REPOSITORY),
        "APP_ENV": "development",
        "API_KEY_ADMIN": GOOD_KEY,
        "KEY_PEPPER": GOOD_PEPPER,
        "LMSTUDIO_ENABLED": "false",
        # Without one the metrics would be open, and every delivery refused.
        "METRICS_TOKEN": "a-token-of-the-tests",
        "GITHUB_WEBHOOK_SECRET": "a-secret-of-the-tests",
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "GATEWAY_USAGE__PRICES": str(REPOSITORY / "config" / "prices.toml"),
        **GENEROUS,
        **UNVERIFIED,
    }
    command = (sys.executable, "-m", "gateway", "serve")
    with running(command, environment, cwd=folder, log=folder / "log") as gateway, Asked(gateway.url, KEY) as asked:
        asked.prepare()
        yield asked


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway in development without a socket."""
    async with edge_client(tmp_path) as running_client:
        yield running_client
