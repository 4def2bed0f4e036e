"""The golden corpus of requests for responses: what each field becomes in a chat completion.

`EXPRESSED` maps a case's name to the fields of a request and the members of a chat completion. A side without `input`
or `messages` has the short question of `HI`. `REFUSED` maps a name to the fields and to the one that is named.
"""

from __future__ import annotations

from typing import Any

from providers.responses.items import thinking_content
from tests.providers.anthropic_words import SCHEMA, THOUGHT, image, text, user

JsonObject = dict[str, Any]

HI = [user("hi")]
DATA_URL = "data:image/png;base64,iVBORw0KGgo="
PDF_URL = "data:application/pdf;base64,JVBERi0="
TOOL = {"type": "function", "name": "weather", "description": "Of a city.", "parameters": SCHEMA, "strict": True}
CHAT_TOOL = {"type": "function", "function": {name: TOOL[name] for name in TOOL if name != "type"}}
NOW = {"type": "function", "name": "now", "parameters": None, "strict": None}
CHAT_NOW = {"type": "function", "function": {"name": "now"}}


def spoken(content: str, **members: Any) -> JsonObject:
    """Return a part of input text."""
    return {"type": "input_text", "text": content, **members}


def said(*parts: JsonObject, **members: Any) -> JsonObject:
    """Return a message of the model as an answer had it."""
    return {
        "type": "message",
        "role": "assistant",
        "id": "msg_1",
        "status": "completed",
        "content": [*parts],
        **members,
    }


def words(content: str) -> JsonObject:
    """Return a part of output text."""
    return {"type": "output_text", "text": content, "annotations": [], "logprobs": []}


def called(id_: str = "call_1", name: str = "weather", arguments: str = '{"city":"Paris"}') -> JsonObject:
    """Return a call as an answer had it."""
    status = {"id": f"fc_{id_}", "status": "completed"}
    return {"type": "function_call", "call_id": id_, "name": name, "arguments": arguments, **status}


def gave(id_: str = "call_1", output: Any = "22 C") -> JsonObject:
    """Return a tool's result."""
    return {"type": "function_call_output", "call_id": id_, "output": output}


def thought(*content: str, **members: Any) -> JsonObject:
    """Return an item of reasoning with its text."""
    parts = [{"type": "reasoning_text", "text": one} for one in content]
    return {"type": "reasoning", "id": "rs_1", "summary": [], "content": parts, **members}


def call(id_: str = "call_1", name: str = "weather", arguments: str = '{"city":"Paris"}') -> JsonObject:
    """Return a call of a chat's."""
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def answered(content: str | None, **members: Any) -> JsonObject:
    """Return a message of the assistant."""
    return {"role": "assistant", "content": content, **members}


def told(id_: str = "call_1", content: str = "22 C") -> JsonObject:
    """Return a tool's result of a chat's."""
    return {"role": "tool", "tool_call_id": id_, "content": content}


def system(content: str) -> JsonObject:
    """Return an instruction."""
    return {"role": "system", "content": content}


