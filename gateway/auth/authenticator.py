"""Finds whose secret a request carries: from memory for keys that were seen before, else with one look-up.

Every process asks the database several times a second what changed since its last look (`KeyAuthenticator.refresh`),
so a cached key needs no look-up of its own, and a revocation reaches every process within a second. While the database
is away, what is cached goes on working for `STALE_S`.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from gateway.auth.secret import is_well_formed
from gateway.errors import KeyExpired, KeyRevoked, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.auth.keys import ApiKey
    from gateway.auth.principal import Principal
    from gateway.auth.secret import Peppers, StoredSecret
    from gateway.auth.store import KeyStore, KeyWithSecrets

MAX_CACHED = 20_000
# Revocations cannot be heard of while the database is away, so this cannot go on for ever.
STALE_S = 3600.0
# A request does not wait for a database that hangs as long as the database itself would.
LOOK_UP_S = 2.0
# Sixteen hexadecimal digits tell any number of keys apart that a gateway may have.
_SHORT = 16


class _Cached(NamedTuple):
    principal: Principal
    good_until: float
    revision: int


class KeyAuthenticator:
    """Knows the bootstrap keys and those of the store.

    `bootstrap` maps secrets to principals. `on_revoked` is called with the id of each key that turns out to be revoked.
    `clock_ms` gives Unix milliseconds, `monotonic` seconds. Call `load` once and then `refresh` again and again.
    """

    def __init__(
        self,
        bootstrap: Mapping[str, Principal],
        store: KeyStore,
        peppers: Peppers,
        *,
        on_revoked: Callable[[str], None],
        clock_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        # Digests are compared and not secrets, so that neither length nor content shows in the timing.
        self._bootstrap = {peppers.digest(secret): principal for secret, principal in bootstrap.items()}
        self._store = store
        self._peppers = peppers
        self._on_revoked = on_revoked
        self._clock_ms = clock_ms
        self._monotonic = monotonic
        self._cache: dict[str, _Cached] = {}
        self._digests_of: dict[str, set[str]] = {}
        # Until when each live secret is good, in Unix milliseconds.
        self._live: dict[int, float] = {}
        self._revision = 0
        # The newest revisions that were heard of while look-ups are under way, by the ids of the keys.
        self._looking = 0
        self._heard: dict[str, int] = {}
        self._fresh_at = monotonic()

    async def load(self) -> frozenset[str]:
        """Learn which keys are live; returns the ids of the peppers that were used. Raises `StorageUnavailable`."""
        snapshot = await self._store.snapshot()
        self._revision = snapshot.revision
        self._live = {_short(digest): _or_never(good_until) for digest, good_until in snapshot.digests}
        self._fresh_at = self._monotonic()
        return snapshot.pepper_ids

    async def refresh(self) -> None:
        """Take in what changed since the last look. Raises `StorageUnavailable`."""
        while True:
            asked_at = self._monotonic()
            changes = await self._store.changes(self._revision)
            for changed in changes.keys:
                self.take_in(changed)
            self._revision = changes.revision
            self._fresh_at = asked_at
            # A look brings only so many changes at once.
            if not changes.keys:
                break

    def take_in(self, changed: KeyWithSecrets) -> None:
        """Forget what was known of a key before it changed, and say so if it was revoked.

        Whoever changed a key in this process calls this at once, so that the next request sees it.
        """
        key = changed.key
        if self._looking:
            self._heard[key.id] = key.revision
        for digest in list(self._digests_of.get(key.id, ())):
            cached = self._cache.get(digest)
            # What was looked up since the change is not looked up again, which an outage might make impossible.
            if cached is None or cached.revision < key.revision:
                self._forget(key.id, digest)
        for secret in changed.secrets:
            if key.revoked_at is None:
                self._live[_short(secret.digest)] = _good_until(key, secret)
            else:
                self._live.pop(_short(secret.digest), None)
        if key.revoked_at is not None:
            self._on_revoked(key.id)

    def known(self, secret: str) -> Principal | None:
        """Return whose secret this is if that is known without a look-up."""
        digest = self._peppers.digest(secret)
        cached = self._cache.get(digest)
        if cached is None:
            return self._bootstrap.get(digest)
        if cached.good_until <= self._clock_ms() or self._monotonic() - self._fresh_at > STALE_S:
            self._forget(cached.principal.id, digest)
            return None
        return cached.principal

    def may_be_live(self, secret: str) -> bool:
        """Say, without a look-up, whether this may be the secret of a live key."""
        now = self._clock_ms()
        return any(self._live.get(_short(digest), 0) > now for digest in self._peppers.digests(secret))

    async def look_up(self, secret: str) -> Principal | None:
        """Return whose secret this is; None when nobody's. One look-up, unless the checksum is wrong already.

        Raises `KeyExpired` or `KeyRevoked` for a secret that was valid once, and `StorageUnavailable`.
        """
        if not is_well_formed(secret):
            return None
        self._looking += 1
        try:
            return await self._look_up(secret)
        finally:
            self._looking -= 1
            if not self._looking:
                self._heard.clear()

    async def _look_up(self, secret: str) -> Principal | None:
        digests = self._peppers.digests(secret)
        found = await self._find(digests)
        if found is None or not any(hmac.compare_digest(digest, found.secrets[0].digest) for digest in digests):
            return None
        key, stored = found.key, found.secrets[0]
        now = self._clock_ms()
        good_until = _good_until(key, stored)
        if key.revoked_at is not None:
            raise KeyRevoked("Incorrect API key provided: it was revoked; ask for a new one")
        if good_until <= now:
            raise KeyExpired("Incorrect API key provided: it has expired; ask for a new one")
        if stored.pepper_id != self._peppers.ids[0]:
            await self._rehash(secret, stored)
            self._live[_short(digests[0])] = good_until
        # A secret that was rotated away can make nothing that outlives it.
        principal = replace(key.principal(), expires_at=None if math.isinf(good_until) else int(good_until))
        # If this key changed while the look-up was under way, the next request looks again.
        if self._heard.get(key.id, 0) <= key.revision:
            self._remember(digests[0], _Cached(principal, good_until, key.revision))
        return principal

    async def _find(self, digests: list[str]) -> KeyWithSecrets | None:
        try:
            async with asyncio.timeout(LOOK_UP_S):
                return await self._store.find(digests)
        except TimeoutError as exc:
            raise StorageUnavailable("The database does not answer; try again later", retry_after_s=5) from exc

    def _remember(self, digest: str, cached: _Cached) -> None:
        if len(self._cache) >= MAX_CACHED:
            oldest = next(iter(self._cache))
            self._forget(self._cache[oldest].principal.id, oldest)
        self._cache[digest] = cached
        self._digests_of.setdefault(cached.principal.id, set()).add(digest)

    def _forget(self, key_id: str, digest: str) -> None:
        self._cache.pop(digest, None)
        digests = self._digests_of.get(key_id, set())
        digests.discard(digest)
        if not digests:
            self._digests_of.pop(key_id, None)

    async def _rehash(self, secret: str, stored: StoredSecret) -> None:
        """Move a secret from the pepper on its way out to the present one, which only its use makes possible."""
        anew = self._peppers.store(secret, stored.created_at)._replace(valid_until=stored.valid_until)
        # The key is good whether or not this can be written now; its next look-up tries again.
        with suppress(StorageUnavailable, TimeoutError):
            async with asyncio.timeout(LOOK_UP_S):
                await self._store.rehash(stored.digest, anew)


def _short(digest: str) -> int:
    return int(digest[:_SHORT], 16)


def _good_until(key: ApiKey, secret: StoredSecret) -> float:
    return min(_or_never(key.expires_at), _or_never(secret.valid_until))


def _or_never(at_ms: int | None) -> float:
    return math.inf if at_ms is None else at_ms
