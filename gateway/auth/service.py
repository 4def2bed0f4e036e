"""The administration of keys: create, change, rotate, revoke, list, statistics. Every act is audited as it is done."""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from gateway.audit.entry import AuditEntry, log_head
from gateway.auth import key_fields
from gateway.auth.bootstrap import BOOTSTRAP_NAMES
from gateway.auth.escalation import Defaults, check_not_wider
from gateway.auth.keys import ApiKey, iso, permission_flags
from gateway.auth.secret import masked, new_secret
from gateway.auth.store import KeyWithSecrets, RememberedAnswer
from gateway.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    KeyNameExists,
    KeyNotFound,
    KeyRevoked,
    StorageUnavailable,
)
from gateway.usage.recorder import utc_day

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from gateway.audit.chain import Head
    from gateway.auth.principal import Principal
    from gateway.auth.secret import Peppers
    from gateway.auth.store import KeyStore, KeyTransaction
    from gateway.usage.report import KeyTotals

T = TypeVar("T")

DAY_MS = 86_400_000
REMEMBERED_MS = DAY_MS
DEFAULT_OVERLAP_MS = DAY_MS
MAX_IDEMPOTENCY_KEY = 255
DAYS_TOLD = 90
MAX_PER_PAGE = 100
SHOWN_ONCE = "Save this key now - it will not be shown again!"
_NAMES_TOLD = 50


class Origin(NamedTuple):
    """Where an administrative act came from."""

    client_ip: str
    request_id: str


class Created(NamedTuple):
    """The answer to a creation; `is_new` is false for the repeat of an earlier one, whose secret is not shown again."""

    body: dict[str, Any]
    is_new: bool


class Totals(Protocol):
    """What the statistics ask of the usage."""

    async def key_totals(self, from_day: str) -> Mapping[str, KeyTotals]:
        """Return what each key, by its id, did in all, and on each day since `from_day` (`YYYY-MM-DD`, UTC)."""
        ...

    async def last_used(self, key_ids: Collection[str]) -> Mapping[str, int]:
        """Return when these keys were last used, in Unix milliseconds."""
        ...


