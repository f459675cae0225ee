"""Streams that outlive their connections: coming back, several readers, stopping, limits, and the hub's own end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import PipelineBuilder, TextElement, stage
from streamflow.elements import EndOfStream, TurnEnd, decode
from streamflow.errors import ConfigError, RunStateError
from streamflow.testing import assert_no_tasks_left, tasks_alive
from streamflow.transports import StreamHub, sse_response
from tests.support.asgi import Exchange, ask, asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streamflow.elements import StreamElement


class Source:
    """Texts, one a second, that notes when it begins and ends.

    Args:
        given: The texts.
    """

    def __init__(self, *given: str) -> None:
        self.given = given
        self.begun = 0
        self.ended_at_s: float | None = None
        self.made = 0

    async def __call__(self) -> AsyncIterator[StreamElement]:
        await anyio.lowlevel.checkpoint()
        return self._elements()

    async def _elements(self) -> AsyncIterator[StreamElement]:
        self.begun += 1
        try:
            for text in self.given:
                self.made += 1
                yield TurnEnd() if text == "|" else TextElement(text)
                await anyio.sleep(1)
        finally:
            self.ended_at_s = anyio.current_time()


def text_of(*parts: Exchange) -> str:
    elements = [decode(one) for part in parts for one in part.data]
    assert not any(isinstance(one, EndOfStream) for one in elements[:-1])
    return "".join(
        one.text if isinstance(one, TextElement) else "|" for one in elements if not isinstance(one, EndOfStream)
    )


def came_to(exchange: Exchange) -> list[tuple[str, str]]:
    """Return the header with which a client comes back."""
    return [("last-event-id", exchange.events[-1].id)] if exchange.events else []


async def test_a_run_goes_on_without_its_client_who_comes_back_for_the_rest() -> None:
    """semantics 23.7: behind `Last-Event-ID`, while the run goes on and after it; nothing twice, nothing missing."""
    source = Source(*"abcdefgh")
    async with StreamHub() as hub:
        response = sse_response(source, hub=hub, stream_id="s")
        async with asking(response) as first:
            await first.until(2)
        await anyio.sleep(2)
        async with asking(response, came_to(first)) as second:
            await second.until(2)
        await anyio.sleep(100)
        third = await ask(response, came_to(second))
        whole = await ask(sse_response(hub=hub, stream_id="s"))
        over = await ask(response, came_to(third))

    assert text_of(first, second, third) == text_of(whole) == "abcdefgh"
    assert source.begun == 1
    assert (over.status, over.body) == (204, b"")


@pytest.mark.slow
@given(
    given=st.lists(st.sampled_from(["a", "b", "|"]), max_size=12),
    visits=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=8),
)
async def test_whatever_cuts_a_connection_nothing_is_lost_or_doubled(
    given: Sequence[str], visits: list[tuple[int, int, bool]]
) -> None:
    """semantics 23.7: over random cuts and pauses, slow readers and others beside, what was read is exactly the stream."""
    parts: list[Exchange] = []
    async with StreamHub() as hub:
        response = sse_response(Source(*given), hub=hub, stream_id="s", heartbeat_s=2)
        async with asking(response) as beside:
            for stay_s, away_s, is_slow in visits:
                last = next((came_to(part) for part in reversed(parts) if part.events), [])
                async with asking(response, last, reads=not is_slow) as visit:
                    await anyio.sleep(stay_s)
                    if is_slow and visit.status == 200:
                        await visit.take()
                parts.append(visit)
                await anyio.sleep(away_s)
            await beside.until_whole()
        last = next((came_to(part) for part in reversed(parts) if part.events), [])
        parts.append(await ask(response, last))
        assert {part.status for part in parts} <= {200, 204, None}  # None: gone before it was answered

    assert text_of(*[part for part in parts if part.status == 200]) == text_of(beside) == "".join(given)


async def test_several_read_one_stream_each_at_its_own_pace() -> None:
    """semantics 23.7: one that begins later reads it all; a slow one misses nothing."""
    source = Source(*"abcdef")
    async with StreamHub() as hub:
        response = sse_response(source, hub=hub, stream_id="s")
        async with asking(response) as one, asking(response, reads=False) as slow:
            await one.until(3)
            other = await ask(response)
            slow.read_all()
            await slow.until_whole()

    assert text_of(one) == text_of(other) == text_of(slow) == "abcdef"
    assert source.begun == 1


@pytest.mark.parametrize("policy", ["cancel", "detach"])
async def test_the_policy_says_what_becomes_of_a_stream_that_nobody_reads(policy: str) -> None:
    """semantics 23.4: `cancel` ends it with its last reader, at once; `detach` after `max_detached_s`."""
    source = Source(*"a" * 1000)
    async with StreamHub(max_detached_s=30) as hub:
        response = sse_response(source, hub=hub, stream_id="s", on_disconnect=policy)
        async with asking(response) as one, asking(response) as two:
            await two.until(2)
            one.hang_up()
            await anyio.sleep(5)
            assert source.ended_at_s is None
            left_at_s = anyio.current_time()
        await anyio.sleep(10)
        if policy == "detach":
            assert source.ended_at_s is None
            async with asking(response):  # somebody comes back: the time begins anew
                await anyio.sleep(0.5)
            left_at_s = anyio.current_time()
            await anyio.sleep(40)
        late = await ask(response)

    assert source.ended_at_s == left_at_s + (30 if policy == "detach" else 0)
    assert decode(late.data[-1]).reason == "cancelled"


async def test_a_stream_is_stopped_by_its_name() -> None:
    """semantics 23.4: the run is cancelled, every reader is told, and the answer says whether there was something to stop."""
    pipeline = PipelineBuilder().add(stage(lambda element: element, name="same")).build()
    async with StreamHub() as hub:
        run = pipeline.execute()
        async with asking(sse_response(run, hub=hub, stream_id="s")) as one:
            await anyio.sleep(1)
            await run.send("a")
            await one.until(1)
            stopped = await ask(hub.stop_response("s"))
            await one.until_whole()
        again, unknown = await ask(hub.stop_response("s")), await ask(hub.stop_response("t"))

    assert (stopped.status, json.loads(stopped.body)) == (202, {"stopped": "s"})
    assert (again.status, unknown.status) == (404, 404)
    assert decode(one.data[-1]).reason == "cancelled"
    assert "over" in repr(run)


async def test_leaving_the_hub_ends_all_streams_and_tells_their_readers() -> None:
    """semantics 23.4: no task is left; a hub that is not open takes no stream."""
    before = tasks_alive()
    source = Source(*"a" * 100)
    hub = StreamHub()
    response = sse_response(source, hub=hub, stream_id="s")
    with pytest.raises(RunStateError, match="not open"):
        await ask(response)
    async with anyio.create_task_group() as tasks:
        told = Exchange()
        async with hub:
            tasks.start_soon(response, {"type": "http"}, told.receive, told.send)
            await ask(sse_response(Source("a"), hub=hub, stream_id="t"))
            await told.until(1)
            with pytest.raises(RunStateError, match="open already"):
                await hub.__aenter__()
        assert source.ended_at_s is not None
        await told.until_whole()
        tasks.cancel_scope.cancel()
    assert decode(told.data[-1]).reason == "cancelled"
    assert hub.streams == ()
    with pytest.raises(RunStateError, match="not open"):
        await ask(response)
    await assert_no_tasks_left(before)


async def test_what_is_not_kept_any_more_is_gone() -> None:
    """semantics 23.8: dropped events, an old stream, another server's id, a number that was never given."""
    async with StreamHub(max_events=5, max_age_s=50) as hub:
        response = sse_response(Source(*"a|b|c|d|e|"), hub=hub, stream_id="s")
        async with asking(response) as first:
            await first.until(2)
        await anyio.sleep(20)
        epoch = first.events[0].id.partition(":")[0]
        for last in (came_to(first), [("last-event-id", f"{epoch}:99")], [("last-event-id", "other:7")], []):
            got = await ask(response, last)
            assert (got.status, json.loads(got.body)["error"]["code"]) == (410, "gone")
        assert (await ask(response, [("last-event-id", f"{epoch}:8")])).status == 200
        await anyio.sleep(60)
        assert hub.streams == ()
        assert (await ask(response, [("last-event-id", f"{epoch}:8")])).status == 410
        assert (await ask(sse_response(hub=hub, stream_id="s"))).status == 404


