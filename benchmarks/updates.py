"""What an update check costs beside an empty route, with few versions in the catalogue and with many.

The gateways run as in production, each with a catalogue of its own, and answer in turn with the floor.
"""

from __future__ import annotations

import asyncio
import http.client
import random
import re
import sqlite3
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import uvloop

from benchmarks import proc, processes
from benchmarks.client import AnswerReader
from benchmarks.servers import ADMIN_KEY, FLOOR, GATEWAY, ROOT, Setting, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BEGIN: Final = "<!-- updates:begin -->"
END: Final = "<!-- updates:end -->"
TARGET: Final = 3.0
_BUILDS: Final = (("windows", "x64"), ("macos", "universal"), ("linux", "x64"))
_ASKED: Final = (("windows", "x64"), ("macos", "arm64"), ("macos", "x64"), ("linux", "x64"))
_READY_S: Final = 60.0
_PER_MINOR: Final = 100
_ETAG: Final = re.compile(rb"\r\netag: ?([^\r]+)", re.IGNORECASE)
_BATCH: Final = 10
_CHECK: Final = "check"
_TITLES: Final = {
    _CHECK: "check: key, version, platform and architecture",
    "own id": "the same from clients that each send an id of their own",
    "304": "the same from clients that have the answer already",
    "open": "the same of a project with public updates, without a key",
    "batch": f"`POST /update/check` with {_BATCH} products",
}


@dataclass(frozen=True)
class Plan:
    """How large a run is. `core` is the servers', None for any; `questions` is how many different ones of each kind."""

    few: int = 10
    many: int = 10_000
    rounds: int = 5
    window_s: float = 1.5
    connections: int = 32
    questions: int = 512
    core: int | None = 0


@dataclass(frozen=True)
class _Served:
    """A server that is ready."""

    port: int
    pid: int


def measure(plan: Plan | None = None) -> str:
    """Run the benchmark and return it as Markdown. Raises `StartError`, `AssertionError` for a wrong answer."""
    plan = plan or Plan()
    figures: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-updates-") as name, ExitStack() as stack:
        floor = _start(stack, "floor", Path(name), plan.core)
        asked = {("floor", "floor"): (floor, [_request("GET", "/")])}
        for size, versions in (("few", plan.few), ("many", plan.many)):
            gateway = _start(stack, size, Path(name), plan.core)
            _fill(gateway.port, Path(name) / size / "data" / "lunarbit.sqlite3", versions)
            for kind, requests in _questions(gateway.port, versions, plan.questions).items():
                asked[size, kind] = (gateway, requests)
        for number in range(plan.rounds):
            order = list(asked.items())
            for key, (server, requests) in order[number % len(order) :] + order[: number % len(order)]:
                figures.setdefault(key, []).append(uvloop.run(_cpu_us(server, requests, plan)))
    return "\n".join(_table(plan, figures)) + "\n"


def _start(stack: ExitStack, name: str, folder: Path, core: int | None) -> _Served:
    own = folder / name
    own.mkdir()
    server = FLOOR if name == "floor" else GATEWAY
    assert server.launch is not None
    port = processes.free_port()
    launch = server.launch(Setting(port, port, own, own, ""))
    # Nobody should look for the files of builds that do not exist.
    env = environment({**launch.env, "GATEWAY_VERIFICATION__ENABLED": "false"})
    child = stack.enter_context(processes.running(launch.command, env=env, cwd=ROOT, core=core, log=own / "log"))
    ready = server.ready_path
    processes.wait_ready(child, port, ready or "/", limit_s=_READY_S, only_200=ready is not None)
    return _Served(port, child.pid)


def _version(number: int) -> str:
    return f"1.{number // _PER_MINOR}.{number % _PER_MINOR}"


