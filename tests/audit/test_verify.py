"""Verification: every way to tamper with a log without its key is found, and named."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.chain import AuditKeys, AuditRow, Head, mac
from gateway.audit.verify import MAX_COMPARED, MAX_LISTED, verify
from tests.audit.logs import KEYS, altered, found, head_of, log_of, row, verified

Rows = list[AuditRow]
OTHER = AuditKeys.derive("somebody else's key", "", "")


@pytest.mark.parametrize("count", [0, 1, 2, 100])
async def test_an_untouched_log_is_intact(count: int) -> None:
    """Otherwise nobody would look at the report any more."""
    rows = log_of(count)
    result = await verified(rows, head_of(rows), expected=head_of(rows[: count // 2]))
    assert (result.is_intact, result.is_tampered, result.rows) == (True, False, count)
    assert result.head == head_of(rows)


@pytest.mark.parametrize("column", AuditRow._fields[1:])
async def test_a_changed_column_is_found(column: str) -> None:
    """Whichever column it is, with the number of its row."""
    rows = log_of(9)
    rows[4] = altered(rows[4], column)
    result = await verified(rows, head_of(rows))
    expected = {"key_id": [("unknown_key", 5, 5)], "mac": [("changed", 5, 6)]}
    assert found(result) == expected.get(column, [("changed", 5, 5)])
    assert result.findings[0].text.startswith("Row")
    assert " 5 " in result.findings[0].text


@pytest.mark.parametrize("value", [b"ada", 1.5, float("inf"), None])
async def test_a_column_of_another_type_is_found(value: object) -> None:
    """SQLite takes any type in any column."""
    rows = log_of(3)
    rows[1] = rows[1]._replace(actor=value)  # type: ignore[arg-type]
    assert found(await verified(rows, head_of(rows))) == [("changed", 2, 2)]


async def test_two_changed_rows_are_one_finding_each_and_neighbours_are_one() -> None:
    """A report is for people."""
    rows = log_of(12)
    for seq in (3, 7, 8):
        rows[seq - 1] = altered(rows[seq - 1], "actor")
    result = await verified(rows, head_of(rows))
    assert found(result) == [("changed", 3, 3), ("changed", 7, 8)]
    assert [finding.text for finding in result.findings] == [
        "Row 3 is not what was signed",
        "Rows 7 to 8 are not what was signed",
    ]


async def test_removed_rows_are_found() -> None:
    """By the gap in the numbers; the row behind it is not blamed."""
    rows = log_of(9)
    head = head_of(rows)
    del rows[3:5]
    del rows[0]
    assert found(await verified(rows, head)) == [("missing", 1, 1), ("missing", 4, 5)]


async def test_a_gap_that_was_closed_by_new_numbers_is_found() -> None:
    """The number is signed too."""
    rows = log_of(9)
    rows = rows[:3] + [one._replace(seq=one.seq - 1) for one in rows[4:]]
    result = await verified(rows, head_of(rows))
    assert found(result) == [("changed", 4, 4), *(("moved", seq, seq) for seq in range(5, 9))]
    assert result.findings[1].text == "Row 5 is signed as row 6, and stands at another place"


async def test_a_log_that_was_cut_off_is_found_by_its_head() -> None:
    """The rows that are left are a perfect chain."""
    rows = log_of(9)
    result = await verified(rows[:6], head_of(rows))
    assert found(result) == [("truncated", 7, 9)]
    assert result.findings[0].text == "Rows 7 to 9 are cut off, since the table audit_head has them"
    assert found(await verified([], head_of(rows))) == [("truncated", 1, 9)]


async def test_a_log_that_was_cut_off_with_its_head_is_found_by_a_head_kept_elsewhere() -> None:
    """Nothing in the database shows it, which is why the gateway's log has every head."""
    rows = log_of(9)
    cut = rows[:6]
    assert (await verified(cut, head_of(cut))).is_intact
    result = await verified(cut, head_of(cut), expected=head_of(rows))
    assert found(result) == [("truncated", 7, 9)]
    assert "the head that was kept" in result.findings[0].text


