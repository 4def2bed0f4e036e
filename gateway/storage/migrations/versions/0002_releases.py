"""The tables of the release module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations) -> None:
    """Make them."""
    _make_projects(op)
    _make_versions(op)
    _make_builds(op)


def _make_projects(op: Operations) -> None:
    op.create_table(
        "release_projects",
        sa.Column("id", sa.Text, primary_key=True),
        *_texts("name", "description", "repository", "homepage", "default_channel", "verification"),
        *(sa.Column(name, sa.Boolean, nullable=False) for name in ("public_updates", "allow_rollback")),
        sa.Column("arm64_runs_x64", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("release_projects_revision", "release_projects", ["revision"])
    op.create_table(
        "release_channels",
        *_keys("project_id", "id"),
        sa.Column("position", sa.Integer, nullable=False),
        *_texts("name", "description"),
        sa.Column("auto_update", sa.Boolean, nullable=False),
        *_texts("includes"),
        sa.ForeignKeyConstraint(["project_id"], ["release_projects.id"]),
    )


def _make_versions(op: Operations) -> None:
    op.create_table(
        "release_versions",
        *_keys("project_id", "channel_id", "id"),
        *_texts("name", "description", "release_notes"),
        sa.Column("published_at", sa.BigInteger, nullable=False),
        sa.Column("breaking", sa.Boolean),
        sa.Column("required", sa.Boolean, nullable=False),
        sa.Column("min_launcher_version", sa.Text),
        sa.Column("rollout_percent", sa.Float, nullable=False),
        *_texts("rollout_salt"),
        sa.Column("yanked_at", sa.BigInteger),
        *_texts("yank_reason"),
        sa.ForeignKeyConstraint(["project_id", "channel_id"], ["release_channels.project_id", "release_channels.id"]),
    )


def _make_builds(op: Operations) -> None:
    op.create_table(
        "release_builds",
        *_keys("project_id", "channel_id", "version_id", "id"),
        sa.Column("position", sa.Integer, nullable=False),
        *_texts("platform", "architecture", "file_name"),
        sa.Column("file_size", sa.BigInteger, nullable=False),
        *_texts("download_url", "sha256"),
        *(sa.Column(name, sa.Text) for name in ("md5", "sha1", "sha512", "signature", "min_os_version")),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        *_texts("state", "state_reason"),
        sa.Column("state_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["project_id", "channel_id", "version_id"],
            ["release_versions.project_id", "release_versions.channel_id", "release_versions.id"],
        ),
    )
    op.create_table(
        "build_downloads",
        *_keys("project_id", "channel_id", "version_id", "build_id"),
        sa.Column("downloads", sa.BigInteger, nullable=False),
    )


def _keys(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, primary_key=True) for name in names]


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]
