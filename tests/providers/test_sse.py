"""The SSE reader gives the events that the WHATWG algorithm gives, however the bytes are cut."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.sse import MAX_EVENT_BYTES, EventTooLarge, ServerSentEvent, SSEReader

EOLS = ["\n", "\r\n", "\r"]
# Python's own line splitting would cut at each of these; an event stream does not.
FALSE_LINE_ENDS = "\u2028\u2029\x85\x0b\x0c\x1c\x1e"

_text = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
_json = st.builds(
    lambda text: json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False),
    st.text(st.sampled_from("ab é日🌍" + FALSE_LINE_ENDS), max_size=8),
)
_values = st.one_of(_json, _text, st.just(""), st.just("[DONE]"))
_fields = st.one_of(
    st.builds("data: {}".format, _values),
    st.builds("data:{}".format, _values),
    st.just("data"),
    st.builds("event: {}".format, st.sampled_from(["message", "error", "", "a b"])),
    st.builds("id: {}".format, st.sampled_from(["1", "", "a\0b"])),
    st.builds("retry: {}".format, st.sampled_from(["10", "soon"])),
    st.builds(": {}".format, _text),
    st.just(":"),
    _text,
)
_lines = st.one_of(_fields, _fields, st.just(""))
_streams = st.builds(
    lambda bom, lines: bom + "".join(line + eol for line, eol in lines),
    st.sampled_from(["", "\ufeff"]),
    st.lists(st.tuples(_lines, st.sampled_from(EOLS)), max_size=25),
)
# Also streams that nobody would write: any order of the characters that mean something.
_odd_streams = st.text(st.sampled_from("\r\n\r\n: dateve\ufeffx"), max_size=60)


@dataclass
class Reference:
    """WHATWG HTML, section 9.2.6, word for word and on a whole stream at once."""

    data: str = ""
    event_type: str = ""
    events: list[tuple[str, str]] = field(default_factory=list)

    def read(self, stream: str) -> list[tuple[str, str]]:
        """Return the dispatched events of `stream`."""
        text = stream.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        for line in text.split("\n")[:-1]:
            self._line(line)
        return self.events

    def _line(self, line: str) -> None:
        if not line:
            self._dispatch()
        elif line.startswith(":"):
            return
        elif ":" in line:
            name, value = line.split(":", 1)
            self._field(name, value.removeprefix(" "))
        else:
            self._field(line, "")

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self.event_type = value
        elif name == "data":
            self.data += value + "\n"

    def _dispatch(self) -> None:
        if self.data:
            self.events.append((self.event_type, self.data.removesuffix("\n")))
        self.data = self.event_type = ""


def _read(reader: SSEReader, stream: bytes, cuts: list[int]) -> list[ServerSentEvent]:
    events = []
    edges = [0, *sorted(cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        events += reader.feed(stream[start:end])
    return events


def _decoded(events: list[ServerSentEvent]) -> list[tuple[str, str]]:
    return [(event.event.decode(), event.data.decode()) for event in events]


@st.composite
def _cut_streams(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    stream = draw(st.one_of(_streams, _odd_streams)).encode()
    return stream, draw(st.lists(st.integers(0, len(stream)), max_size=12))


@given(_cut_streams())
def test_any_stream_cut_anywhere_reads_as_the_standard_says(case: tuple[bytes, list[int]]) -> None:
    """Networks cut at any byte, also inside a character or a CRLF."""
    stream, cuts = case
    assert _decoded(_read(SSEReader(), stream, cuts)) == Reference().read(stream.decode())


@given(_cut_streams())
def test_flush_gives_out_what_a_last_blank_line_would_have_ended(case: tuple[bytes, list[int]]) -> None:
    """Servers leave the last blank line away; the official SDKs read such an event too."""
    stream, cuts = case
    reader = SSEReader()
    events = _read(reader, stream, cuts) + reader.flush()
    assert _decoded(events) == Reference().read(stream.decode() + "\n\n")
    assert reader.flush() == []


@given(_cut_streams())
def test_one_byte_at_a_time_is_the_same_as_all_at_once(case: tuple[bytes, list[int]]) -> None:
    """The smallest reads are the hardest cut."""
    stream, _ = case
    assert _read(SSEReader(), stream, list(range(len(stream)))) == _read(SSEReader(), stream, [])


@pytest.mark.parametrize("eol", EOLS)
@pytest.mark.parametrize("separator", FALSE_LINE_ENDS)
def test_separators_inside_json_are_ordinary_characters(separator: str, eol: str) -> None:
    """Httpx's own line iterator cuts at U+2028 and so breaks JSON in two."""
    data = json.dumps({"text": f"a{separator}b"}, ensure_ascii=False)
    assert _decoded(SSEReader().feed(f"data: {data}{eol}{eol}".encode())) == [("", data)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("data\n\n", [("", "")]),
        ("data:\n\n", [("", "")]),
        ("data:  two spaces\n\n", [("", " two spaces")]),
        ("data: a\ndata\ndata: b\n\n", [("", "a\n\nb")]),
        ("event: ping\n\ndata: a\n\n", [("", "a")]),
        ("event: a\nevent: b\ndata: x\n\n", [("b", "x")]),
        (": only a comment\n\n", []),
        ("Data: case counts\n\n", []),
        (" data: a space before is another field\n\n", []),
        ("\ufeff\ufeffdata: only one mark is taken\n\n", []),
        ("data: a\n\n\ufeffdata: a mark in the middle is text\n\n", [("", "a")]),
        ("id: 1\nretry: 5\ndata: {}\n\n", [("", "{}")]),
        ("\n\n\n\ndata: a\r\r\r\ndata: b\n\n\n", [("", "a"), ("", "b")]),
    ],
)
def test_corner_cases_of_the_standard(stream: str, expected: list[tuple[str, str]]) -> None:
    """Each of these is a sentence of the standard that readers get wrong."""
    assert _decoded(SSEReader().feed(stream.encode())) == expected == Reference().read(stream)


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 22])
def test_an_event_over_the_limit_is_refused_when_it_is_complete(step: int) -> None:
    """A single event may not take the memory of the gateway, even if it ends one day."""
    limit = 200
    stream = b"data: small\n\ndata: " + b"x" * limit + b"\n\n"
    with pytest.raises(EventTooLarge):
        _read(SSEReader(limit), stream, list(range(0, len(stream), step)))


