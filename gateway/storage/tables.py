"""Every table. Times are Unix milliseconds in UTC, JSON is text, money is a whole number of billionths (`nano`).

The migrations in `gateway/storage/migrations` make these tables; a test holds both together. What is not obvious:

- `api_keys.revision` is the number of the audit row that was written together with the key's last change. It grows with
  every change of any key, so another process finds all changes since its last look with one indexed read.
- `audit_head` has one row. Whoever appends to the audit log locks it first, which serialises administrative acts.
- `usage_writers` holds the last batch that each process has written, so that a batch whose commit was uncertain is not
  counted twice.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text, text

metadata = MetaData()
# SQLite numbers rows by itself only in a column of exactly this type.
_Serial = BigInteger().with_variant(Integer, "sqlite")

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("permissions", Text, nullable=False),
    Column("rate_limit", BigInteger),
    Column("ai_rate_limit", BigInteger),
    Column("allowed_projects", Text),
    Column("allowed_models", Text),
    Column("max_tokens_per_request", BigInteger),
    Column("tokens_per_day", BigInteger),
    Column("max_parallel", BigInteger),
    Column("budget_nano", BigInteger),
    Column("budget_currency", Text),
    Column("budget_period", Text),
    Column("tags", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("revision", BigInteger, nullable=False),
    # A name belongs to one live key; a revoked one's can be used again.
    Index(
        "api_keys_live_name",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
    Index("api_keys_revision", "revision"),
)

key_secrets = Table(
    "key_secrets",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("key_id", Text, ForeignKey("api_keys.id"), nullable=False),
    Column("prefix", Text, nullable=False),
    Column("pepper_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("valid_until", BigInteger),
    Index("key_secrets_key", "key_id"),
)

idempotent_answers = Table(
    "idempotent_answers",
    metadata,
    Column("caller_id", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("idempotent_answers_expiry", "expires_at"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("client_ip", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("mac", Text, nullable=False),
    Index("audit_log_at", "at"),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("mac", Text, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("key_name", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("provider", Text),
    Column("model", Text),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error_code", Text),
    Column("attempts", Integer, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("ttft_ms", Float),
    Column("cost_nano", BigInteger),
    Column("currency", Text),
    Index("usage_at", "at"),
    Index("usage_key_at", "key_id", "at"),
)

key_days = Table(
    "key_days",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("last_used_at", BigInteger, nullable=False),
)

usage_writers = Table(
    "usage_writers",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("last_batch", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