def _fill(port: int, database: Path, versions: int) -> None:
    """Make two projects of so many versions: one by the API, the others as its copies, since each would be a write."""
    builds = [
        {
            "id": f"{platform}-{architecture}",
            "platform": platform,
            "architecture": architecture,
            "file_name": f"app-{platform}-{architecture}.zip",
            "file_size": 1_000_000,
            "download_url": f"https://cdn.example.com/app-{platform}-{architecture}.zip",
            "checksum": {"sha256": "0" * 64},
        }
        for platform, architecture in _BUILDS
    ]
    for project in ("app", "open"):
        fields = {
            "id": project,
            "name": project,
            "channels": [{"id": "stable", "name": "Stable"}],
            "default_channel": "stable",
            "verification": "trusted",
            "public_updates": project == "open",
        }
        _ask(port, "POST", "/projects", fields)
        version = {"id": _version(0), "release_notes": "Faster start.\n" * 20, "builds": builds}
        _ask(port, "POST", f"/projects/{project}/channels/stable/versions", version)
    with closing(sqlite3.connect(database, timeout=_READY_S)) as connection, connection:
        for table, column in (("release_versions", "id"), ("release_builds", "version_id")):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            shown = ", ".join("?" if name == column else name for name in names)
            copy = f"INSERT INTO {table} SELECT {shown} FROM {table} WHERE {column} = ?"  # noqa: S608 - our own names.
            connection.executemany(copy, [(_version(number), _version(0)) for number in range(1, versions)])
        connection.execute("UPDATE release_projects SET revision = (SELECT max(revision) FROM release_projects) + 1")
    end = time.monotonic() + _READY_S
    newest = _version(versions - 1)
    while any(_latest(port, project) != newest for project in ("app", "open")):
        assert time.monotonic() < end, "the gateway has not taken in its catalogue"
        time.sleep(0.1)


def _latest(port: int, project: str) -> str:
    latest: str = _ask(port, "GET", f"/projects/{project}")["latest_version"]
    return latest


def _questions(port: int, versions: int, count: int) -> dict[str, list[bytes]]:
    """Return the requests of each kind; the same ones in every run."""
    dice = random.Random(versions)
    key = _ask(port, "POST", "/admin/keys", {"name": "launcher", "permissions": {"canCheckUpdates": True}})["key"]
    with_key = [("Authorization", f"Bearer {key}"), ("Accept", "*/*"), ("User-Agent", "launcher/2.1")]
    queries = []
    for _ in range(count):
        platform, architecture = dice.choice(_ASKED)
        current = _version(dice.randrange(versions - 1))
        queries.append(f"update?current_version={current}&platform={platform}&architecture={architecture}")
    here, there = "/api/v2/projects/app/channels/stable/", "/api/v2/projects/open/channels/stable/"
    checks = [_request("GET", here + query, with_key) for query in queries]
    tags = [_etag(port, check) for check in checks]
    client = {"launcher_version": "1.0.0", "os": "windows", "architecture": "x64"}
    batches = []
    for _ in range(count):
        installed = [
            {"project_id": "app", "version": _version(dice.randrange(versions)), "channel": "stable"}
            for _ in range(_BATCH)
        ]
        body = {"client": client, "installed": installed}
        batches.append(_request("POST", "/api/v2/update/check", with_key, msgspec.json.encode(body)))
    return {
        _CHECK: checks,
        "own id": [
            _request("GET", f"{here}{query}&client_id={dice.getrandbits(64):016x}", with_key) for query in queries
        ],
        "304": [
            _request("GET", here + query, [*with_key, ("If-None-Match", tag)])
            for query, tag in zip(queries, tags, strict=True)
        ],
        "open": [_request("GET", there + query, with_key[1:]) for query in queries],
        "batch": batches,
    }


def _request(method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers)]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def _etag(port: int, request: bytes) -> str:
    """Return the validator of an answer that offers an update."""
    head, body = uvloop.run(_one(port, request))
    assert msgspec.json.decode(body)["update_available"] is True, body
    found = _ETAG.search(head)
    assert found is not None, head
    return found[1].decode()


async def _one(port: int, request: bytes) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: ?(\d+)", head, re.IGNORECASE)
    body = await reader.readexactly(int(length[1]) if length is not None else 0)
    writer.close()
    return head, body


