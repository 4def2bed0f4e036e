"""From the gateway's own answers to responses, whole and streamed, and the providers' own as they come in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from providers.base import CompletionResponse, StreamEvent, Usage
from providers.responses.answer import response_of
from providers.responses.binding import sealed, tag_of, unsealed_items
from providers.responses.items import thinking_content
from providers.responses.request import to_chat
from providers.responses.stream import ResponseWriter
from providers.wire import chunk_event, parse_answer, parse_chunk
from tests.providers.anthropic_words import REDACTED, THOUGHT
from tests.providers.responses_corpus import HI, TOOL, JsonObject, answered, call, words
from tests.providers.test_anthropic_requests import TEXT
from tests.upstream import completion
from tests.upstream.frames import chunk, encode

USAGE = Usage(prompt_tokens=7, completion_tokens=5, cached_tokens=3, reasoning_tokens=2)
TAG = tag_of("a")
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def written(*events: StreamEvent, finish_reason: str | None = "stop", **asked: Any) -> list[JsonObject]:
    """Return the events of a whole response, each as the vendor's package takes it."""
    writer = ResponseWriter("resp_1", TAG, asked)
    out = writer.start("m")
    for event in events:
        out += writer.events(event)
    out += writer.end(finish_reason, USAGE)
    for each in out:
        EVENT.validate_json(msgspec.json.encode(each))
    return out


def shortened(item: JsonObject) -> JsonObject:
    """Return an item without what is the same in all of them."""
    kept = {name: value for name, value in item.items() if name not in ("id", "status", "role", "summary")}
    return kept if kept.get("content", True) else {name: kept[name] for name in kept if name != "content"}