async def test_streams_and_readers_are_bounded() -> None:
    """semantics 23.8: what ended first gives way; when all run, a new one is refused; and so is one reader too many."""

    def response(name: str, *texts: str):
        return sse_response(Source(*texts), hub=hub, stream_id=name)

    async with StreamHub(max_streams=2, max_readers=1) as hub:
        await ask(response("old", "a"))
        await ask(response("new", "a"))
        async with asking(response("a", *"a" * 50)) as one:
            await one.until(1)
            assert [known.id for known in hub.streams] == ["new", "a"]
            assert [(known.is_running, known.readers, known.events) for known in hub.streams] == [
                (False, 0, 2),
                (True, 1, 1),
            ]
            assert (await ask(response("a"))).status == 503
            async with asking(response("b", *"a" * 50)) as two:
                await two.until(1)
                refused = await ask(response("c", "a"))
                assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert (await ask(response("", "a"))).status == 400
        assert (await ask(response("x" * 257, "a"))).status == 400


async def test_a_stream_that_cannot_be_opened_leaves_its_name_free() -> None:
    """semantics 23.2: every one that waits for it gets the status, and the next request tries again."""
    tries: list[int] = []

    async def fails() -> AsyncIterator[TextElement]:
        await anyio.sleep(5)
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("sk-planted")
        return Source("a")._elements()

    async with StreamHub() as hub:
        response = sse_response(fails, hub=hub, stream_id="s")
        async with asking(response) as one:
            other = await ask(response)
        assert (one.status, other.status) == (500, 500)
        assert hub.streams == ()
        assert text_of(await ask(response)) == "a"