EXPRESSED: dict[str, tuple[JsonObject, JsonObject]] = {
    "a short question": ({}, {}),
    "a question as a message": ({"input": [user("hi")]}, {}),
    "a question as a message with its type": ({"input": [{"type": "message", **user("hi")}]}, {}),
    "a question in a part": ({"input": [user([spoken("hi")])]}, {}),
    "several parts": ({"input": [user([spoken("a"), spoken("b")])]}, {"messages": [user([text("a"), text("b")])]}),
    "unicode": ({"input": "é\u2028𝄞"}, {"messages": [user("é\u2028𝄞")]}),
    "instructions": ({"instructions": "Be short."}, {"messages": [system("Be short."), *HI]}),
    "empty instructions": ({"instructions": ""}, {}),
    "instructions before those of the input": (
        {"instructions": "a", "input": [{"role": "developer", "content": [spoken("b"), spoken("c")]}, *HI]},
        {"messages": [system("a"), system("b\n\nc"), *HI]},
    ),
    "a system message": ({"input": [{"role": "system", "content": "a"}, *HI]}, {"messages": [system("a"), *HI]}),
    "a history": ({"input": [*HI, said(words("yes")), *HI]}, {"messages": [*HI, answered("yes"), *HI]}),
    "a history in short": ({"input": [*HI, answered("yes"), *HI]}, {"messages": [*HI, answered("yes"), *HI]}),
    "two answers in a row": (
        {"input": [*HI, said(words("I look."), phase="commentary"), said(words("It rains.")), *HI]},
        {"messages": [*HI, answered("I look."), answered("It rains."), *HI]},
    ),
    "an answer in several parts": (
        {"input": [*HI, said(words("a"), words("b")), *HI]},
        {"messages": [*HI, answered("ab"), *HI]},
    ),
    "an empty answer": ({"input": [*HI, said(words("")), *HI]}, {"messages": [*HI, answered(""), *HI]}),
    "a refusal": (
        {"input": [*HI, said({"type": "refusal", "refusal": "No."}), *HI]},
        {"messages": [*HI, answered(None, refusal="No."), *HI]},
    ),
    "an image at an address": (
        {"input": [user([{"type": "input_image", "image_url": "https://x.example/a.png", "detail": "low"}])]},
        {"messages": [user([{"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}}])]},
    ),
    "an image in base64": (
        {"input": [user([{"type": "input_image", "image_url": DATA_URL, "detail": "auto", "file_id": None}])]},
        {"messages": [user([image(DATA_URL)])]},
    ),
    "a file": (
        {"input": [user([{"type": "input_file", "filename": "a.pdf", "file_data": PDF_URL}, spoken("Read.")])]},
        {"messages": [user([{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF_URL}}, text("Read.")])]},
    ),
    "sound": (
        {"input": [user([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}])]},
        {"messages": [user([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}])]},
    ),
    "a call and its result": (
        {"input": [*HI, called(), gave()]},
        {"messages": [*HI, answered(None, tool_calls=[call()]), told()]},
    ),
    "what the packages of the vendor keep of structured output": (
        {
            "input": [
                *HI,
                said({**words("{}"), "parsed": {}}),
                {**called(), "parsed_arguments": {"city": "Paris"}},
                gave(),
            ]
        },
        {"messages": [*HI, answered("{}", tool_calls=[call()]), told()]},
    ),
    "text before a call": (
        {"input": [*HI, said(words("I look.")), called(), gave()]},
        {"messages": [*HI, answered("I look.", tool_calls=[call()]), told()]},
    ),
    "text behind a call": (
        {"input": [*HI, called(), said(words("I look.")), gave()]},
        {"messages": [*HI, answered("I look.", tool_calls=[call()]), told()]},
    ),
    "calls in parallel": (
        {"input": [*HI, called(), called("call_2", "now", "{}"), gave(), gave("call_2", "12:00")]},
        {
            "messages": [
                *HI,
                answered(None, tool_calls=[call(), call("call_2", "now", "{}")]),
                told(),
                told("call_2", "12:00"),
            ]
        },
    ),
    "calls one after the other": (
        {"input": [*HI, called(), gave(), called("call_2", "now", ""), gave("call_2", "12:00")]},
        {
            "messages": [
                *HI,
                answered(None, tool_calls=[call()]),
                told(),
                answered(None, tool_calls=[call("call_2", "now", "")]),
                told("call_2", "12:00"),
            ]
        },
    ),
    "a result in parts": (
        {"input": [*HI, called(), gave(output=[spoken("a"), spoken("b")])]},
        {"messages": [*HI, answered(None, tool_calls=[call()]), told(content="a\n\nb")]},
    ),
    "results with an image, which comes behind all of them": (
        {
            "input": [
                *HI,
                called(),
                called("call_2", "now", "{}"),
                gave(output=[{"type": "input_image", "image_url": DATA_URL}]),
                gave("call_2", "12:00"),
            ]
        },
        {
            "messages": [
                *HI,
                answered(None, tool_calls=[call(), call("call_2", "now", "{}")]),
                told(content="The result is in the next message."),
                told("call_2", "12:00"),
                user([text("From the result of the tool call call_1:"), image(DATA_URL)]),
            ]
        },
    ),
    "reasoning before a call": (
        {"input": [*HI, thought("Which city?", " Paris."), called(), gave()]},
        {"messages": [*HI, answered(None, tool_calls=[call()], reasoning_content="Which city? Paris."), told()]},
    ),
    "summed up reasoning before a call": (
        {
            "input": [
                *HI,
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Paris."}]},
                called(),
                gave(),
            ]
        },
        {"messages": [*HI, answered(None, tool_calls=[call()], reasoning_content="Paris."), told()]},
    ),
    "reasoning before an answer": (
        {"input": [*HI, thought("Hm.", encrypted_content=None), said(words("yes")), *HI]},
        {"messages": [*HI, answered("yes"), *HI]},
    ),
    "reasoning that led to nothing": ({"input": [*HI, thought("Hm.")]}, {}),
    "signed reasoning": (
        {"input": [*HI, thought("Hm.", encrypted_content=thinking_content([THOUGHT])), called(), gave()]},
        {
            "messages": [
                *HI,
                answered(None, tool_calls=[call()], reasoning_content="Hm.", thinking_blocks=[THOUGHT]),
                told(),
            ]
        },
    ),
    "a tool": ({"tools": [TOOL]}, {"tools": [CHAT_TOOL]}),
    "tools and a free choice": (
        {"tools": [TOOL, NOW], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tools": [CHAT_TOOL, CHAT_NOW], "tool_choice": "auto", "parallel_tool_calls": False},
    ),
    "a tool that has to be called": (
        {"tools": [{**TOOL, "defer_loading": False}], "tool_choice": {"type": "function", "name": "weather"}},
        {"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    ),
    "tools of which some may be called": (
        {
            "tools": [TOOL, NOW],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "now"}],
            },
        },
        {"tools": [CHAT_NOW], "tool_choice": "required"},
    ),
    "a choice without a tool": ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
    "a schema": (
        {
            "text": {
                "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True, "description": "d"}
            }
        },
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True, "description": "d"},
            }
        },
    ),
    "any JSON": ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    "plain text": ({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {}),
    "few words": ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
    "the longest answer": ({"max_output_tokens": 50}, {"max_tokens": 50}),
    "how to draw": ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
    "an effort": ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
    "who asks": ({"safety_identifier": "u1"}, {"user": "u1"}),
    "who asks, by the older name": ({"safety_identifier": "u1", "user": "u2"}, {"user": "u2"}),
    "a tier": ({"service_tier": "flex"}, {"service_tier": "flex"}),
    "the usual tier": ({"service_tier": "auto"}, {}),
    "what changes no answer": (
        {
            "model": "m",
            "stream": True,
            "store": True,
            "metadata": {"a": "b"},
            "client_metadata": {"session_id": "s"},
            "prompt_cache_key": "k",
            "prompt_cache_retention": "24h",
            "stream_options": {"include_obfuscation": False},
            "max_tool_calls": 3,
            "truncation": "disabled",
            "background": False,
            "top_logprobs": 0,
            "context_management": [],
            "include": ["reasoning.encrypted_content"],
        },
        {},
    ),
    "null for what is absent": (dict.fromkeys(("instructions", "tools", "text", "reasoning", "conversation", "x")), {}),
}

