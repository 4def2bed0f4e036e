"""All tables, the one row of the audit log's head, and what makes that log append-only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0001"
down_revision = None

_LIVE = sa.text("revoked_at IS NULL")
_SQLITE_APPEND_ONLY = """
CREATE TRIGGER audit_log_no_{name} BEFORE {event}
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
"""
_SQLITE_EVENTS = {
    "update": "UPDATE ON audit_log",
    "delete": "DELETE ON audit_log",
    # REPLACE deletes the row that is in its way without asking the trigger above.
    "replace": "INSERT ON audit_log WHEN EXISTS (SELECT 1 FROM audit_log WHERE seq = NEW.seq)",
}
_POSTGRES_FUNCTION = """
CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit_log is append-only' USING ERRCODE = 'restrict_violation'; END $$
"""
_POSTGRES_APPEND_ONLY = """
CREATE TRIGGER audit_log_no_{name} BEFORE {event} EXECUTE FUNCTION audit_log_is_append_only()
"""
_POSTGRES_EVENTS = {
    "change": "UPDATE OR DELETE ON audit_log FOR EACH ROW",
    "truncate": "TRUNCATE ON audit_log FOR EACH STATEMENT",
}


def upgrade(op: Operations) -> None:
    """Make everything."""
    _make_keys(op)
    _make_audit_log(op)
    _make_usage(op)
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )


def _make_keys(op: Operations) -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("permissions", sa.Text, nullable=False),
        sa.Column("rate_limit", sa.BigInteger),
        sa.Column("ai_rate_limit", sa.BigInteger),
        sa.Column("allowed_projects", sa.Text),
        sa.Column("allowed_models", sa.Text),
        sa.Column("max_tokens_per_request", sa.BigInteger),
        sa.Column("tokens_per_day", sa.BigInteger),
        sa.Column("max_parallel", sa.BigInteger),
        sa.Column("budget_nano", sa.BigInteger),
        sa.Column("budget_currency", sa.Text),
        sa.Column("budget_period", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("api_keys_live_name", "api_keys", ["name"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_index("api_keys_revision", "api_keys", ["revision"])
    op.create_table(
        "key_secrets",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("key_id", sa.Text, sa.ForeignKey("api_keys.id"), nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("pepper_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("valid_until", sa.BigInteger),
    )
    op.create_index("key_secrets_key", "key_secrets", ["key_id"])
    op.create_table(
        "idempotent_answers",
        sa.Column("caller_id", sa.Text, primary_key=True),
        sa.Column("idempotency_key", sa.Text, primary_key=True),
        sa.Column("request_hash", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("idempotent_answers_expiry", "idempotent_answers", ["expires_at"])


def _make_audit_log(op: Operations) -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("client_ip", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("mac", sa.Text, nullable=False),
    )
    op.create_index("audit_log_at", "audit_log", ["at"])
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    if not on_sqlite:
        op.execute(_POSTGRES_FUNCTION)
    trigger = _SQLITE_APPEND_ONLY if on_sqlite else _POSTGRES_APPEND_ONLY
    for name, event in (_SQLITE_EVENTS if on_sqlite else _POSTGRES_EVENTS).items():
        op.execute(trigger.format(name=name, event=event))
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.Text, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "count": 0, "mac": ""}])


def _make_usage(op: Operations) -> None:
    op.create_table(
        "usage",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("provider", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error_code", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("latency_ms", sa.Float, nullable=False),
        sa.Column("ttft_ms", sa.Float),
        sa.Column("cost_nano", sa.BigInteger),
        sa.Column("currency", sa.Text),
    )
    op.create_index("usage_at", "usage", ["at"])
    op.create_index("usage_key_at", "usage", ["key_id", "at"])
    op.create_table(
        "key_days",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("day", sa.Text, primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "usage_writers",
        sa.Column("writer", sa.Text, primary_key=True),
        sa.Column("last_batch", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
