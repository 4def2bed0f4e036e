"""Verification of a whole log: what in it is not as it was written, named as well as can be told without a copy."""

from __future__ import annotations

import hmac
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.audit.chain import NO_MAC, AuditKeys, AuditRow, Head, mac

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterator

Kind = Literal["changed", "missing", "moved", "inserted", "truncated", "head", "kept_head", "unknown_key"]

# Of each kind. A log that is wrong from top to bottom gives a long report, and not one without end.
MAX_LISTED = 100
# So many rows are tried at each other's places, which takes time with the third power of their number.
MAX_COMPARED = 16

_TEXTS: dict[Kind, str] = {
    "changed": "not what was signed",
    "missing": "missing, so that the next one cannot be checked",
    "moved": "signed as row {more}, and stands at another place",
    "inserted": "not of the gateway's making",
    "truncated": "cut off, since {more} has them",
    "unknown_key": "signed with the key {more}, which is not configured, and cannot be verified",
}


class Finding(NamedTuple):
    """Something wrong with the rows `first` to `last`; `text` says it in a sentence."""

    kind: Kind
    first: int
    last: int
    text: str


class Verification(NamedTuple):
    """What came out: how many rows were read, the head that they give, and what is wrong, by place.

    `unlisted` is how many findings there were beyond those that are listed.
    """

    rows: int
    head: Head
    findings: tuple[Finding, ...]
    unlisted: int = 0

    @property
    def is_tampered(self) -> bool:
        """Whether someone did something to the log. A key that is not configured is no sign of that."""
        return any(finding.kind != "unknown_key" for finding in self.findings)

    @property
    def is_intact(self) -> bool:
        """Whether every row is as it was written, and none is missing."""
        return not self.findings


async def verify(
    rows: AsyncIterable[AuditRow],
    head: Callable[[], Awaitable[Head | None]],
    keys: AuditKeys,
    expected: Head | None = None,
) -> Verification:
    """Verify `rows`, which are all rows of a log in the order of their numbers, while others may go on writing.

    `head` reads what the table `audit_head` says, None when it is empty; `expected` is a head that was kept elsewhere.
    Needs no more memory for a long log than for a short one.
    """
    before = await head()
    verifier = _Verifier(before, keys, expected)
    async for row in rows:
        verifier.feed(row)
    # Rows that are beyond the head must have been added meanwhile, so that it has followed them by now.
    after = await head() if before is not None and verifier.last.count > before.count else before
    return verifier.finish(after)


