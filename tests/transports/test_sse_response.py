"""Responses of server-sent events, without a network: headers, ends, heartbeats, hang-ups, slow clients."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import ErrorElement, PassthroughStage, PipelineBuilder, PipelineConfig, TextElement, stage
from streamflow.elements import EndOfStream, TurnEnd, decode
from streamflow.errors import ConfigError, MiddlewareError, PipelineBusyError, ProviderError
from streamflow.transports import EventEncoder, ServerEvent, StreamEnd, StreamHub, json_event, sse_response
from tests.support.asgi import Exchange, ask, asking, scope_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streamflow.elements import StreamElement


async def texts(*given: str, pause_s: float = 0.0) -> AsyncIterator[TextElement]:
    for text in given:
        await anyio.sleep(pause_s)
        yield TextElement(text)


def text_of(exchange: Exchange) -> str:
    return "".join(element.text for one in exchange.data if isinstance(element := decode(one), TextElement))


class Plain(EventEncoder):
    """A format for tests: start, text, other, and the end with its reason."""

    @property
    def headers(self) -> dict[str, str]:
        return {"x-format": "plain"}

    def start(self) -> Sequence[ServerEvent]:
        return [ServerEvent("start")]

    def encode(self, element: StreamElement) -> Sequence[ServerEvent]:
        return [json_event(element.text)] if isinstance(element, TextElement) else []

    def finish(self, end: StreamEnd) -> Sequence[ServerEvent]:
        return [
            ServerEvent(end.reason if end.error is None else f"{end.reason}: {end.error.code}: {end.error.message}")
        ]


# Headers, ids, ends ---------------------------------------------------------------------------------------------------


async def test_a_run_becomes_events_with_headers_ids_and_one_end() -> None:
    """semantics 23.1: what an ASGI application gets of a pipeline, from the first header to the last event."""

    @stage
    async def shout(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield TextElement(element.text.upper())

    pipeline = PipelineBuilder().add(shout).build()
    got = await ask(sse_response(pipeline.execute(["a", "b\n"]), headers={"X-Mine": "1"}))

    assert got.status == 200
    assert got.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
        "x-mine": "1",
    }
    assert got.body.startswith(b"retry: 3000\n\n")
    assert text_of(got) == "AB\n"
    assert [type(decode(one)) for one in got.data].count(EndOfStream) == 1
    assert decode(got.data[-1]).reason == "done"
    epochs, numbers = zip(*(one.id.split(":") for one in got.events), strict=True)
    assert len(set(epochs)) == 1
    assert sorted(map(int, numbers)) == list(map(int, numbers))
    assert got.is_whole


async def test_a_stream_can_be_given_in_every_form() -> None:
    """semantics 23.1: what is iterated, what has to be entered, and what makes either."""

    async def later() -> AsyncIterator[TextElement]:
        await anyio.lowlevel.checkpoint()
        return texts("a", "b")

    pipeline = PipelineBuilder().add(stage(lambda element: element, name="same")).build()

    class Iterable:
        def __aiter__(self) -> AsyncIterator[TextElement]:
            return texts("a", "b")

    for form in (
        texts("a", "b"),
        Iterable(),
        lambda: texts("a", "b"),
        later,
        pipeline.execute(["a", "b"]),
        lambda: pipeline.execute(["a", "b"]),
    ):
        assert text_of(await ask(sse_response(form))) == "ab"


async def test_the_end_is_told_once_and_by_the_format() -> None:
    """semantics 23.2: a run's own end never reaches the encoder, which says it in its way."""
    done = await ask(sse_response(texts("a"), encoder=Plain))
    pipeline = PipelineBuilder().add(stage(lambda element: element, name="same")).build()
    of_run = await ask(sse_response(pipeline.execute(["a"]), encoder=Plain))

    assert done.data == of_run.data == ["start", '"a"', "done"]
    assert done.headers["x-format"] == "plain"


