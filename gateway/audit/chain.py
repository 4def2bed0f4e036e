"""The chain: each row carries an HMAC over itself and the row before, so that only the holder of the key can write one.

Whoever can write to the database, but has no key, cannot change, remove, move or add a row without breaking the chain.
What the chain by itself cannot show is that its end was cut off: for that the head, which is the number of rows and
the last row's MAC, is kept in the table `audit_head`, and, since that too can be written to, in the gateway's log.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import NamedTuple, Self

NO_MAC = ""
_DERIVED_FOR = b"lunarbit audit chain v1"
_KEY_ID_CHARS = 8
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64}|)", re.ASCII)
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode


class AuditRow(NamedTuple):
    """A row as it is stored: the columns of the table `audit_log`, in its order. `before` and `after` are JSON."""

    seq: int
    at: int
    actor_id: str
    actor: str
    action: str
    target: str
    before: str | None
    after: str | None
    client_ip: str
    request_id: str
    key_id: str
    mac: str


@dataclass(frozen=True, slots=True)
class Head:
    """How many rows a log has, and the MAC of the last one; an empty log's is the empty text."""

    count: int
    mac: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` of a head wrote, `COUNT:MAC`. Raises `ValueError`."""
        match = _HEAD.fullmatch(text.strip())
        if match is None or (int(match[1]) == 0) != (match[2] == NO_MAC):
            raise ValueError("must be the number of rows, a colon, and the 64 hexadecimal digits of the last row's MAC")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.count}:{self.mac}"


class AuditKeys:
    """The key that signs new rows, and those that signed older ones. A key's id is 8 hex digits of its SHA-256."""

    def __init__(self, current: bytes, *previous: bytes) -> None:
        self.current = current
        self.current_id = _key_id(current)
        self._by_id = {_key_id(key): key for key in (*previous, current)}

    @classmethod
    def derive(cls, audit_key: str, pepper: str, pepper_previous: str) -> Self:
        """Return the keys of a configuration, in which an empty text is a secret that was not given.

        An explicit `audit_key` signs; without one, a key that is derived from the pepper for this purpose alone.
        All of them verify. Raises `ValueError` when there is neither an audit key nor a pepper.
        """
        derived = [
            hmac.digest(secret.encode(), _DERIVED_FOR, "sha256") for secret in (pepper, pepper_previous) if secret
        ]
        keys = [audit_key.encode(), *derived] if audit_key else derived
        if not keys:
            raise ValueError("the audit log needs a key or a pepper")
        return cls(*keys)

    def find(self, key_id: str) -> bytes | None:
        """Return the key of that id, or None for one that is not configured."""
        return self._by_id.get(key_id)


def mac(key: bytes, previous_mac: str, row: AuditRow) -> str:
    """Return the MAC of `row`, whose own `mac` is left out, as the one that follows the row with `previous_mac`.

    It is HMAC-SHA-256, in hexadecimal, over a JSON array in ASCII without spaces: the previous MAC, then every column
    in order. JSON keeps numbers, texts and null apart, and shows where each ends. Raises `TypeError` or `ValueError`
    for a column of another type, which nobody but an intruder has written.
    """
    return hmac.digest(key, _encode([previous_mac, *row[:-1]]).encode("ascii"), "sha256").hex()


def _key_id(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:_KEY_ID_CHARS]
