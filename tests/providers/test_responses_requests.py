"""From requests for responses to chat completions: the golden corpus, what holds for all of them, what is bound."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.base import CompletionRequest
from providers.responses import binding
from providers.responses.native import ResponsesRequest, native_body
from providers.responses.request import to_chat
from tests.providers.responses_corpus import EXPRESSED, HI, REFUSED, TOOL, JsonObject, called, gave, thought
from tests.providers.test_anthropic_requests import JSON

TAG = binding.tag_of("openai")


def refusal(fields: JsonObject) -> str:
    """Return the field that a request is refused for, empty when it can be expressed."""
    try:
        to_chat({"input": "hi", **fields})
    except errors.NotExpressible as exc:
        return exc.param or "?"
    return ""


def request(**fields: Any) -> ResponsesRequest:
    """Return a request as the surface makes it."""
    body = {"input": "hi", **fields}
    return ResponsesRequest("m", {name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()})


@pytest.mark.parametrize("name", EXPRESSED)
def test_what_both_can_say_is_translated(name: str) -> None:
    """Each case is written by hand from the vendor's reference, and the request itself is left as it was."""
    fields, body = EXPRESSED[name]
    before = copy.deepcopy(fields)
    assert to_chat({"input": "hi", **fields}) == {"messages": HI, **body}
    assert fields == before


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed_is_refused_by_name(name: str) -> None:
    """A field that is dropped in silence gives an answer to another question."""
    fields, field = REFUSED[name]
    with pytest.raises(errors.NotExpressible) as raised:
        to_chat({"input": "hi", **fields})
    assert (raised.value.param, raised.value.status) == (field, 400)
    assert raised.value.message.startswith(f"{field}: ")


NAMES = sorted({name for fields, _ in [*EXPRESSED.values(), *REFUSED.values()] for name in fields})
KINDS = ["message", "function_call", "function_call_output", "reasoning", "item_reference", "x"]
ITEMS = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": JSON
        | st.lists(st.fixed_dictionaries({"type": st.sampled_from(["input_text", "refusal"]), "text": JSON})),
        "summary": JSON,
        "call_id": JSON,
        "name": JSON,
        "arguments": JSON,
        "output": JSON,
        "encrypted_content": JSON,
    },
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_fields_of_any_value_are_translated_or_refused(fields: JsonObject) -> None:
    """Clients send anything; no value may end in another kind of error."""
    assert refusal(fields).split(".")[0].split("[")[0] in {"", "input", *fields}


@given(st.lists(ITEMS | JSON, min_size=1, max_size=6))
def test_items_of_any_shape_are_translated_or_refused(items: Any) -> None:
    """The surface only looks whether it is a list, so the rest of it may be anything."""
    assert refusal({"input": items}).split("[")[0] in {"", "input"}


def test_the_body_of_its_own_dialect_is_as_it_was() -> None:
    """Only the model is rewritten; what the operator leaves out is left out."""
    asked = request(model="route", stream=True, x={"a": [1.50]}, temperature=1).for_model("gpt-5")
    body = json.loads(msgspec.json.encode(native_body(asked, {"temperature"}, stream=True)))
    assert body == {"input": "hi", "model": "gpt-5", "stream": True, "x": {"a": [1.5]}}
    assert "stream" not in native_body(asked, (), stream=False)


def test_translated_reasoning_goes_to_no_provider_of_this_api() -> None:
    """They look it up by its id and do not find it; a text that only looks like it is left alone."""
    ours, theirs = {**thought("Hm."), "id": "rs_lb_req_1_0"}, thought("Hm.", encrypted_content="gAAAA")
    asked = request(input=[*HI, ours, theirs, called(), gave(output='"rs_lb_"')])
    body = json.loads(msgspec.json.encode(native_body(asked, (), stream=False)))
    assert body["input"] == [*HI, theirs, called(), gave(output='"rs_lb_"')]
    plain = native_body(request(input='"rs_lb_'), (), stream=False)["input"]
    assert msgspec.json.decode(plain) == '"rs_lb_'


def test_a_limit_reaches_both_forms() -> None:
    """A key's longest answer holds whoever answers; the field has another name in each."""
    asked = request()
    asked.limit_answer(9)
    copied = asked.for_model("m")
    assert (copied.get("max_output_tokens"), copied.get("max_tokens"), set(copied.defaulted)) == (9, 9, {"max_tokens"})
    plain = CompletionRequest.of("m", HI)
    plain.limit_answer(9)
    assert (plain.get("max_tokens"), set(plain.defaulted)) == (9, {"max_tokens"})


def test_what_is_read_is_counted_without_a_translation() -> None:
    """Also of requests that no chat can express, and images are no text."""
    asked = request(
        input=[
            *HI,
            called(),
            gave(),
            thought("Hm."),
            {"role": "user", "content": [{"type": "x", "image_url": "a" * 99}]},
        ],
        tools=[TOOL],
        conversation="c",
    )
    said, also = asked.read_chars()
    assert said == [2, 16, 4, 3, 0]
    assert also == [len(json.dumps([TOOL]))]
    assert asked.get("n", 1) == 1


def test_an_id_is_bound_and_found_again() -> None:
    """Whatever the provider's own looks like, and in every process alike."""
    for id_ in ("resp_1", "x", "resp_lb00000000_a", "a\nb"):
        assert binding.unbound_id(binding.bound_id(TAG, id_)) == (TAG, id_)
    for foreign in ("", "resp_1", "resp_req_1", "resp_lbxyz_1", f"resp_lb{TAG}_", f"resp_lb{TAG}"):
        assert binding.unbound_id(foreign) is None
    # Clients hold ids of earlier versions of the gateway.
    assert TAG == "7d3194f7"
    assert binding.tag_of("azure") != TAG


def test_encrypted_reasoning_is_bound_and_found_again() -> None:
    """In whole responses and in events; all else keeps its bytes."""
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA="}
    body = b'{"id":"resp_9","previous_response_id":null,"n":1.50,"output":[%b]}' % msgspec.json.encode(item)
    bound = binding.bound_response(TAG, body)
    assert b'"n":1.50' in bound
    response = json.loads(bound)
    assert (response["id"], response["previous_response_id"]) == (f"resp_lb{TAG}_resp_9", None)
    items, found = binding.unsealed_items([*HI, *response["output"], {**item, "encrypted_content": "foreign"}])
    assert items == [*HI, item, {**item, "encrypted_content": "foreign"}]
    assert found == [binding.Binding(TAG, "input[1].encrypted_content")]
    event = json.loads(
        binding.bound_event(TAG, b'{"type":"t","item":%b,"sequence_number":3}' % msgspec.json.encode(item))
    )
    assert event == {"type": "t", "item": response["output"][0], "sequence_number": 3}
