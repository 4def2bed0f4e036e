"""The table of clients and cases, and what stands below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.clients import scenario
from tests.clients.runs import Outcome
from tests.clients.stage import REAL

_CELLS = {"ok": "ok", "failed": "FAIL", "not-applicable": "-"}


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the table: a row for each client, a column for each case, one more for the model server.

    A cell is `ok` when the case went well with every provider with which the client can do it, `-` when the client
    cannot do it with any, and `FAIL` when it went wrong with one. The reasons follow below.
    """
    clients = list(dict.fromkeys(outcome.run.client for outcome in outcomes))
    rows = [["client", *scenario.CASES, REAL]]
    for client in clients:
        own = [outcome for outcome in outcomes if outcome.run.client == client]
        scripted = [outcome for outcome in own if outcome.run.provider != REAL]
        cells = [_cell([one for one in scripted if one.run.case == case]) for case in scenario.CASES]
        version = next((outcome.version for outcome in own if outcome.version), "")
        rows.append([f"{client} {version}".strip(), *cells, _of_real([one for one in own if one.run.provider == REAL])])
    return "\n".join([*_aligned(rows), *_reasons(outcomes)])


def failures(outcomes: Iterable[Outcome]) -> str:
    """Return what each failed run printed, nothing when all went well."""
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    return "\n".join(f"--- {_name(one)}\n{one.detail}\n" for one in failed)


def _cell(outcomes: Sequence[Outcome]) -> str:
    found = {outcome.status for outcome in outcomes}
    return next((_CELLS[status] for status in ("failed", "ok", "not-applicable") if status in found), "")


def _of_real(outcomes: Sequence[Outcome]) -> str:
    if any(outcome.status == "failed" for outcome in outcomes):
        return "FAIL"
    good = sum(outcome.status == "ok" for outcome in outcomes)
    return f"{good} of {len(outcomes)}" if outcomes else ""


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _reasons(outcomes: Sequence[Outcome]) -> list[str]:
    """Return why cases are not applicable, each reason once with the providers for which it was given."""
    given: dict[tuple[str, str], dict[str, list[str]]] = {}
    for one in outcomes:
        if one.status == "not-applicable":
            cases = given.setdefault((one.run.client, one.detail), {})
            cases.setdefault(one.run.case, []).append(one.run.provider)
    lines = []
    for (client, reason), cases in given.items():
        named = [case if len(kinds) > 1 else f"{case} ({kinds[0]})" for case, kinds in cases.items()]
        lines.append(f"- {client}, {', '.join(named)}: {reason}")
    return ["", *lines] if lines else []


def _name(outcome: Outcome) -> str:
    return f"{outcome.run.client} / {outcome.run.case} / {outcome.run.provider}"