class _Asker(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer, which has to be the same every time."""

    def __init__(
        self, requests: list[bytes], first: int, expected: dict[bytes, bytes], lost: Callable[[], None]
    ) -> None:
        self._requests = requests
        self._number = first
        self._expected = expected
        self._lost = lost
        self._reader = AnswerReader()
        self._transport: asyncio.Transport
        self.answers = 0
        self.wrong = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it.
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Check an answer once it is whole, and ask again."""
        # An answer without a body says nothing of its length.
        if data.startswith(b"HTTP/1.1 304 ") and data.endswith(b"\r\n\r\n"):
            status, body = 304, b""
        elif self._reader.feed(data):
            status, body = self._reader.status, bytes(self._reader.body)
        else:
            return
        request = self._requests[self._number % len(self._requests)]
        if status not in (200, 304) or self._expected.setdefault(request, body) != body:
            self.wrong = data
            self._transport.abort()
            return
        self.answers += 1
        self._number += 1
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Say so: nobody closes a connection while it is measured."""
        self._lost()

    def close(self) -> None:
        """Ask no more."""
        self._transport.abort()

    def _ask(self) -> None:
        self._reader = AnswerReader()
        self._transport.write(self._requests[self._number % len(self._requests)])


async def _cpu_us(server: _Served, requests: list[bytes], plan: Plan) -> float:
    """Return the CPU of the server in microseconds per request, after a warm-up of a quarter of the window."""
    loop = asyncio.get_running_loop()
    lost = asyncio.Event()
    expected: dict[bytes, bytes] = {}
    askers = [
        _Asker(requests, number * len(requests) // plan.connections, expected, lost.set)
        for number in range(plan.connections)
    ]
    for asker in askers:
        await loop.create_connection(lambda asker=asker: asker, "127.0.0.1", server.port)  # type: ignore[misc]
    await asyncio.sleep(plan.window_s / 4)
    answers, cpu_s = sum(asker.answers for asker in askers), proc.tree_cpu_s(server.pid)
    await asyncio.sleep(plan.window_s)
    answers, cpu_s = sum(asker.answers for asker in askers) - answers, proc.tree_cpu_s(server.pid) - cpu_s
    assert not lost.is_set(), b" ".join(asker.wrong for asker in askers)[:500]
    for asker in askers:
        asker.close()
    assert answers > 0
    return cpu_s / answers * 1e6


def _table(plan: Plan, figures: dict[tuple[str, str], list[float]]) -> Iterator[str]:
    floors = figures["floor", "floor"]
    yield f"An empty Starlette route: {statistics.median(floors):.1f} us. Medians of {plan.rounds} rounds; ratios are"
    yield "taken within each."
    yield ""
    yield f"| CPU per request | {plan.few:,} versions, us | to empty | {plan.many:,} versions, us | to empty |"
    yield "|---|---:|---:|---:|---:|"
    for kind, title in _TITLES.items():
        cells = []
        for size in ("few", "many"):
            found = figures[size, kind]
            cells += [f"{statistics.median(found):.1f}", f"{_ratio(found, floors):.2f}"]
        yield f"| {title} | {' | '.join(cells)} |"
    ratio = max(_ratio(figures[size, _CHECK], floors) for size in ("few", "many"))
    growth = _ratio(figures["many", _CHECK], figures["few", _CHECK])
    verdict = "reached" if ratio <= TARGET else "**missed**"
    yield ""
    yield f"Target for a check: <= {TARGET:.1f} x the empty route: {ratio:.2f}, {verdict}. With {plan.many:,} versions"
    yield f"it costs {growth:.2f} x what it costs with {plan.few:,}."


def _ratio(figures: list[float], base: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(figures, base, strict=True))


def _ask(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_READY_S)
    try:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else msgspec.json.encode(body), headers)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    assert response.status < 300, (method, path, response.status, answer)
    found: dict[str, Any] = msgspec.json.decode(answer)
    return found
