"""What these tests share: both databases, and a log that goes nowhere."""

from __future__ import annotations

from tests.storage.conftest import database, database_url, log, postgres, postgres_url

__all__ = ["database", "database_url", "log", "postgres", "postgres_url"]
