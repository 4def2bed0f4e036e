"""Gateways for the tests of the edge: behind an ASGI transport, or on a real socket with the gateway's own protocol."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from gateway.app import Gateway, create_app
from gateway.server import GatewayServer, _config
from tests.gateway.settings_files import GOOD_KEY, GOOD_PEPPER, load
from tests.services.sqlite import put_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import BytesIO
    from pathlib import Path

    from gateway.settings import Settings

ECHO = "[providers.echo]\nkind = 'echo'\n"
KEY = {"authorization": f"Bearer {GOOD_KEY}"}
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
JSON_HEADERS = {**KEY, "content-type": "application/json"}
LIMIT_S = 20.0
# Reading certificates takes longer than all the rest of a start.
_TLS = ssl.create_default_context()
# So high that no test meets a limit that it is not about.
GENEROUS = {f"GATEWAY_LIMITS__{name}": "1000000" for name in ("PER_KEY", "PER_IP", "AI", "UNAUTHENTICATED")}
# The files of the tests' builds do not exist, and nobody should look for them outside this machine.
UNVERIFIED = {"GATEWAY_VERIFICATION__ENABLED": "false"}


def upstream_toml(base_url: str, *, name: str = "up", more: str = "") -> str:
    """Return the configuration of one OpenAI-compatible provider that serves gpt-4."""
    return f"[providers.{name}]\nkind = 'openai'\nbase_url = '{base_url}'\nmodels = ['gpt-4']\n{more}\n"


def settings_for(tmp_path: Path, toml: str = ECHO, **environ: str) -> Settings:
    """Load settings with a known admin key and pepper, high limits, and a data folder below `tmp_path`."""
    put_database(tmp_path / "data")
    variables = {"GATEWAY_DATA_DIR": str(tmp_path / "data"), "API_KEY_ADMIN": GOOD_KEY, "KEY_PEPPER": GOOD_PEPPER}
    return load(tmp_path, toml, **{**variables, **GENEROUS, **UNVERIFIED, **environ})


@asynccontextmanager
async def lifespan(app: Gateway) -> AsyncIterator[None]:
    """Run the start and the end of an application's life, as a server does."""
    to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.create_task(app(scope, to_app.get, from_app.put))
    try:
        async with asyncio.timeout(LIMIT_S):
            await to_app.put({"type": "lifespan.startup"})
            started = await from_app.get()
        assert started["type"] == "lifespan.startup.complete", started
        yield
    finally:
        async with asyncio.timeout(LIMIT_S):
            await to_app.put({"type": "lifespan.shutdown"})
            await task


@asynccontextmanager
async def asgi_client(app: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """Run `app` and yield a client that calls it without a socket; for answers that do not stream."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=True, client=("127.0.0.1", 50_000))
    async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


@asynccontextmanager
async def edge_client(tmp_path: Path, toml: str = ECHO, **environ: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run a gateway with this configuration and yield a client that calls it without a socket."""
    async with asgi_client(create_app(settings_for(tmp_path, toml, **environ))) as client:
        yield client


class Served(NamedTuple):
    """A gateway on a real socket, and a client for it."""

    app: Gateway
    port: int
    client: httpx.AsyncClient
    server: GatewayServer


@asynccontextmanager
async def served(app: Gateway, *, verify: ssl.SSLContext = _TLS, host: str = "127.0.0.1") -> AsyncIterator[Served]:
    """Serve `app` with uvicorn and the gateway's protocol, as `lunarbit serve` configures them, on a free port."""
    settings = app.state.settings
    server = GatewayServer(_config(settings, app), "")
    listener = socket.socket()
    listener.bind((host, 0))
    port = listener.getsockname()[1]
    task = asyncio.create_task(server._serve([listener]))
    try:
        async with asyncio.timeout(LIMIT_S):
            while not server.started:
                assert not task.done(), "the server did not start"
                await asyncio.sleep(0.005)
        scheme = "https" if settings.server.tls_cert else "http"
        base = f"{scheme}://{'localhost' if settings.server.tls_cert else host}:{port}"
        async with httpx.AsyncClient(base_url=base, verify=verify, trust_env=False, timeout=LIMIT_S) as client:
            yield Served(app, port, client, server)
    finally:
        server.should_exit = True
        async with asyncio.timeout(LIMIT_S):
            await task
        listener.close()


async def until(condition: Any) -> None:
    """Wait until `condition()` is true; raises TimeoutError after a generous limit."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


def log_lines(stream: BytesIO) -> list[dict[str, Any]]:
    """Return every line of a JSON log."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def request_lines(stream: BytesIO) -> list[dict[str, Any]]:
    """Return the lines of a JSON log that tell of requests."""
    return [line for line in log_lines(stream) if line["event"] == "request"]