async def test_a_log_written_anew_with_the_key_is_found_by_a_head_kept_elsewhere() -> None:
    """Even the holder of the key cannot undo what was written down elsewhere."""
    rows = log_of(9)
    kept = Head(5, rows[4].mac)
    rows[2] = altered(rows[2], "actor")
    for index in range(2, len(rows)):
        rows[index] = rows[index]._replace(mac=mac(KEYS.current, rows[index - 1].mac, rows[index]))
    assert (await verified(rows, head_of(rows))).is_intact
    result = await verified(rows, head_of(rows), expected=kept)
    assert found(result) == [("kept_head", 5, 5)]
    assert "Row 5 is another than the head that was kept says" in result.findings[0].text


@pytest.mark.parametrize(("first", "second"), [(3, 4), (3, 5), (1, 9), (8, 9)])
async def test_swapped_rows_are_named_with_their_true_numbers(first: int, second: int) -> None:
    """Neither row is changed, and the rows behind them are what they were."""
    rows = log_of(9)
    head = head_of(rows)
    one, other = rows[first - 1], rows[second - 1]
    rows[first - 1], rows[second - 1] = other._replace(seq=first), one._replace(seq=second)
    result = await verified(rows, head)
    named = [("moved", first, first), ("moved", second, second)]
    assert found(result) == named + ([("head", 9, 9)] if second == 9 else [])
    assert f"signed as row {second}" in result.findings[0].text
    assert f"signed as row {first}" in result.findings[1].text


async def test_an_inserted_row_is_told_from_those_it_pushed_on() -> None:
    """It is not of the gateway's making; they are, at other places."""
    rows = log_of(6)
    forged = row(4, rows[2].mac, OTHER)._replace(key_id=KEYS.current_id)
    rows = [*rows[:3], forged, *(one._replace(seq=one.seq + 1) for one in rows[3:])]
    result = await verified(rows, head_of(rows))
    assert found(result) == [("inserted", 4, 4), ("moved", 5, 5), ("moved", 6, 6), ("moved", 7, 7)]


async def test_a_row_put_before_the_first_or_without_a_number_is_found() -> None:
    """No row of the gateway has such a number, and SQLite takes a text for one."""
    rows = log_of(3)
    for seq in (0, -4, "zzz", 2.5, None):
        forged = rows[0]._replace(seq=seq)  # type: ignore[arg-type]
        placed = [forged, *rows] if isinstance(seq, int) else [*rows, forged]
        kinds = {finding.kind for finding in (await verified(placed, head_of(rows))).findings}
        assert kinds == {"inserted"}, seq


async def test_a_row_added_at_the_end_is_found() -> None:
    """With the head as it was, and with a head that was made to fit."""
    rows = log_of(4)
    forged = [*rows, row(5, rows[3].mac, OTHER)._replace(key_id=KEYS.current_id)]
    assert found(await verified(forged, head_of(rows))) == [("inserted", 5, 5), ("head", 4, 5)]
    assert found(await verified(forged, head_of(forged))) == [("changed", 5, 5)]


async def test_rows_signed_anew_without_the_key_are_found_from_the_first_on() -> None:
    """The intruder names the gateway's key, and has another."""
    rows = log_of(40)
    head = Head(10, rows[9].mac)
    forged = rows[:10] + [one._replace(key_id=KEYS.current_id) for one in log_of(30, OTHER, start=head)]
    result = await verified(forged, head_of(forged))
    assert found(result) == [("changed", 11, 40)]
    assert MAX_COMPARED < 40 - 10


async def test_a_key_that_is_not_configured_is_told_as_such() -> None:
    """Whoever forgot the previous pepper is not to fear an intruder; but nothing is proven either."""
    old = log_of(5, OTHER)
    rows = old + log_of(5, start=head_of(old))
    result = await verified(rows, head_of(rows))
    assert (result.is_tampered, result.is_intact) == (False, False)
    assert found(result) == [("unknown_key", 1, 5)]
    assert OTHER.current_id in result.findings[0].text


async def test_a_log_with_changed_keys_is_intact_when_all_are_configured() -> None:
    """Pepper rotation, and then a key for the log alone."""
    parts = [AuditKeys.derive("", "one", ""), AuditKeys.derive("", "two", "one"), AuditKeys.derive("own", "two", "one")]
    rows: Rows = []
    for keys in parts:
        rows += log_of(4, keys, start=head_of(rows))
    assert (await verified(rows, head_of(rows), keys=parts[-1])).is_intact
    assert found(await verified(rows, head_of(rows), keys=parts[0])) == [("unknown_key", 5, 8), ("unknown_key", 9, 12)]