def output_of(events: list[JsonObject]) -> list[JsonObject]:
    """Put the pieces together as a client does, hold them to the documented order, and compare with the whole."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    items: list[JsonObject] = []
    pieces: dict[tuple[int, int], list[str]] = {}
    done: dict[int, JsonObject] = {}
    for event in events[2:-1]:
        place, kind = event["output_index"], event["type"]
        key = (place, event.get("content_index", 0))
        assert place not in done
        if kind == "response.output_item.added":
            assert place == len(items)
            items.append(event["item"])
            assert event["item"]["status"] == "in_progress"
        elif kind == "response.content_part.added":
            assert key not in pieces
            pieces[key] = []
        elif kind.endswith(".delta"):
            assert event["item_id"] == items[place]["id"]
            pieces.setdefault(key, []).append(event["delta"])
        elif kind == "response.output_item.done":
            done[place] = event["item"]
        else:
            said = event.get("text", event.get("refusal", event.get("arguments")))
            assert said is None or said == "".join(pieces.get(key, []))
    output: list[JsonObject] = events[-1]["response"]["output"]
    assert output == [done[place] for place in range(len(items))]
    assert len({item["id"] for item in output}) == len(output)
    return output


def tool(index: int | None, arguments: str = "", **members: Any) -> StreamEvent:
    """Return a piece of a tool call; with a name it is the first."""
    function = {name: members.pop(name) for name in ("name",) if name in members} | {"arguments": arguments}
    place = {} if index is None else {"index": index}
    return StreamEvent(tool_calls=[{**place, **members, "function": function}])


def made(id_: str = "call_1", name: str = "weather", arguments: str = '{"city":"Paris"}') -> JsonObject:
    """Return a call, shortened."""
    return {"type": "function_call", "call_id": id_, "name": name, "arguments": arguments}


def spoke(*parts: JsonObject) -> JsonObject:
    """Return a message, shortened."""
    return {"type": "message", "content": [*parts]}


def mused(*content: str, **members: Any) -> JsonObject:
    """Return reasoning, shortened."""
    parts = [{"type": "reasoning_text", "text": one} for one in content]
    return {"type": "reasoning", **({"content": parts} if parts else {}), **members}


NO = {"type": "refusal", "refusal": "No."}
STREAMS: dict[str, tuple[list[StreamEvent], list[JsonObject]]] = {
    "nothing": ([], []),
    "text": ([StreamEvent(content="Hel"), StreamEvent(content="lo")], [spoke(words("Hello"))]),
    "reasoning, then text, then reasoning": (
        [StreamEvent(reasoning="H"), StreamEvent(reasoning="m."), StreamEvent(content="a"), StreamEvent(reasoning="b")],
        [mused("Hm."), spoke(words("a")), mused("b")],
    ),
    "reasoning and text in one event": (
        [StreamEvent(reasoning="Hm.", content="a")],
        [mused("Hm."), spoke(words("a"))],
    ),
    "reasoning under another name": (
        [
            chunk_event(parse_chunk(data), data)
            for data in [encode(chunk(delta={"reasoning": "Hm."})), encode(chunk("a"))]
        ],
        [mused("Hm."), spoke(words("a"))],
    ),
    "signed and hidden reasoning": (
        [
            StreamEvent(reasoning="Paris is warm."),
            StreamEvent(thinking_blocks=[{"index": 0, **THOUGHT}]),
            StreamEvent(thinking_blocks=[{"index": 1, **REDACTED}]),
            StreamEvent(content="a"),
        ],
        [
            mused("Paris is warm.", encrypted_content=sealed(TAG, thinking_content([THOUGHT, REDACTED]))),
            spoke(words("a")),
        ],
    ),
    "hidden reasoning alone": (
        [StreamEvent(thinking_blocks=[{"index": 0, **REDACTED}]), StreamEvent(content="a")],
        [mused(encrypted_content=sealed(TAG, thinking_content([REDACTED]))), spoke(words("a"))],
    ),
    "a refusal": ([StreamEvent(refusal="N"), StreamEvent(refusal="o.")], [spoke(NO)]),
    "text and a refusal": ([StreamEvent(content="Hm."), StreamEvent(refusal="No.")], [spoke(words("Hm."), NO)]),
    "text and a call": (
        [StreamEvent(content="I look."), tool(0, id="call_1", name="weather"), tool(0, '{"city":"Paris"}')],
        [spoke(words("I look.")), made()],
    ),
    "calls whose pieces are mixed": (
        [
            tool(0, '{"city":', id="call_1", name="weather"),
            tool(1, '{"a"', id="call_2", name="now"),
            tool(0, '"Paris"}'),
            tool(1, ":1}"),
        ],
        [made(), made("call_2", "now", '{"a":1}')],
    ),
    "calls that all have the same index": (
        [
            tool(0, '{"city":"Paris"}', id="call_1", name="weather"),
            tool(0, '{"a"', id="call_2", name="now"),
            tool(0, ":1}"),
        ],
        [made(), made("call_2", "now", '{"a":1}')],
    ),
    "calls without an index in events of their own": (
        [
            tool(None, '{"city":"Paris"}', id="call_1", name="weather"),
            tool(None, '{"a":1}', id="call_2", name="now"),
        ],
        [made(), made("call_2", "now", '{"a":1}')],
    ),
    "an index that is none, and arguments that are an object": (
        [
            StreamEvent(
                tool_calls=[
                    {"index": None, "id": "call_1", "function": {"name": "weather", "arguments": {"city": "Paris"}}},
                    {"index": [], "id": "call_2", "function": {"name": "now", "arguments": '{"a":1}'}},
                ]
            )
        ],
        [made(), made("call_2", "now", '{"a":1}')],
    ),
    "a call whose name comes late": (
        [tool(0, id="call_1"), tool(0, '{"city":"Paris"}', name="weather")],
        [made()],
    ),
    "a call without arguments": ([tool(0, id="call_1", name="now")], [made(name="now", arguments="")]),
    "whole calls without an index": (
        [
            StreamEvent(
                tool_calls=[
                    {"id": "call_1", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}},
                    {"id": "call_2", "function": {"name": "now", "arguments": "{}"}},
                ]
            )
        ],
        [made(), made("call_2", "now", "{}")],
    ),
    "a call without an id": ([tool(0, "{}", name="now")], [made("call_fc_1_0", "now", "{}")]),
    "text behind a call": (
        [tool(0, '{"city":"Paris"}', id="call_1", name="weather"), StreamEvent(content="I look.")],
        [made(), spoke(words("I look."))],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_events_become_items(name: str) -> None:
    """In the order and with the numbers that clients expect, and the whole at the end is what came in pieces."""
    events, output = STREAMS[name]
    assert [shortened(item) for item in output_of(written(*events))] == output


def test_text_comes_as_it_arrives() -> None:
    """The exact order of events, with nothing between two pieces."""
    kinds = [
        event["type"].removeprefix("response.") for event in written(StreamEvent(content="a"), StreamEvent(content="b"))
    ]
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]


def test_a_response_repeats_its_request_and_keeps_nothing() -> None:
    """As the vendor's does; `store` is what is true here."""
    asked: JsonObject = {
        "temperature": 0.2,
        "tools": [TOOL],
        "metadata": {"a": "b"},
        "store": True,
        "user": None,
        "x": 1,
    }
    first, *_, last = written(StreamEvent(content="a"), **asked)
    for response in (first["response"], last["response"]):
        assert {name: response[name] for name in ("temperature", "tools", "metadata")} == {
            name: asked[name] for name in ("temperature", "tools", "metadata")
        }
        assert (response["store"], response["top_p"], response["previous_response_id"]) == (False, 1.0, None)
        assert (response["id"], response["model"], "x" in response) == ("resp_1", "m", False)
    assert (first["response"]["status"], first["response"]["usage"]) == ("in_progress", None)
    assert last["response"]["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }


@pytest.mark.parametrize(
    ("finish_reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        (None, "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_why_an_answer_ended(finish_reason: str | None, status: str, details: Any) -> None:
    """The last event is called after it, and the item that was cut says so too."""
    *_, done, last = written(StreamEvent(content="a"), finish_reason=finish_reason)
    assert (last["type"], last["response"]["status"]) == (f"response.{status}", status)
    assert last["response"]["incomplete_details"] == details
    assert done["item"]["status"] == status


def test_a_refusal_of_the_model_is_a_whole_answer() -> None:
    """Anthropic's reason for it is `content_filter` as well."""
    assert written(StreamEvent(refusal="No."), finish_reason="content_filter")[-1]["response"]["status"] == "completed"


def test_a_broken_answer_has_failed() -> None:
    """With what came of it, which is incomplete."""
    writer = ResponseWriter("resp_1", TAG, {})
    begun = writer.start("m") + writer.events(StreamEvent(content="a"))
    (failed,) = writer.fail({"code": "server_error", "message": "Cut."}, USAGE)
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", len(begun))
    assert failed["response"]["output"][0]["status"] == "incomplete"
    EVENT.validate_json(msgspec.json.encode(failed))


def whole(answer: CompletionResponse) -> JsonObject:
    """Return the response of a whole answer, as the package takes it."""
    response = response_of(answer, USAGE, id_="resp_1", tag=TAG, asked={}, model="m")
    Response.model_validate_json(msgspec.json.encode(response))
    return response


def test_a_whole_answer_in_bytes() -> None:
    """With the reasoning and the refusal that only its bytes have."""
    message = {"reasoning_content": "Hm.", "refusal": "No.", "tool_calls": [call()]}
    body = encode(completion("I look.", finish_reason="tool_calls", message=message))
    response = whole(parse_answer(body)[0])
    assert [shortened(item) for item in response["output"]] == [mused("Hm."), spoke(words("I look."), NO), made()]
    assert (response["status"], response["model"]) == ("completed", "gpt-4")


CALLS = st.lists(st.tuples(TEXT, st.text(min_size=1, max_size=5), st.text(max_size=10)), max_size=3)


@given(content=TEXT | st.none(), refusal=st.just("") | TEXT, reasoning=st.just("") | TEXT, calls=CALLS, cuts=st.data())
def test_what_a_model_did_comes_back_as_it_was(
    content: str | None, refusal: str, reasoning: str, calls: Any, cuts: Any
) -> None:
    """An answer's items, sent back with the next question, are the message that a chat would have."""
    if content is None and not refusal and not calls:
        return
    tool_calls = [call(f"call_{n}_{id_}", name, arguments) for n, (id_, name, arguments) in enumerate(calls)]
    blocks = [THOUGHT] if reasoning and calls else None
    answer = CompletionResponse(
        content=content or "",
        refusal=refusal,
        reasoning=reasoning,
        tool_calls=tool_calls or None,
        thinking_blocks=blocks,
    )
    output = whole(answer)["output"]
    text = content or ""
    place = cuts.draw(st.integers(0, len(text)))
    indexed = [{"index": n, **one} for n, one in enumerate(tool_calls)]
    streamed = written(
        StreamEvent(reasoning=reasoning, thinking_blocks=blocks),
        StreamEvent(content=text[:place]),
        StreamEvent(content=text[place:]),
        StreamEvent(refusal=refusal),
        *(StreamEvent(tool_calls=[one]) for one in indexed),
    )
    assert output_of(streamed) == output
    items, _ = unsealed_items(output)
    expected = answered(content if content or not (calls or refusal) else None)
    expected |= {"refusal": refusal} if refusal else {}
    expected |= {"tool_calls": tool_calls} if calls else {}
    expected |= {"reasoning_content": reasoning} if reasoning and calls else {}
    expected |= {"thinking_blocks": blocks} if blocks else {}
    assert to_chat({"input": [*HI, *items]})["messages"] == [*HI, expected]