def _fed_until_refused(reader: SSEReader, piece: bytes) -> int:
    """Return how many pieces the reader took before it refused one; it gets 4,096 at most."""
    for number in range(4_096):
        try:
            reader.feed(piece)
        except EventTooLarge:
            return number
    return -1


def test_an_event_over_the_limit_is_refused_before_it_is_complete() -> None:
    """An endless event must be noticed while it comes, at the default limit of 1 MiB."""
    reader = SSEReader()
    reader.feed(b"data: ")
    assert _fed_until_refused(reader, b"x" * 65_536) == MAX_EVENT_BYTES // 65_536 - 1


def test_comments_without_a_blank_line_are_bounded_too() -> None:
    """Lines that never become an event must not pile up either."""
    assert _fed_until_refused(SSEReader(1_000), b": alive!!\n") == 100


def test_an_event_of_exactly_the_limit_passes() -> None:
    """The limit is the largest size that is allowed."""
    event = b"data: " + b"x" * 94
    assert [len(read.data) for read in SSEReader(len(event)).feed(event + b"\n\n")] == [94]


def test_many_events_in_one_read_may_be_larger_than_the_limit_together() -> None:
    """The limit is one event's, and a fast upstream sends thousands at once."""
    events = SSEReader(100).feed(b"data: 0123456789\n\n" * 10_000)
    assert len(events) == 10_000


def test_the_reader_keeps_nothing_of_events_that_it_gave_out() -> None:
    """A stream may run for hours, so what is held must not grow with it."""
    reader = SSEReader()
    for _ in range(2_000):
        assert len(reader.feed(b"data: " + b"x" * 1_000 + b"\n\ndata: half")) == 1
        assert len(reader._buffer) == len(b"data: half")
        reader.feed(b"\n\n")
        assert not reader._buffer
