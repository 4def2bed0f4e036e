"""The golden corpus of requests of Anthropic's: what each field becomes in the OpenAI dialect.

`EXPRESSED` maps a case's name to the fields of a message and the members of a chat completion. A side without
`messages` has the short question of `HI`; `max_tokens` is 100 on both. `REFUSED` maps a name to the fields and to the
one that is named.
"""

from __future__ import annotations

from typing import Any

from tests.providers.anthropic_words import (
    EPHEMERAL,
    PDF,
    PNG,
    REDACTED,
    SCHEMA,
    THOUGHT,
    call,
    document,
    image,
    picture,
    text,
    turn,
    user,
)

JsonObject = dict[str, Any]

HI = [user("hi")]
DATA_URL = f"data:image/png;base64,{PNG}"
TOOL = {"name": "weather", "description": "Of a city.", "input_schema": SCHEMA}
FUNCTION = {"name": "weather", "description": "Of a city.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]
NOTE = {"type": "text", "media_type": "text/plain", "data": "It rains."}


def use(id_: str = "toolu_1", name: str = "weather", **arguments: Any) -> JsonObject:
    """Return a tool call of Anthropic's."""
    return {"type": "tool_use", "id": id_, "name": name, "input": arguments or {"city": "Paris"}}


def given(id_: str, content: Any, **members: Any) -> JsonObject:
    """Return a tool's result of Anthropic's."""
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **members}


def told(id_: str, content: str) -> JsonObject:
    """Return a tool's result of OpenAI's."""
    return {"role": "tool", "tool_call_id": id_, "content": content}


def said(content: Any, **members: Any) -> JsonObject:
    """Return a message of the assistant, which both dialects write the same."""
    return {"role": "assistant", "content": content, **members}


def with_tools(**fields: Any) -> JsonObject:
    """Return fields that a tool belongs to."""
    return {"tools": [TOOL], **fields}


def shown(*parts: JsonObject) -> JsonObject:
    """Return what stands before the images of a tool's result."""
    return user([text("From the result of the tool call toolu_1:"), *parts])


