"""From OpenAI's requests to Anthropic's: the golden corpus, and what holds for every request."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.anthropic.reasoning import thinks_adaptively
from providers.anthropic.request import to_messages
from tests.providers import anthropic_words as words
from tests.providers.anthropic_corpus import EXPRESSED, HI, HI_TURNS
from tests.providers.anthropic_refused import REFUSED
from tests.providers.anthropic_words import MODEL, JsonObject


def turned(fields: JsonObject) -> JsonObject:
    """Return Anthropic's body for an OpenAI request."""
    model = fields.get("model", MODEL)
    return to_messages({"messages": HI, **fields}, model=model, default_max_tokens=4_096)


def refusal(fields: JsonObject) -> str | None:
    """Return the field that a request is refused for, None when it can be expressed."""
    try:
        turned(fields)
    except errors.NotExpressible as exc:
        return exc.param
    return None


@pytest.mark.parametrize("name", EXPRESSED)
def test_what_both_dialects_can_say_is_translated(name: str) -> None:
    """Each case is written by hand from the vendors' references, and the request itself is left as it was."""
    fields, body = EXPRESSED[name]
    before = copy.deepcopy(fields)
    expected = {"model": fields.get("model", MODEL), "max_tokens": 4_096, "messages": HI_TURNS, **body}
    assert turned(fields) == expected
    assert fields == before


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed_is_refused_by_name(name: str) -> None:
    """A field that is dropped in silence gives an answer to another question."""
    fields, field = REFUSED[name]
    with pytest.raises(errors.NotExpressible) as raised:
        turned(fields)
    assert raised.value.param == field
    assert raised.value.status == 400
    assert raised.value.message.startswith(field)


@pytest.mark.parametrize(
    ("model", "adaptive"),
    [
        ("claude-3-haiku-20240307", False),
        ("claude-3-7-sonnet-20250219", False),
        ("claude-opus-4-20250514", False),
        ("claude-sonnet-4-5", False),
        ("claude-haiku-4-5-20251001", False),
        ("anthropic.claude-opus-4.6", True),
        ("claude-opus-4-6-20260101", True),
        ("claude-sonnet-5", True),
        ("claude-next", True),
    ],
)
def test_the_form_of_thinking_follows_the_models_version(model: str, adaptive: bool) -> None:
    """Older models refuse the one form, newer ones the other."""
    assert thinks_adaptively(model) is adaptive


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.text(min_size=1, max_size=30)
MESSAGES = st.one_of(
    TEXT.map(lambda content: {"role": "system", "content": content}),
    TEXT.map(words.user),
    st.lists(TEXT.map(words.text), min_size=1, max_size=3).map(words.user),
    TEXT.map(lambda content: {"role": "assistant", "content": content}),
    st.dictionaries(st.text(max_size=5), JSON, max_size=3).map(
        lambda arguments: words.calls(words.call(arguments=json.dumps(arguments)))
    ),
    TEXT.map(words.result),
)


@given(st.lists(MESSAGES, max_size=8))
def test_turns_alternate_and_nothing_said_is_lost(messages: list[JsonObject]) -> None:
    """Whatever the order, roles alternate, results stand first, and every text and argument is still there."""
    body = turned({"messages": [*messages, words.user("last")]})
    roles = [one["role"] for one in body["messages"]]
    assert all(first != second for first, second in itertools.pairwise(roles))
    for one in body["messages"]:
        kinds = [block["type"] for block in one["content"]]
        assert one["content"]
        assert kinds == sorted(kinds, key=lambda kind: one["role"] == "user" and kind != "tool_result")
    assert sorted(_said(body.get("system", [])) + _said(body["messages"])) == sorted(_said([*messages, "last"]))


def _said(value: Any) -> list[str]:
    """Return every text and every call's arguments somewhere in a request of either dialect."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [said for item in value for said in _said(item)]
    if "function" in value:
        return [json.dumps(json.loads(value["function"]["arguments"]), sort_keys=True)]
    if value.get("type") == "tool_use":
        return [json.dumps(value["input"], sort_keys=True)]
    if value.get("type") == "text":
        return [value["text"]]
    return [said for name in ("content", "tool_calls") for said in _said(value.get(name) or [])]


@given(
    st.dictionaries(st.sampled_from([*EXPRESSED["fields with which OpenAI's defaults are written out"][0], "x"]), JSON)
)
def test_fields_of_any_value_are_translated_or_refused(fields: JsonObject) -> None:
    """Clients send anything; no value may end in another kind of error."""
    refused = refusal(fields)
    if refused is not None:
        assert refused.split(".")[0].split("[")[0] in fields
    else:
        assert turned(fields)["messages"] == HI_TURNS


@given(st.lists(JSON, max_size=3) | JSON)
def test_messages_of_any_shape_are_translated_or_refused(messages: Any) -> None:
    """The OpenAI surface only looks at the roles, so the rest of a message may be anything."""
    refused = refusal({"messages": messages})
    assert refused is None or refused.startswith("messages")
