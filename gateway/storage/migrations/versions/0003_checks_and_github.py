"""What the verification of builds and the synchronisation with GitHub remember."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0003"
down_revision = "0002"


def upgrade(op: Operations) -> None:
    """Add it."""
    op.add_column("release_builds", sa.Column("ed_signature", sa.Text))
    op.add_column("release_projects", sa.Column("github", sa.Text))
    op.create_table(
        "build_checks",
        *(
            sa.Column(name, sa.Text, primary_key=True)
            for name in ("project_id", "channel_id", "version_id", "build_id")
        ),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("state_at", sa.BigInteger),
        sa.Column("checked_at", sa.BigInteger, nullable=False),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("etag", sa.Text),
        sa.Column("last_modified", sa.Text),
    )
    _make_github(op)


def _make_github(op: Operations) -> None:
    op.create_table(
        "github_repositories",
        sa.Column("project_id", sa.Text, primary_key=True),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("applied", sa.Text, nullable=False),
        sa.Column("configured", sa.Text, nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("repository_id", sa.BigInteger),
        sa.Column("etags", sa.Text, nullable=False),
        sa.Column("polled_at", sa.BigInteger),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("held_until", sa.BigInteger, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
    )
    op.create_table(
        "github_releases",
        sa.Column("project_id", sa.Text, primary_key=True),
        sa.Column("release_id", sa.BigInteger, primary_key=True),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("channel_id", sa.Text),
        sa.Column("version_id", sa.Text),
        sa.Column("last_modified", sa.Text),
        sa.Column("due_at", sa.BigInteger),
    )
    op.create_table(
        "github_versions",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("project_id", "channel_id", "version_id")),
        sa.Column("release_id", sa.BigInteger, nullable=False),
        sa.Column("written", sa.Text, nullable=False),
        sa.Column("builds", sa.Text, nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger),
    )
    op.create_table(
        "github_deliveries",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("received_at", sa.BigInteger, nullable=False),
    )
