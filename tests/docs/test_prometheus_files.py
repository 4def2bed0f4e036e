"""The example files for Prometheus are accepted by its own tool, and name only metrics that exist."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from gateway.app import ROUTES
from gateway.observability.metrics import Metrics
from providers.errors import ProviderError

ROOT = Path(__file__).parents[2]
SCRAPE = ROOT / "config" / "prometheus.example.yml"
ALERTS = ROOT / "config" / "alerts.example.yml"
DOCUMENT = ROOT / "docs" / "metrics.md"
TOKEN_FILE = re.compile(r"(?<=credentials_file: )\S+")
OUR_NAME = re.compile(r"\blunarbit_[a-z0-9_]+\b")
SELECTOR = re.compile(r"\b(lunarbit_[a-z0-9_]+)\{([^}]*)\}")
QUERY = re.compile(r"^```promql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTCOME_ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \|", re.MULTILINE)


async def promtool(*arguments: str | Path) -> tuple[int | None, str]:
    """Return the exit code of promtool and what it said; skips the test where it is not installed."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    process = await asyncio.create_subprocess_exec(
        found, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


def exposed() -> dict[str, set[str]]:
    """Return the labels of every series that a scrape may show, by its name."""
    # Label names are on the metric objects; what a registry collects shows them only once a series exists.
    series: dict[str, set[str]] = {}
    metrics = Metrics()
    kinds = {family.name: family.type for family in metrics.registry.collect()}
    for metric in vars(metrics).values():
        name = getattr(metric, "_name", None)
        if name not in kinds:
            continue
        labels = set(metric._labelnames)
        if kinds[name] == "histogram":
            series |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            series[f"{name}_total" if kinds[name] == "counter" else name] = labels
    return series


def queries() -> list[str]:
    """Return the PromQL examples of the document."""
    return QUERY.findall(DOCUMENT.read_text(encoding="utf-8"))


def without_comments(text: str) -> str:
    """Return YAML text without its comment lines."""
    return re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)


def documented_outcomes() -> set[str]:
    """Return the values of `outcome` that the document explains."""
    section = DOCUMENT.read_text(encoding="utf-8").partition("### Outcomes")[2].partition("\n##")[0]
    rows = OUTCOME_ROW.findall(section)
    return {name.strip("`") for row in rows for name in row.split(", ")} - {"outcome"}


def failures() -> set[str]:
    """Return the names of the concrete failures; the two roots of the tree are never raised by themselves."""
    found: set[str] = set()
    waiting = [ProviderError]
    while waiting:
        kind = waiting.pop()
        waiting += [sub for sub in kind.__subclasses__() if sub.__module__ == ProviderError.__module__]
        found.add(kind.__name__)
    return found - {"ProviderError", "CallerError"}


async def test_promtool_accepts_the_scrape_configuration_with_its_rules(tmp_path: Path) -> None:
    """With the token file made, as the comment in it says; the rules are found beside it."""
    token = tmp_path / "token"
    token.write_text("a-scrape-token\n", encoding="utf-8")
    text, replaced = TOKEN_FILE.subn(str(token), SCRAPE.read_text(encoding="utf-8"))
    assert replaced == 1
    copy = tmp_path / SCRAPE.name
    copy.write_text(text, encoding="utf-8")
    shutil.copy(ALERTS, tmp_path)
    code, said = await promtool("check", "config", copy)
    assert code == 0, said
    assert ALERTS.name in said


async def test_promtool_accepts_the_alerts() -> None:
    """Its linter too, which finds rules that stand there twice."""
    code, said = await promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS)
    assert code == 0, said


async def test_promtool_can_read_every_query_of_the_document(tmp_path: Path) -> None:
    """As recording rules, which is the only way this tool checks PromQL by itself."""
    found = queries()
    assert len(found) >= 5
    lines = ["groups:", "  - name: document", "    rules:"]
    for number, query in enumerate(found):
        lines += [f"      - record: document:query:{number}", "        expr: |"]
        lines += [f"          {line}" for line in query.splitlines()]
    rules = tmp_path / "rules.yml"
    rules.write_text("\n".join(lines) + "\n", encoding="utf-8")
    code, said = await promtool("check", "rules", rules)
    assert code == 0, said
    assert f"{len(found)} rules found" in said


@pytest.mark.parametrize("text", [without_comments(ALERTS.read_text(encoding="utf-8")), *queries()])
def test_every_metric_that_is_asked_for_exists(text: str) -> None:
    """A rule over a name that nobody exposes is silent for ever."""
    names = set(OUR_NAME.findall(text))
    assert names
    assert names <= exposed().keys()


@pytest.mark.parametrize("text", [without_comments(ALERTS.read_text(encoding="utf-8")), *queries()])
def test_every_label_that_is_selected_exists(text: str) -> None:
    """A selector of a label that a metric does not have matches nothing, or everything."""
    series = exposed()
    for name, selected in SELECTOR.findall(text):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selected)) <= series[name], name


def test_outcomes_in_queries_are_outcomes_of_the_document() -> None:
    """They are names of classes, and a renamed class would silence an alert."""
    texts = ALERTS.read_text(encoding="utf-8") + "".join(queries())
    used = {name for value in re.findall(r'outcome[=!]~?"([^"]*)"', texts) for name in value.split("|")}
    assert used
    assert used <= documented_outcomes()


def test_outcomes_of_the_document_are_all_there_are() -> None:
    """`ok`, `cancelled`, and each kind of failure that an adapter may raise."""
    assert documented_outcomes() == {"ok", "cancelled", *failures()}


def test_the_scrape_configuration_asks_for_the_route_of_the_metrics() -> None:
    """With a bearer token from a file, so that no secret stands in it."""
    text = SCRAPE.read_text(encoding="utf-8")
    (path,) = re.findall(r"metrics_path: (\S+)", text)
    assert path in {row.path for row in ROUTES if row.access == "metrics"}
    assert "type: Bearer" in text
    assert not re.search(r"^\s*(credentials|bearer_token|password):", text, re.MULTILINE)


def test_alerts_watch_the_job_of_the_scrape_configuration() -> None:
    """`up` has the name of the job as its label."""
    (job,) = re.findall(r"job_name: (\S+)", SCRAPE.read_text(encoding="utf-8"))
    assert set(re.findall(r'job="([^"]*)"', ALERTS.read_text(encoding="utf-8"))) == {job}
