"""Upstreams, and a gateway in front of them."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.e2e.server import HASTY, Running, provider, serving, settings
from tests.services.postgres import postgres, postgres_url
from tests.services.redis import redis_process, redis_url
from tests.upstream import Upstream

__all__ = ["postgres", "postgres_url", "redis_process", "redis_url"]

Serve = Callable[..., AbstractAsyncContextManager[Running]]


class Start(Protocol):
    """Starts a gateway that the test's end stops."""

    async def __call__(self, providers: dict[str, Any], **sections: Any) -> Running:
        """Serve with these providers and sections of the configuration; `overrides` go to `create_app`."""


@pytest.fixture
async def a() -> AsyncIterator[Upstream]:
    """The upstream that is asked first."""
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def b() -> AsyncIterator[Upstream]:
    """The upstream that is asked second."""
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start gateways; each is held to the invariants of `serving` when the test ends."""
    async with AsyncExitStack() as stack:

        async def start_one(providers: dict[str, Any], **sections: Any) -> Running:
            overrides = sections.pop("overrides", {})
            return await stack.enter_async_context(serving(settings(tmp_path, providers, **sections), **overrides))

        yield start_one


@pytest.fixture
async def one(start: Start, a: Upstream) -> Running:
    """A gateway with the one provider `a`."""
    return await start({"a": provider(a)})


@pytest.fixture
async def two(start: Start, a: Upstream, b: Upstream) -> Running:
    """A gateway with the provider `a`, and `b` behind it."""
    return await start({"a": provider(a), "b": provider(b)})


@pytest.fixture
async def hasty_one(start: Start, a: Upstream) -> Running:
    """A gateway with the one provider `a`, which may not be silent for long."""
    return await start({"a": provider(a, timeouts=HASTY)})


@pytest.fixture
async def hasty_two(start: Start, a: Upstream, b: Upstream) -> Running:
    """A gateway with the provider `a`, which may not be silent for long, and `b` behind it."""
    return await start({"a": provider(a, timeouts=HASTY), "b": provider(b)})


@pytest.fixture(autouse=True, scope="module")
def _nothing_unclosed() -> Iterator[None]:
    """Collect what a module left, so that a resource that nobody closed is reported in that module."""
    yield
    gc.collect()
