"""The harness itself, without any client's package: what it sets up, what it holds a program to, what it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients import runs, scenario, table
from tests.clients.programs import programs
from tests.clients.runs import Outcome, Run, Status, perform, runs_of
from tests.clients.stage import KEY, REAL, Stage, stage

README = (Path(__file__).parent / "README.md").read_text()
HELLO = [{"role": "user", "content": "Say hello."}]

# Speaks HTTP by hand; `{steps}` is what it does with its case.
PROGRAM = """
import json, os, sys, urllib.request
def ask(**fields):
    body = {"model": os.environ["LUNARBIT_MODEL"], "messages": [{"role": "user", "content": "Hi."}], **fields}
    headers = {"authorization": "Bearer " + os.environ["LUNARBIT_KEY"], "content-type": "application/json"}
    address = os.environ["LUNARBIT_BASE_URL"] + "/v1/chat/completions"
    return urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode(), headers))
def ok():
    print("something else first")
    print(json.dumps({"status": "ok", "version": "1.2"}), flush=True)
"""


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Stage]:
    """A gateway with both scripted providers."""
    data = tmp_path / "data"
    data.mkdir()
    async with stage(data, None) as running:
        yield running


async def run(place: Stage, tmp_path: Path, case: str, steps: str, kind: str = "openai") -> Outcome:
    """Run a program of these steps."""
    program = tmp_path / "program.py"
    program.write_text(f"{PROGRAM}\n{steps}\n")
    return await perform(Run("by hand", case, kind), [sys.executable, str(program)], place)


@pytest.mark.parametrize("kind", scenario.KINDS)
async def test_a_program_that_reports_well(place: Stage, tmp_path: Path, kind: str) -> None:
    """The report may follow other lines, and the version goes into the table."""
    steps = f"assert {scenario.TEXT!r} in ask().read().decode()\nok()"
    outcome = await run(place, tmp_path, "chat", steps, kind)
    assert (outcome.status, outcome.version, outcome.detail) == ("ok", "1.2", "")


@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        ("raise SystemExit('no such thing')", "no such thing"),
        ("print('nothing to report')", "nothing to report"),
        ('print(\'{"status": "fine"}\')', "fine"),
        ("ok()\nsys.exit(3)", "Exit code 3."),
    ],
)
async def test_a_program_that_fails(place: Stage, tmp_path: Path, steps: str, shown: str) -> None:
    """A report that is missing or unknown is a failure, and so is an exit code after a good one."""
    outcome = await run(place, tmp_path, "chat", steps)
    assert outcome.status == "failed"
    assert shown in outcome.detail


async def test_a_program_that_takes_too_long(place: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, together with what it started."""
    monkeypatch.setattr(runs, "LIMIT_S", 0.5)
    outcome = await run(place, tmp_path, "chat", "import time\ntime.sleep(60)")
    assert (outcome.status, outcome.detail) == ("failed", "It took too long.")


@pytest.mark.parametrize("kind", scenario.KINDS)
async def test_an_answer_that_was_given_up(place: Stage, tmp_path: Path, kind: str) -> None:
    """The provider saw it while the program was still running."""
    steps = "answer = ask(stream=True)\nanswer.read(200)\nanswer.close()\nok()\nsys.stdin.read()"
    assert (await run(place, tmp_path, "abort", steps, kind)).status == "ok"