EXPRESSED: dict[str, tuple[JsonObject, JsonObject]] = {
    "a short question": ({}, {}),
    "a question in a block": ({"messages": [user([text("hi")])]}, {}),
    "several blocks of text": (
        {"messages": [user([text("a"), text("b")])]},
        {"messages": [user([text("a"), text("b")])]},
    ),
    "unicode": ({"messages": [user("é\u2028𝄞")]}, {"messages": [user("é\u2028𝄞")]}),
    "a system text": ({"system": "Be short."}, {"messages": [{"role": "system", "content": "Be short."}, *HI]}),
    "an empty system text": ({"system": ""}, {}),
    "system blocks with a mark for the cache": (
        {"system": [text("a", cache_control=EPHEMERAL), text("b")]},
        {"messages": [{"role": "system", "content": "a\n\nb"}, *HI]},
    ),
    "marks for the cache everywhere": (
        {"cache_control": EPHEMERAL, "messages": [user([text("hi", cache_control=EPHEMERAL)])]},
        {},
    ),
    "a history": ({"messages": [*HI, said("yes"), user("go on")]}, {"messages": [*HI, said("yes"), user("go on")]}),
    "an answer in several blocks": (
        {"messages": [*HI, said([text("a"), text("b", citations=None)]), *HI]},
        {"messages": [*HI, said("ab"), *HI]},
    ),
    "an instruction in the middle": (
        {"messages": [*HI, {"role": "system", "content": "Short now."}, *HI]},
        {"messages": [*HI, {"role": "system", "content": "Short now."}, *HI]},
    ),
    "an image in base64": ({"messages": [user([picture()])]}, {"messages": [user([image(DATA_URL)])]}),
    "an image at an address": (
        {"messages": [user([{"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}])]},
        {"messages": [user([image("https://x.example/a.png")])]},
    ),
    "a PDF with a title": (
        {"messages": [user([document(title="a.pdf"), text("Read.")])]},
        {
            "messages": [
                user(
                    [
                        {
                            "type": "file",
                            "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                        },
                        text("Read."),
                    ]
                )
            ]
        },
    ),
    "a PDF without a title": (
        {"messages": [user([document(citations={"enabled": False})])]},
        {
            "messages": [
                user(
                    [
                        {
                            "type": "file",
                            "file": {"filename": "document.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                        }
                    ]
                )
            ]
        },
    ),
    "a document of text": (
        {"messages": [user([{"type": "document", "source": NOTE, "title": "Note", "context": "Old."}])]},
        {"messages": [user([text("Note"), text("Old."), text("It rains.")])]},
    ),
    "a document of blocks": (
        {"messages": [user([{"type": "document", "source": {"type": "content", "content": [text("a"), picture()]}}])]},
        {"messages": [user([text("a"), image(DATA_URL)])]},
    ),
    "a tool": (with_tools(), {"tools": TOOLS}),
    "a tool without a description, cached and streamed early": (
        {
            "tools": [
                {
                    "type": "custom",
                    "name": "now",
                    "input_schema": SCHEMA,
                    "cache_control": EPHEMERAL,
                    "eager_input_streaming": True,
                    "strict": True,
                }
            ]
        },
        {"tools": [{"type": "function", "function": {"name": "now", "parameters": SCHEMA, "strict": True}}]},
    ),
    "no tools": ({"tools": [], "tool_choice": {"type": "auto"}}, {}),
    "any choice of a tool": (with_tools(tool_choice={"type": "auto"}), {"tools": TOOLS, "tool_choice": "auto"}),
    "some tool": (with_tools(tool_choice={"type": "any"}), {"tools": TOOLS, "tool_choice": "required"}),
    "no tool now": (with_tools(tool_choice={"type": "none"}), {"tools": TOOLS, "tool_choice": "none"}),
    "this tool": (
        with_tools(tool_choice={"type": "tool", "name": "weather"}),
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    ),
    "one tool at a time": (
        with_tools(tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
        {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": False},
    ),
    "a call and its result": (
        {"messages": [*HI, said([text("I look."), use()]), turn("user", given("toolu_1", "15"))]},
        {"messages": [*HI, said("I look.", tool_calls=[call()]), told("toolu_1", "15")]},
    ),
    "parallel calls, their results, and a question behind them": (
        {
            "messages": [
                *HI,
                turn("assistant", use(), use("toolu_2", "now", zone="é")),
                turn("user", given("toolu_1", [text("15"), text("°C")]), given("toolu_2", "12:00"), text("And?")),
            ]
        },
        {
            "messages": [
                *HI,
                said(None, tool_calls=[call(), call("now", '{"zone":"é"}', "toolu_2")]),
                told("toolu_1", "15\n\n°C"),
                told("toolu_2", "12:00"),
                user("And?"),
            ]
        },
    ),
    "a call without arguments": (
        {"messages": [*HI, turn("assistant", {**use(), "input": {}}), turn("user", given("toolu_1", None))]},
        {"messages": [*HI, said(None, tool_calls=[call(arguments="{}")]), told("toolu_1", "")]},
    ),
    "a result that is an error": (
        {"messages": [turn("user", given("toolu_1", "no network", is_error=True))]},
        {"messages": [told("toolu_1", "Error: no network")]},
    ),
    "a result that says already that it is an error": (
        {"messages": [turn("user", given("toolu_1", "error 5", is_error=True))]},
        {"messages": [told("toolu_1", "error 5")]},
    ),
    "a result that is no error": (
        {"messages": [turn("user", given("toolu_1", "15", is_error=False, cache_control=EPHEMERAL))]},
        {"messages": [told("toolu_1", "15")]},
    ),
    "a result with an image": (
        {"messages": [turn("user", given("toolu_1", [text("See."), picture()]))]},
        {"messages": [told("toolu_1", "See."), shown(image(DATA_URL))]},
    ),
    "a result that is an image, and a question behind it": (
        {"messages": [turn("user", given("toolu_1", [picture()]), text("What is it?"))]},
        {
            "messages": [
                told("toolu_1", "The result is in the next message."),
                shown(image(DATA_URL), text("What is it?")),
            ]
        },
    ),
    "reasoning in the history": (
        {"messages": [*HI, turn("assistant", THOUGHT, REDACTED, text("yes"), use())]},
        {"messages": [*HI, said("yes", tool_calls=[call()])]},
    ),
    "a turn of nothing but reasoning": ({"messages": [*HI, turn("assistant", THOUGHT)]}, {}),
    "sampling": ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
    "where to stop": ({"stop_sequences": ["END", "\n"]}, {"stop": ["END", "\n"]}),
    "nowhere to stop": ({"stop_sequences": []}, {}),
    "who asks": ({"metadata": {"user_id": "u-1"}}, {"user": "u-1"}),
    "nobody in particular": ({"metadata": {"user_id": None}}, {}),
    "the tier auto": ({"service_tier": "auto"}, {"service_tier": "auto"}),
    "the standard tier": ({"service_tier": "standard_only"}, {"service_tier": "default"}),
    "no thinking": ({"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
    "a small budget": ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_effort": "low"}),
    "a usual budget": ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, {"reasoning_effort": "medium"}),
    "a large budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 32_000, "display": "omitted"}},
        {"reasoning_effort": "high"},
    ),
    "thinking as the model likes": ({"thinking": {"type": "adaptive"}}, {}),
    "thinking with an effort": (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
        {"reasoning_effort": "medium"},
    ),
    "the greatest effort": ({"output_config": {"effort": "max"}}, {"reasoning_effort": "xhigh"}),
    "an effort without thinking": (
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
        {"reasoning_effort": "none"},
    ),
    "an answer by a schema": (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    "an answer by a schema, as the first version had it": (
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    "less reasoning in the history": (
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
        {},
    ),
    "fields that say nothing": (
        {"model": "x", "stream": True, "mcp_servers": [], "speed": "standard", "container": None, "top_k": None},
        {},
    ),
}

REFUSED: dict[str, tuple[JsonObject, str]] = {
    "a field that OpenAI has not": ({"top_k": 5}, "top_k"),
    "a field that nobody knows": ({"of_tomorrow": 1}, "of_tomorrow"),
    "servers of tools": ({"mcp_servers": [{"type": "url", "url": "https://x.example"}]}, "mcp_servers"),
    "a container": ({"container": "c"}, "container"),
    "a tool of the vendor's": ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
    "a tool without a schema": ({"tools": [{"name": "a"}]}, "tools.0.input_schema"),
    "examples of a tool's arguments": ({"tools": [{**TOOL, "input_examples": [{}]}]}, "tools.0.input_examples"),
    "an unknown choice": (with_tools(tool_choice={"type": "some"}), "tool_choice.type"),
    "a block whose type is none": (
        {"messages": [*HI, {"role": "assistant", "content": [{"type": ["text"]}]}]},
        "messages.1.content.0.type",
    ),
    "an uploaded image": (
        {"messages": [user([{"type": "image", "source": {"type": "file", "file_id": "f"}}])]},
        "messages.0.content.0.source.type",
    ),
    "a document at an address": (
        {"messages": [user([{"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}}])]},
        "messages.0.content.0.source.type",
    ),
    "citations": (
        {"messages": [user([document(citations={"enabled": True})])]},
        "messages.0.content.0.citations.enabled",
    ),
    "a result of a search": ({"messages": [user([{"type": "search_result"}])]}, "messages.0.content.0.type"),
    "a call of the vendor's own tool": (
        {
            "messages": [
                *HI,
                turn("assistant", {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
            ]
        },
        "messages.1.content.0.type",
    ),
    "a result within a result": (
        {"messages": [turn("user", given("toolu_1", [given("toolu_2", "x")]))]},
        "messages.0.content.0.content.0.type",
    ),
    "arguments that are no object": (
        {"messages": [turn("assistant", {**use(), "input": "x"})]},
        "messages.0.content.0.input",
    ),
    "an unknown member": ({"messages": [{**user("hi"), "name": "x"}]}, "messages.0.name"),
    "an unknown role": ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    "nothing said": ({"messages": [user("")]}, "messages.0.content"),
    "messages that are no list": ({"messages": "hi"}, "messages"),
    "an image among the instructions": ({"system": [picture()]}, "system.0.type"),
    "an unknown effort": ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    "a budget for a task": ({"output_config": {"task_budget": {}}}, "output_config.task_budget"),
    "a form that is no schema": ({"output_config": {"format": {"type": "text"}}}, "output_config.format.type"),
    "an unknown way to think": ({"thinking": {"type": "deep"}}, "thinking.type"),
    "a budget that is no number": ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens"),
    "fewer results of tools in the history": (
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
        "context_management.edits.0.type",
    ),
    "an unknown tier": ({"service_tier": "fast"}, "service_tier"),
    "more about who asks": ({"metadata": {"mail": "a"}}, "metadata.mail"),
    "stops that are no texts": ({"stop_sequences": [1]}, "stop_sequences.0"),
}
