"""A whole gateway on a real socket, in the test's own event loop: production's uvicorn configuration and protocol.

`async with serving(settings(tmp_path, {"a": provider(up)})) as gateway:` and then ask `gateway.port`, and look at
`gateway.provider("a")`, `gateway.metric(...)` and `gateway.log`. Leaving the block holds the gateway to what must be
true after any test: nothing in flight, no connection, no task left, no error logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from gateway import server as production
from gateway.app import Gateway, create_app
from gateway.observability import logs
from gateway.settings import Settings
from providers.transport import Transport
from routing.targets import ProviderState, Target
from tests.services.sqlite import put_database
from tests.upstream import Upstream

ADMIN_KEY = "Zq7wJx0pL3vTn8sRk2Yb"
MODEL = "gpt-4"
LIMIT_S = 10.0
# So long that a busy machine never fails a test that is about something else.
PATIENT = {"connect_s": 10.0, "first_token_s": 30.0, "idle_s": 30.0, "total_s": 60.0}
# So high that no test meets a limit that it is not about.
GENEROUS = {"per_key": 10**6, "per_ip": 10**6, "ai": 10**6, "unauthenticated": 10**6}
# For tests of silence, which have to sit it out.
HASTY = {"first_token_s": 0.25, "idle_s": 0.4}
_CHECK_EVERY_S = 3600.0
# Reading the system's certificates takes longer than all the rest of a start.
_TLS = ssl.create_default_context()

JsonObject = dict[str, Any]


class Clock:
    """Monotonic seconds for the router that a test can move forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return time.monotonic() + self.ahead_s


@dataclass
class Running:
    """A gateway that serves, and what can be seen of it from inside."""

    app: Gateway
    port: int
    clock: Clock
    output: io.BytesIO
    tasks_before: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def log(self) -> list[JsonObject]:
        """The lines logged so far."""
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    @property
    def requests_logged(self) -> list[JsonObject]:
        """The access log's lines about AI requests."""
        return [line for line in self.log if line["event"] == "request" and line["method"] == "POST"]

    def provider(self, name: str) -> ProviderState:
        """Return what the router knows of a provider."""
        return self.app.state.router.providers[name]

    def target(self, name: str, model: str = MODEL) -> Target:
        """Return what the router knows of a provider's model."""
        return self.provider(name).target(model)

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value, 0 when it was never counted."""
        # As every scrape does first.
        self.app.state.metrics.settle()
        return self.app.state.metrics.registry.get_sample_value(name, labels) or 0.0

    def outcomes(self, provider: str) -> dict[str, float]:
        """Return how the attempts at a provider ended, with their counts."""
        return {
            sample.labels["outcome"]: sample.value
            for metric in self.app.state.metrics.attempts.collect()
            for sample in metric.samples
            if sample.labels["provider"] == provider
        }

    def in_flight(self) -> list[float]:
        """Return every count of what is under way: of the edge, of providers and of targets."""
        counts = [self.metric("lunarbit_http_requests_in_flight")]
        for state in self.app.state.router.providers.values():
            counts += [state.in_flight, *(target.in_flight for target in state._targets.values())]
        return counts

    async def until(self, condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
        """Return once `condition()` is true; raises TimeoutError after `limit_s`."""
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.005)

    async def logged(self, count: int = 1) -> list[JsonObject]:
        """Wait until `count` AI requests are over, and return their log lines."""
        await self.until(lambda: len(self.requests_logged) >= count)
        return self.requests_logged


class _Server(production.GatewayServer):
    """The production server without its signal handlers, and stopped by an event instead of by polling."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config, "")
        self.stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield

    async def main_loop(self) -> None:
        """Serve until stopped."""
        await self.on_tick(0)
        await self.stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; without connections there is nothing to wait for, which uvicorn would do for 0.1 s."""
        if self.server_state.connections:
            await super().shutdown(sockets)
            return
        for listener in self.servers:
            listener.close()
        await self.lifespan.shutdown()


def provider(up: Upstream | str, **settings: Any) -> JsonObject:
    """Return the settings of a provider at `up`, with long timeouts and the one model `gpt-4`."""
    base_url = up if isinstance(up, str) else up.base_url
    timeouts = PATIENT | settings.pop("timeouts", {})
    entry = {"kind": "openai", "base_url": base_url, "api_key": "sk-of-the-gateway", "models": [MODEL]}
    return entry | {"timeouts": timeouts} | settings


def settings(folder: Path, providers: Mapping[str, JsonObject], **sections: Any) -> Settings:
    """Return settings with these providers, asked in this order; `sections` are those of the configuration."""
    ranked = {name: {"priority": rank, **entry} for rank, (name, entry) in enumerate(providers.items())}
    server = {"host": "127.0.0.1", "port": 0, "drain_s": 0.2} | sections.pop("server", {})
    put_database(folder)
    given: JsonObject = {"limits": GENEROUS, "verification": {"enabled": False}, "data": {"dir": folder}}
    given |= {"auth": {"admin_key": ADMIN_KEY}, **sections}
    return Settings(server=server, providers=ranked, **given)


@contextlib.asynccontextmanager
async def serving(configured: Settings, **overrides: Any) -> AsyncIterator[Running]:
    """Serve until the context is left, then hold the gateway to what must be true after any test.

    `overrides` are those of `create_app`. Health is checked once at the start and not again.
    """
    clock, output, before = Clock(), io.BytesIO(), asyncio.all_tasks()
    with _logging_to(output):
        parts = {"clock": clock, "check_every_s": _CHECK_EVERY_S, "transport": Transport(ssl_context=_TLS)}
        app = create_app(configured, **{**parts, **overrides})
        server = _Server(production._config(configured, app))
        task = asyncio.create_task(server.serve())
        try:
            async with asyncio.timeout(LIMIT_S):
                while not server.started:
                    assert not task.done(), output.getvalue().decode()
                    await asyncio.sleep(0.001)
            port = server.servers[0].sockets[0].getsockname()[1]
            gateway = Running(app, port, clock, output, before)
            yield gateway
            await gateway.until(lambda: not any(gateway.in_flight()) and not server.server_state.connections)
        finally:
            server.stop.set()
            await asyncio.wait_for(task, LIMIT_S)
    await _check_nothing_is_left(gateway)


async def _check_nothing_is_left(gateway: Running) -> None:
    """Hold that no task outlives the gateway and that nothing in it or below it complained."""
    await gateway.until(lambda: not _tasks_left(gateway.tasks_before))
    complaints = [line for line in gateway.log if line["level"] in {"error", "critical"} or line["event"] == "library"]
    assert [line for line in complaints if line.get("logger") != "uvicorn.error" or line["level"] != "info"] == []


def _tasks_left(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    # sse-starlette keeps one watcher per event loop, which ends with the loop.
    after = asyncio.all_tasks() - before - {asyncio.current_task()}
    return [task for task in after if "_shutdown_watcher" not in repr(task.get_coro())]


@contextlib.contextmanager
def _logging_to(output: io.BytesIO) -> Iterator[None]:
    """Send the process's log to `output`, and put everything back afterwards."""
    root = logging.getLogger()
    level = root.level
    logs.configure("info", "json", output)
    ours = list(root.handlers)
    try:
        yield
    finally:
        structlog.reset_defaults()
        root.setLevel(level)
        for handler in ours:
            root.removeHandler(handler)