async def test_a_head_that_was_changed_is_found() -> None:
    """Emptied, put back, or given another MAC."""
    rows = log_of(4)
    assert found(await verified(rows, None)) == [("head", 4, 4)]
    assert found(await verified(rows, Head(2, rows[1].mac))) == [("head", 2, 4)]
    assert found(await verified(rows, Head(4, "0" * 64))) == [("head", 4, 4)]


async def test_rows_added_while_it_reads_do_no_harm() -> None:
    """The head is read before the rows, and again when there are more than it knew of."""
    rows = log_of(8)
    heads = iter([head_of(rows[:5]), head_of(rows)])

    async def read() -> AsyncIterator[AuditRow]:
        for one in rows:
            yield one

    async def head() -> Head | None:
        return next(heads)

    assert (await verify(read(), head, KEYS)).is_intact


async def test_a_log_wrong_from_top_to_bottom_gives_a_report_that_ends() -> None:
    """Every second row of a long log."""
    count = 4 * MAX_LISTED
    rows = log_of(count)
    head = head_of(rows)
    broken = [one._replace(actor="mallory") if one.seq % 2 else one for one in rows]
    result = await verified(broken, head)
    assert len(result.findings) == MAX_LISTED
    assert result.unlisted == count // 2 - MAX_LISTED


async def test_tampering_does_not_hide_behind_keys_that_nobody_knows() -> None:
    """However many of them there are before it."""
    rows = log_of(2 * MAX_LISTED)
    head = head_of(rows)
    broken = [one._replace(key_id=f"key-{one.seq}") for one in rows[:-1]] + [altered(rows[-1], "actor")]
    result = await verified(broken, head)
    assert result.is_tampered
    assert found(result)[-1] == ("changed", 2 * MAX_LISTED, 2 * MAX_LISTED)


async def test_a_long_log_needs_no_more_memory_than_a_short_one() -> None:
    """Rows are not kept, whether they are right or wrong."""

    async def endless(count: int, wrong: int) -> AsyncIterator[AuditRow]:
        previous = ""
        for seq in range(1, count + 1):
            one = row(seq, previous)
            previous = one.mac
            yield one._replace(actor="mallory") if seq > wrong else one

    async def head() -> Head | None:
        return None

    peaks = []
    for count in (1_000, 10_000):
        tracemalloc.start()
        await verify(endless(count, count // 2), head, KEYS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20_000


Tampering = Callable[[Rows, random.Random], Rows]


def _change(rows: Rows, rng: random.Random) -> Rows:
    place = rng.randrange(len(rows))
    rows[place] = altered(rows[place], rng.choice(AuditRow._fields[1:-2]))
    return rows


def _remove(rows: Rows, rng: random.Random) -> Rows:
    del rows[rng.randrange(len(rows))]
    return rows


def _remove_and_renumber(rows: Rows, rng: random.Random) -> Rows:
    return [one._replace(seq=seq) for seq, one in enumerate(_remove(rows, rng), 1)]


def _shuffle(rows: Rows, rng: random.Random) -> Rows:
    order = rows[:]
    while order == rows:
        rng.shuffle(order)
    return [one._replace(seq=seq) for seq, one in enumerate(order, 1)]


def _repeat(rows: Rows, rng: random.Random) -> Rows:
    rows.insert(rng.randrange(len(rows)), rng.choice(rows))
    return [one._replace(seq=seq) for seq, one in enumerate(rows, 1)]


def _sign_anew(rows: Rows, rng: random.Random) -> Rows:
    place = rng.randrange(len(rows))
    for index in range(place, len(rows)):
        previous = rows[index - 1].mac if index else ""
        rows[index] = rows[index]._replace(mac=mac(OTHER.current, previous, rows[index]))
    return rows


@given(st.integers(2, 30), st.integers(0, 2**32), st.sampled_from([
    _change, _remove, _remove_and_renumber, _shuffle, _repeat, _sign_anew,
]))  # fmt: skip
async def test_whatever_is_done_without_the_key_is_found(count: int, seed: int, tamper: Tampering) -> None:
    """Against a head that is still true; how it is named is told above."""
    rows = log_of(count)
    head = head_of(rows)
    result = await verified(tamper(rows, random.Random(seed)), head)
    assert result.is_tampered
