"""The SSE parser and encoder, against the WHATWG standard."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamflow.errors import ConfigError, DecodeError, ElementError
from streamflow.wire import SSEEvent, SSEParser, encode_comment, encode_event


def parse(*chunks: bytes, **options) -> list[SSEEvent]:
    parser = SSEParser(**options)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    parser.close()
    return events


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def naive(data: bytes) -> list[SSEEvent]:
    """The standard's algorithm over the whole stream at once."""
    events, lines = [], re.split(r"\r\n|\r|\n", data.decode("utf-8", "replace").removeprefix("\ufeff"))
    kept_id, kind, retry, held = "", "", None, []
    for line in lines[:-1]:
        if line == "":
            if held:
                events.append(SSEEvent("\n".join(held), kind or "message", kept_id, retry))
            kind, retry, held = "", None, []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            held.append(value)
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            kept_id = value
        elif field == "retry" and re.fullmatch(r"[0-9]{1,18}", value):
            retry = int(value)
    return events


# What streams are made of, in proportions that make events of it.
pieces = st.sampled_from([
    b"data", b"data: ", b"data:", b"event: ", b"id: ", b"id", b"retry: ", b":", b" ", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n",
    b"\xef\xbb\xbf", "ü🌍".encode(), b"\xf0\x9f", b"\xff", b"\0", b"12", b"x", "\u2028\x85".encode(), b"\x0b",
])  # fmt: skip
streams = st.one_of(st.lists(pieces, max_size=40).map(b"".join), st.binary(max_size=60))
cuts = st.lists(st.integers(0, 10_000), max_size=12)
lines = st.text(max_size=12).filter(lambda text: not re.search(r"[\r\n\0]", text))


@given(data=streams, places=cuts)
def test_any_cut_gives_the_events_of_the_standard(data, places):
    """semantics 17.1: where the network cuts a stream changes nothing, also inside CRLF, a BOM or a character."""
    assert parse(*cut(data, places)) == parse(data) == naive(data)


@given(data=streams, places=cuts, limit=st.integers(1, 30))
def test_any_cut_gives_the_same_events_up_to_the_size_limit(data, places, limit):
    """semantics 17.1: the limit depends on the stream alone, and arbitrary bytes raise nothing but our own error."""

    def outcome(chunks):
        parser, events = SSEParser(max_event_bytes=limit), []
        try:
            for chunk in chunks:
                events += parser.feed(chunk)
            parser.close()
        except DecodeError:
            return events, "too large"
        return events, "ended"

    assert outcome(cut(data, places)) == outcome([data])


@given(
    data=st.text(max_size=30),
    event=st.none() | lines,
    id=lines,
    retry_ms=st.none() | st.integers(0, 10**12),
    places=cuts,
)
def test_what_is_encoded_is_what_is_parsed(data, event, id, retry_ms, places):
    """semantics 17.2: encode and parse are inverse, but for line ends, all of which arrive as line feeds."""
    encoded = encode_event(data, event=event, id=id, retry_ms=retry_ms)

    expected = SSEEvent(re.sub(r"\r\n|\r", "\n", data), event or "message", id, retry_ms)
    assert parse(*cut(encoded * 2, places)) == [expected, expected]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [SSEEvent("YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [SSEEvent("first event", id="1"), SSEEvent("second event"), SSEEvent(" third event")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [SSEEvent(""), SSEEvent("\n")]),
        (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [SSEEvent("a")]),
        (b"\n\xef\xbb\xbfdata: b\n\n", []),
        (b"data:test\n\ndata: test\n\n", [SSEEvent("test"), SSEEvent("test")]),
    ],
)
def test_the_examples_of_the_standard_are_read_as_it_says(stream, events):
    """https://html.spec.whatwg.org/multipage/server-sent-events.html, end of 9.2.6."""
    assert parse(stream) == events


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_all_three_line_ends_end_a_line_when_bytes_come_one_by_one(line_end):
    """A CR ends its line at once, and a line feed that follows it ends no other."""
    stream = line_end.join([b"data: a", b"data: b", b"", b"", b"id: 1", b"data: c", b"", b""])

    assert parse(*[bytes([byte]) for byte in stream]) == [SSEEvent("a\nb"), SSEEvent("c", id="1")]


