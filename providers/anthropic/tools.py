"""From OpenAI's `tools`, `tool_choice` and `parallel_tool_calls` to Anthropic's `tools` and `tool_choice`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from providers.anthropic.refusals import members, refuse, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_TOOL = frozenset({"type", "function", "cache_control"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict", "cache_control"})


def tool_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tools` and `tool_choice` as far as the request has any; raises `NotExpressible`."""
    fields: dict[str, Any] = {}
    tools = given.get("tools")
    if tools:
        if not isinstance(tools, list):
            refuse("tools", "must be a list")
        fields["tools"] = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    choice = _choice(given["tool_choice"]) if "tool_choice" in given else None
    if given.get("parallel_tool_calls") is False and tools:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice is not None:
        fields["tool_choice"] = choice
    return fields


def _tool(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, dict) and value.get("type", "function") != "function":
        refuse(f"{where}.type")
    outer = members(value, where, _TOOL)
    function = members(outer.get("function"), f"{where}.function", _FUNCTION)
    tool: dict[str, Any] = {"name": text(function.get("name"), f"{where}.function.name")}
    if "description" in function:
        tool["description"] = text(function["description"], f"{where}.function.description")
    schema = function.get("parameters", {})
    if not isinstance(schema, dict):
        refuse(f"{where}.function.parameters", "must be an object")
    tool["input_schema"] = {"type": "object", **schema}
    if function.get("strict"):
        tool["strict"] = True
    cache_control = outer.get("cache_control", function.get("cache_control"))
    if cache_control is not None:
        tool["cache_control"] = cache_control
    return tool


def _choice(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value in _CHOICES:
        return {"type": _CHOICES[value]}
    if not isinstance(value, dict) or value.get("type") != "function":
        refuse("tool_choice", "must be auto, required, none or one function")
    choice = members(value, "tool_choice", {"type", "function"})
    function = members(choice.get("function"), "tool_choice.function", {"name"})
    return {"type": "tool", "name": text(function.get("name"), "tool_choice.function.name")}