async def test_an_answer_that_was_not_given_up(place: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that only stops reading keeps its provider at work."""
    monkeypatch.setattr(runs, "SEEN_LIMIT_S", 0.3)
    steps = "answer = ask(stream=True)\nanswer.read(200)\nok()\nsys.stdin.read()"
    outcome = await run(place, tmp_path, "abort", steps)
    assert outcome.status == "failed"
    assert "never saw" in outcome.detail


@pytest.mark.parametrize("case", ["abort", "failover", "cut"])
async def test_a_fault_that_was_not_met(place: Stage, tmp_path: Path, case: str) -> None:
    """A program that asks for nothing, or for another model, has shown nothing."""
    outcome = await run(place, tmp_path, case, "ok()")
    assert (outcome.status, outcome.detail.splitlines()[0]) == ("failed", "The provider was not asked.")


@pytest.mark.parametrize("kind", scenario.KINDS)
async def test_what_the_providers_answer(place: Stage, kind: str) -> None:
    """Every case has its answer in both dialects, as README.md promises."""
    weather = {"type": "function", "function": {"name": scenario.TOOL, "parameters": {"type": "object"}}}
    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": {"type": "object"}}}
    call = {"id": "c1", "type": "function", "function": {"name": scenario.TOOL, "arguments": "{}"}}
    turn = [*HELLO, {"role": "assistant", "tool_calls": [call]}]
    result = {"role": "tool", "tool_call_id": "c1", "content": scenario.TOOL_RESULT}

    def shown(data: str) -> list[object]:
        url = f"data:image/png;base64,{data}"
        return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]

    async with httpx.AsyncClient(base_url=place.base_url, headers={"authorization": f"Bearer {KEY}"}) as client:

        async def message(case: str, **fields: object) -> dict[str, Any]:
            body = {"model": scenario.route(case, kind), "messages": HELLO, **fields}
            answer = await client.post("/v1/chat/completions", json=body)
            found: dict[str, Any] = answer.json()["choices"][0]["message"]
            return found

        assert (await message("chat"))["content"] == scenario.TEXT
        assert (await message("failover"))["content"] == scenario.TEXT
        [called] = (await message("tools", tools=[weather]))["tool_calls"]
        assert json.loads(called["function"]["arguments"]) == scenario.TOOL_ARGUMENTS
        second = await message("tools", messages=[*turn, result], tools=[weather])
        assert second["content"] == scenario.TOOL_TEXT
        wrong = await message("tools", messages=[*turn, {**result, "content": "rain"}], tools=[weather])
        assert wrong["content"] != scenario.TOOL_TEXT
        structured = await message("structured", response_format=schema)
        assert json.loads(structured["content"]) == scenario.STRUCTURED
        assert (await message("image", messages=shown(scenario.PNG)))["content"] == scenario.IMAGE_TEXT
        other = scenario.PNG.replace("A", "B", 1)
        assert (await message("image", messages=shown(other)))["content"] == scenario.NO_IMAGE_TEXT


def test_the_document_tells_what_the_providers_answer() -> None:
    """Programs in other languages are written after it."""
    values = [scenario.TEXT, scenario.TOOL, scenario.TOOL_RESULT, scenario.TOOL_TEXT, scenario.PNG]
    values += [json.dumps(scenario.STRUCTURED), json.dumps(scenario.TOOL_ARGUMENTS)]
    values += [scenario.IMAGE_TEXT, scenario.NO_IMAGE_TEXT, *(f"| `{case}` |" for case in scenario.CASES)]
    assert [value for value in values if value not in README] == []
    assert set(scenario.PLAIN) < set(scenario.CASES)


def test_every_program_has_its_locks() -> None:
    """What is not locked could not be installed, and what is locked without hashes or with addresses may not be."""
    found = programs()
    assert {"openai", "anthropic", "openai-node", "anthropic-node"} <= {program.name for program in found}
    for program in found:
        for path in program.locks:
            text = path.read_text()
            assert "://" not in text, path
            assert "sha256:" in text or "sha512-" in text or path.name == "package.json", path


def test_programs_are_found_by_their_names(tmp_path: Path) -> None:
    """Helpers are none, and a client that both languages have is told apart."""
    for name in ("with_a.py", "with_b-c.py", "_shared.py", "a.mjs", "d.mjs", "_common.mjs"):
        (tmp_path / name).touch()
    found = programs(tmp_path, tmp_path)
    assert [(one.name, one.language) for one in found] == [
        ("a", "Python"), ("b-c", "Python"), ("a-node", "Node"), ("d", "Node"),
    ]  # fmt: skip


def test_the_runs_of_a_client() -> None:
    """All cases with both scripted providers, and the plain ones with the model server."""
    found = runs_of("c", real=True)
    assert len(found) == len(scenario.CASES) * len(scenario.KINDS) + len(scenario.PLAIN)
    assert [one for one in found if one.provider != REAL] == runs_of("c", real=False)


def outcome(client: str, case: str, provider: str, status: Status, detail: str = "") -> Outcome:
    """An outcome of version 1."""
    return Outcome(Run(client, case, provider), status, detail, "" if status == "failed" else "1")


def test_the_table() -> None:
    """One failure fails a cell, one success makes it good, and every reason is given once."""
    reason = "It cannot."
    outcomes = [
        *(outcome("a", "chat", kind, "ok") for kind in scenario.KINDS),
        outcome("a", "cut", "openai", "ok"),
        outcome("a", "cut", "anthropic", "failed", "the output"),
        *(outcome("a", case, kind, "not-applicable", reason) for case in ("list", "image") for kind in scenario.KINDS),
        outcome("a", "tools", "openai", "ok"),
        outcome("a", "tools", "anthropic", "not-applicable", reason),
        outcome("a", "chat", REAL, "ok"),
        outcome("a", "list", REAL, "not-applicable", reason),
        outcome("b", "chat", REAL, "failed"),
    ]
    heads, first, second, _, *reasons = table.render(outcomes).splitlines()
    columns = heads.split()
    assert columns == ["client", *scenario.CASES, REAL]
    assert first.split() == ["a", "1", "-", "ok", "ok", "-", "FAIL", "1", "of", "2"]
    assert second.split() == ["b", "FAIL"]
    assert reasons == [f"- a, list, image, tools (anthropic): {reason}"]
    assert table.failures(outcomes) == "--- a / cut / anthropic\nthe output\n\n--- b / chat / llama-server\n\n"
