"""The tables of the synchronisation with GitHub, by the conventions of `gateway/storage/tables.py`.

They say what was seen there and what became of it; the releases themselves are in the catalogue.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from gateway.storage.tables import metadata

# `repository_id` is GitHub's own number, by which a repository is found again after it was renamed from the name that
# was `configured`. `source` is the project's source when it was last looked at, and `applied` stands for all that its
# releases were last judged by. `turn` counts the looks, so that one that was overtaken writes nothing.
github_repositories = Table(
    "github_repositories",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("turn", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("applied", Text, nullable=False),
    Column("configured", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("repository_id", BigInteger),
    Column("etags", Text, nullable=False),
    Column("polled_at", BigInteger),
    Column("next_at", BigInteger, nullable=False),
    Column("held_until", BigInteger, nullable=False),
    Column("problem", Text, nullable=False),
)

# `fingerprint` is that of what a release says and holds, without its counters; `changed_at` is when that last changed.
github_releases = Table(
    "github_releases",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("release_id", BigInteger, primary_key=True),
    Column("tag", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("channel_id", Text),
    Column("version_id", Text),
    Column("last_modified", Text),
    Column("due_at", BigInteger),
)

# The versions that were made of releases, with what was last written of each; `builds` is JSON.
github_versions = Table(
    "github_versions",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("channel_id", Text, primary_key=True),
    Column("version_id", Text, primary_key=True),
    Column("release_id", BigInteger, nullable=False),
    Column("written", Text, nullable=False),
    Column("builds", Text, nullable=False),
    Column("withdrawn_at", BigInteger),
)

github_deliveries = Table(
    "github_deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("received_at", BigInteger, nullable=False),
)
