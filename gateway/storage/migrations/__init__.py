"""Migrations: `versions` holds one module for each change of the tables.

They are written by hand: `upgrade(op)` gets Alembic's operations. There is no way down: whoever has to go back restores
a backup.
"""

from __future__ import annotations

# The newest revision stands here too, so that a start whose tables are up to date need not import Alembic.
HEAD = "0003"
