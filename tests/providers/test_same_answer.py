"""One answer of a chat, whole and in pieces, says the same in both of the other dialects."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from providers.anthropic.reverse.answer import message_of
from providers.anthropic.reverse.stream import MessageWriter
from providers.base import StreamEvent, Usage
from providers.openai import StreamedChat
from providers.responses.answer import response_of
from providers.responses.stream import ResponseWriter
from providers.wire import parse_answer
from tests.providers.test_anthropic_reverse_streams import put_together
from tests.providers.test_responses_answers import output_of
from tests.upstream.frames import DONE, chunk, encode, event

JsonObject = dict[str, Any]
USAGE = Usage(prompt_tokens=7, completion_tokens=5)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ANSWERS = st.fixed_dictionaries(
    {
        "reasoning": TEXTS,
        "content": TEXTS,
        "refusal": TEXTS,
        "calls": st.lists(st.dictionaries(TEXTS, TEXTS, max_size=2), max_size=3),
        "finish_reason": st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
        "reasoning_name": st.sampled_from(["reasoning_content", "reasoning"]),
        "piece": st.integers(1, 5),
        "has_index": st.booleans(),
    }
)


def calls_of(answer: JsonObject) -> list[JsonObject]:
    """Return the calls as a whole answer has them."""
    return [
        {"id": f"call_{n}", "type": "function", "function": {"name": f"f{n}", "arguments": json.dumps(arguments)}}
        for n, arguments in enumerate(answer["calls"])
    ]


def whole(answer: JsonObject) -> bytes:
    """Return the body of a whole answer."""
    message = {"role": "assistant", "content": answer["content"], answer["reasoning_name"]: answer["reasoning"]}
    message |= {"refusal": answer["refusal"] or None, "tool_calls": calls_of(answer)}
    choice = {"index": 0, "message": message, "finish_reason": answer["finish_reason"]}
    return encode({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]})


def streamed(answer: JsonObject) -> bytes:
    """Return the same answer in pieces."""
    deltas: list[JsonObject] = []
    for name, said in ((answer["reasoning_name"], "reasoning"), ("content", "content"), ("refusal", "refusal")):
        deltas += [{name: piece} for piece in pieces(answer[said], answer["piece"])]
    for number, call in enumerate(calls_of(answer)):
        place = {"index": number} if answer["has_index"] else {}
        arguments = call["function"]["arguments"]
        first, *rest = pieces(arguments, answer["piece"])
        deltas.append({"tool_calls": [{**place, **call, "function": {**call["function"], "arguments": first}}]})
        deltas += [{"tool_calls": [{**place, "function": {"arguments": piece}}]} for piece in rest]
    frames = [event(chunk(delta=delta)) for delta in deltas]
    return b"".join([*frames, event(chunk(delta={}, finish_reason=answer["finish_reason"])), event(DONE)])


def pieces(text: str, size: int) -> list[str]:
    """Return a text in pieces."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def events_of(answer: JsonObject) -> tuple[list[StreamEvent], str | None]:
    """Return what comes of the stream, and why it ended."""
    reader = StreamedChat(1)
    events = [*reader.events(streamed(answer)), *reader.end()]
    return events, next((one.finish_reason for one in events if one.finish_reason), None)


@given(ANSWERS)
def test_a_response_is_the_same_whole_and_in_pieces(answer: JsonObject) -> None:
    """Which of the two a program asks for is no question of what it gets."""
    response, _ = parse_answer(whole(answer))
    told = response_of(response, USAGE, id_="resp_1", tag="t", asked={}, model="m")
    events, reason = events_of(answer)
    writer = ResponseWriter("resp_1", "t", {})
    out = writer.start("m")
    for one in events:
        out += writer.events(one)
    out += writer.end(reason, USAGE)
    ended = out[-1]["response"]
    for name in ("status", "output", "incomplete_details", "usage"):
        assert ended[name] == told[name]
    output_of(out)


@given(ANSWERS)
def test_a_message_is_the_same_whole_and_in_pieces(answer: JsonObject) -> None:
    """As above."""
    response, _ = parse_answer(whole(answer))
    told = message_of(response, USAGE, id_="msg_1", model="m")
    events, reason = events_of(answer)
    writer = MessageWriter("msg_1")
    out = writer.start("m", USAGE)
    for one in events:
        out += writer.events(one)
    out += writer.end(reason, USAGE)
    assert told["stop_reason"] == out[-2]["delta"]["stop_reason"]
    assert joined(put_together(out)) == joined(told["content"])


def joined(blocks: list[JsonObject]) -> list[JsonObject]:
    """Return blocks with neighbours of text as one: what is refused is text there, whole in a block of its own."""
    found: list[JsonObject] = []
    for block in blocks:
        if found and block["type"] == found[-1]["type"] == "text":
            found[-1] = {**block, "text": found[-1]["text"] + block["text"]}
        else:
            found.append(block)
    return found