async def test_a_failure_is_the_formats_error_and_has_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 23.2: after the headers an error is an event, of which the text of an exception is no part; nor of the log."""

    @stage
    async def fails(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            raise ValueError("sk-planted")

    async def bare() -> AsyncIterator[TextElement]:
        yield TextElement("a")
        raise ValueError("sk-planted")

    async def of_a_provider() -> AsyncIterator[StreamElement]:
        yield TextElement("a")
        raise ProviderError("overloaded", "the server is\noverloaded", retryable=True)

    with caplog.at_level(logging.DEBUG):
        run = await ask(sse_response(PipelineBuilder().add(fails).build().execute("a"), encoder=Plain))
        plain = await ask(sse_response(bare(), encoder=Plain))
        provider = await ask(sse_response(of_a_provider(), encoder=Plain))
        told = await ask(
            sse_response(bare(), encoder=Plain, on_error=lambda error: ErrorElement("mine", str(type(error))))
        )
        silent = await ask(sse_response(bare(), encoder=Plain, on_error=lambda error: 1 / 0))

    assert run.data == ["start", '"a"', "error: stage_failed: stage 'fails' failed: ValueError"]
    assert plain.data == silent.data == ["start", '"a"', "error: internal: the answer failed"]
    assert provider.data[-1] == "error: overloaded: the server is overloaded"
    assert told.data[-1] == "error: mine: <class 'ValueError'>"
    assert "sk-planted" not in caplog.text + "".join(str(one.body) for one in (run, plain, provider))


async def test_a_stream_that_cannot_be_opened_is_a_status() -> None:
    """semantics 23.2: before the headers an error is a status, which says nothing more than the event would."""

    def fails(error: Exception) -> AsyncIterator[TextElement]:
        raise error

    for error, status in (
        (ValueError("sk-planted"), 500),
        (PipelineBusyError(3), 503),
        (TimeoutError("sk-planted"), 504),
        (MiddlewareError("refused", "not now"), 500),
        (ProviderError("overloaded", "busy", retryable=True), 502),
    ):
        got = await ask(sse_response(partial(fails, error)))

        assert got.status == status
        assert set(json.loads(got.body)["error"]) == {"code", "message"}
        assert b"sk-planted" not in got.body


async def test_a_timeout_is_told_as_one() -> None:
    """semantics 23.2: the end says `timeout`, from a run and from what is no run."""

    async def late() -> AsyncIterator[TextElement]:
        raise TimeoutError("sk-planted")
        yield TextElement("")

    @stage
    async def slow(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await anyio.sleep(100)
            yield element

    async def unsaid() -> AsyncIterator[StreamElement]:
        yield EndOfStream("error")

    run = PipelineBuilder(PipelineConfig(timeout_s=5)).add(slow).build().execute("a")
    assert (await ask(sse_response(late(), encoder=Plain))).data[-1] == "timeout: timeout: the answer took too long"
    assert (await ask(sse_response(run, encoder=Plain))).data[-1].startswith("timeout: timeout: ")
    assert (await ask(sse_response(unsaid(), encoder=Plain))).data[-1] == "error: internal: the answer failed"


async def test_a_format_that_fails_ends_the_response() -> None:
    """semantics 23.2: what cannot be told is an error, and never a response that does not end."""
    bad = ""

    class Bad(Plain):
        def encode(self, element: StreamElement) -> Sequence[ServerEvent]:
            if bad == "encode":
                raise ValueError("sk-planted")
            event = {
                "too large": ServerEvent("x" * 101),
                "surrogate": ServerEvent("\ud800"),
                "type": ServerEvent("x", "a\nb"),
            }
            return [event.get(bad, ServerEvent("ok"))]

        def finish(self, end: StreamEnd) -> Sequence[ServerEvent]:
            if bad == "finish":
                raise ValueError("sk-planted")
            return super().finish(end)

    for bad in ("encode", "finish", "too large", "surrogate", "type"):
        got = await ask(sse_response(texts("a"), encoder=Bad, max_event_bytes=100))

        assert got.is_whole
        assert got.data == (["start", "ok"] if bad == "finish" else ["start", "error: internal: the answer failed"])


async def test_a_run_that_somebody_cancels_says_so() -> None:
    """semantics 23.2: `cancelled` is told, though a run that is cancelled says nothing more."""
    pipeline = PipelineBuilder().add(stage(lambda element: element, name="same")).build()
    run = pipeline.execute()
    async with asking(sse_response(run, encoder=Plain)) as got:
        await got.until(1)
        await run.send("a")
        await got.until(2)
        run.cancel()
        await got.until(3)

    assert got.data == ["start", '"a"', "cancelled"]


# Silence --------------------------------------------------------------------------------------------------------------


async def test_silence_is_filled_with_heartbeats_also_before_the_first_token() -> None:
    """semantics 23.3: a comment after each `heartbeat_s` of silence, and none while something is sent."""
    got = await ask(sse_response(texts("a", "b", pause_s=40), heartbeat_s=15, retry_ms=None))

    assert got.pieces[0] == b": stream\n\n"
    beats = [time_s for piece, time_s in zip(got.pieces, got.times_s, strict=True) if piece == b": heartbeat\n\n"]
    assert beats == [15, 30, 55, 70]
    assert text_of(got) == "ab"

    busy = await ask(sse_response(texts(*"abcdef", pause_s=10), heartbeat_s=15))
    assert b"heartbeat" not in busy.body


# Clients that go, and clients that are slow -----------------------------------------------------------------------------


async def test_a_client_that_hangs_up_cancels_the_run_at_once() -> None:
    """semantics 23.4: one step of the loop after `http.disconnect` the source is cancelled, whatever it waits for."""
    steps: list[str] = []

    async def source() -> AsyncIterator[TextElement]:
        try:
            yield TextElement("a")
            await anyio.sleep(1000)
        finally:
            steps.append("closed")

    async with asking(sse_response(source())) as got:
        await got.until(1)
        before_s = anyio.current_time()
        got.hang_up()
        for _ in range(4):  # the hang-up, the watcher, the source, its closing
            await anyio.lowlevel.checkpoint()
        assert steps == ["closed"]

    assert anyio.current_time() == before_s
    assert not got.is_whole


async def test_a_client_that_hangs_up_before_the_stream_is_open_ends_it_too() -> None:
    """semantics 23.4: also while a stream is being opened."""
    ended: list[bool] = []

    async def slow() -> AsyncIterator[TextElement]:
        try:
            await anyio.sleep(1000)
        finally:
            ended.append(True)
        return texts("a")

    async with asking(sse_response(slow)) as got:
        await anyio.sleep(1)
        assert got.status is None
        got.hang_up()
    assert ended == [True]
    assert anyio.current_time() < 10


async def test_a_server_that_says_the_client_has_gone_ends_the_run() -> None:
    """semantics 23.4: ASGI has `send()` raise an OSError for it."""

    async def send(message: dict[str, object]) -> None:
        if message.get("body", b"").startswith(b"id"):
            raise ConnectionResetError

    exchange = Exchange()
    with anyio.fail_after(5):
        await sse_response(texts("a", pause_s=1))(scope_of(), exchange.receive, send)


async def test_what_a_server_raises_comes_out_as_it_is() -> None:
    """semantics 23.4: not in a group of exceptions."""

    async def send(message: dict[str, object]) -> None:
        raise RuntimeError("broken server")

    with pytest.raises(RuntimeError, match="broken server"):
        await sse_response(texts("a"))(scope_of(), Exchange().receive, send)


async def test_a_client_that_takes_nothing_is_dropped() -> None:
    """semantics 23.5: after `write_timeout_s`, not before; a slow one is not dropped."""
    closed: list[float] = []

    async def source() -> AsyncIterator[TextElement]:
        try:
            while True:
                yield TextElement("x" * 1000)
        finally:
            closed.append(anyio.current_time())

    async with asking(sse_response(source(), write_timeout_s=20, heartbeat_s=None), reads=False) as got:
        for _ in range(3):
            await anyio.sleep(19)
            await got.take()
        await anyio.sleep(100)
        assert closed == [3 * 19 + 20]
    assert not got.is_whole


async def test_a_slow_client_holds_the_source_up() -> None:
    """semantics 23.5: what waits for a client is bounded, and so is how far the source runs ahead of it."""
    made = 0

    async def source() -> AsyncIterator[TextElement]:
        nonlocal made
        while made < 100_000:
            made += 1
            yield TextElement("x" * 100)

    async with asking(sse_response(source(), write_timeout_s=None), reads=False) as got:
        await anyio.sleep(1000)
        assert made < 200
        for _ in range(20):
            await got.take()
            await anyio.sleep(1)
        assert sum(map(len, got.pieces)) > 100 * (made - 400)
        assert made < 100_000


@given(
    sent=st.lists(st.tuples(st.sampled_from(["text", "path", "turn"]), st.text(max_size=5)), max_size=30),
    taken=st.lists(st.integers(0, 3), max_size=8),
    coalesce=st.booleans(),
)
async def test_a_slow_client_reads_the_same_in_fewer_events(
    sent: list[tuple[str, str]], taken: list[int], coalesce: bool
) -> None:
    """semantics 23.6: with and without coalescing, texts, their paths and all else are the same, in the same order."""

    async def source() -> AsyncIterator[StreamElement]:
        for kind, text in sent:
            yield TurnEnd() if kind == "turn" else TextElement(text, path=("a",) if kind == "path" else ())
            await anyio.sleep(1)

    def joined(elements: list[StreamElement | None]) -> list[tuple[object, str]]:
        found: list[tuple[object, str]] = []
        for element in elements:
            if not isinstance(element, TextElement):
                found.append((type(element), ""))
            elif found and found[-1][0] == element.path:
                found[-1] = (element.path, found[-1][1] + element.text)
            else:
                found.append((element.path, element.text))
        return found

    async with asking(sse_response(source(), coalesce=coalesce, heartbeat_s=None), reads=False) as got:
        for pause_s in taken:
            await anyio.sleep(pause_s)
            await got.take() if not got.is_whole else None
        got.read_all()
        await got.until_whole()

    wanted = [
        TurnEnd() if kind == "turn" else TextElement(text, path=("a",) if kind == "path" else ()) for kind, text in sent
    ]
    assert joined([decode(one) for one in got.data]) == joined([*wanted, EndOfStream()])
    assert int(got.events[-1].id.partition(":")[2]) == len(sent) + 1
    if not coalesce:
        assert len(got.events) == len(sent) + 1


async def test_many_small_texts_become_few_events_while_a_client_waits() -> None:
    """semantics 23.6: coalescing does something."""
    async with asking(sse_response(texts(*"abcdefghij")), reads=False) as got:
        await anyio.sleep(1)
        got.read_all()
        await got.until_whole()

    assert text_of(got) == "abcdefghij"
    assert len(got.events) == 2


# Bad requests and arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", "x", "abc:", "abc:1x", ":1", "a" * 200 + ":1", "é:1", "abc:" + "1" * 30])
async def test_a_malformed_event_id_is_refused(given: str) -> None:
    """semantics 23.8: 400, whatever else there is."""
    got = await ask(sse_response(texts("a")), [("Last-Event-ID", given)])

    assert got.status == 400
    assert json.loads(got.body)["error"]["code"] == "bad_event_id"


async def test_a_stream_without_a_hub_is_not_begun_again() -> None:
    """semantics 23.8: a client that comes back for the rest does not start the run anew."""
    begun: list[bool] = []
    response = sse_response(lambda: begun.append(True) or texts("a"))
    got = await ask(response, [("last-event-id", "abc:1")])

    assert (got.status, begun) == (410, [])


async def test_head_starts_nothing() -> None:
    """semantics 23.1: the headers alone."""
    begun: list[bool] = []
    exchange = Exchange()
    response = sse_response(lambda: begun.append(True) or texts("a"))
    await response({**scope_of(), "method": "HEAD"}, exchange.receive, exchange.send)

    assert (exchange.status, exchange.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (exchange.body, begun) == (b"", [])


async def test_only_http_is_answered() -> None:
    """`SSEResponse`: another kind of connection is a mistake of the application."""
    with pytest.raises(ConfigError, match="not 'websocket'"):
        await sse_response(texts("a"))({"type": "websocket"}, Exchange().receive, Exchange().send)


def test_a_bad_argument_is_refused_at_once_and_by_name() -> None:
    """`sse_response()`: before a request comes."""
    for field, arguments in [
        ("elements", {"elements": 3}),
        ("elements", {"elements": None}),
        ("elements", {"elements": PipelineBuilder().add(PassthroughStage()).build()}),  # its run is meant
        ("encoder", {"encoder": 3}),
        ("heartbeat_s", {"heartbeat_s": 0}),
        ("retry_ms", {"retry_ms": -1}),
        ("write_timeout_s", {"write_timeout_s": float("nan")}),
        ("max_event_bytes", {"max_event_bytes": 0}),
        ("headers", {"headers": {"x": "a\nb"}}),
        ("on_disconnect", {"on_disconnect": "stay"}),
        ("on_disconnect", {"on_disconnect": "detach"}),
        ("stream_id", {"stream_id": "a"}),
        ("stream_id", {"hub": StreamHub()}),
    ]:
        with pytest.raises(ConfigError) as caught:
            sse_response(**{"elements": [].__iter__, **arguments})

        assert caught.value.field == field, arguments


async def test_a_function_that_makes_no_stream_is_a_status() -> None:
    """semantics 23.2: it is known only when it was called."""
    assert (await ask(sse_response(lambda: 3))).status == 500


async def test_lines_in_data_arrive_as_lines() -> None:
    """semantics 23.1: a format whose data is no JSON, and one with types."""

    class Lines(Plain):
        def encode(self, element: StreamElement) -> Sequence[ServerEvent]:
            return [ServerEvent("a\nb\r\nc", "lines"), ServerEvent("d", "line")]

    got = await ask(sse_response(texts("x"), encoder=Lines, coalesce=False))

    assert [(one.event, one.data) for one in got.events[1:3]] == [("lines", "a\nb\nc"), ("line", "d")]
    assert [one.id.partition(":")[2] for one in got.events] == ["1", "2", "3", "4"]
