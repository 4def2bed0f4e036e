"""The tables of the documents that repeat what the code says are held to it."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from gateway.error_bodies import error_object
from gateway.errors import GatewayError, RetryLater, all_errors
from providers import errors as upstream
from routing.strategies import STRATEGIES
from tests.architecture.installation import REPOSITORY
from tests.docs.blocks import blocks, links

DOCS = REPOSITORY / "docs"
ARCHITECTURE, ERRORS, ROUTING = DOCS / "architecture.md", DOCS / "errors.md", DOCS / "routing.md"
# Inside a stream it has no status of its own, since the answer began with 200.
ONLY_IN_STREAMS = "STREAM_INTERRUPTED"


def cells(text: str) -> list[list[str]]:
    """Return the rows of all tables in a text, each as its cells without the marks of code."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in row] for row in rows]


def section(text: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def table_row(kind: type[GatewayError]) -> list[str]:
    """Return the row of a code as the table of all codes should have it."""
    error = kind("message")
    openai = error_object(error, "openai", "req_1", "")["error"]
    anthropic = error_object(error, "anthropic", "req_1", "")["error"]
    return [
        f"[{kind.code}](#{kind.code})",
        "200, in the stream" if kind.code == ONLY_IN_STREAMS else str(kind.status),
        openai["type"],
        openai["code"] or "null",
        anthropic["type"],
        "yes" if issubclass(kind, RetryLater) else "",
    ]


def test_the_table_of_all_codes_is_what_the_code_answers() -> None:
    """In the same order too, so that the table is sorted by status."""
    rows = [row for row in cells(ERRORS.read_text(encoding="utf-8")) if row[0].startswith("[")]
    assert rows == [table_row(kind) for kind in all_errors()]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.code)
def test_a_code_is_explained_with_its_status_and_an_example(kind: type[GatewayError]) -> None:
    """Whoever follows `documentation_url` reads this section and nothing else."""
    text = section(ERRORS.read_text(encoding="utf-8"), kind.code)
    for part in ("**Status.**", "**When.**", "**What to do.**", "**OpenAI surface.**"):
        assert part in text
    if kind.code != ONLY_IN_STREAMS:
        assert f"**Status.** {kind.status}." in text
    _, _, openai_type, openai_code, *_ = table_row(kind)
    assert re.search(rf"Type `{openai_type}`,\s+code `?{openai_code}`?\.", text)


def test_examples_have_the_shape_of_their_surface() -> None:
    """With the code of the section that they stand in, and every field that an answer has."""
    shown = [json.loads(block.text)["error"] for block in blocks(ERRORS) if block.language == "json"]
    shown = [error for error in shown if "lc_code" in error]
    by_code = {kind.code: kind for kind in all_errors()}
    for error in shown:
        made = by_code[error["code"]](error["message"])
        made.details = error["details"]
        docs_url = error["documentation_url"].partition("#")[0]
        assert error == error_object(made, "lunarbit", error["request_id"], docs_url)["error"]
    assert {error["code"] for error in shown} == by_code.keys()


def test_every_direct_dependency_has_its_reason() -> None:
    """And no other, since a reason for something that is gone misleads."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    declared = [*project["project"]["dependencies"], *groups["build"]]
    declared += [entry for entry in groups["dev"] if isinstance(entry, str)]
    names = {re.split(r"[<>=~!;\[ ]", entry)[0] for entry in declared}
    rows = cells(section(ARCHITECTURE.read_text(encoding="utf-8"), "Dependencies, and why each is there"))
    assert {row[0] for row in rows} - {"package", "---"} == names


def test_every_kind_of_failure_has_its_row() -> None:
    """The table says what the router does next; a kind that is missing would be a surprise at night."""
    kinds = {kind for kind in vars(upstream).values() if isinstance(kind, type)}
    concrete = {kind.__name__ for kind in kinds if issubclass(kind, upstream.ProviderError)}
    # The roots are never raised by themselves, and a spent quota is a rate limit with a longer cool-down.
    concrete -= {"ProviderError", "CallerError", "QuotaSpent"}
    rows = cells(section(ROUTING.read_text(encoding="utf-8"), "What happens on a failure"))
    named = {name for row in rows for name in row[0].split(", ") if re.fullmatch(r"[A-Z]\w+", name)}
    assert named == concrete


def test_every_strategy_has_its_row() -> None:
    """A strategy that no document names is one that nobody chooses."""
    rows = cells(section(ROUTING.read_text(encoding="utf-8"), "Strategies"))
    assert {row[0] for row in rows} - {"name", "---"} == set(STRATEGIES)


def test_every_document_can_be_reached() -> None:
    """From the front page or from a page that it leads to."""
    waiting, seen = [REPOSITORY / "README.md"], set()
    while waiting:
        document = waiting.pop().resolve()
        if document in seen or document.suffix != ".md":
            continue
        seen.add(document)
        targets = [link.target.partition("#")[0] for link in links(document)]
        waiting += [document.parent / target for target in targets if target]
    assert {path.resolve() for path in DOCS.rglob("*.md")} <= seen
