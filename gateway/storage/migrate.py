"""Applies the migrations. The only module that imports Alembic, and itself imported only when there is work to do."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from typing import TYPE_CHECKING, cast

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.runtime.migration import MigrationStep
from alembic.script import Script
from alembic.script.revision import RevisionError, RevisionMap

from gateway.storage.failures import DatabaseTooNew
from gateway.storage.migrations import HEAD, versions

if TYPE_CHECKING:
    from sqlalchemy import Connection

# What it did is logged once, by the database.
logging.getLogger("alembic").setLevel(logging.WARNING)


def revisions() -> RevisionMap:
    """Return the migrations as Alembic sees them, imported as the modules of a package that they are."""
    names = (f"{versions.__name__}.{found.name}" for found in pkgutil.iter_modules(versions.__path__))
    modules = [importlib.import_module(name) for name in names]
    return RevisionMap(lambda: [Script(module, module.revision, str(module.__file__)) for module in modules])


def bring_up_to_date(connection: Connection) -> str | None:
    """Apply in the open transaction of `connection` what is missing, and return the revision that was there before.

    Must hold the lock that keeps other processes from doing the same. Raises `DatabaseTooNew`.
    """
    known = revisions()
    before = MigrationContext.configure(connection).get_current_revision()
    try:
        missing = reversed(list(known.iterate_revisions(HEAD, before or "base")))
    except RevisionError:
        msg = f"The database is at revision {before}, which this version does not know (it knows {HEAD}): "
        raise DatabaseTooNew(msg + "run the version that changed it, or a newer one") from None
    steps = [MigrationStep.upgrade_from_script(known, cast("Script", revision)) for revision in missing]
    context = MigrationContext.configure(
        connection, opts={"transactional_ddl": True, "fn": lambda _heads, _context: steps}
    )
    # The operations are handed over, since Alembic's module `op` is one for the whole process.
    context.run_migrations(op=Operations(context))
    return before
