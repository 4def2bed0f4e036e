"""What the two scripted providers answer the clients, decided by the model and by what was asked; see README.md."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from tests.upstream import Recorded, Script, frames, messages
from tests.upstream.frames import DONE, JsonObject
from tests.upstream.steps import PerCall, Step, answer_members, json_answer, stream_of

CASES = (
    "list", "chat", "stream", "tools", "structured", "image", "embeddings", "error", "abort", "failover", "cut",
)  # fmt: skip
PLAIN = ("list", "chat", "stream", "structured", "embeddings")
KINDS = ("openai", "anthropic")

TEXT = "Hello from the moon."
TOOL = "get_weather"
TOOL_ARGUMENTS = {"city": "Paris"}
TOOL_RESULT = "15 degrees"
TOOL_TEXT = "It is 15 degrees in Paris."
STRUCTURED = {"name": "Luna", "age": 4}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # One pixel.
IMAGE_TEXT = "I see the moon."
NO_IMAGE_TEXT = "I see nothing."
EMBEDDINGS_MODEL = "moon-embeddings"

# The routes of the gateway, by case; those of all other cases lead to the model that answers well.
_ROUTES = {"abort": "endless", "failover": "dies-early", "cut": "dies-late"}


def route(case: str, kind: str) -> str:
    """Return the model that a client asks for in a case, when a provider of `kind` is to be the (first) one."""
    return f"{_ROUTES.get(case, 'moon')}-{kind}"


def routes() -> dict[str, list[str]]:
    """Return the gateway's routes: each provider's own models, and two where the other one helps out."""
    other = dict(zip(KINDS, reversed(KINDS), strict=True))
    single = {f"{model}-{kind}": [f"{kind}/{model}"] for model in ("moon", "endless", "dies-late") for kind in KINDS}
    return single | {f"dies-early-{kind}": [f"{kind}/dies-early", f"{other[kind]}/moon"] for kind in KINDS}


def script(kind: str) -> Script:
    """Return what a provider of `kind` does with a chat."""
    return Script.steps(PerCall(lambda call: _steps(call, kind == "anthropic")))


def _steps(call: Recorded, anthropic: bool) -> tuple[Step, ...]:
    if call.model == "endless":
        return (messages.endless(0.02) if anthropic else Script.endless(8, 0.02)).plan
    if call.model == "dies-early":
        return Script.reset().plan
    if call.model == "dies-late":
        return (messages.reset_after(2) if anthropic else Script.reset_after(2)).plan
    asked = _asked_of_anthropic(call.document) if anthropic else _asked(call.document)
    if asked.tool is not None:
        return _tool_call(call, asked.tool, anthropic).plan
    return (messages.text(asked.text) if anthropic else Script.text(asked.text)).plan


@dataclass(frozen=True)
class Asked:
    """What a chat asked for: a call of `tool`, or the answer `text`."""

    tool: str | None = None
    text: str = TEXT


def _asked(document: JsonObject) -> Asked:
    """Read a request in OpenAI's dialect."""
    last = document["messages"][-1]
    if last["role"] == "tool":
        return _after_tool(last["content"])
    wanted = document.get("response_format") or {}
    tools = [tool["function"]["name"] for tool in document.get("tools") or []]
    urls = [part["image_url"]["url"] for part in _parts(last) if part["type"] == "image_url"]
    return _first_turn(tools, str(wanted.get("type", "")), [url.removeprefix("data:image/png;base64,") for url in urls])


def _asked_of_anthropic(document: JsonObject) -> Asked:
    """Read a request in Anthropic's dialect."""
    parts = _parts(document["messages"][-1])
    results = [part for part in parts if part["type"] == "tool_result"]
    if results:
        return _after_tool(results[0]["content"])
    wanted = document.get("output_format") or (document.get("output_config") or {}).get("format") or {}
    tools = [tool["name"] for tool in document.get("tools") or []]
    images = [part["source"].get("data", "") for part in parts if part["type"] == "image"]
    return _first_turn(tools, str(wanted.get("type", "")), images)


def _first_turn(tools: list[str], wanted: str, images: list[str]) -> Asked:
    if tools:
        return Asked(TOOL if TOOL in tools else tools[0])
    if wanted.startswith("json"):
        return Asked(text=json.dumps(STRUCTURED))
    if images:
        arrived = [base64.b64decode(image) for image in images] == [base64.b64decode(PNG)]
        return Asked(text=IMAGE_TEXT if arrived else NO_IMAGE_TEXT)
    return Asked()


def _after_tool(content: Any) -> Asked:
    """Repeat the tool's result only when it is the one that the program was to give."""
    return Asked(text=TOOL_TEXT if TOOL_RESULT in json.dumps(content) else f"The tool said {json.dumps(content)}.")


def _parts(message: JsonObject) -> list[JsonObject]:
    content = message["content"]
    return content if isinstance(content, list) else []


def _tool_call(call: Recorded, tool: str, anthropic: bool) -> Script:
    """Call the weather's tool with the city, and any other with the structured answer, which some clients ask so."""
    arguments = TOOL_ARGUMENTS if tool == TOOL else STRUCTURED
    if anthropic:
        use = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": arguments}
        return messages.blocks(use, stop_reason="tool_use")
    members = answer_members(call)
    function = {"name": tool, "arguments": json.dumps(arguments)}
    whole = {"id": "call_1", "type": "function", "function": function}
    if not call.stream:
        message = {"tool_calls": [whole]}
        answer = frames.completion(
            None, finish_reason="tool_calls", usage=frames.default_usage(), message=message, **members
        )
        return Script.steps(json_answer(answer))
    pieces = [{"index": 0, **whole, "function": {"name": tool, "arguments": ""}}]
    pieces += [{"index": 0, "function": {"arguments": part}} for part in frames.split_text(function["arguments"], 3)]
    chunks = [frames.role_chunk(**members), *(frames.chunk(delta={"tool_calls": [one]}, **members) for one in pieces)]
    chunks.append(frames.chunk(finish_reason="tool_calls", **members))
    if call.include_usage:
        chunks.append(frames.chunk(**{**members, "choices": [], "usage": frames.default_usage()}))
    return Script.steps(*stream_of([*chunks, DONE]))
