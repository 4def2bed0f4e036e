"""The golden corpus of requests: what each OpenAI field becomes in Anthropic's dialect.

`EXPRESSED` maps a case's name to the fields of an OpenAI request and the members of Anthropic's body. A side without
`messages` has the short question of `HI`; `max_tokens` is 4096 unless the case says otherwise, `model` is `MODEL`.
"""

from __future__ import annotations

from tests.providers.anthropic_words import (
    EPHEMERAL,
    NEW_MODEL,
    PDF,
    PNG,
    REDACTED,
    SCHEMA,
    THOUGHT,
    JsonObject,
    call,
    calls,
    document,
    file,
    image,
    picture,
    result,
    returned,
    text,
    tool,
    turn,
    use,
    user,
)

HI = [user("hi")]
HI_TURNS = [turn("user", text("hi"))]
TOOLS = [tool(parameters=SCHEMA)]
TOOLS_TURNED = [{"name": "weather", "input_schema": SCHEMA}]

EXPRESSED: dict[str, tuple[JsonObject, JsonObject]] = {
    "a plain question": ({}, {}),
    "system first": (
        {"messages": [{"role": "system", "content": "Be brief."}, *HI]},
        {"system": [text("Be brief.")]},
    ),
    "developer is system": (
        {"messages": [{"role": "developer", "content": "Be brief."}, *HI]},
        {"system": [text("Be brief.")]},
    ),
    "several system messages, one in the middle": (
        {
            "messages": [
                {"role": "system", "content": "One."},
                {"role": "developer", "content": [text("Two."), text("Three.")]},
                user("a"),
                {"role": "system", "content": "Four."},
                user("b"),
            ]
        },
        {
            "system": [text("One."), text("Two."), text("Three."), text("Four.")],
            "messages": [turn("user", text("a"), text("b"))],
        },
    ),
    "cache_control on a system part": (
        {"messages": [{"role": "system", "content": [text("Long.", cache_control=EPHEMERAL)]}, *HI]},
        {"system": [text("Long.", cache_control=EPHEMERAL)]},
    ),
    "cache_control beside a string": (
        {"messages": [{"role": "system", "content": "Long.", "cache_control": EPHEMERAL}, *HI]},
        {"system": [text("Long.", cache_control=EPHEMERAL)]},
    ),
    "cache_control on an image, a file and a tool": (
        {
            "messages": [
                user(
                    [
                        {**image(f"data:image/png;base64,{PNG}"), "cache_control": EPHEMERAL},
                        {**file(f"data:application/pdf;base64,{PDF}"), "cache_control": EPHEMERAL},
                    ]
                )
            ],
            "tools": [{**tool(parameters=SCHEMA), "cache_control": EPHEMERAL}],
        },
        {
            "messages": [turn("user", {**picture(), "cache_control": EPHEMERAL}, document(cache_control=EPHEMERAL))],
            "tools": [{**TOOLS_TURNED[0], "cache_control": EPHEMERAL}],
        },
    ),
    "cache_control of the whole request": ({"cache_control": EPHEMERAL}, {"cache_control": EPHEMERAL}),
    "neighbours of one role become one turn": (
        {
            "messages": [
                user("a"),
                user([text("b")]),
                {"role": "assistant", "content": "c"},
                {"role": "assistant", "content": [text("d")]},
                user("e"),
            ]
        },
        {
            "messages": [
                turn("user", text("a"), text("b")),
                turn("assistant", text("c"), text("d")),
                turn("user", text("e")),
            ]
        },
    ),
    "an answer that is begun": (
        {"messages": [*HI, {"role": "assistant", "content": "The answer is ("}]},
        {"messages": [*HI_TURNS, turn("assistant", text("The answer is ("))]},
    ),
    "an assistant that said nothing": (
        {"messages": [*HI, {"role": "assistant", "content": ""}, user("again")]},
        {"messages": [turn("user", text("hi"), text("again"))]},
    ),
    "an assistant's refusal": (
        {"messages": [*HI, {"role": "assistant", "content": None, "refusal": "I will not."}, user("why?")]},
        {"messages": [*HI_TURNS, turn("assistant", text("I will not.")), turn("user", text("why?"))]},
    ),
    "an assistant's refusal as a part": (
        {"messages": [*HI, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}]},
        {"messages": [*HI_TURNS, turn("assistant", text("No."))]},
    ),
    "empty parts are left out": (
        {"messages": [user([text(""), text("hi")])]},
        {},
    ),
    "unicode, line separators and control characters": (
        {"messages": [user("naïve — 日本語 🌍\u2028\u2029\u0000\t")]},
        {"messages": [turn("user", text("naïve — 日本語 🌍\u2028\u2029\u0000\t"))]},
    ),
    "an image in the request": (
        {"messages": [user([text("What?"), image(f"data:image/png;base64,{PNG}", detail="high")])]},
        {"messages": [turn("user", text("What?"), picture())]},
    ),
    "an image of another kind and case": (
        {"messages": [user([image(f"data:image/JPG;base64,{PNG}", detail="auto")])]},
        {"messages": [turn("user", picture("image/jpeg"))]},
    ),
    "an image elsewhere": (
        {"messages": [user([image("https://example.com/a.png")])]},
        {"messages": [turn("user", {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}})]},
    ),
    "a PDF": (
        {"messages": [user([file(f"data:application/pdf;base64,{PDF}", filename="a.pdf")])]},
        {"messages": [turn("user", document(title="a.pdf"))]},
    ),
    "a PDF where an image is expected": (
        {"messages": [user([image(f"data:application/pdf;base64,{PDF}")])]},
        {"messages": [turn("user", document())]},
    ),
    "a file of plain text": (
        {"messages": [user([file("data:text/plain;charset=utf-8;base64,4oKsIDU=")])]},
        {
            "messages": [
                turn(
                    "user",
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "€ 5"}},
                )
            ]
        },
    ),
    "tools": (
        {"tools": [tool(description="Looks.", parameters=SCHEMA), tool("now")]},
        {
            "tools": [
                {"name": "weather", "description": "Looks.", "input_schema": SCHEMA},
                {"name": "now", "input_schema": {"type": "object"}},
            ]
        },
    ),
    "a strict tool": (
        {"tools": [tool(parameters=SCHEMA, strict=True)]},
        {"tools": [{**TOOLS_TURNED[0], "strict": True}]},
    ),
    "a tool whose schema names no type": (
        {"tools": [tool(parameters={"properties": {}})]},
        {"tools": [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    "no tools": ({"tools": []}, {}),
    "tool_choice auto": (
        {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": True},
        {"tools": TOOLS_TURNED, "tool_choice": {"type": "auto"}},
    ),
    "tool_choice required": (
        {"tools": TOOLS, "tool_choice": "required"},
        {"tools": TOOLS_TURNED, "tool_choice": {"type": "any"}},
    ),
    "tool_choice none, one at a time": (
        {"tools": TOOLS, "tool_choice": "none", "parallel_tool_calls": False},
        {"tools": TOOLS_TURNED, "tool_choice": {"type": "none"}},
    ),
    "tool_choice of one function, one at a time": (
        {
            "tools": TOOLS,
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "parallel_tool_calls": False,
        },
        {
            "tools": TOOLS_TURNED,
            "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        },
    ),
    "one tool at a time": (
        {"tools": TOOLS, "parallel_tool_calls": False},
        {"tools": TOOLS_TURNED, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "the second turn of a tool": (
        {"messages": [*HI, calls(call()), result()]},
        {"messages": [*HI_TURNS, turn("assistant", use()), turn("user", returned(text("15")))]},
    ),
    "tools in parallel, then the user": (
        {
            "messages": [
                *HI,
                calls(call(), call(id_="toolu_2", arguments='{"city":"Tokyo"}'), content="I look."),
                result(),
                result("18", "toolu_2"),
                user("and?"),
            ]
        },
        {
            "messages": [
                *HI_TURNS,
                turn("assistant", text("I look."), use(), use(id_="toolu_2", value={"city": "Tokyo"})),
                turn("user", returned(text("15")), returned(text("18"), id_="toolu_2"), text("and?")),
            ]
        },
    ),
    "results come before text": (
        {"messages": [*HI, calls(call()), user("meanwhile"), result()]},
        {"messages": [*HI_TURNS, turn("assistant", use()), turn("user", returned(text("15")), text("meanwhile"))]},
    ),
    "a result with an image": (
        {"messages": [*HI, calls(call()), result([text("Look:"), image(f"data:image/png;base64,{PNG}")])]},
        {"messages": [*HI_TURNS, turn("assistant", use()), turn("user", returned(text("Look:"), picture()))]},
    ),
    "a result that is an error": (
        {"messages": [*HI, calls(call()), result("No such city", is_error=True, name="weather")]},
        {
            "messages": [
                *HI_TURNS,
                turn("assistant", use()),
                turn("user", returned(text("No such city"), is_error=True)),
            ]
        },
    ),
    "an empty result": (
        {"messages": [*HI, calls(call()), result("")]},
        {"messages": [*HI_TURNS, turn("assistant", use()), turn("user", returned())]},
    ),
    "empty arguments": (
        {"messages": [*HI, calls(call(arguments=""), call(arguments="{}", id_="b")), result(), result("", "b")]},
        {
            "messages": [
                *HI_TURNS,
                turn("assistant", use(value={}), use(value={}, id_="b")),
                turn("user", returned(text("15")), returned(id_="b")),
            ]
        },
    ),
    "ids of another vendor": (
        {"messages": [*HI, calls(call(id_="functions.weather:0")), result(id_="functions.weather:0")]},
        {
            "messages": [
                *HI_TURNS,
                turn("assistant", use(id_="functions_weather_0")),
                turn("user", returned(text("15"), id_="functions_weather_0")),
            ]
        },
    ),
    "signed reasoning comes back": (
        {
            "messages": [
                *HI,
                calls(
                    call(),
                    reasoning_content="Paris is warm.",
                    thinking_blocks=[{"index": 0, **THOUGHT}, {"index": 1, **REDACTED}],
                    content="I look.",
                ),
                result(),
            ]
        },
        {
            "messages": [
                *HI_TURNS,
                turn("assistant", THOUGHT, REDACTED, text("I look."), use()),
                turn("user", returned(text("15"))),
            ]
        },
    ),
    "an assistant's message as SDKs repeat it": (
        {
            "messages": [
                *HI,
                {
                    "role": "assistant",
                    "content": "c",
                    "refusal": None,
                    "annotations": [],
                    "audio": None,
                    "function_call": None,
                    "tool_calls": None,
                    "reasoning_content": "without a signature",
                    "parsed": {"a": 1},
                    "provider_specific_fields": {"refusal": None},
                },
            ]
        },
        {"messages": [*HI_TURNS, turn("assistant", text("c"))]},
    ),
    "max_tokens": ({"max_tokens": 100}, {"max_tokens": 100}),
    "max_completion_tokens wins": ({"max_tokens": 100, "max_completion_tokens": 200}, {"max_tokens": 200}),
    "temperature within the range": ({"temperature": 0.7, "top_p": 0.9}, {"temperature": 0.7, "top_p": 0.9}),
    "temperature above the range": ({"temperature": 1.7}, {"temperature": 1}),
    "temperature of zero": ({"temperature": 0}, {"temperature": 0}),
    "one stop": ({"stop": "END"}, {"stop_sequences": ["END"]}),
    "several stops": ({"stop": ["END", "\n\n"]}, {"stop_sequences": ["END", "\n\n"]}),
    "no stop": ({"stop": []}, {}),
    "user": ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
    "safety_identifier": ({"safety_identifier": "u-2"}, {"metadata": {"user_id": "u-2"}}),
    "metadata.user_id": ({"metadata": {"user_id": "u-3"}}, {"metadata": {"user_id": "u-3"}}),
    "service_tier auto": ({"service_tier": "auto"}, {"service_tier": "auto"}),
    "service_tier default": ({"service_tier": "default"}, {"service_tier": "standard_only"}),
    "structured output": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "City", "description": "A city.", "strict": True, "schema": SCHEMA},
            }
        },
        {"output_config": {"format": {"type": "json_schema", "schema": {"description": "A city.", **SCHEMA}}}},
    ),
    "plain output": ({"response_format": {"type": "text"}}, {}),
    "no reasoning": ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "reasoning with a budget": (
        {"reasoning_effort": "medium", "max_tokens": 20_000},
        {"max_tokens": 20_000, "thinking": {"type": "enabled", "budget_tokens": 4_096}},
    ),
    "reasoning with a budget that leaves room": (
        {"reasoning_effort": "high"},
        {"thinking": {"type": "enabled", "budget_tokens": 2_048}},
    ),
    "minimal reasoning": (
        {"reasoning_effort": "minimal", "max_tokens": 1_500},
        {"max_tokens": 1_500, "thinking": {"type": "enabled", "budget_tokens": 1_024}},
    ),
    "reasoning of a newer model": (
        {"model": NEW_MODEL, "reasoning_effort": "high"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    ),
    "reasoning and structured output of a newer model": (
        {
            "model": NEW_MODEL,
            "reasoning_effort": "minimal",
            "response_format": {"type": "json_schema", "json_schema": {"name": "City", "schema": SCHEMA}},
        },
        {
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        },
    ),
    "thinking in Anthropic's own words": (
        {"thinking": {"type": "enabled", "budget_tokens": 2_000}, "top_k": 5, "output_config": {"effort": "low"}},
        {"thinking": {"type": "enabled", "budget_tokens": 2_000}, "top_k": 5, "output_config": {"effort": "low"}},
    ),
    "fields with which OpenAI's defaults are written out": (
        {
            "n": 1,
            "logprobs": False,
            "logit_bias": {},
            "frequency_penalty": 0,
            "presence_penalty": 0.0,
            "store": False,
            "modalities": ["text"],
            "stream": True,
            "stream_options": {"include_usage": True},
            "seed": None,
            "audio": None,
        },
        {},
    ),
}
