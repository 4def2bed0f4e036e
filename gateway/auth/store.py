"""Where keys are kept: the interface that the services of this package use and `gateway/storage` implements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from gateway.audit.chain import Head
    from gateway.audit.entry import AuditEntry
    from gateway.auth.keys import ApiKey
    from gateway.auth.secret import StoredSecret

T = TypeVar("T")


class KeyWithSecrets(NamedTuple):
    """A key and what is kept of its secrets, the newest first."""

    key: ApiKey
    secrets: tuple[StoredSecret, ...]


class Changes(NamedTuple):
    """Some of the keys that changed after a revision, the oldest change first, and the revision that they lead to."""

    revision: int
    keys: list[KeyWithSecrets]


class Snapshot(NamedTuple):
    """The digests of all live secrets at a revision, and the ids of the peppers that they were made with.

    Each digest stands with the end of its time in Unix milliseconds, which may be past, or None if it has none.
    """

    revision: int
    digests: list[tuple[str, int | None]]
    pepper_ids: frozenset[str]


class RememberedAnswer(NamedTuple):
    """What an idempotency key was first used for: a hash of the request, and the answer without its secret, as JSON."""

    request_hash: str
    answer: str


class KeyTransaction(Protocol):
    """One administrative act, from the look at the present state to the commit; acts run one after the other."""

    async def live(self, name: str) -> KeyWithSecrets | None:
        """Return the key of that name that is not revoked."""
        ...

    async def is_revoked(self, key_id: str) -> bool:
        """Say whether this key was revoked."""
        ...

    async def live_names(self, most: int) -> list[str]:
        """Return up to `most` names of keys that are not revoked."""
        ...

    async def audit(self, entry: AuditEntry) -> Head:
        """Append to the audit log; the returned head's count is the revision of what is changed with it."""
        ...

    async def insert(self, key: ApiKey, secret: StoredSecret) -> None:
        """Add a new key."""
        ...

    async def update(self, key: ApiKey) -> None:
        """Replace the fields of a key."""
        ...

    async def replace_secret(self, key_id: str, secret: StoredSecret, old_valid_until: int) -> None:
        """Give a key a new secret; the others end at `old_valid_until` (Unix milliseconds) or when they did already."""
        ...

    async def remembered(self, caller_id: str, idempotency_key: str, now_ms: int) -> RememberedAnswer | None:
        """Return what the caller's idempotency key was used for, unless that is too long ago."""
        ...

    async def remember(
        self, caller_id: str, idempotency_key: str, answer: RememberedAnswer, now_ms: int, expires_at: int
    ) -> None:
        """Keep an answer until `expires_at`, and forget those whose time is over."""
        ...


class KeyStore(Protocol):
    """The stored keys. Every method raises `StorageUnavailable` when the store does not answer."""

    async def administer(self, work: Callable[[KeyTransaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction, which is durable when this returns."""
        ...

    async def find(self, digests: Sequence[str]) -> KeyWithSecrets | None:
        """Return the key, also a revoked one, whose secret has one of the digests, with that secret only."""
        ...

    async def snapshot(self) -> Snapshot:
        """Return the digests of all live secrets."""
        ...

    async def changes(self, since: int) -> Changes:
        """Return the keys that changed after the revision `since`, with all their secrets."""
        ...

    async def rehash(self, old_digest: str, secret: StoredSecret) -> None:
        """Replace the digest of a secret by one under another pepper."""
        ...

    async def page(self, tag: str | None, offset: int, limit: int) -> tuple[list[KeyWithSecrets], int]:
        """Return keys in the order of their creation, those with `tag` if one is given, and how many there are."""
        ...

    async def everyone(self) -> list[ApiKey]:
        """Return every key, revoked ones too, in the order of their creation."""
        ...
