"""An intruder who can write to the database, but has not the key: every way is found and named, on each database."""

# ruff: noqa: S608 - these statements are injected on purpose.
from __future__ import annotations

import pytest

from gateway.audit.chain import AuditRow, Head, mac
from gateway.audit.entry import AuditFilters
from gateway.audit.verify import verify
from gateway.storage.audit import AuditTable
from tests.audit.conftest import Intrude
from tests.audit.logs import KEYS, entry, found

COUNT = 6
_COLUMNS = ", ".join(AuditRow._fields)
_FORGED = "123, 'x', 'mallory', 'key.create', 'mine', NULL, NULL, '192.0.2.1', 'req_x'"


def _renumbered(first: int, by: int) -> list[str]:
    """Return statements that give all rows from `first` on other numbers, by way of numbers that nobody has."""
    return [
        f"UPDATE audit_log SET seq = -seq - {by} WHERE seq >= {first}",
        "UPDATE audit_log SET seq = -seq WHERE seq < 0",
    ]


WAYS: dict[str, tuple[list[str], list[tuple[str, int, int]]]] = {
    "changed actor": (["UPDATE audit_log SET actor = 'mallory' WHERE seq = 3"], [("changed", 3, 3)]),
    "changed time": (["UPDATE audit_log SET at = at + 1 WHERE seq = 1"], [("changed", 1, 1)]),
    "changed state": (["UPDATE audit_log SET after = NULL WHERE seq = 6"], [("changed", 6, 6)]),
    "removed row": (["DELETE FROM audit_log WHERE seq IN (2, 3)"], [("missing", 2, 3)]),
    "removed first row": (["DELETE FROM audit_log WHERE seq = 1"], [("missing", 1, 1)]),
    "removed tail": (["DELETE FROM audit_log WHERE seq > 4"], [("truncated", 5, 6)]),
    "removed everything": (["DELETE FROM audit_log"], [("truncated", 1, 6)]),
    "swapped rows": (
        [f"UPDATE audit_log SET seq = {new} WHERE seq = {old}" for old, new in ((2, -2), (3, 2), (-2, 3))],
        [("moved", 2, 2), ("moved", 3, 3)],
    ),
    "inserted row": (
        [
            *_renumbered(3, 1),
            f"INSERT INTO audit_log ({_COLUMNS}) VALUES (3, {_FORGED}, '{KEYS.current_id}', '{'a' * 64}')",
            f"UPDATE audit_head SET count = {COUNT + 1}",
        ],
        [("inserted", 3, 3), *(("moved", seq, seq) for seq in range(4, 8))],
    ),
    "added row": (
        [f"INSERT INTO audit_log ({_COLUMNS}) VALUES (7, {_FORGED}, '{KEYS.current_id}', '{'a' * 64}')"],
        [("inserted", 7, 7), ("head", 6, 7)],
    ),
    "removed and renumbered": (
        ["DELETE FROM audit_log WHERE seq = 3", *_renumbered(4, -1), f"UPDATE audit_head SET count = {COUNT - 1}"],
        [("changed", 3, 3), ("moved", 4, 4), ("moved", 5, 5)],
    ),
    "changed head": (["UPDATE audit_head SET count = 2"], [("head", 2, 6), ("head", 2, 2)]),
    "removed head": (["DELETE FROM audit_head"], [("head", 6, 6)]),
}


async def _written(table: AuditTable) -> list[Head]:
    return [await table.record(entry(number), KEYS) for number in range(1, COUNT + 1)]


@pytest.mark.parametrize("way", WAYS)
async def test_tampering_is_found_and_named(table: AuditTable, intrude: Intrude, way: str) -> None:
    """By the log alone, with the head in the database; the log can still be looked at."""
    await _written(table)
    assert (await verify(table.rows(), table.head, KEYS)).is_intact
    statements, findings = WAYS[way]
    await intrude(*statements)
    result = await verify(table.rows(), table.head, KEYS)
    assert found(result) == findings
    assert result.is_tampered
    await table.page(AuditFilters(), 1, 10)


async def test_rows_signed_anew_with_another_key_are_found(table: AuditTable, intrude: Intrude) -> None:
    """The intruder knows how the chain is made, rewrites it from row 3 on, and its head, but has not the key."""
    await _written(table)
    rows = [row async for row in table.rows()]
    statements = []
    previous = rows[1].mac
    for row in rows[2:]:
        previous = mac(b"a guess", previous, row._replace(actor="mallory"))
        statements.append(f"UPDATE audit_log SET actor = 'mallory', mac = '{previous}' WHERE seq = {row.seq}")
    await intrude(*statements, f"UPDATE audit_head SET mac = '{previous}'")
    assert found(await verify(table.rows(), table.head, KEYS)) == [("changed", 3, COUNT)]


async def test_a_key_id_of_the_intruders_own_is_no_way_round(table: AuditTable, intrude: Intrude) -> None:
    """It is told as a key that is not configured; the log is not called intact."""
    await _written(table)
    await intrude("UPDATE audit_log SET actor = 'mallory', key_id = 'deadbeef' WHERE seq = 3")
    result = await verify(table.rows(), table.head, KEYS)
    assert (found(result), result.is_intact) == ([("unknown_key", 3, 3)], False)
    assert "deadbeef" in result.findings[0].text


async def test_a_log_cut_off_with_its_head_is_found_by_a_head_kept_elsewhere(
    table: AuditTable, intrude: Intrude
) -> None:
    """The intruder puts the database back to an earlier state, which was a true one."""
    heads = await _written(table)
    earlier = heads[3]
    await intrude(
        "DELETE FROM audit_log WHERE seq > 4", f"UPDATE audit_head SET count = 4, mac = '{earlier.mac}' WHERE id = 1"
    )
    assert (await verify(table.rows(), table.head, KEYS, earlier)).is_intact
    result = await verify(table.rows(), table.head, KEYS, heads[-1])
    assert found(result) == [("truncated", 5, 6)]


async def test_a_log_cut_off_and_continued_is_found_by_a_head_kept_elsewhere(
    table: AuditTable, intrude: Intrude
) -> None:
    """The gateway itself signs what follows, so that only the kept head shows that it once was another row."""
    heads = await _written(table)
    await intrude(
        "DELETE FROM audit_log WHERE seq > 4", f"UPDATE audit_head SET count = 4, mac = '{heads[3].mac}' WHERE id = 1"
    )
    for number in range(50, 54):
        await table.record(entry(number), KEYS)
    assert (await verify(table.rows(), table.head, KEYS)).is_intact
    assert found(await verify(table.rows(), table.head, KEYS, heads[-1])) == [("kept_head", 6, 6)]


async def test_a_value_of_another_type_is_found(table: AuditTable, intrude: Intrude) -> None:
    """SQLite keeps bytes in a column of texts; they must not pass for the text, nor end the verification."""
    if table._database.dialect != "sqlite":
        pytest.skip("PostgreSQL does not take them")
    await _written(table)
    await intrude(
        "UPDATE audit_log SET actor = CAST('ada' AS BLOB) WHERE seq = 2",
        "UPDATE audit_log SET after = CAST('broken' AS BLOB) WHERE seq = 4",
        "UPDATE audit_log SET seq = 'six' WHERE seq = 6",
    )
    result = await verify(table.rows(), table.head, KEYS)
    assert found(result) == [("changed", 2, 2), ("changed", 4, 4), ("inserted", 6, 6), ("truncated", 6, 6)]
    shown = dict((await table.page(AuditFilters(), 1, 10)).entries)
    assert shown[4].after == {"unreadable": "b'broken'"}
