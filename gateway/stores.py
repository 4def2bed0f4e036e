"""The database and what is kept in it: what the server and the command line have in common."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.audit.chain import AuditKeys
from gateway.auth.escalation import Defaults
from gateway.auth.secret import Peppers
from gateway.auth.service import KeyService
from gateway.dev_key import development_pepper
from gateway.storage.audit import AuditTable
from gateway.storage.catalog import CatalogTable
from gateway.storage.checks import CheckTable
from gateway.storage.database import Database, sqlite_url
from gateway.storage.github import GithubTable
from gateway.storage.keys import KeyTable
from gateway.storage.leases import Leases
from gateway.storage.usage import UsageTable
from gateway.usage.prices import EMPTY, Prices, load_prices

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.store import KeyWithSecrets
    from gateway.settings import Settings

DATABASE_FILE = "lunarbit.sqlite3"


class Stores:
    """What the settings say is kept where; `database` has to be opened and closed.

    `clock_ms` gives Unix milliseconds. Raises `DatabaseUnusable`, `DataFolderUnusable` and `PricesError`.
    """

    def __init__(self, settings: Settings, *, clock_ms: Callable[[], int] | None = None) -> None:
        self.clock_ms = clock_ms or now_ms
        self._settings = settings
        auth = settings.auth
        pepper = auth.pepper.get_secret_value() or development_pepper(settings.data.dir)
        previous = auth.pepper_previous.get_secret_value()
        self.peppers = Peppers(pepper, previous)
        self.audit_keys = AuditKeys.derive(settings.audit.key.get_secret_value(), pepper, previous)
        self.prices = prices_of(settings)
        self.database = Database(database_url(settings))
        self.keys = KeyTable(self.database, self.audit_keys)
        self.usage = UsageTable(self.database)
        self.audit = AuditTable(self.database)
        self.catalog = CatalogTable(self.database, self.audit_keys)
        self.checks = CheckTable(self.database, self.audit_keys)
        self.github = GithubTable(self.database, self.audit_keys)
        self.leases = Leases(self.database)

    def key_service(self, on_change: Callable[[KeyWithSecrets], None]) -> KeyService:
        """Return the administration of keys; `on_change` is told of every key that it changes."""
        limits = self._settings.limits
        return KeyService(
            self.keys,
            self.usage,
            self.peppers,
            defaults=Defaults(limits.per_key, limits.ai),
            currency=self.prices.currency,
            on_change=on_change,
            clock_ms=self.clock_ms,
        )


def database_url(settings: Settings) -> str:
    """Return where the database is: as configured, or a file in the data folder."""
    return settings.database.url or sqlite_url(settings.data.dir / DATABASE_FILE)


def prices_of(settings: Settings) -> Prices:
    """Return the configured prices, or none when nobody has named a file and the usual one is not there.

    Raises `PricesError`.
    """
    path = settings.usage.prices
    if "prices" not in settings.usage.model_fields_set and not path.exists():
        return EMPTY
    return load_prices(path)


def now_ms() -> int:
    """Return the present time in Unix milliseconds."""
    return time.time_ns() // 1_000_000