REFUSED: dict[str, tuple[JsonObject, str]] = {
    "a field that nobody knows": ({"x": 1}, "x"),
    "an earlier response": ({"previous_response_id": "resp_1"}, "previous_response_id"),
    "a conversation": ({"conversation": "conv_1"}, "conversation"),
    "a stored prompt": ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    "an answer for later": ({"background": True}, "background"),
    "a history that is cut": ({"truncation": "auto"}, "truncation"),
    "a history that is compressed": ({"context_management": [{"type": "compaction"}]}, "context_management"),
    "probabilities": ({"top_logprobs": 2}, "top_logprobs"),
    "probabilities by another name": ({"include": ["message.output_text.logprobs"]}, "include[0]"),
    "a search in the web": ({"tools": [TOOL, {"type": "web_search"}]}, "tools[1].type"),
    "a tool in free text": ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0].type"),
    "a tool without a name": ({"tools": [{"type": "function"}]}, "tools[0].name"),
    "a tool with a new member": ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
    "the choice of a vendor's tool": ({"tools": [TOOL], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    "the choice of nothing that there is": (
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
        "tool_choice.tools",
    ),
    "an unknown choice": ({"tools": [TOOL], "tool_choice": "all"}, "tool_choice"),
    "a format of another kind": ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    "a new wish about text": ({"text": {"tone": "dry"}}, "text.tone"),
    "a new wish about reasoning": ({"reasoning": {"effort": "low", "depth": 3}}, "reasoning.depth"),
    "no input": ({"input": []}, "input"),
    "input of another kind": ({"input": 5}, "input"),
    "an item that is none": ({"input": ["hi"]}, "input[0].type"),
    "an item by its id": ({"input": [*HI, {"type": "item_reference", "id": "msg_1"}]}, "input[1].type"),
    "a call of a vendor's tool": ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
    "a role that there is not": ({"input": [{"role": "critic", "content": "hi"}]}, "input[0].role"),
    "a message without content": ({"input": [{"role": "user"}]}, "input[0].content"),
    "an image by its id": (
        {"input": [user([{"type": "input_image", "file_id": "file_1"}])]},
        "input[0].content[0].file_id",
    ),
    "a file at an address": (
        {"input": [user([{"type": "input_file", "file_url": "https://x.example/a.pdf"}])]},
        "input[0].content[0].file_url",
    ),
    "an image among instructions": (
        {"input": [{"role": "system", "content": [{"type": "input_image", "image_url": DATA_URL}]}]},
        "input[0].content",
    ),
    "an image of the assistant's": (
        {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": DATA_URL}]}]},
        "input[0].content[0].type",
    ),
    "a call without an id": ({"input": [{**called(), "call_id": None}]}, "input[0].call_id"),
    "arguments that are no text": ({"input": [{**called(), "arguments": {}}]}, "input[0].arguments"),
    "encrypted reasoning": ({"input": [thought(encrypted_content="gAAAA")]}, "input[0].encrypted_content"),
    "signed reasoning that was changed": (
        {"input": [thought(encrypted_content="thinking:!")]},
        "input[0].encrypted_content",
    ),
}
