"""Writes the results: one Markdown table, a JSON file, the README."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import proc
from benchmarks.figures import Figure, Results, Target, figures
from benchmarks.servers import GATEWAY, SERVERS
from benchmarks.trial import CONNECTIONS, LOAD_CORE, SERVER_CORE, Plan, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BEGIN: Final = "<!-- results:begin -->"
END: Final = "<!-- results:end -->"
_REASONS_SHOWN: Final = 4
_LOAD_LIMIT_PERCENT: Final = 85.0
_OTHER_SHARE: Final = 0.1


class Report(msgspec.Struct, kw_only=True):
    """One whole run, as it is written to JSON."""

    when: str
    machine: str
    pinning: str
    method: str
    unavailable: dict[str, str]  # Server name to the reason why it has no column of figures.
    figures: dict[str, dict[str, float | None]]
    trials: list[Trial]


def machine() -> str:
    """Return the machine line."""
    cores = os.cpu_count()
    parts = (f"{proc.cpu_model()}, {cores} cores", f"{proc.memory_gib():.0f} GiB", f"Linux {platform.release()}")
    return ", ".join((*parts, f"Python {platform.python_version()}"))


def make_report(plan: Plan, trials: Sequence[Trial], unavailable: Mapping[str, str]) -> Report:
    """Put a run together."""
    results = Results(trials)
    rows = figures(plan.open_streams)
    names = [server.name for server in SERVERS if results.of(server.name)]
    rounds = len({trial.round for trial in trials})
    return Report(
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=machine(),
        pinning=f"server under test alone on core {SERVER_CORE}; upstream and load generator on core {LOAD_CORE}",
        method=(
            f"medians of {rounds} interleaved rounds, a fresh server process per trial; {CONNECTIONS} connections, "
            f"{plan.unary_s:g} s unary and {plan.stream_s:g} s stream windows"
        ),
        unavailable=dict(unavailable),
        figures={name: {_key(rows, row): results.value(row, name) for row in rows} for name in names},
        trials=list(trials),
    )


def _key(rows: Sequence[Figure], row: Figure) -> str:
    """Return the row's title, with that of the row it belongs to in front of an indented one."""
    if not row.title.startswith("- "):
        return row.title
    parents = [other.title for other in rows[: rows.index(row)] if not other.title.startswith("- ")]
    return f"{parents[-1]} {row.title}"


def markdown(report: Report, plan: Plan) -> str:
    """Return the table with its notes."""
    results = Results(report.trials)
    rows = figures(plan.open_streams)
    shown = [server for server in SERVERS if results.of(server.name) or server.name in report.unavailable]
    lines = [
        f"{report.when}. {report.machine}.",
        f"{report.pinning[0].upper()}{report.pinning[1:]}; {report.method}.",
        "",
    ]
    lines.append("| | " + " | ".join(server.title for server in shown) + " | first target | | final target | |")
    lines.append("|---|" + "---:|" * len(shown) + "---|---|---|---|")
    for row in rows:
        cells = [_cell(row, results.value(row, server.name)) for server in shown]
        value = results.value(row, GATEWAY.name)
        cells += [*_target(row.first, value), *_target(row.final, value)]
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    states = [_state(results.of(server.name), report.unavailable.get(server.name)) for server in shown]
    lines.append("| state | " + " | ".join(states) + " | | | | |")
    return "\n".join([*lines, "", *_notes(report, results)]) + "\n"


def _cell(row: Figure, value: float | None) -> str:
    return "-" if value is None else format(value, row.form)


def _target(target: Target | None, value: float | None) -> tuple[str, str]:
    if target is None:
        return "", ""
    if value is None:
        return target.text, "not measured"
    return target.text, "reached" if target.reached(value) else "**missed**"


def _state(trials: Sequence[Trial], unavailable: str | None) -> str:
    if unavailable is not None:
        return "not available"
    failed = sum(bool(trial.failure) for trial in trials)
    return f"{failed} of {len(trials)} trials failed" if failed else "ran"


def _notes(report: Report, results: Results) -> list[str]:
    versions = {server.title: trial.version for server in SERVERS for trial in results.of(server.name) if trial.version}
    notes = [f"- Versions: {'; '.join(f'{title}: {version}' for title, version in versions.items())}."]
    notes.append("- `direct` shows absolute latencies; every other column shows what is added in the same round.")
    if any(server.decoded and results.of(server.name) for server in SERVERS):
        notes.append(
            "- LiteLLM and Portkey rewrite bodies: their answers are compared after decoding; all others byte for byte."
        )
    for server in SERVERS:
        if server.name in report.unavailable:
            notes.append(f"- {server.title} is not available: {_escape(report.unavailable[server.name])}")
        notes += _failure_notes(server.title, results.of(server.name))
    busy = [trial for trial in report.trials if _load_share_percent(trial) > _LOAD_LIMIT_PERCENT]
    if busy:
        names = sorted({trial.server for trial in busy})
        notes.append(
            f"- The load core was above {_LOAD_LIMIT_PERCENT:.0f} % with {', '.join(names)}: read rates with care."
        )
    disturbed = {
        trial.server for trial in report.trials for phase in trial.phases() if phase.other_share > _OTHER_SHARE
    }
    if disturbed:
        shown = ", ".join(sorted(disturbed))
        notes.append(
            f"- Other work disturbed the server's core with {shown}: latencies and pace are not to be trusted."
        )
    notes.append("- Not measured here: Redis, PostgreSQL, TLS, memory over 30 minutes.")
    return notes


def _failure_notes(title: str, trials: Sequence[Trial]) -> list[str]:
    reasons: dict[str, int] = {}
    for trial in trials:
        if trial.failure:
            reasons[f"trial failed: {trial.failure}"] = reasons.get(f"trial failed: {trial.failure}", 0) + 1
        for phase in trial.phases():
            for reason, count in phase.errors.items():
                reasons[reason] = reasons.get(reason, 0) + count
    most = sorted(reasons.items(), key=lambda item: -item[1])
    return [f"- {title}: {count} x {_escape(reason)}" for reason, count in most[:_REASONS_SHOWN]]


def _load_share_percent(trial: Trial) -> float:
    return max((100 * (phase.load_share + phase.upstream_share) for phase in trial.phases()), default=0.0)


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())


def write_json(report: Report, path: Path) -> None:
    """Write the report with all trials."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def heading() -> str:
    """Return when and on which machine a run was made, as one line."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}. {machine()}."


def write_readme(text: str, path: Path, begin: str = BEGIN, end: str = END) -> None:
    """Put the table between the marks of the README."""
    readme = path.read_text()
    head, found, rest = readme.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found and found_end):
        sys.stderr.write(f"{path} has no place for the results\n")
        return
    path.write_text(f"{head}{begin}\n{text}{end}{tail}")
