"""The ledger of usage in the database: batches in, sums and reports out, old rows away."""

from __future__ import annotations

import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import BigInteger, and_, case, delete, func, literal_column, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from gateway.context import CLIENT_GONE
from gateway.storage.tables import key_days, usage, usage_writers
from gateway.usage.recorder import DAY_MS, utc_day
from gateway.usage.report import MAX_ROWS, DayTotals, KeyTotals, Report, ReportRow

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Dialect, Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.storage.database import Database
    from gateway.usage.record import Batch
    from gateway.usage.report import GroupBy, ReportQuery

# Both have the same upsert, which is not part of SQLAlchemy's own insert.
_INSERT: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_ADDED: Final = ("requests", "errors", "prompt_tokens", "completion_tokens", "cost_nano")
_day_values = attrgetter(*key_days.c.keys()[2:])
_NOTHING: Final[ColumnElement[Any]] = literal_column("NULL")
_GROUPS: Final[dict[GroupBy, ColumnElement[Any]]] = {
    "key": usage.c.key_id,
    "model": usage.c.model,
    "provider": usage.c.provider,
    # A constant in the text, because PostgreSQL does not see that two parameters are the same expression.
    "day": usage.c.at // literal_column(str(DAY_MS), BigInteger),
}
_PRUNED_AT_ONCE: Final = 5_000


class _Statements(NamedTuple):
    """The SQL of a batch, for exec_driver_sql: rows as tuples cost the driver a fraction of what dicts cost."""

    mark: str
    records: str
    days: str


class UsageTable:
    """Implements `UsageStore` and `UsageReader`. Every method raises `StorageUnavailable`; days are `YYYY-MM-DD`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements: _Statements | None = None

    async def write_batch(self, batch: Batch) -> None:
        """Add a batch in one transaction; one that was written before changes nothing."""
        # In one order, so that two processes never wait for each other's rows.
        days = [(*key, *_day_values(count)) for key, count in sorted(batch.days.items())]

        async def write(connection: AsyncConnection) -> None:
            statements = self._statements = self._statements or _compile(connection.dialect)
            mark = (batch.writer, batch.number, int(time.time() * 1000))
            if (await connection.exec_driver_sql(statements.mark, mark)).first() is None:
                return
            if batch.records:
                await connection.exec_driver_sql(statements.records, list[tuple[Any, ...]](batch.records))
            if days:
                await connection.exec_driver_sql(statements.days, days)

        await self._database.write(write)

    async def tokens_used(self, key_id: str, day: str) -> int:
        """Return the tokens of a key on one day."""
        tokens = func.sum(key_days.c.prompt_tokens + key_days.c.completion_tokens)
        return await self._one_sum(tokens, key_days.c.key_id == key_id, key_days.c.day == day)

    async def spent_nano(self, key_id: str, from_day: str) -> int:
        """Return what a key has cost since the beginning of a day, in billionths."""
        return await self._one_sum(
            func.sum(key_days.c.cost_nano), key_days.c.key_id == key_id, key_days.c.day >= from_day
        )

    async def last_used(self, key_ids: Collection[str]) -> dict[str, int]:
        """Return when each of these keys was used last, in Unix milliseconds; without those that never were."""
        last = func.max(key_days.c.last_used_at)
        query = select(key_days.c.key_id, last).where(key_days.c.key_id.in_(key_ids)).group_by(key_days.c.key_id)

        async def read(connection: AsyncConnection) -> dict[str, int]:
            return {row[0]: row[1] for row in await connection.execute(query)}

        return await self._database.read(read)

    async def key_totals(self, from_day: str = "") -> dict[str, KeyTotals]:
        """Return the sums of every key that was ever used, by its id, with its single days since `from_day`."""
        sums = [func.sum(key_days.c[name]) for name in _ADDED[:4]]
        totals = select(key_days.c.key_id, *sums, func.max(key_days.c.last_used_at)).group_by(key_days.c.key_id)
        columns = (key_days.c.key_id, key_days.c.day, *(key_days.c[name] for name in _ADDED[:4]))
        days = select(*columns).where(key_days.c.day >= from_day).order_by(key_days.c.day)

        async def read(connection: AsyncConnection) -> dict[str, KeyTotals]:
            found = {
                key_id: KeyTotals._make([*map(int, sums), []]) for key_id, *sums in await connection.execute(totals)
            }
            for key_id, *values in await connection.execute(days):
                found[key_id].by_day.append(DayTotals._make(values))
            return found

        return await self._database.read(read)

    async def report(self, query: ReportQuery, currency: str) -> Report:
        """Add up the records of the query's time, grouped; only costs in `currency` count."""
        period = (usage.c.at >= query.from_ms, usage.c.at < query.to_ms)
        group, sums = _GROUPS[query.group_by], _sums(currency)
        name = func.max(usage.c.key_name) if query.group_by == "key" else _NOTHING
        by_group = select(group, name, *sums.values()).where(*period).group_by(group).limit(MAX_ROWS)
        by_group = by_group.order_by(sums["cost"].desc().nulls_last(), sums["requests"].desc())
        together = select(_NOTHING, _NOTHING, *sums.values()).where(*period)
        target = (usage.c.provider, usage.c.model)
        unpriced = select(*target).where(*period, _unpriced(currency)).distinct().order_by(*target).limit(MAX_ROWS)

        async def read(connection: AsyncConnection) -> Report:
            rows = [_report_row(query.group_by, row) for row in await connection.execute(by_group)]
            # Reading the records a second time is only worth it for rows that were left out.
            if len(rows) < MAX_ROWS:
                totals = _total(rows)
            else:
                totals = _report_row("model", (await connection.execute(together)).one())
            rows.sort(key=_day_order if query.group_by == "day" else _rank)
            models = [f"{provider}/{model}" for provider, model in await connection.execute(unpriced)]
            # Databases have orders of their own for texts.
            return Report(rows, totals, sorted(models))

        return await self._database.read(read)

    async def prune(self, before_ms: int) -> int:
        """Delete what is older, a portion at a time so that others can write in between; return how many records."""
        deleted = await self._prune(usage, usage.c.at < before_ms)
        await self._prune(key_days, key_days.c.day < utc_day(before_ms))
        await self._prune(usage_writers, usage_writers.c.at < before_ms)
        return deleted

    async def _prune(self, table: Table, condition: ColumnElement[bool]) -> int:
        key = tuple_(*table.primary_key.columns)
        portion = select(*table.primary_key.columns).where(condition).limit(_PRUNED_AT_ONCE)

        async def write(connection: AsyncConnection) -> int:
            return (await connection.execute(delete(table).where(key.in_(portion)))).rowcount

        deleted = last = await self._database.write(write)
        while last == _PRUNED_AT_ONCE:
            last = await self._database.write(write)
            deleted += last
        return deleted

    async def _one_sum(self, total: ColumnElement[int], *conditions: ColumnElement[bool]) -> int:
        async def read(connection: AsyncConnection) -> int:
            # PostgreSQL adds up to a decimal, and nothing adds up to NULL.
            return int(await connection.scalar(select(total).where(*conditions)) or 0)

        return await self._database.read(read)


