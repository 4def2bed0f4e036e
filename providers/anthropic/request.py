"""From the fields of an OpenAI chat-completions request to the body of Anthropic's `POST /v1/messages`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from providers.anthropic.messages import conversation
from providers.anthropic.reasoning import thinking_fields
from providers.anthropic.refusals import members, refuse, text
from providers.anthropic.tools import tool_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

# Fields that this dialect has too, for clients that know with whom they speak; they go as they are.
_NATIVE = frozenset({"cache_control", "container", "context_management", "inference_geo", "thinking", "top_k", "top_p"})
_TRANSLATED = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "output_config",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "user",
    }
)
# The gateway acts on these itself: usage comes with every stream of this dialect.
_GATEWAYS = frozenset({"model", "stream", "stream_options"})
# Fields of OpenAI's that mean nothing with these values, as some clients always send them.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "store": (False,),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_HOTTEST = 2


def to_messages(fields: Mapping[str, Any], *, model: str, default_max_tokens: int) -> dict[str, Any]:
    """Return the body for `model`, without `stream`.

    `fields` are decoded values of the top-level fields; null stands for an absent one. `default_max_tokens` is sent
    when the request names no maximum, since the API wants one. Raises `NotExpressible`, which names the field.
    """
    given = {name: value for name, value in fields.items() if value is not None and name not in _GATEWAYS}
    for name, value in given.items():
        if name not in _TRANSLATED and name not in _NATIVE and value not in _NEUTRAL.get(name, ()):
            refuse(name[:100])
    messages = given.get("messages")
    if not isinstance(messages, list):
        refuse("messages", "must be a list")
    body: dict[str, Any] = {"model": model, "max_tokens": _max_tokens(given, default_max_tokens)}
    system, body["messages"] = conversation(messages)
    if system:
        body["system"] = system
    body |= tool_fields(given) | _sampling(given) | _account(given)
    body |= {name: given[name] for name in _NATIVE & given.keys()}
    return body | _output(given, body)


def _max_tokens(given: Mapping[str, Any], default: int) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        value = given.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                refuse(name, "must be a whole number of at least 1")
            return value
    return default


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    temperature = given.get("temperature")
    if temperature is not None:
        if (
            not isinstance(temperature, int | float)
            or isinstance(temperature, bool)
            or not 0 <= temperature <= _HOTTEST
        ):
            refuse("temperature", "must be a number from 0 to 2")
        # The scale ends at 1 here.
        fields["temperature"] = min(temperature, 1)
    stop = given.get("stop")
    if stop:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list):
            refuse("stop", "must be a string or a list of strings")
        fields["stop_sequences"] = [text(one, f"stop[{number}]") for number, one in enumerate(stops)]
    return fields


def _account(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return who asks and at which tier."""
    fields: dict[str, Any] = {}
    metadata = members(given.get("metadata") or {}, "metadata", {"user_id"})
    user = given.get("user", given.get("safety_identifier", metadata.get("user_id")))
    if user is not None:
        fields["metadata"] = {"user_id": text(user, "user")}
    tier = given.get("service_tier")
    if tier is not None:
        if not isinstance(tier, str) or tier not in _TIERS:
            refuse("service_tier", "must be auto or default")
        fields["service_tier"] = _TIERS[tier]
    return fields


def _output(given: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return `thinking` and `output_config`."""
    fields: dict[str, Any] = {}
    config = dict(members(given.get("output_config") or {}, "output_config", {"effort", "format"}))
    if "reasoning_effort" in given:
        thinking, effort = thinking_fields(given["reasoning_effort"], body["model"], body["max_tokens"])
        if "thinking" not in given:
            fields["thinking"] = thinking
        if effort is not None:
            config["effort"] = effort
    if "response_format" in given:
        config |= _format(given["response_format"])
    if config:
        fields["output_config"] = config
    return fields


def _format(value: Any) -> dict[str, Any]:
    wanted = members(value, "response_format", {"type", "json_schema"})
    if wanted.get("type") == "text":
        return {}
    if wanted.get("type") != "json_schema":
        refuse("response_format.type", "must be text or json_schema; JSON without a schema cannot be asked for")
    where = "response_format.json_schema"
    # The name is only a label, and this dialect always holds the model to the schema.
    named = members(wanted.get("json_schema"), where, {"name", "description", "schema", "strict"})
    schema = named.get("schema")
    if not isinstance(schema, dict):
        refuse(f"{where}.schema", "must be an object")
    if "description" in named:
        schema = {"description": named["description"], **schema}
    return {"format": {"type": "json_schema", "schema": schema}}
