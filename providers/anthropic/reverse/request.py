"""From the body of Anthropic's `POST /v1/messages` to the fields of an OpenAI chat-completions request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from providers.anthropic.reverse.tools import tool_fields
from providers.anthropic.reverse.turns import messages_of, system_messages
from providers.translation import listed, members, refuse, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALIKE = ("max_tokens", "temperature", "top_p")
_TRANSLATED = frozenset(
    {
        *_ALIKE,
        "context_management",
        "messages",
        "metadata",
        "output_config",
        "output_format",
        "service_tier",
        "stop_sequences",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
# The gateway acts on the first two itself; the third is a hint about costs.
_LEFT_OUT = frozenset({"model", "stream", "cache_control"})
# Fields that mean nothing with these values, as some clients always send them.
_NEUTRAL: dict[str, tuple[Any, ...]] = {"mcp_servers": ([],), "speed": ("standard",)}
_TIERS = {"auto": "auto", "standard_only": "default"}
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
# From how many tokens on a budget stands for an effort; the largest that fits counts.
_BUDGETS = ((16_384, "high"), (4_096, "medium"), (0, "low"))


def to_chat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a chat completion, without `model` and `stream`.

    `fields` are decoded values of the top-level fields; null stands for an absent one. Raises `NotExpressible`, which
    names the field.
    """
    given = {name: value for name, value in fields.items() if value is not None and name not in _LEFT_OUT}
    for name, value in given.items():
        if name not in _TRANSLATED and value not in _NEUTRAL.get(name, ()):
            refuse(name[:100])
    messages = [*system_messages(given.get("system")), *messages_of(listed(given.get("messages"), "messages"))]
    body: dict[str, Any] = {"messages": messages, **{name: given[name] for name in _ALIKE if name in given}}
    stops = listed(given.get("stop_sequences", []), "stop_sequences")
    if stops:
        body["stop"] = [text(stop, f"stop_sequences.{number}") for number, stop in enumerate(stops)]
    _check_edits(given.get("context_management", {}))
    return body | tool_fields(given) | _account(given) | _output(given)


def _account(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return who asks and at which tier."""
    fields: dict[str, Any] = {}
    metadata = members(given.get("metadata", {}), "metadata", {"user_id"})
    if "user_id" in metadata:
        fields["user"] = text(metadata["user_id"], "metadata.user_id")
    tier = given.get("service_tier")
    if tier is not None:
        if not isinstance(tier, str) or tier not in _TIERS:
            refuse("service_tier", "must be auto or standard_only")
        fields["service_tier"] = _TIERS[tier]
    return fields


def _output(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `reasoning_effort` and `response_format`."""
    fields: dict[str, Any] = {}
    config = members(given.get("output_config", {}), "output_config", {"effort", "format"})
    effort = _effort(config, given.get("thinking"))
    if effort is not None:
        fields["reasoning_effort"] = effort
    for wanted, where in (
        (config.get("format"), "output_config.format"),
        (given.get("output_format"), "output_format"),
    ):
        if wanted is not None:
            fields["response_format"] = _format(wanted, where)
    return fields


def _effort(config: Mapping[str, Any], thinking: Any) -> str | None:
    """Return how much the model is to think; None leaves that to the model."""
    by_thinking = None if thinking is None else _thinking(thinking)
    effort = config.get("effort")
    if effort is None or by_thinking == "none":
        return by_thinking
    if not isinstance(effort, str) or effort not in _EFFORTS:
        refuse("output_config.effort", "must be low, medium, high, xhigh or max")
    return _EFFORTS[effort]


def _thinking(value: Any) -> str | None:
    # How reasoning is shown changes nothing of it.
    thinking = members(value, "thinking", {"type", "budget_tokens"}, ("display",))
    kind = thinking.get("type")
    if kind == "disabled":
        return "none"
    if kind == "adaptive":
        return None
    if kind != "enabled":
        refuse("thinking.type", "must be enabled, adaptive or disabled")
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 0:
        refuse("thinking.budget_tokens", "must be a whole number")
    return next(effort for least, effort in _BUDGETS if budget >= least)


def _format(value: Any, where: str) -> dict[str, Any]:
    wanted = members(value, where, {"type", "schema"})
    if wanted.get("type") != "json_schema":
        refuse(f"{where}.type", "must be json_schema")
    if not isinstance(wanted.get("schema"), dict):
        refuse(f"{where}.schema", "must be an object")
    # The name is only a label, and Anthropic always holds the model to the schema.
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted["schema"], "strict": True}}


def _check_edits(value: Any) -> None:
    """Refuse every wish to shorten the history but the one for less reasoning, of which none is sent here."""
    wanted = members(value, "context_management", {"edits"})
    for number, edit in enumerate(listed(wanted.get("edits", []), "context_management.edits")):
        kind = edit.get("type") if isinstance(edit, dict) else None
        if not isinstance(kind, str) or not kind.startswith("clear_thinking"):
            refuse(f"context_management.edits.{number}.type")