def _compile(dialect: Dialect) -> _Statements:
    insert = _INSERT[dialect.name]
    mark = insert(usage_writers)
    mark = mark.on_conflict_do_update(
        index_elements=["writer"],
        set_={"last_batch": mark.excluded.last_batch, "at": mark.excluded.at},
        where=usage_writers.c.last_batch < mark.excluded.last_batch,
    )
    days = insert(key_days)
    last, now_last = key_days.c.last_used_at, days.excluded.last_used_at
    changed: dict[str, Any] = {name: key_days.c[name] + days.excluded[name] for name in _ADDED}
    changed["last_used_at"] = case((now_last > last, now_last), else_=last)
    days = days.on_conflict_do_update(index_elements=["key_id", "day"], set_=changed)
    # The database numbers the rows, and nobody asks for the numbers.
    records = insert(usage).inline().compile(dialect=dialect, column_keys=usage.c.keys()[1:])
    marked = mark.returning(usage_writers.c.writer).compile(dialect=dialect)
    return _Statements(str(marked), str(records), str(days.compile(dialect=dialect)))


def _unpriced(currency: str) -> ColumnElement[bool]:
    return and_(usage.c.provider.is_not(None), func.coalesce(usage.c.currency, "") != currency)


def _sums(currency: str) -> dict[str, ColumnElement[int]]:
    failed = or_(and_(usage.c.status >= 400, usage.c.status != CLIENT_GONE), usage.c.error_code.is_not(None))
    tokens = (usage.c.prompt_tokens, usage.c.completion_tokens, usage.c.cached_tokens, usage.c.reasoning_tokens)
    return {
        "requests": func.count(),
        "errors": func.count().filter(failed),
        **{column.name: func.sum(column) for column in tokens},
        "cost": func.sum(usage.c.cost_nano).filter(usage.c.currency == currency),
        "unpriced": func.count().filter(_unpriced(currency)),
    }


def _report_row(group_by: GroupBy, row: Row[Any]) -> ReportRow:
    """Return a row of the report; PostgreSQL adds up to decimals, and nothing adds up to NULL."""
    group, key_name, requests, errors, *tokens, cost, unpriced = tuple(row)
    if group_by == "day":
        group = utc_day(int(group) * DAY_MS)
    name, key_id = (key_name, group) if group_by == "key" else (group, None)
    counts = [requests, errors, *(int(count or 0) for count in tokens)]
    return ReportRow._make([name, key_id, *counts, None if cost is None else int(cost), unpriced])


def _total(rows: list[ReportRow]) -> ReportRow:
    costs = [row.cost_nano for row in rows if row.cost_nano is not None]
    counts = [sum(getattr(row, name) for row in rows) for name in ReportRow._fields[2:8]]
    unpriced = sum(row.unpriced_requests for row in rows)
    return ReportRow._make([None, None, *counts, sum(costs) if costs else None, unpriced])


def _rank(row: ReportRow) -> tuple[bool, int, int, str]:
    return row.cost_nano is None, -(row.cost_nano or 0), -row.requests, row.group or ""


def _day_order(row: ReportRow) -> str:
    return row.group or ""
