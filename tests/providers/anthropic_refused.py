"""The golden corpus of requests that Anthropic's dialect cannot express.

`REFUSED` maps a case's name to the fields of an OpenAI request and the field that the refusal names.
"""

from __future__ import annotations

from tests.providers.anthropic_corpus import HI, TOOLS
from tests.providers.anthropic_words import PNG, JsonObject, call, calls, file, image, text, tool, user

REFUSED: dict[str, tuple[JsonObject, str]] = {
    "several answers": ({"n": 2}, "n"),
    "log probabilities": ({"logprobs": True}, "logprobs"),
    "alternatives": ({"top_logprobs": 3}, "top_logprobs"),
    "a bias": ({"logit_bias": {"50256": -100}}, "logit_bias"),
    "a seed": ({"seed": 7}, "seed"),
    "spoken answers": ({"modalities": ["text", "audio"]}, "modalities"),
    "a voice": ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    "a penalty": ({"frequency_penalty": 0.5}, "frequency_penalty"),
    "another penalty": ({"presence_penalty": -1}, "presence_penalty"),
    "a prediction": ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
    "stored answers": ({"store": True}, "store"),
    "functions of the old kind": ({"functions": [{"name": "f"}]}, "functions"),
    "web search": ({"web_search_options": {}}, "web_search_options"),
    "a cache key": ({"prompt_cache_key": "k"}, "prompt_cache_key"),
    "an unknown field": ({"cache_prompt": True}, "cache_prompt"),
    "metadata of another kind": ({"metadata": {"project": "x"}}, "metadata.project"),
    "a user that is no string": ({"user": 7}, "user"),
    "a tier of OpenAI's": ({"service_tier": "flex"}, "service_tier"),
    "too hot": ({"temperature": 2.5}, "temperature"),
    "no number": ({"temperature": "hot"}, "temperature"),
    "no tokens": ({"max_tokens": 0}, "max_tokens"),
    "tokens in words": ({"max_completion_tokens": "many"}, "max_completion_tokens"),
    "a stop that is a number": ({"stop": 5}, "stop"),
    "metadata that is no object": ({"metadata": ["x"]}, "metadata"),
    "tools that are no list": ({"tools": {"weather": {}}}, "tools"),
    "a tool that is no object": ({"tools": ["weather"]}, "tools[0]"),
    "a schema that is no object": ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters"),
    "a choice of nothing": ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice.function"),
    "a call of another type": (
        {"messages": [*HI, calls({"id": "a", "type": "custom", "custom": {}})]},
        "messages[1].tool_calls[0].custom",
    ),
    "a call of another type, put into words": (
        {"messages": [*HI, calls({**call(), "type": "custom"})]},
        "messages[1].tool_calls[0].type",
    ),
    "a call without an id": ({"messages": [*HI, calls(call(id_=""))]}, "messages[1].tool_calls[0].id"),
    "calls that are no list": (
        {"messages": [*HI, {"role": "assistant", "tool_calls": call()}]},
        "messages[1].tool_calls",
    ),
    "a stop that is no string": ({"stop": ["a", 1]}, "stop[1]"),
    "JSON without a schema": ({"response_format": {"type": "json_object"}}, "response_format.type"),
    "a schema that is missing": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "City"}}},
        "response_format.json_schema.schema",
    ),
    "an unknown effort": ({"reasoning_effort": "huge"}, "reasoning_effort"),
    "reasoning without room": ({"reasoning_effort": "low", "max_tokens": 1_024}, "reasoning_effort"),
    "a custom tool": ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
    "a tool without a name": ({"tools": [tool(), {"type": "function", "function": {}}]}, "tools[1].function.name"),
    "a tool with more": ({"tools": [tool(defer=True)]}, "tools[0].function.defer"),
    "a choice of several tools": (
        {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        "tool_choice",
    ),
    "messages that are none": ({"messages": "hi"}, "messages"),
    "only system messages": ({"messages": [{"role": "system", "content": "Be brief."}]}, "messages"),
    "a role of the old kind": ({"messages": [{"role": "function", "name": "f", "content": "1"}]}, "messages[0].role"),
    "a name": ({"messages": [{**HI[0], "name": "Ann"}]}, "messages[0].name"),
    "an empty question": ({"messages": [user("")]}, "messages[0].content"),
    "content that is a number": ({"messages": [user(7)]}, "messages[0].content"),
    "sound": (
        {"messages": [user([text("a"), {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}])]},
        "messages[0].content[1].type",
    ),
    "an image in a system message": (
        {"messages": [{"role": "system", "content": [image(f"data:image/png;base64,{PNG}")]}, *HI]},
        "messages[0].content[0].type",
    ),
    "an image to be looked at cheaply": (
        {"messages": [user([image("https://example.com/a.png", detail="low")])]},
        "messages[0].content[0].image_url.detail",
    ),
    "an image of an unknown kind": (
        {"messages": [user([image("data:image/tiff;base64,AAAA")])]},
        "messages[0].content[0].image_url.url",
    ),
    "an image at a file address": (
        {"messages": [user([image("file:///etc/passwd")])]},
        "messages[0].content[0].image_url.url",
    ),
    "data that is not base64": (
        {"messages": [user([image("data:image/png,abc")])]},
        "messages[0].content[0].image_url.url",
    ),
    "a stored file": (
        {"messages": [user([{"type": "file", "file": {"file_id": "file-1"}}])]},
        "messages[0].content[0].file.file_id",
    ),
    "a spreadsheet": (
        {"messages": [user([file("data:text/csv;base64,YSxi")])]},
        "messages[0].content[0].file.file_data",
    ),
    "a text file that is no text": (
        {"messages": [user([file("data:text/plain;base64,/w==")])]},
        "messages[0].content[0].file.file_data",
    ),
    "a call of the old kind": (
        {"messages": [*HI, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}]},
        "messages[1].function_call",
    ),
    "arguments that are no JSON": (
        {"messages": [*HI, calls(call(arguments='{"city":'))]},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "arguments that are no object": (
        {"messages": [*HI, calls(call(), call(arguments="[1]"))]},
        "messages[1].tool_calls[1].function.arguments",
    ),
    "a result of no call": ({"messages": [*HI, {"role": "tool", "content": "15"}]}, "messages[1].tool_call_id"),
    "reasoning without its signature": (
        {"messages": [*HI, calls(call(), thinking_blocks=[{"type": "thinking", "thinking": "x"}])]},
        "messages[1].thinking_blocks[0].signature",
    ),
    "reasoning of an unknown kind": (
        {"messages": [*HI, calls(call(), thinking_blocks=[{"type": "dream"}])]},
        "messages[1].thinking_blocks[0].type",
    ),
}
