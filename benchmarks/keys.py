"""What keys, limits and usage cost a request, part by part, and how long refused keys wait for their answer.

The parts run inside this process, with the objects of a whole gateway (its database included) and without a network, so
that their CPU time can be told apart. The refusals are asked over a socket of a gateway that runs as in production.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from benchmarks import processes, wire
from benchmarks.servers import ADMIN_KEY, GATEWAY, Setting, environment
from gateway.app import create_app
from gateway.auth.bootstrap import ADMIN
from gateway.auth.principal import Permission
from gateway.auth.secret import new_secret
from gateway.auth.service import Origin
from gateway.context import AIFacts, RequestContext
from gateway.middleware.guard import admit
from gateway.settings import Settings
from providers.base import CompletionRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from gateway.app import Gateway
    from gateway.state import GatewayState

BEGIN: Final = "<!-- keys:begin -->"
END: Final = "<!-- keys:end -->"
TARGET_US: Final = 60.0
_ROUNDS: Final = 7
_CALLS: Final = 4_000
_REFUSALS: Final = 300
_HIGH: Final = 1_000_000_000
_LIMITS: Final = {"per_key": _HIGH, "per_ip": _HIGH, "ai": _HIGH, "unauthenticated": _HIGH}
_READY_S: Final = 30.0


def measure() -> str:
    """Run both parts and return them as Markdown."""
    logging.disable(logging.INFO)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    parts = asyncio.run(_parts())
    with tempfile.TemporaryDirectory(prefix="bench-keys-") as name:
        waits = _refusals(Path(name))
    return "\n".join([*_parts_table(parts), "", *_waits_table(waits)]) + "\n"


async def _parts() -> dict[str, float]:
    """Return the CPU of each part in microseconds per request, the medians of the rounds."""
    with tempfile.TemporaryDirectory(prefix="bench-keys-") as folder:
        settings = Settings(
            data={"dir": folder}, auth={"admin_key": ADMIN_KEY}, limits=_LIMITS, providers={"echo": {"kind": "echo"}}
        )
        app = create_app(settings)
        async with app.running():
            parts = _Parts(app.state, await _new_key(app))
            rounds: dict[str, list[float]] = {}
            for _ in range(_ROUNDS):
                for name, figure in (await parts.costs()).items():
                    rounds.setdefault(name, []).append(figure)
    return {name: statistics.median(figures) for name, figures in rounds.items()}


async def _new_key(app: Gateway) -> str:
    """Return the secret of a key that the gateway has seen already, as one that is in use."""
    made = await app.state.keys.create({"name": "bench", "permissions": {"canUseAI": True}}, ADMIN, Origin("", ""))
    secret: str = made.body["key"]
    assert await app.state.authenticator.look_up(secret) is not None
    return secret


class _Parts:
    """What one request costs besides its call: each part on its own, in microseconds of CPU."""

    def __init__(self, state: GatewayState, secret: str) -> None:
        self._state = state
        headers = [(b"authorization", b"Bearer " + secret.encode())]
        self._scope: dict[str, Any] = {"method": "POST", "path": "/v1/chat/completions", "headers": headers}
        self._request = CompletionRequest.of(wire.MODEL, [])
        self._used = context = self._context()
        context.principal = state.authenticator.known(secret)
        context.status, context.route, context.ai = 200, context.path, AIFacts()

    async def costs(self) -> dict[str, float]:
        """Return the cost of each part, measured once."""
        state, used = self._state, self._used
        empty = await _cpu_us(self._empty)
        guarded = await _cpu_us(self._guarded)
        reserved = await _cpu_us(lambda: state.allowances.begin(used.principal, self._request))
        taken_down = await _cpu_us(self._taken_down)
        return {
            "key, permission, limits, headers": guarded - empty,
            "tokens, budget, parallel requests of a key without such limits": reserved,
            "counters and usage record": taken_down,
            # What was just taken down is what waits to be written.
            "writing them to SQLite": await _cpu_us(state.accounts.written, 1) / _CALLS,
        }

    def _context(self) -> RequestContext:
        return RequestContext(self._scope, _ignore, "", "127.0.0.1")

    async def _empty(self) -> None:
        self._context()

    async def _guarded(self) -> None:
        await admit(self._context(), self._state, Permission.USE_AI, "ai")

    async def _taken_down(self) -> None:
        self._state.accounts.take_down(self._used, 0.01)


async def _ignore(message: Any) -> None:
    """Take what nobody sends here."""


async def _cpu_us(call: Callable[[], Awaitable[object]], calls: int = _CALLS) -> float:
    started = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - started) / calls * 1e6


def _parts_table(parts: dict[str, float]) -> Iterator[str]:
    yield "| CPU per request | us |"
    yield "|---|---:|"
    for name, figure in parts.items():
        yield f"| {name} | {figure:.1f} |"
    total = sum(parts.values())
    verdict = "reached" if total <= TARGET_US else "**missed**"
    yield f"| together | {total:.1f} |"
    yield f"| target | <= {TARGET_US:.0f}, {verdict} |"


def _refusals(folder: Path) -> dict[str, list[float]]:
    """Return how long each kind of refused key waited, in milliseconds, asked in turn over one connection."""
    assert GATEWAY.launch is not None
    port = processes.free_port()
    launch = GATEWAY.launch(Setting(port, port, folder, folder, ""))
    env = environment(launch.env)
    with processes.running(launch.command, env=env, cwd=folder, core=0, log=folder / "log") as child:
        processes.wait_ready(child, port, "/health/ready", limit_s=_READY_S, only_200=True)
        keys = {name: _make_key(port, name) for name in ("revoked", "expired")}
        _ask(port, "DELETE", "/admin/keys/revoked", ADMIN_KEY)
        with sqlite3.connect(folder / "data" / "lunarbit.sqlite3") as database:
            database.execute("UPDATE api_keys SET expires_at = 1 WHERE name = 'expired'")
        # Well formed, so that it is looked up like the others.
        keys["unknown"] = new_secret()
        waits: dict[str, list[float]] = {name: [] for name in sorted(keys)}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_READY_S)
        for _ in range(_REFUSALS):
            for name, figures in waits.items():
                started = time.perf_counter()
                status = _send(connection, "GET", "/v1/models", keys[name])[0]
                figures.append((time.perf_counter() - started) * 1e3)
                assert status == 401, (name, status)
        connection.close()
    return waits


def _waits_table(waits: dict[str, list[float]]) -> Iterator[str]:
    yield "| refused key | median answer, ms | to unknown |"
    yield "|---|---:|---:|"
    base = statistics.median(waits["unknown"])
    for name, figures in waits.items():
        median = statistics.median(figures)
        yield f"| {name} | {median:.2f} | {median / base:.2f} |"


def _make_key(port: int, name: str) -> str:
    body = msgspec.json.encode({"name": name, "permissions": {"canUseAI": True}})
    answer = _ask(port, "POST", "/admin/keys", ADMIN_KEY, body)
    key: str = msgspec.json.decode(answer)["key"]
    return key


def _ask(port: int, method: str, path: str, key: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_READY_S)
    try:
        status, answer = _send(connection, method, path, key, body)
    finally:
        connection.close()
    assert status < 300, (method, path, status, answer)
    return answer


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, key: str, body: bytes | None = None
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.read()