async def test_a_slow_reader_holds_a_kept_stream_up_only_while_it_is_connected() -> None:
    """semantics 23.5: a log never grows beyond its limits; who has gone is not waited for."""
    source = Source(*"a|" * 50)
    async with StreamHub(max_events=10) as hub:
        async with asking(sse_response(source, hub=hub, stream_id="s"), reads=False):
            await anyio.sleep(60)
            assert source.made <= 12
        await anyio.sleep(200)
        assert source.made == 100
        assert hub.streams[0].events == 101


def test_a_limit_of_a_hub_must_be_positive() -> None:
    """`StreamHub`: at once and by name."""
    for field in ("max_streams", "max_readers", "max_events", "max_bytes", "max_age_s", "max_detached_s"):
        with pytest.raises(ConfigError) as caught:
            StreamHub(**{field: 0})
        assert caught.value.field == field


def test_a_hub_belongs_to_the_loop_that_opened_it() -> None:
    """semantics 23.9: another loop's tasks cannot be its tasks."""
    hub = StreamHub()

    async def elsewhere() -> None:
        with pytest.raises(RunStateError, match="another event loop"):
            await ask(sse_response(Source("a"), hub=hub, stream_id="s"))

    async def here() -> None:
        async with hub:
            assert repr(hub) == "<StreamHub open, 0 streams>"
            await anyio.to_thread.run_sync(anyio.run, elsewhere)

    anyio.run(here)
    assert repr(hub) == "<StreamHub closed, 0 streams>"
    anyio.run(hub.__aexit__, None, None, None)


async def test_the_last_reader_that_hangs_up_cancels_at_once() -> None:
    """semantics 23.4: in the step of the hang-up, and not when the response has been unwound."""
    source = Source(*"abc")
    async with StreamHub() as hub:
        response = sse_response(source, hub=hub, stream_id="s", on_disconnect="cancel")
        async with asking(response) as got:
            await got.until(1)
            got.hang_up()
            steps = 0
            while source.ended_at_s is None:
                await anyio.lowlevel.checkpoint()
                steps += 1
            assert steps <= 3
