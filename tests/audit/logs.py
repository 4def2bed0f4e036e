"""Audit logs in memory, and what an intruder without the key does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.audit.chain import AuditKeys, AuditRow, Head, mac
from gateway.audit.entry import AuditEntry
from gateway.audit.verify import Verification, verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

KEYS = AuditKeys.derive("", "the-pepper-of-these-tests", "")


def entry(number: int = 1, target: str = "mobile") -> AuditEntry:
    """Return an act that differs from that of another number."""
    after = {"name": target, "tags": [f"tag-{number}"]}
    at = 1_770_458_400_000 + number
    return AuditEntry(at, "key_1", "ada", "key.create", target, None, after, "192.0.2.7", f"req_{number:012d}")


def row(seq: int, previous: str, keys: AuditKeys = KEYS) -> AuditRow:
    """Return a signed row."""
    unsigned = AuditRow(
        seq, 1_770_458_400_000 + seq, "key_1", "ada", "key.create", f"target {seq}", None, f'{{"n": {seq}}}',
        "192.0.2.7", f"req_{seq}", keys.current_id, "",
    )  # fmt: skip
    return unsigned._replace(mac=mac(keys.current, previous, unsigned))


def log_of(count: int, keys: AuditKeys = KEYS, *, start: Head = Head(0, "")) -> list[AuditRow]:  # noqa: B008
    """Return a log of `count` rows after `start`."""
    rows: list[AuditRow] = []
    for seq in range(start.count + 1, start.count + count + 1):
        rows.append(row(seq, rows[-1].mac if rows else start.mac, keys))
    return rows


def altered(one: AuditRow, column: str) -> AuditRow:
    """Return a row with another value in one of its columns."""
    old = getattr(one, column)
    values: dict[str, Any] = {column: old + 1 if isinstance(old, int) else f"{old}x"}
    return one._replace(**values)


def head_of(rows: list[AuditRow]) -> Head:
    """Return the head of a log."""
    return Head(rows[-1].seq, rows[-1].mac) if rows else Head(0, "")


async def verified(
    rows: Iterable[AuditRow], head: Head | None, *, keys: AuditKeys = KEYS, expected: Head | None = None
) -> Verification:
    """Verify rows against a head that does not move."""

    async def read() -> AsyncIterator[AuditRow]:
        for one in rows:
            yield one

    async def read_head() -> Head | None:
        return head

    return await verify(read(), read_head, keys, expected)


def found(verification: Verification) -> list[tuple[str, int, int]]:
    """Return the findings without their texts."""
    return [finding[:3] for finding in verification.findings]
