"""`lunarbit releases`: the example catalogue comes into the database by the command line, and a server shows it."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from gateway.observability import logs
from tests.cli.conftest import Invoke, here, invoke, restored_logging
from tests.gateway.edge import KEY, edge_client
from tests.releases.catalogue_http import EXAMPLE, STABLE, VERSIONS, build, import_example, make_project, running
from tests.services.postgres import postgres, postgres_url

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

__all__ = ["here", "invoke", "postgres", "postgres_url", "restored_logging"]

ROWS = [
    {"project": "csviewer", "channel": "stable", "versions": 1, "latest_version": "2.3.0"},
    {"project": "csviewer", "channel": "beta", "versions": 1, "latest_version": "2.3.1"},
    {"project": "trackly", "channel": "stable", "versions": 3, "latest_version": "1.2.5"},
    {"project": "trackly", "channel": "beta", "versions": 0, "latest_version": "1.2.5"},
]
ASK = f"{STABLE}/update?current_version=1.2.3&platform=windows&architecture=x64"


def listed(invoke: Invoke) -> Any:
    """Return what the list says."""
    result = invoke("releases", "list", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def read(client: httpx.AsyncClient) -> list[Any]:
    """Return all that reads show of Trackly but the times of now."""
    found = [(await client.get(path, headers=KEY)).json() for path in (VERSIONS, f"{VERSIONS}/1.2.5", ASK)]
    assert found[2]["latest_version"] == "1.2.5"
    return found


def test_the_example_is_taken_over_once(invoke: Invoke, here: Path) -> None:
    """What is there stays; a server then shows what it would if it had been published through the API."""
    first = invoke("releases", "import", str(EXAMPLE))
    assert first.exit_code == 0, first.output
    assert "2 project(s), 4 channel(s), 5 version(s) with 6 build(s); 0 were there" in " ".join(first.stdout.split())
    assert listed(invoke) == ROWS
    again = invoke("releases", "import", str(EXAMPLE))
    assert again.exit_code == 0, again.output
    assert "0 project(s), 0 channel(s), 0 version(s)" in again.stdout
    assert listed(invoke) == ROWS

    async def both() -> list[Any]:
        async with edge_client(here) as client, running(here / "other") as (_, other):
            await import_example(other)
            return [await read(client), await read(other)]

    (here / "other").mkdir()
    # The runner has closed what the command logged to.
    logs.configure("info", "json", BytesIO())
    imported, published = asyncio.run(both())
    assert imported == published


def test_if_empty_leaves_a_catalogue_alone(invoke: Invoke, here: Path) -> None:
    """So that a development server can always ask for it."""
    (here / "one.json").write_text(json.dumps({"projects": [{"id": "mine", "name": "Mine"}]}), encoding="utf-8")
    assert invoke("releases", "import", "one.json", "--if-empty").exit_code == 0
    assert invoke("releases", "import", str(EXAMPLE), "--if-empty").exit_code == 0
    assert [row["project"] for row in listed(invoke)] == ["mine"]


BAD_FILES = [
    *("", "projects = 1", "projects = [1]", "[[projects]]\nid = 'X'", "x = [", "{}"),
    *(
        f"[[projects]]\nid = 'x'\nname = 'X'\nchannels = {channels}"
        for channels in ("1", "['a']", "[{versions = [1]}]")
    ),
]


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_file_that_cannot_be_read_is_refused(invoke: Invoke, here: Path, text: str) -> None:
    """With what is wrong, and without a traceback."""
    (here / "bad.toml").write_text(text, encoding="utf-8")
    result = invoke("releases", "import", "bad.toml")
    assert result.exit_code not in (0, None)
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr
    assert listed(invoke) == []


def test_a_version_is_published_withdrawn_and_restored(invoke: Invoke, here: Path) -> None:
    """With the fields of the API."""
    assert invoke("releases", "import", str(EXAMPLE)).exit_code == 0
    (here / "v.json").write_text(json.dumps({"id": "1.3.0", "builds": [build("1.3.0")]}), encoding="utf-8")
    for arguments, latest in (
        (("publish", "trackly", "stable", "v.json"), "1.3.0"),
        (("yank", "trackly", "stable", "1.3.0", "--reason", "bad"), "1.2.5"),
        (("restore", "trackly", "stable", "1.3.0"), "1.3.0"),
    ):
        result = invoke("releases", *arguments)
        assert result.exit_code == 0, result.output
        assert listed(invoke)[2]["latest_version"] == latest
    for arguments in (("publish", "trackly", "stable", "v.json"), ("yank", "trackly", "stable", "9.0.0")):
        assert invoke("releases", *arguments).exit_code not in (0, None)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_one_of_those_who_publish_at_once_wins(tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    """The others hear that there is one already, at whichever gateway they ask."""
    environ = {} if kind == "sqlite" else {"DATABASE_URL": str(request.getfixturevalue("postgres_url"))}
    async with AsyncExitStack() as stack:
        clients = [(await stack.enter_async_context(running(tmp_path, **environ))).client for _ in range(2)]
        await make_project(clients[0], "1.0.0")
        body = {"id": "1.1.0", "builds": [build("1.1.0"), build("1.1.0", "linux")]}
        answers = await asyncio.gather(*(clients[n % 2].post(VERSIONS, json=body) for n in range(10)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
        projects = await asyncio.gather(
            *(clients[n % 2].post("/projects", json={"id": "one", "name": str(n)}) for n in range(10))
        )
        assert sorted(answer.status_code for answer in projects) == [201] + [409] * 9
        numbers = range(20)
        paths = [f"{VERSIONS}/1.1.0/builds"] * len(numbers)
        added = await asyncio.gather(*(clients[n % 2].post(paths[n], json=build("1.1.0", id=f"b{n}")) for n in numbers))
        assert {answer.status_code for answer in added} == {201}
        assert len((await clients[0].post(f"{VERSIONS}/1.1.0/restore")).json()["builds"]) == 22
