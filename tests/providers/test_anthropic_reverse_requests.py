"""From Anthropic's requests to OpenAI's: the golden corpus, what holds for every request, and there and back."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.anthropic.native import MessagesRequest, native_body
from providers.anthropic.request import to_messages
from providers.anthropic.reverse.request import to_chat
from tests.providers.anthropic_reverse_corpus import EXPRESSED, HI, REFUSED, use
from tests.providers.anthropic_reverse_corpus import given as result_of
from tests.providers.anthropic_words import PNG, SCHEMA, THOUGHT, JsonObject, picture, text, turn, user
from tests.providers.test_anthropic_requests import JSON, TEXT


def turned(fields: JsonObject) -> JsonObject:
    """Return OpenAI's fields for a request of Anthropic's."""
    return to_chat({"max_tokens": 100, "messages": HI, **fields})


def refusal(fields: JsonObject) -> str:
    """Return the field that a request is refused for, empty when it can be expressed."""
    try:
        turned(fields)
    except errors.NotExpressible as exc:
        return exc.param or "?"
    return ""


def request(**fields: Any) -> MessagesRequest:
    """Return a request as the surface makes it."""
    body = {"max_tokens": 100, "messages": HI, **fields}
    return MessagesRequest("m", {name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()})


@pytest.mark.parametrize("name", EXPRESSED)
def test_what_both_dialects_can_say_is_translated(name: str) -> None:
    """Each case is written by hand from the vendors' references, and the request itself is left as it was."""
    fields, body = EXPRESSED[name]
    before = copy.deepcopy(fields)
    assert turned(fields) == {"max_tokens": 100, "messages": HI, **body}
    assert fields == before


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed_is_refused_by_name(name: str) -> None:
    """A field that is dropped in silence gives an answer to another question."""
    fields, field = REFUSED[name]
    with pytest.raises(errors.NotExpressible) as raised:
        turned(fields)
    assert (raised.value.param, raised.value.status) == (field, 400)
    assert raised.value.message.startswith(f"{field}: ")


@given(st.dictionaries(st.sampled_from([*{name for fields, _ in EXPRESSED.values() for name in fields}, "x"]), JSON))
def test_fields_of_any_value_are_translated_or_refused(fields: JsonObject) -> None:
    """Clients send anything; no value may end in another kind of error."""
    assert refusal(fields).split(".")[0] in {"", *fields}


@given(st.lists(JSON | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": JSON})))
def test_turns_of_any_shape_are_translated_or_refused(turns: Any) -> None:
    """The surface only looks at the roles, so the rest of a turn may be anything."""
    assert refusal({"messages": turns}).split(".")[0] in {"", "messages"}


BLOCKS = TEXT.map(text) | st.just(picture()) | st.just(picture("image/webp", PNG))
ARGUMENTS = st.dictionaries(st.text(max_size=5), JSON, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[JsonObject]:
    """Return turns that alternate and say what both dialects can, calls with their results among them."""
    turns = [turn("user", *draw(st.lists(BLOCKS, min_size=1, max_size=3)))]
    for number in range(draw(st.integers(0, 3))):
        ids = [f"toolu_{number}_{one}" for one in range(draw(st.integers(0, 2)))]
        uses = [{**use(id_), "input": draw(ARGUMENTS)} for id_ in ids]
        spoken = [text(draw(TEXT))] if not uses or draw(st.booleans()) else []
        turns.append(turn("assistant", *spoken, *uses))
        results = [result_of(id_, [text(draw(TEXT))]) for id_ in ids]
        asked = draw(st.lists(BLOCKS, min_size=0 if results else 1, max_size=2))
        turns.append(turn("user", *results, *asked))
    return turns


FIELDS = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 9_999), "messages": conversations()},
    optional={
        "system": TEXT.map(lambda said: [text(said)]),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "stop_sequences": st.lists(TEXT, min_size=1, max_size=4),
        "metadata": TEXT.map(lambda said: {"user_id": said}),
        "service_tier": st.sampled_from(["auto", "standard_only"]),
        "output_config": st.just({"format": {"type": "json_schema", "schema": SCHEMA}}),
        "tools": st.lists(TEXT, min_size=1, max_size=3).map(
            lambda names: [{"name": name, "description": "d", "input_schema": SCHEMA} for name in names]
        ),
    },
)
CHOICES = st.none() | st.sampled_from(
    [
        {"type": "auto"},
        {"type": "any", "disable_parallel_tool_use": True},
        {"type": "none"},
        {"type": "tool", "name": "weather"},
    ]
)


@given(FIELDS, CHOICES)
def test_what_both_dialects_can_say_survives_there_and_back(fields: JsonObject, choice: JsonObject | None) -> None:
    """From Anthropic's form to OpenAI's and back, nothing is lost, added or moved."""
    if choice is not None and "tools" in fields:
        fields = {**fields, "tool_choice": choice}
    back = to_messages(to_chat(fields), model="m", default_max_tokens=1)
    assert back == {"model": "m", **fields}


def test_a_request_is_only_translated_when_somebody_asks() -> None:
    """What every surface asks for is known without: a native request must not fail for what others cannot hear."""
    asked = request(top_k=5, system="Be short.", tools=[{"name": "a"}])
    assert (asked.get("n", 1), asked.get("max_tokens"), asked.get("max_completion_tokens")) == (1, 100, None)
    assert asked.read_chars() == ([2], [len('"Be short."'), len('[{"name": "a"}]')])
    with pytest.raises(errors.NotExpressible):
        _ = asked.fields
    assert request(stop_sequences=["x"]).for_model("b").get("stop") == ["x"]
    assert request().messages == HI


def test_the_characters_of_tools_count_as_read() -> None:
    """An agent's history is mostly their arguments and results."""
    turns = [turn("assistant", text("abc"), use()), turn("user", result_of("toolu_1", [text("12345")]), picture())]
    assert request(messages=turns).read_chars() == ([3 + len('{"city":"Paris"}'), 5], [])


def test_reasoning_of_other_models_does_not_go_to_anthropics() -> None:
    """Without a signature it is refused there, so a conversation could never come back to such a provider."""
    unsigned = {"type": "thinking", "thinking": "hm", "signature": ""}
    turns = [*HI, turn("assistant", unsigned, THOUGHT, text("a")), turn("assistant", unsigned), *HI]
    body = native_body(request(messages=turns, stream=True, top_k=5), ("top_k",))
    assert set(body) == {"model", "max_tokens", "messages"}
    assert body["messages"] == [*HI, turn("assistant", THOUGHT, text("a")), turn("assistant", unsigned), *HI]


def test_a_body_without_such_reasoning_is_not_even_read() -> None:
    """It goes out as it came, byte by byte."""
    asked = request(messages=[user("signature")], x={"y": 1})
    assert native_body(asked, ()) == {**asked.native, "model": "m"}
