"""What the audit log says about one administrative act, and how it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gateway.observability.logs import get_logger

if TYPE_CHECKING:
    from gateway.audit.chain import Head


class AuditEntry(NamedTuple):
    """One administrative act. `at` is Unix milliseconds; `before` and `after` show the target, never a secret."""

    at: int
    actor_id: str
    actor: str
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    client_ip: str
    request_id: str


class AuditFilters(NamedTuple):
    """Which rows are asked for; None is any. Times are Unix milliseconds, `until_ms` is the first that is left out."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    from_ms: int | None = None
    until_ms: int | None = None


class AuditPage(NamedTuple):
    """One page of acts, the newest first, each with its number; how many match in all; and the head of the whole log.

    The head is None when someone has removed it.
    """

    entries: list[tuple[int, AuditEntry]]
    total: int
    head: Head | None


class AuditLog(Protocol):
    """What the endpoint asks of the log."""

    async def page(self, filters: AuditFilters, page: int, per_page: int) -> AuditPage:
        """Return a page of the matching rows; pages begin with 1. Raises `StorageUnavailable`."""
        ...


def log_head(entry: AuditEntry, head: Head) -> None:
    """Tell the process's log of a row that is committed.

    A log that is kept elsewhere thus also keeps the head, against which a truncated audit log shows.
    """
    get_logger().info(
        "audit", seq=head.count, mac=head.mac, action=entry.action, actor=entry.actor, target=entry.target
    )
