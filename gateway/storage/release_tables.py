"""The tables of the release module, beside those of `gateway/storage/tables.py` and by the same conventions.

`release_projects.revision` grows with every change of anything in the project, and no two changes have the same; other
processes read again only what has grown since their last look. A deleted project leaves its row behind with
`deleted_at`, so that they hear of that too. Download counts stand apart, since they change with every download.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKeyConstraint, Index, Integer, Table, Text

from gateway.storage.tables import metadata

release_projects = Table(
    "release_projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("homepage", Text, nullable=False),
    Column("default_channel", Text, nullable=False),
    Column("verification", Text, nullable=False),
    Column("public_updates", Boolean, nullable=False),
    Column("allow_rollback", Boolean, nullable=False),
    Column("arm64_runs_x64", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("revision", BigInteger, nullable=False),
    Column("github", Text),
    Index("release_projects_revision", "revision"),
)

release_channels = Table(
    "release_channels",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("auto_update", Boolean, nullable=False),
    Column("includes", Text, nullable=False),
    ForeignKeyConstraint(["project_id"], ["release_projects.id"]),
)

release_versions = Table(
    "release_versions",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("channel_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("release_notes", Text, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("breaking", Boolean),
    Column("required", Boolean, nullable=False),
    Column("min_launcher_version", Text),
    Column("rollout_percent", Float, nullable=False),
    Column("rollout_salt", Text, nullable=False),
    Column("yanked_at", BigInteger),
    Column("yank_reason", Text, nullable=False),
    ForeignKeyConstraint(["project_id", "channel_id"], ["release_channels.project_id", "release_channels.id"]),
)

release_builds = Table(
    "release_builds",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("channel_id", Text, primary_key=True),
    Column("version_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("platform", Text, nullable=False),
    Column("architecture", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("file_size", BigInteger, nullable=False),
    Column("download_url", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("md5", Text),
    Column("sha1", Text),
    Column("sha512", Text),
    Column("signature", Text),
    Column("min_os_version", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_reason", Text, nullable=False),
    Column("state_at", BigInteger),
    Column("ed_signature", Text),
    ForeignKeyConstraint(
        ["project_id", "channel_id", "version_id"],
        ["release_versions.project_id", "release_versions.channel_id", "release_versions.id"],
    ),
)

build_downloads = Table(
    "build_downloads",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("channel_id", Text, primary_key=True),
    Column("version_id", Text, primary_key=True),
    Column("build_id", Text, primary_key=True),
    Column("downloads", BigInteger, nullable=False),
)

# What the last check of a build met with. `created_at` and `state_at` are those of the build as the check left it, and
# `failures` counts the checks in a row that went wrong.
build_checks = Table(
    "build_checks",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("channel_id", Text, primary_key=True),
    Column("version_id", Text, primary_key=True),
    Column("build_id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("state_at", BigInteger),
    Column("checked_at", BigInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("etag", Text),
    Column("last_modified", Text),
)
