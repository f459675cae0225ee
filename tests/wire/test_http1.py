"""HTTP/1.1 responses: what is read is what was sent, however it is cut; what could be read in two ways is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.errors import DecodeError
from streamflow.wire import HTTPResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def read(*pieces: bytes, ends: bool = False) -> tuple[HTTPResponseReader, bytes]:
    """Feed a reader, and return it with the body."""
    reader = HTTPResponseReader()
    body = b"".join(b"".join(reader.feed(piece)) for piece in pieces)
    if ends:
        reader.end()
    return reader, body


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    framing=st.sampled_from(["chunks", "length", "close"]),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    interim=st.booleans(),
)
def test_a_response_is_the_same_however_it_is_cut(
    chunks: list[bytes], framing: str, cuts: list[int], interim: bool
) -> None:
    """semantics 18.16: a response is read as it was sent; nothing is added at a cut, nothing lost, and its end is known."""
    body = b"".join(chunks)
    head = (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" if interim else b"") + OK + b"X-Two: a\r\nx-two:b \r\n"
    data = {
        "chunks": head
        + b"Transfer-Encoding: Chunked\r\n\r\n"
        + b"".join(b"%X;ext=1\r\n%s\r\n" % (len(one), one) for one in chunks)
        + b"0\r\nx-trailer: 1\r\n\r\n",
        "length": head + b"content-length: %d\r\n\r\n%s" % (len(body), body),
        "close": head + b"\r\n" + body,
    }[framing]
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    pieces = [data[start:stop] for start, stop in itertools.pairwise(places)]

    reader, got = read(*pieces, ends=framing == "close")

    assert got == body
    assert reader.is_done
    assert reader.may_reuse is (framing != "close")
    assert reader.head is not None
    assert (reader.head.status, reader.head.headers["x-two"]) == (200, "a, b")
    if framing != "close":
        early = HTTPResponseReader()
        early.feed(data[:-1])
        assert not early.is_done


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        OK + b"x: 1\r\n folded\r\n\r\n",
        OK + b"x : 1\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"x: a\x00b\r\n\r\n",
        OK + b"x: a\rcontent-length: 3\r\n\r\n",
        OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\n",
        OK + b"content-length: +3\r\n\r\n",
        OK + b"content-length: \r\n\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        CHUNKED + b"x\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"0x3\r\nabc\r\n",
        CHUNKED + b" 3\r\nabc\r\n",
        CHUNKED + b"3\r\nabcd\r\n",
        CHUNKED + b"f" * 16 + b"\r\n",
    ],
)
def test_what_is_no_response_or_could_be_two_is_refused(data: bytes) -> None:
    """semantics 18.16: a connection that is used again must never give one call the answer to another."""
    with pytest.raises(DecodeError):
        read(data)
    with pytest.raises(DecodeError):
        read(*[data[at : at + 1] for at in range(len(data))])


@pytest.mark.parametrize(
    "start", [OK + b"x: ", CHUNKED + b"3;", CHUNKED + b"0\r\nx: "], ids=["head", "chunk", "trailer"]
)
def test_what_does_not_end_is_not_kept(start: bytes) -> None:
    """semantics 18.16: the size of heads, of lines and of trailers is bounded."""
    reader = HTTPResponseReader(max_head_bytes=10_000)
    reader.feed(start)
    with pytest.raises(DecodeError, match=r"longer|larger"):
        for _ in range(100):
            reader.feed(b"y" * 1000)


def test_trailers_and_interim_responses_count_as_the_head_does() -> None:
    """semantics 18.16: a peer that sends lines for ever is refused, too."""
    trailers = HTTPResponseReader(max_head_bytes=10_000)
    trailers.feed(CHUNKED + b"0\r\n")
    with pytest.raises(DecodeError, match="trailers"):
        trailers.feed(b"x: 1\r\n" * 5000)
    with pytest.raises(DecodeError, match="head"):
        HTTPResponseReader(max_head_bytes=10_000).feed(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@pytest.mark.parametrize(
    ("data", "may_reuse"),
    [
        (OK + b"content-length: 0\r\n\r\n", True),
        (OK + b"content-length: 0, 0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (OK + b"connection: Keep-Alive, CLOSE\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", False),
        (OK + b"content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", False),
        (OK + b"content-length: 0\r\n\r\nHTTP/1.1 200 OK", False),
        (CHUNKED + b"0\r\n\r\nx", False),
    ],
)
def test_a_connection_is_used_again_only_where_its_end_cannot_be_mistaken(data: bytes, may_reuse: bool) -> None:
    """semantics 18.16: `HTTPResponseReader.may_reuse`; surplus bytes, two lengths, an old server: never again."""
    reader, body = read(data)

    assert (reader.is_done, reader.may_reuse, body) == (True, may_reuse, b"")


@pytest.mark.parametrize(
    "data", [b"", OK, CHUNKED + b"3\r\nab", CHUNKED + b"0\r\n", OK + b"content-length: 2\r\n\r\na"]
)
def test_an_end_before_the_end_is_an_error(data: bytes) -> None:
    """semantics 18.16: a response that is cut is never taken for a whole one."""
    with pytest.raises(DecodeError, match="before"):
        read(data, ends=True)


def test_lines_may_end_with_a_line_feed_alone_in_the_head() -> None:
    """RFC 9112, 2.2: a reader may take a single LF for the end of a line; small servers send it."""
    reader, body = read(b"HTTP/1.1 200\nContent-Length: 2\n\nab")

    assert reader.head is not None
    assert (reader.is_done, body, dict(reader.head.headers)) == (True, b"ab", {"content-length": "2"})
