"""Keys in the database: implements the interfaces of `gateway/auth/store.py` on the tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Select, delete, func, insert, select, update

from gateway.auth.keys import ApiKey
from gateway.auth.principal import Budget, KeyLimits, Permission
from gateway.auth.secret import StoredSecret
from gateway.auth.store import Changes, KeyWithSecrets, RememberedAnswer, Snapshot
from gateway.storage import audit
from gateway.storage.tables import api_keys, audit_head, idempotent_answers, key_secrets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.audit.chain import AuditKeys, Head
    from gateway.audit.entry import AuditEntry
    from gateway.auth.store import KeyTransaction
    from gateway.storage.database import Database

T = TypeVar("T")

_SECRET_COLUMNS = (
    key_secrets.c.digest,
    key_secrets.c.prefix,
    key_secrets.c.pepper_id,
    key_secrets.c.created_at,
    key_secrets.c.valid_until,
)
_LIVE = api_keys.c.revoked_at.is_(None)
# A look for changes is bounded, so that no statement grows with the number of keys; the next look goes on.
_KEYS_PER_READ = 500
# Tags are printable, so this stands in none of them.
_TAG_SEPARATOR = "\x1f"


class KeyTable:
    """The keys of one database. `audit_keys` sign what the audit log is told."""

    def __init__(self, database: Database, audit_keys: AuditKeys) -> None:
        self._database = database
        self._audit_keys = audit_keys

    async def administer(self, work: Callable[[KeyTransaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction, after those of everybody else who changes keys."""

        async def run(connection: AsyncConnection) -> T:
            await audit.lock_head(connection)
            return await work(_Transaction(connection, self._audit_keys))

        return await self._database.write(run)

    async def find(self, digests: Sequence[str]) -> KeyWithSecrets | None:
        """Return the key whose secret has one of the digests, with that secret only."""
        query = (
            select(api_keys, *_labelled())
            .join(key_secrets, key_secrets.c.key_id == api_keys.c.id)
            .where(key_secrets.c.digest.in_(digests))
        )

        async def work(connection: AsyncConnection) -> KeyWithSecrets | None:
            row = (await connection.execute(query)).first()
            return None if row is None else KeyWithSecrets(_key(row), (_labelled_secret(row),))

        return await self._database.read(work)

    async def snapshot(self) -> Snapshot:
        """Return the digests of all live secrets."""
        columns = (key_secrets.c.digest, key_secrets.c.pepper_id, key_secrets.c.valid_until, api_keys.c.expires_at)
        query = select(*columns).join(api_keys, api_keys.c.id == key_secrets.c.key_id)

        async def work(connection: AsyncConnection) -> Snapshot:
            # The revision first: what changes in between is then found again by the next look for changes.
            revision = await connection.scalar(select(audit_head.c.count))
            rows = (await connection.execute(query.where(_LIVE))).all()
            digests = [(row.digest, _earlier(row.valid_until, row.expires_at)) for row in rows]
            return Snapshot(revision or 0, digests, frozenset(row.pepper_id for row in rows))

        return await self._database.read(work)

    async def changes(self, since: int) -> Changes:
        """Return keys that changed after the revision `since`, the oldest change first."""
        query = select(api_keys).where(api_keys.c.revision > since).order_by(api_keys.c.revision).limit(_KEYS_PER_READ)

        async def work(connection: AsyncConnection) -> Changes:
            keys = [_key(row) for row in await connection.execute(query)]
            return Changes(keys[-1].revision if keys else since, await _with_secrets(connection, keys))

        return await self._database.read(work)

    async def rehash(self, old_digest: str, secret: StoredSecret) -> None:
        """Replace the digest of a secret by one under another pepper."""
        query = (
            update(key_secrets)
            .where(key_secrets.c.digest == old_digest)
            .values(digest=secret.digest, pepper_id=secret.pepper_id)
        )
        await self._database.write(lambda connection: connection.execute(query))

    async def page(self, tag: str | None, offset: int, limit: int) -> tuple[list[KeyWithSecrets], int]:
        """Return keys in the order of their creation, and how many there are."""
        query: Select[Any] = select(api_keys)
        if tag is not None:
            # LIKE would not tell upper from lower case in SQLite.
            between = _TAG_SEPARATOR + tag + _TAG_SEPARATOR
            query = query.where(func.replace(api_keys.c.tags, between, "") != api_keys.c.tags)
        count = select(func.count()).select_from(query.subquery())
        query = query.order_by(api_keys.c.created_at, api_keys.c.id).offset(offset).limit(limit)

        async def work(connection: AsyncConnection) -> tuple[list[KeyWithSecrets], int]:
            total = await connection.scalar(count)
            keys = [_key(row) for row in await connection.execute(query)]
            return await _with_secrets(connection, keys), total or 0

        return await self._database.read(work)

    async def everyone(self) -> list[ApiKey]:
        """Return every key in the order of their creation."""
        query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)

        async def work(connection: AsyncConnection) -> list[ApiKey]:
            return [_key(row) for row in await connection.execute(query)]

        return await self._database.read(work)


