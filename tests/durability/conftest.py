"""A PostgreSQL for those tests that need one."""

from __future__ import annotations

from tests.services.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]
