"""The tables of the documents that repeat what the code says are held to it."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from gateway.app import ROUTES
from gateway.auth.key_fields import new_key
from gateway.auth.principal import Permission
from gateway.error_bodies import error_object
from gateway.errors import GatewayError, InvalidRequest, RetryLater, all_errors
from gateway.limits.windows import LimitPolicy
from gateway.settings.model import LimitSettings
from providers import errors as upstream
from routing.strategies import STRATEGIES
from tests.architecture.installation import REPOSITORY
from tests.docs.blocks import blocks, links

if TYPE_CHECKING:
    from gateway.middleware.guard import Row

DOCS = REPOSITORY / "docs"
ARCHITECTURE, ERRORS, ROUTING = DOCS / "architecture.md", DOCS / "errors.md", DOCS / "routing.md"
KEYS, LIMITS, METRICS = DOCS / "keys.md", DOCS / "limits.md", DOCS / "metrics.md"
# How the documents say what a row of the route table counts as.
COUNTED = {"plain": "as request", "ai": "as AI request", "free": "never"}
# Inside a stream it has no status of its own, since the answer began with 200.
ONLY_IN_STREAMS = "STREAM_INTERRUPTED"


def cells(text: str) -> list[list[str]]:
    """Return the rows of all tables in a text, each as its cells without the marks of code."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in row] for row in rows]


def section(text: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def subsection(text: str, heading: str) -> str:
    """Return what stands under a heading of the third level."""
    return re.split(r"\n###? ", text.partition(f"\n### {heading}\n")[2])[0]


def required(row: Row) -> list[Permission]:
    """Return the permissions any one of which lets a key pass."""
    if row.access == "metrics":
        return [Permission.READ_METRICS]
    if row.access == "public":
        return []
    return list(row.access) if isinstance(row.access, tuple) else [row.access]


def needed(row: Row) -> str:
    """Return what it takes to pass, as the documents say it."""
    if row.access == "metrics":
        return "METRICS_TOKEN or canReadMetrics; in development nothing"
    return " or ".join(required(row)) or "nothing"


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


def test_the_picture_of_the_layers_is_the_contract() -> None:
    """import-linter holds the code to the contract, so this holds the document to the code."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in project["tool"]["importlinter"]["contracts"] if c["name"] == "Layers inside gateway")
    (picture,) = (block.text for block in blocks(ARCHITECTURE) if block.text.startswith("__main__"))
    shown = [[module.strip() for module in layer.split(",")] for layer in picture.split(">")]
    assert shown == [[module.strip() for module in layer.split(":")] for layer in contract["layers"]]


def test_every_direct_dependency_has_its_reason() -> None:
    """And no other, since a reason for something that is gone misleads."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    declared = [*project["project"]["dependencies"], *groups["build"], *groups["docs"]]
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


def test_every_permission_has_its_row() -> None:
    """With the routes that it opens, so that whoever makes a key gives as little as is needed."""
    rows = cells(section(KEYS.read_text(encoding="utf-8"), "Permissions").partition("\n### ")[0])
    opened = {
        permission: ", ".join(f"{row.method} {row.path}" for row in ROUTES if permission in required(row))
        for permission in Permission
    }
    assert [row[:2] for row in rows[2:]] == [[name, routes or "nothing yet"] for name, routes in opened.items()]


def test_every_route_has_its_row() -> None:
    """With what it takes to pass and what it counts as, in the order of the code."""
    rows = cells(subsection(KEYS.read_text(encoding="utf-8"), "What each route needs"))
    assert rows[2:] == [[f"{row.method} {row.path}", needed(row), COUNTED[row.counted]] for row in ROUTES]


def test_every_field_of_a_key_has_its_row() -> None:
    """The refusal of a field that does not exist lists those that do."""
    with pytest.raises(InvalidRequest) as refused:
        new_key({"name": "a-key", "color": "blue"}, "key_1", 0, "USD")
    known = refused.value.message.partition("there are ")[2].split(", ")
    rows = cells(subsection(KEYS.read_text(encoding="utf-8"), "Every field"))
    assert sorted(row[0] for row in rows[2:]) == sorted(known)


def test_every_window_has_its_row_with_its_default() -> None:
    """And each scope is explained beside the metric that counts its refusals."""
    defaults = LimitSettings()
    policy = LimitPolicy(defaults)
    windows = {*policy.for_key("key_1", None, None, "192.0.2.1", ai=True), *policy.anonymous("192.0.2.1")}
    lengths = {900: "15 minutes", 3600: "one hour"}
    shown = {window.scope: f"{window.limit:,} in {lengths[window.window_s]}" for window in windows}
    rows = cells(section(LIMITS.read_text(encoding="utf-8"), "The four windows"))
    assert {row[0]: row[1] for row in rows[2:]} == shown
    scopes = [row[0] for row in cells(subsection(METRICS.read_text(encoding="utf-8"), "Scopes"))[2:]]
    refusing = re.findall(
        r'_on_refused\("(\w+)"\)', (REPOSITORY / "gateway" / "allowance.py").read_text(encoding="utf-8")
    )
    assert sorted(scopes) == sorted({*shown, *refusing})