class KeyService:
    """Administers the keys of one store. `currency` is that of the price list; `clock_ms` gives Unix milliseconds.

    `on_change` is told of every key that was changed here, so that this process need not wait to hear of it. Every
    method raises `StorageUnavailable` when the store does not answer.
    """

    def __init__(
        self,
        store: KeyStore,
        totals: Totals,
        peppers: Peppers,
        *,
        defaults: Defaults,
        currency: str,
        on_change: Callable[[KeyWithSecrets], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._totals = totals
        self._peppers = peppers
        self._defaults = defaults
        self._currency = currency
        self._on_change = on_change
        self._clock_ms = clock_ms

    async def create(
        self, fields: Mapping[str, Any], caller: Principal, origin: Origin, idempotency_key: str | None = None
    ) -> Created:
        """Make a key. Raises `InvalidRequest`, `Forbidden`, `KeyNameExists`, `IdempotencyKeyReused`."""
        now = self._clock_ms()
        _check_idempotency_key(idempotency_key)
        key = key_fields.new_key(fields, f"key_{secrets.token_hex(8)}", now, self._currency)
        check_not_wider(caller, key, self._defaults)
        secret = new_secret()
        stored = self._peppers.store(secret, now)
        request_hash = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

        async def work(act: _Act) -> Created:
            if idempotency_key is not None:
                before = await act.tx.remembered(caller.id, idempotency_key, now)
                if before is not None:
                    return _repeated(before, request_hash)
            if key.name in BOOTSTRAP_NAMES or await act.tx.live(key.name) is not None:
                msg = f"There is a key named {key.name!r} already; revoke it first or choose another name"
                raise KeyNameExists(msg, details={"name": key.name}, param="name")
            audited = await act.audit("key.create", None, key)
            await act.tx.insert(audited, stored)
            act.changed.append(KeyWithSecrets(audited, (stored,)))
            answer = _answer("API key created successfully", audited)
            if idempotency_key is not None:
                kept = RememberedAnswer(request_hash, json.dumps(answer))
                await act.tx.remember(caller.id, idempotency_key, kept, now, now + REMEMBERED_MS)
            return Created(_with_secret(answer, secret), is_new=True)

        return await self._administer(caller, origin, now, work)

    async def change(self, name: str, fields: Mapping[str, Any], caller: Principal, origin: Origin) -> dict[str, Any]:
        """Change a key and return it as lists show it. Raises `InvalidRequest`, `Forbidden`, `KeyNotFound`."""
        now = self._clock_ms()

        async def work(act: _Act) -> KeyWithSecrets:
            found = await self._live(act, name)
            changed = key_fields.changed_key(found.key, fields, now, self._currency)
            check_not_wider(caller, changed, self._defaults)
            after = found._replace(key=await act.audit("key.change", found.key, changed))
            await act.tx.update(after.key)
            act.changed.append(after)
            return after

        after = await self._administer(caller, origin, now, work)
        last_used: Mapping[str, int] = {}
        # What is done is done, whether or not this can be told with it.
        with suppress(StorageUnavailable):
            last_used = await self._totals.last_used([after.key.id])
        return _view(after, last_used, now)

    async def rotate(self, name: str, fields: Mapping[str, Any], caller: Principal, origin: Origin) -> dict[str, Any]:
        """Give a key a new secret; the old one stays valid for the asked `overlap`, by default a day.

        Raises `InvalidRequest`, `Forbidden`, `KeyNotFound`.
        """
        now = self._clock_ms()
        until = now + key_fields.overlap_ms(fields, DEFAULT_OVERLAP_MS)
        secret = new_secret()
        stored = self._peppers.store(secret, now)

        async def work(act: _Act) -> dict[str, Any]:
            found = await self._live(act, name)
            overlap = {"previousKeyValidUntil": iso(until)}
            key = await act.audit("key.rotate", found.key, found.key, overlap)
            await act.tx.update(key)
            await act.tx.replace_secret(key.id, stored, until)
            earlier = [old._replace(valid_until=min(old.valid_until or until, until)) for old in found.secrets]
            act.changed.append(KeyWithSecrets(key, (stored, *earlier)))
            return _with_secret(_answer("API key rotated successfully", key) | overlap, secret)

        return await self._administer(caller, origin, now, work)

    async def revoke(self, name: str, caller: Principal, origin: Origin) -> None:
        """End a key at once and for good. Raises `Forbidden`, `KeyNotFound`."""
        now = self._clock_ms()

        async def work(act: _Act) -> None:
            found = await self._live(act, name)
            revoked = await act.audit("key.revoke", found.key, replace(found.key, revoked_at=now))
            await act.tx.update(revoked)
            act.changed.append(found._replace(key=revoked))

        await self._administer(caller, origin, now, work)

    async def page(self, tag: str | None, page: int, per_page: int) -> dict[str, Any]:
        """Return a page of all keys, revoked ones too, without their secrets; pages begin with 1."""
        found, total = await self._store.page(tag, (page - 1) * per_page, per_page)
        last_used = await self._totals.last_used([entry.key.id for entry in found])
        now = self._clock_ms()
        views = [_view(entry, last_used, now) for entry in found]
        return {"keys": views, "total": total, "page": page, "per_page": per_page}

    async def stats(self) -> dict[str, Any]:
        """Return what every key came to, its last `DAYS_TOLD` days (UTC) one by one, and all together.

        A revoked key is left out when a later one has its name, so that a name stands for one key.
        """
        totals = await self._totals.key_totals(utc_day(self._clock_ms() - (DAYS_TOLD - 1) * DAY_MS))
        by_name = {key.name: key for key in await self._store.everyone()}
        rows = [_statistics(key.name, totals.get(key.id)) for key in by_name.values()]
        return {"keys": rows, "totals": _sums(rows)}

    async def _live(self, act: _Act, name: str) -> KeyWithSecrets:
        """Return the live key of that name, if the caller may touch it."""
        # Not every database takes every character, and no key has such a name.
        found = await act.tx.live(name) if name.isprintable() else None
        if found is None:
            names = await act.tx.live_names(_NAMES_TOLD)
            msg = f"There is no live key named {name[:100]!r}"
            raise KeyNotFound(msg, details={"name": name[:100], "available_keys": names})
        check_not_wider(act.caller, found.key, self._defaults)
        return found

    async def _administer(
        self, caller: Principal, origin: Origin, now_ms: int, work: Callable[[_Act], Awaitable[T]]
    ) -> T:
        """Run `work` in one transaction, and tell of what it did once that is durable. Raises `KeyRevoked`."""
        acts: list[_Act] = []

        async def run(tx: KeyTransaction) -> T:
            # Its request was admitted before its body came, which may have been long ago.
            if not caller.is_root and await tx.is_revoked(caller.id):
                raise KeyRevoked("The API key was revoked before its request was complete")
            acts.append(_Act(tx, caller, origin, now_ms))
            return await work(acts[-1])

        result = await self._store.administer(run)
        for entry, head in acts[-1].audited:
            log_head(entry, head)
        for changed in acts[-1].changed:
            self._on_change(changed)
        return result


class _Act:
    """One administrative act under way: who does it, what it changes, and what it leaves in the audit log."""

    def __init__(self, tx: KeyTransaction, caller: Principal, origin: Origin, now_ms: int) -> None:
        self.tx = tx
        self.caller = caller
        self._origin = origin
        self._now_ms = now_ms
        self.audited: list[tuple[AuditEntry, Head]] = []
        self.changed: list[KeyWithSecrets] = []

    async def audit(
        self, action: str, before: ApiKey | None, after: ApiKey, more: Mapping[str, Any] | None = None
    ) -> ApiKey:
        """Append to the audit log and return `after` with the revision that this gives it."""
        fields = after.fields() | {"status": after.status(self._now_ms), **(more or {})}
        entry = AuditEntry(
            at=self._now_ms,
            actor_id=self.caller.id,
            actor=self.caller.name,
            action=action,
            target=after.name,
            before=None if before is None else before.fields() | {"status": before.status(self._now_ms)},
            after=fields,
            client_ip=self._origin.client_ip,
            request_id=self._origin.request_id,
        )
        head = await self.tx.audit(entry)
        self.audited.append((entry, head))
        return replace(after, revision=head.count)


def _check_idempotency_key(value: str | None) -> None:
    if value is not None and not (0 < len(value) <= MAX_IDEMPOTENCY_KEY and value.isprintable()):
        rule = f"must be 1 to {MAX_IDEMPOTENCY_KEY} printable characters"
        raise InvalidRequest(f"Idempotency-Key: {rule}", errors=[("Idempotency-Key", rule)])


def _repeated(before: RememberedAnswer, request_hash: str) -> Created:
    if before.request_hash != request_hash:
        raise IdempotencyKeyReused("This Idempotency-Key came before with another body; use a new one")
    return Created(json.loads(before.answer), is_new=False)


def _answer(message: str, key: ApiKey) -> dict[str, Any]:
    return {
        "message": message,
        "name": key.name,
        "permissions": permission_flags(key.permissions),
        "createdAt": iso(key.created_at),
        "expiresAt": iso(key.expires_at),
    }


def _with_secret(answer: dict[str, Any], secret: str) -> dict[str, Any]:
    """Return the answer that shows the secret, which is the only time that it is shown."""
    return {"message": answer["message"], "key": secret, **answer, "warning": SHOWN_ONCE}


def _view(entry: KeyWithSecrets, last_used: Mapping[str, int], now_ms: int) -> dict[str, Any]:
    """Return a key as lists show it."""
    key = entry.key
    fields = key.fields()
    shown = masked(entry.secrets[0].prefix) if entry.secrets else None
    head = {"name": fields.pop("name"), "description": fields.pop("description"), "maskedKey": shown}
    used = {"lastUsedAt": iso(last_used.get(key.id)), "status": key.status(now_ms)}
    return head | fields | used


def _statistics(name: str, totals: KeyTotals | None) -> dict[str, Any]:
    if totals is None:
        return {"name": name, **_sums([]), "lastUsedAt": None, "byDay": []}
    by_day = [{"date": day[0], **_counts(*day[1:])} for day in totals.by_day]
    return {"name": name, **_counts(*totals[:4]), "lastUsedAt": iso(totals.last_used_at), "byDay": by_day}


def _counts(requests: int, errors: int, prompt: int, completion: int) -> dict[str, Any]:
    tokens = {"prompt": prompt, "completion": completion, "total": prompt + completion}
    return {"requests": requests, "errors": errors, "tokens": tokens}


def _sums(rows: list[dict[str, Any]]) -> dict[str, Any]:
    tokens = {field: sum(row["tokens"][field] for row in rows) for field in ("prompt", "completion", "total")}
    return {field: sum(row[field] for row in rows) for field in ("requests", "errors")} | {"tokens": tokens}
