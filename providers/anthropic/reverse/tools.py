"""From Anthropic's `tools` and `tool_choice` to OpenAI's `tools`, `tool_choice` and `parallel_tool_calls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from providers.translation import listed, members, refuse, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TOOL = frozenset({"type", "name", "description", "input_schema", "strict"})
# They say how a tool is cached and how its arguments arrive.
_HINTS = ("cache_control", "eager_input_streaming")


def tool_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return OpenAI's fields about tools; without a tool there are none. Raises `NotExpressible`."""
    tools = [_tool(tool, f"tools.{number}") for number, tool in enumerate(listed(given.get("tools", []), "tools"))]
    choice = given.get("tool_choice")
    fields: dict[str, Any] = {} if choice is None else _choice(choice)
    return {"tools": tools, **fields} if tools else {}


def _tool(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, dict) and value.get("type") not in (None, "custom"):
        refuse(f"{where}.type", "only tools of the client's own can be expressed in the OpenAI dialect of the provider")
    tool = members(value, where, _TOOL, _HINTS)
    function: dict[str, Any] = {"name": text(tool.get("name"), f"{where}.name")}
    if "description" in tool:
        function["description"] = text(tool["description"], f"{where}.description")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        refuse(f"{where}.input_schema", "must be an object")
    function["parameters"] = schema
    if tool.get("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(value: Any) -> dict[str, Any]:
    choice = members(value, "tool_choice", {"type", "name", "disable_parallel_tool_use"})
    kind = choice.get("type")
    if kind == "tool":
        name = text(choice.get("name"), "tool_choice.name")
        fields: dict[str, Any] = {"tool_choice": {"type": "function", "function": {"name": name}}}
    elif isinstance(kind, str) and kind in _CHOICES:
        fields = {"tool_choice": _CHOICES[kind]}
    else:
        refuse("tool_choice.type", "must be auto, any, none or tool")
    if choice.get("disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False
    return fields