class _Transaction:
    """The present transaction; see `gateway.auth.store.KeyTransaction`."""

    def __init__(self, connection: AsyncConnection, audit_keys: AuditKeys) -> None:
        self._connection = connection
        self._audit_keys = audit_keys

    async def live(self, name: str) -> KeyWithSecrets | None:
        row = (await self._connection.execute(select(api_keys).where(_LIVE, api_keys.c.name == name))).first()
        return None if row is None else (await _with_secrets(self._connection, [_key(row)]))[0]

    async def is_revoked(self, key_id: str) -> bool:
        query = select(api_keys.c.id).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_not(None))
        return (await self._connection.execute(query)).first() is not None

    async def live_names(self, most: int) -> list[str]:
        query = select(api_keys.c.name).where(_LIVE).order_by(api_keys.c.name).limit(most)
        return list(await self._connection.scalars(query))

    async def audit(self, entry: AuditEntry) -> Head:
        return await audit.append(self._connection, entry, self._audit_keys)

    async def insert(self, key: ApiKey, secret: StoredSecret) -> None:
        await self._connection.execute(insert(api_keys).values(_columns(key)))
        await self._connection.execute(insert(key_secrets).values(key_id=key.id, **secret._asdict()))

    async def update(self, key: ApiKey) -> None:
        await self._connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(_columns(key)))

    async def replace_secret(self, key_id: str, secret: StoredSecret, old_valid_until: int) -> None:
        ends_later = key_secrets.c.valid_until.is_(None) | (key_secrets.c.valid_until > old_valid_until)
        end = update(key_secrets).where(key_secrets.c.key_id == key_id, ends_later)
        await self._connection.execute(end.values(valid_until=old_valid_until))
        await self._connection.execute(insert(key_secrets).values(key_id=key_id, **secret._asdict()))

    async def remembered(self, caller_id: str, idempotency_key: str, now_ms: int) -> RememberedAnswer | None:
        table = idempotent_answers.c
        query = select(table.request_hash, table.answer).where(
            table.caller_id == caller_id, table.idempotency_key == idempotency_key, table.expires_at > now_ms
        )
        row = (await self._connection.execute(query)).first()
        return None if row is None else RememberedAnswer(row.request_hash, row.answer)

    async def remember(
        self, caller_id: str, idempotency_key: str, answer: RememberedAnswer, now_ms: int, expires_at: int
    ) -> None:
        await self._connection.execute(delete(idempotent_answers).where(idempotent_answers.c.expires_at <= now_ms))
        values = {"caller_id": caller_id, "idempotency_key": idempotency_key, "expires_at": expires_at}
        await self._connection.execute(insert(idempotent_answers).values(**values, **answer._asdict()))


async def _with_secrets(connection: AsyncConnection, keys: list[ApiKey]) -> list[KeyWithSecrets]:
    """Return the keys with their secrets, the newest first."""
    if not keys:
        return []
    query = (
        select(key_secrets.c.key_id, *_SECRET_COLUMNS)
        .where(key_secrets.c.key_id.in_([key.id for key in keys]))
        .order_by(key_secrets.c.created_at.desc(), key_secrets.c.valid_until.is_not(None))
    )
    found: dict[str, list[StoredSecret]] = {key.id: [] for key in keys}
    for key_id, *secret in await connection.execute(query):
        found[key_id].append(StoredSecret(*secret))
    return [KeyWithSecrets(key, tuple(found[key.id])) for key in keys]


def _earlier(first_ms: int | None, second_ms: int | None) -> int | None:
    return min((at_ms for at_ms in (first_ms, second_ms) if at_ms is not None), default=None)


def _labelled() -> list[Any]:
    """Return the columns of a secret under names that none of a key's has."""
    return [column.label(f"secret_{column.name}") for column in _SECRET_COLUMNS]


def _labelled_secret(row: Row[Any]) -> StoredSecret:
    return StoredSecret(*(getattr(row, f"secret_{column.name}") for column in _SECRET_COLUMNS))


def _columns(key: ApiKey) -> dict[str, Any]:
    limits = key.limits
    budget = limits.budget
    return {
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "permissions": json.dumps(sorted(key.permissions)),
        "rate_limit": limits.rate_limit,
        "ai_rate_limit": limits.ai_rate_limit,
        "allowed_projects": _list_to_text(key.allowed_projects),
        "allowed_models": _list_to_text(key.allowed_models),
        "max_tokens_per_request": limits.max_tokens_per_request,
        "tokens_per_day": limits.tokens_per_day,
        "max_parallel": limits.max_parallel,
        "budget_nano": None if budget is None else budget.nano,
        "budget_currency": None if budget is None else budget.currency,
        "budget_period": None if budget is None else budget.period,
        "tags": _TAG_SEPARATOR.join(("", *key.tags, "")) if key.tags else "",
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "revision": key.revision,
    }


def _key(row: Row[Any]) -> ApiKey:
    budget = None if row.budget_nano is None else Budget(row.budget_nano, row.budget_currency, row.budget_period)
    known = frozenset(Permission)
    return ApiKey(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        description=row.description,
        # A permission that a later version gave means nothing to this one.
        permissions=frozenset(Permission(name) for name in json.loads(row.permissions) if name in known),
        limits=KeyLimits(
            row.rate_limit,
            row.ai_rate_limit,
            row.max_tokens_per_request,
            row.tokens_per_day,
            row.max_parallel,
            budget,
        ),
        allowed_projects=_list_from_text(row.allowed_projects),
        allowed_models=_list_from_text(row.allowed_models),
        tags=tuple(row.tags.split(_TAG_SEPARATOR)[1:-1]),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        revision=row.revision,
    )


def _list_to_text(items: tuple[str, ...] | None) -> str | None:
    return None if items is None else json.dumps(items)


def _list_from_text(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(json.loads(text))