class _Verifier:
    """Takes the rows one by one, then says what it found."""

    def __init__(self, head: Head | None, keys: AuditKeys, expected: Head | None) -> None:
        self.last = Head(0, NO_MAC)
        self._rows = 0
        self._head = head
        self._keys = keys
        self._expected = expected
        self._macs = {0: NO_MAC}
        self._findings = _Findings()
        self._suspects: list[tuple[str, AuditRow]] = []
        self._are_told_apart = False

    def feed(self, row: AuditRow) -> None:
        """Look at the next row."""
        self._rows += 1
        awaited = self.last.count + 1
        # In SQLite an intruder can put a text where a number belongs.
        if type(row.seq) is not int or row.seq < awaited:
            self._findings.add("inserted", awaited, awaited)
            return
        if row.seq > awaited:
            # What the row after a gap was signed to follow is gone, so its own MAC says nothing.
            self._findings.add("missing", awaited, row.seq - 1)
        key = self._keys.find(row.key_id)
        if key is None:
            self._findings.add("unknown_key", row.seq, row.seq, str(row.key_id))
        elif row.seq == awaited and not _is_signed(key, self.last.mac, row):
            self._suspect(row)
        if row.seq in (self._head and self._head.count, self._expected and self._expected.count):
            self._macs[row.seq] = row.mac
        self.last = Head(row.seq, row.mac)

    def finish(self, head_now: Head | None) -> Verification:
        """Return what was found; `head_now` is what `audit_head` says after all rows were read."""
        self._tell_apart()
        findings = sorted(self._findings.listed, key=lambda finding: finding[1:3])
        told = [*(_told(*finding) for finding in findings), *self._about_heads(head_now)]
        return Verification(self._rows, self.last, tuple(told), self._findings.unlisted)

    def _suspect(self, row: AuditRow) -> None:
        if len(self._suspects) < MAX_COMPARED:
            self._suspects.append((self.last.mac, row))
            return
        self._tell_apart()
        self._findings.add("changed", row.seq, row.seq)

    def _tell_apart(self) -> None:
        """Name what is wrong with the rows that do not follow the one before them."""
        if self._are_told_apart:
            return
        self._are_told_apart = True
        origins = {row.seq: self._origin(previous_mac, row) for previous_mac, row in self._suspects}
        known = self._head.count if self._head is not None else self.last.count
        wrong: set[int] = set()
        for seq, origin in origins.items():
            if origin == seq and seq - 1 in wrong:
                continue  # The row is what it was, and only the one before it is not.
            wrong.add(seq)
            if origin is not None and origin != seq:
                self._findings.add("moved", seq, seq, str(origin))
            elif origin is None and (seq in origins.values() or seq > known):
                # The true row of this number stands elsewhere, or there never was one.
                self._findings.add("inserted", seq, seq)
            else:
                self._findings.add("changed", seq, seq)

    def _origin(self, previous_mac: str, row: AuditRow) -> int | None:
        """Return the number that `row` was signed with, as far as the other suspects show it."""
        key = self._keys.find(row.key_id) or b""
        seqs = [row.seq, *(other.seq for _, other in self._suspects), row.seq - 1, row.seq + 1]
        macs = [previous_mac, *(mac for previous, other in self._suspects for mac in (previous, other.mac))]
        for seq in dict.fromkeys(seqs):
            numbered = row._replace(seq=seq)
            if any(_is_signed(key, previous, numbered) for previous in dict.fromkeys(macs)):
                return seq
        return None

    def _about_heads(self, head_now: Head | None) -> Iterator[Finding]:
        """Compare the rows with the heads."""
        last = self.last.count
        if self._head is None or head_now is None:
            yield Finding("head", last, last, "The table audit_head is empty")
        elif last > head_now.count:
            text = f"The table audit_head ends with row {head_now.count}, and the log with row {last}"
            yield Finding("head", head_now.count, last, text)
        for kind, head, name in _named(self._head, self._expected):
            if last < head.count:
                yield _told("truncated", last + 1, head.count, name)
            elif self._macs.get(head.count, head.mac) != head.mac:
                text = f"Row {head.count} is another than {name} says: it or the rows up to it were replaced"
                yield Finding(kind, head.count, head.count, text)


class _Findings:
    """What was found so far; rows that follow each other and have the same thing wrong are one finding."""

    def __init__(self) -> None:
        self.listed: list[tuple[Kind, int, int, str]] = []
        self.unlisted = 0
        self._latest: dict[tuple[Kind, str], int] = {}
        self._count: Counter[Kind] = Counter()

    def add(self, kind: Kind, first: int, last: int, more: str = "") -> None:
        """Note something wrong with the rows `first` to `last`."""
        index = self._latest.get((kind, more))
        if index is not None and 0 <= first - self.listed[index][2] <= 1:
            self.listed[index] = (kind, self.listed[index][1], last, more)
        elif self._count[kind] == MAX_LISTED:
            self.unlisted += 1
        else:
            self._count[kind] += 1
            self._latest[kind, more] = len(self.listed)
            self.listed.append((kind, first, last, more))


def _is_signed(key: bytes, previous_mac: str, row: AuditRow) -> bool:
    try:
        return hmac.compare_digest(mac(key, previous_mac, row), row.mac)
    except (TypeError, ValueError):
        # A column has a type or a character that nothing was ever signed with.
        return False


def _named(head: Head | None, expected: Head | None) -> Iterator[tuple[Kind, Head, str]]:
    """Yield the heads there are, each with what they are called."""
    if head is not None:
        yield "head", head, "the table audit_head"
    if expected is not None:
        yield "kept_head", expected, "the head that was kept"


def _told(kind: Kind, first: int, last: int, more: str = "") -> Finding:
    rows = f"Row {first} is" if first == last else f"Rows {first} to {last} are"
    return Finding(kind, first, last, f"{rows} {_TEXTS[kind].format(more=more)}")
