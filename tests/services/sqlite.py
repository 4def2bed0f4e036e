"""A SQLite database with all its tables, copied instead of made anew for each of thousands of gateways."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine

from gateway.storage.migrate import bring_up_to_date
from gateway.stores import DATABASE_FILE


def put_database(folder: Path) -> None:
    """Put the database into a data folder that has none yet, as the first start of a gateway leaves it.

    Making the tables takes ten times as long as opening them; the tests of storage, of the command line and of
    programs let the gateway make them.
    """
    # What a test has put there itself stays, also a file in the place of the folder.
    with suppress(FileExistsError):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / DATABASE_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as database:
            database.write(_empty_database())


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DATABASE_FILE
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            bring_up_to_date(connection)
        engine.dispose()
        return path.read_bytes()
