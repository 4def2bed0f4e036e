"""From the body of `POST /v1/responses` to the fields of a chat completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from providers.responses.items import messages_of
from providers.translation import listed, members, refuse, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALIKE: Final = ("temperature", "top_p", "service_tier")
_TRANSLATED: Final = frozenset(
    {
        *_ALIKE,
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "parallel_tool_calls",
        "reasoning",
        "safety_identifier",
        "text",
        "tool_choice",
        "tools",
        "user",
    }
)
# The gateway acts on the first two itself. Nothing is kept, so that `store` and `metadata` come to nothing; the model
# calls no tools of a vendor's own; the others say who the client is, how to cache and how to stream.
_LEFT_OUT: Final = frozenset(
    {
        "model",
        "stream",
        "client_metadata",
        "max_tool_calls",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "store",
        "stream_options",
    }
)
# Fields that mean nothing with these values, as some clients always send them.
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "background": (False,),
    "context_management": ([],),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
# They say of a tier what is so without it, and other vendors know no tiers.
_TIERS: Final = ("auto", "default")
_CHOICES: Final = ("auto", "none", "required")
_FUNCTION: Final = frozenset({"type", "name", "description", "parameters", "strict"})


def to_chat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a chat completion, without `model` and `stream`.

    `fields` are decoded values of the top-level fields; null stands for an absent one. Raises `NotExpressible`, which
    names the field.
    """
    given = {name: value for name, value in fields.items() if value is not None and name not in _LEFT_OUT}
    for name, value in given.items():
        if name not in _TRANSLATED and value not in _NEUTRAL.get(name, ()):
            refuse(name[:100])
    _check_include(given.get("include", []))
    body: dict[str, Any] = {"messages": _messages(given), **{name: given[name] for name in _ALIKE if name in given}}
    if body.get("service_tier") in _TIERS:
        del body["service_tier"]
    if "max_output_tokens" in given:
        body["max_tokens"] = given["max_output_tokens"]
    for name in ("safety_identifier", "user"):
        if name in given:
            body["user"] = text(given[name], name)
    return body | _tool_fields(given) | _text_fields(given.get("text", {})) | _reasoning(given.get("reasoning", {}))


def _messages(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = messages_of(given.get("input"))
    instructions = text(given.get("instructions", ""), "instructions")
    if instructions:
        messages.insert(0, {"role": "system", "content": instructions})
    if not messages:
        refuse("input", "must not be empty")
    return messages


def _reasoning(value: Any) -> dict[str, Any]:
    # How reasoning is summed up changes nothing of it.
    given = members(value, "reasoning", {"effort"}, ("summary", "generate_summary"))
    return {"reasoning_effort": text(given["effort"], "reasoning.effort")} if "effort" in given else {}


def _check_include(value: Any) -> None:
    """Refuse what can be had here but not from a chat; all else is of tools that are refused already, or is given."""
    for number, wanted in enumerate(listed(value, "include")):
        if wanted == "message.output_text.logprobs":
            refuse(f"include[{number}]")


def _tool_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    tools = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(listed(given.get("tools", []), "tools"))]
    if not tools:
        # Without them servers refuse what is said about them.
        return {}
    fields = {name: given[name] for name in ("parallel_tool_calls",) if name in given}
    return {"tools": tools, **fields, **_choice(given.get("tool_choice"), tools)}


def _choice(choice: Any, tools: list[dict[str, Any]]) -> dict[str, Any]:
    if choice is None:
        return {}
    if isinstance(choice, str) and choice in _CHOICES:
        return {"tool_choice": choice}
    if not isinstance(choice, dict):
        refuse("tool_choice", "must be auto, none, required or an object")
    if choice.get("type") == "allowed_tools":
        return _allowed(choice, tools)
    if choice.get("type") != "function":
        refuse("tool_choice.type")
    name = text(members(choice, "tool_choice", {"type", "name"}).get("name"), "tool_choice.name")
    return {"tool_choice": {"type": "function", "function": {"name": name}}}


def _tool(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("type") != "function":
        refuse(
            f"{where}.type", "only functions can be expressed in a chat completion, which is what the provider takes"
        )
    tool = {name: member for name, member in value.items() if (name, member) != ("defer_loading", False)}
    tool = members(tool, where, _FUNCTION)
    text(tool.get("name"), f"{where}.name")
    return {"type": "function", "function": {name: member for name, member in tool.items() if name != "type"}}


def _allowed(choice: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Leave out the tools that may not be called, which every server understands."""
    fields = members(choice, "tool_choice", {"type", "mode", "tools"})
    mode = fields.get("mode", "auto")
    if mode not in ("auto", "required"):
        refuse("tool_choice.mode", "must be auto or required")
    names = []
    for number, tool in enumerate(listed(fields.get("tools"), "tool_choice.tools")):
        at = f"tool_choice.tools[{number}]"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            refuse(f"{at}.type", "must be function")
        names.append(text(tool.get("name"), f"{at}.name"))
    kept = [tool for tool in tools if tool["function"]["name"] in names]
    if not kept:
        refuse("tool_choice.tools", "must name one of the tools")
    return {"tools": kept, "tool_choice": mode}


def _text_fields(value: Any) -> dict[str, Any]:
    """Return `response_format` and `verbosity`."""
    given = members(value, "text", {"format", "verbosity"})
    fields: dict[str, Any] = {}
    if given.get("verbosity", "medium") != "medium":
        fields["verbosity"] = text(given["verbosity"], "text.verbosity")
    wanted = members(given.get("format", {}), "text.format", {"type", "name", "description", "schema", "strict"})
    kind = wanted.pop("type", "text")
    if kind == "json_object":
        fields["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        fields["response_format"] = {"type": "json_schema", "json_schema": wanted}
    elif kind != "text":
        refuse("text.format.type", "must be text, json_object or json_schema")
    return fields
