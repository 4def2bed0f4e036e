"""A Chromium for the tests of one file, and upstreams and gateways for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from tests.browser.devtools import open_browser
from tests.e2e.server import provider, serving, settings
from tests.upstream import Upstream

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.browser.devtools import Browser, Page
    from tests.e2e.server import Running

# Starts a gateway in front of `up`, with these settings of its section `server`.
Start = Callable[..., Awaitable["Running"]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """Run Chromium."""
    async with open_browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Open a tab of the test's own."""
    async with browser.page() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def up() -> AsyncIterator[Upstream]:
    """The model provider."""
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture(loop_scope="module")
async def start(up: Upstream, tmp_path: Path) -> AsyncIterator[Start]:
    """Start gateways; each is held to the invariants of `serving` when the test ends."""
    async with AsyncExitStack() as stack:

        async def start_one(**server: Any) -> Running:
            configured = settings(tmp_path, {"a": provider(up)}, server=server)
            return await stack.enter_async_context(serving(configured))

        yield start_one