def test_an_id_stays_for_the_events_that_follow():
    """A reader that reconnects after an event without an id names the last one that it saw."""
    parser = SSEParser()
    events = parser.feed(b"id: 7\ndata: a\n\ndata: b\n\nid: no\0\ndata: c\n\nid:\ndata: d\n\n")

    assert [event.id for event in events] == ["7", "7", "7", ""]
    assert parser.last_event_id == ""


def test_a_retry_counts_only_when_it_is_digits():
    """Anything else is ignored, and a number of 5000 digits is no exception from `int()`."""
    parser = SSEParser()
    events = parser.feed(b"retry: 1500\ndata: a\n\nretry: 2s\ndata: b\n\nretry: " + b"9" * 5000 + b"\n\n")

    assert [event.retry_ms for event in events] == [1500, None]
    assert parser.retry_ms == 1500


def test_an_event_that_is_not_complete_is_dropped_at_the_end():
    """Half an event must not pass for a whole one; the next stream starts afresh and keeps the id."""
    parser = SSEParser()
    assert parser.feed(b"id: 1\ndata: a\n\nevent: x\ndata: half") == [SSEEvent("a", id="1")]
    parser.close()

    assert parser.feed(b"\xef\xbb\xbfdata: b\r\n\r\n") == [SSEEvent("b", id="1")]


def test_an_event_beyond_the_limit_is_an_error_after_the_events_before_it():
    """A peer cannot fill the memory, with one line or with many; what was complete is not lost."""
    parser = SSEParser(max_event_bytes=20)
    events = parser.feed(b"data: a\n\ndata: " + b"x" * 20)

    assert events == [SSEEvent("a")]
    for use in (lambda: parser.feed(b"\n\n"), parser.close):
        with pytest.raises(DecodeError, match="max_event_bytes=20"):
            use()
    with pytest.raises(DecodeError, match="max_event_bytes=20"):
        parse(*[b"data: 1234\n"] * 5, max_event_bytes=20)
    for piece in (b"x", b"data\n"):
        with pytest.raises(DecodeError, match="max_event_bytes=20"):
            parse(*[piece] * 30, max_event_bytes=20)


def test_events_and_comments_together_may_be_as_long_as_they_like():
    """The limit is one event's: keep-alive comments and finished events do not count."""
    assert len(parse(b"data: 12345\n\n" * 100, b": ping\n" * 100, b"data: a\n\n", max_event_bytes=12)) == 101


def test_a_line_that_comes_byte_by_byte_costs_no_more_than_its_length():
    """Joining on each feed would move 80 GB here."""
    size = 400_000
    assert parse(b"data: ", *[b"x"] * size, b"\n\n") == [SSEEvent("x" * size)]


@pytest.mark.parametrize(
    "options",
    [{"event": "a\nb"}, {"event": "a\rb"}, {"id": "a\nb"}, {"id": "a\0b"}, {"retry_ms": -1}, {"event": "\ud800"}],
)
def test_a_field_that_would_not_arrive_is_refused(options):
    """A line end in a type or an id would let whoever chose it write events of their own."""
    with pytest.raises(ElementError):
        encode_event("data", **options)


def test_a_lone_surrogate_is_refused():
    """It has no encoding; the error is one of ours."""
    with pytest.raises(ElementError, match="no Unicode"):
        encode_event("a\ud800b")


def test_a_limit_below_one_is_refused():
    """Wrong arguments fail in the constructor."""
    with pytest.raises(ConfigError, match="max_event_bytes"):
        SSEParser(max_event_bytes=0)


def test_line_feeds_are_the_only_line_ends_that_are_written():
    """The form that every reader understands, and proxies too."""
    assert (
        encode_event("a\r\nb", event="tick", id="3", retry_ms=5)
        == b"event: tick\nid: 3\nretry: 5\ndata: a\ndata: b\n\n"
    )


@given(text=st.text(max_size=20), places=cuts)
@example(text="data: x\r\ndata: y", places=[])
def test_a_comment_is_passed_over(text, places):
    """semantics 17.2: it keeps a connection alive, also between the lines of no event, and can be no event whatever it holds."""
    comment = encode_comment(text)
    stream = comment + encode_event("a") + comment + comment + encode_event("b")

    assert parse(*cut(stream, places)) == [SSEEvent("a"), SSEEvent("b")]


def test_a_comment_that_is_no_unicode_is_refused():
    """semantics 17.2: it has no encoding; the error is one of ours."""
    assert encode_comment() == b": \n\n"
    with pytest.raises(ElementError, match="no Unicode"):
        encode_comment("\ud800")
