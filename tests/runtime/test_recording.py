"""`record=`: what comes to the chosen points is in the file; the run is as without."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import pytest

from streamflow import (
    EndOfStream,
    FilterStage,
    FlatMapStage,
    MapStage,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    SinkStage,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.elements import StreamElement
from streamflow.errors import ConfigError, StageError
from streamflow.observe import RecordedRun, Recording, read_recording
from streamflow.runtime import _recording
from streamflow.testing import chaos

T = TypeVar("T")


def upper(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


def shouting(config: PipelineConfig | None = None) -> Pipeline:
    """Two stages that share a task, and one that does not."""

    @stage
    async def slow(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await anyio.sleep(0.01)
            yield element

    two = MapStage(upper, name="up"), FlatMapStage(lambda one: [one, one], name="twice")
    return PipelineBuilder(config).chain(*two, slow).build()


async def read(path: Path, get: Callable[[RecordedRun], T]) -> T:
    return await anyio.to_thread.run_sync(lambda: get(read_recording(path).run()))


async def seen_at(path: Path, point: str) -> list[StreamElement | None]:
    return await read(path, lambda run: [one.element for one in run.seen_at(point)])


def texts(*several: str) -> list[TextElement]:
    return [TextElement(text) for text in several]


async def test_input_and_output_are_recorded_and_how_the_run_ended(tmp_path: Path) -> None:
    """semantics 24.20: whole when the end is told; times are the run's own."""
    path, pipeline = tmp_path / "a.rec", shouting()
    elements: list[StreamElement] = []
    async with pipeline.execute(["a", TurnEnd(), "b"], record=path) as run:
        async for element in run:
            elements.append(element)
            if isinstance(element, EndOfStream):
                recorded = await read(path, lambda run: run)
                assert recorded.reason == "done"

    assert run.recording is not None
    assert (run.recording.elements, run.recording.lost, run.recording.error) == (8, 0, None)
    assert await seen_at(path, "input") == [TextElement("a"), TurnEnd(), TextElement("b")]
    assert await seen_at(path, "output") == elements[:-1]
    assert recorded.run_id == run.run_id
    assert recorded.fingerprint == pipeline.fingerprint != ""
    assert await read(path, lambda run: [round(one.at_s, 2) for one in run.seen_at("output")]) == [
        0.01,
        0.02,
        0.02,
        0.03,
        0.04,
    ]


@pytest.mark.parametrize("fuse", [True, False])
async def test_recorded_or_not_a_run_gives_the_same(fuse: bool, tmp_path: Path) -> None:
    """semantics 24.20: at every capacity, fused and not, recorded at every edge, with a queue that is always full."""
    source = [str(number) for number in range(30)]
    for capacity in (1, 16):
        pipeline = shouting(PipelineConfig(buffer_size=capacity, fuse=fuse))
        plain = await pipeline.run(source)
        path = tmp_path / f"{capacity}.rec"
        with chaos(capacity):
            recorded = await pipeline.run(source, record=Recording(path=path, at=["edges"], buffer_bytes=4096))

        assert recorded.elements == plain.elements
        assert await seen_at(path, "output") == list(plain.elements)
        assert await seen_at(path, "up → twice") == texts(*source)
        assert (await read(path, lambda run: run)).lost == 0


async def test_a_slow_disk_holds_the_run_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """semantics 24.22: back-pressure; the queue is bounded though nobody reads what the stages make, and no deadlock is seen."""
    path, most, dropped, waiting = tmp_path / "a.rec", 0, 0, 0
    gate, opened = threading.Event(), threading.Event()
    write = _recording.Recorder._write

    def slow(self: _recording.Recorder, most: int) -> int:
        nonlocal waiting
        opened.set()
        gate.wait(5)
        waiting = max(waiting, len(self._queue))
        return write(self, most)

    def drop(element: TextElement) -> bool:
        nonlocal dropped
        dropped += 1
        return False

    @stage
    async def many(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            for _ in range(2000):
                yield element

    monkeypatch.setattr(_recording.Recorder, "_write", slow)
    pipeline = PipelineBuilder(PipelineConfig(fuse=False)).chain(many, FilterStage(drop, name="none")).build()
    settings = Recording(path=path, at=["many → none"], buffer_bytes=8192, flush_s=0)

    async def let_go() -> None:
        nonlocal most
        await anyio.to_thread.run_sync(opened.wait)
        for _ in range(500):
            await anyio.lowlevel.checkpoint()
        most = dropped
        gate.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let_go)
        result = await pipeline.run(["a"], record=settings)

    assert result.reason == "done"
    assert 0 < most <= 8192 // 256 + 16, "the run has waited"
    assert waiting <= 8192 // 256 + 16, "and it goes on waiting"
    assert await seen_at(path, "many → none") == texts(*["a"] * 2000)


async def test_what_cannot_wait_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """semantics 24.22: one step of stages that share a task makes more than the queue holds, and the disk is slow."""
    path, gate, dropped = tmp_path / "a.rec", threading.Event(), 0
    write = _recording.Recorder._write

    def slow(self: _recording.Recorder, most: int) -> int:
        gate.wait(5)
        return write(self, most)

    def drop(element: TextElement) -> bool:
        nonlocal dropped
        dropped += 1
        if dropped == 1000:
            gate.set()
        return False

    monkeypatch.setattr(_recording.Recorder, "_write", slow)
    many = FlatMapStage(lambda one: [one] * 1000, name="many")
    pipeline = PipelineBuilder().chain(many, FilterStage(drop, name="none")).build()
    settings = Recording(path=path, at=["input", "many → none"], buffer_bytes=4096)
    async with pipeline.execute("a", record=settings) as run:
        result = await run.result()

    assert result.reason == "done"
    found = await read(path, lambda run: [one.missing for one in run.seen_at("many → none")])
    assert run.recording is not None
    assert run.recording.lost == (await read(path, lambda run: run)).lost > 900
    gaps = [int(one.split()[0]) for one in found if one]
    assert sum(gaps) == run.recording.lost
    assert len(found) - len(gaps) + run.recording.lost == 1000


async def test_points_are_named_by_edge_stage_or_kind(tmp_path: Path) -> None:
    """semantics 24.20: `input`, `output`, a stage, an edge in either spelling, all of them; control is recorded with data."""
    branched = PipelineBuilder().chain(PassthroughStage("a")).branch("a", PassthroughStage("b"), PassthroughStage("c"))
    cases: list[tuple[list[str], tuple[str, ...]]] = [
        (["input"], ("input",)),
        (["b"], ("a → b", "b → consumer")),
        (["a -> c", "input"], ("input", "a → c")),
        (["output"], ("output:b", "output:c", "output")),
    ]
    pipeline = branched.build()
    for number, (at, points) in enumerate(cases):
        path = tmp_path / f"{number}.rec"
        await pipeline.run(["x", TurnEnd()], record=Recording(path=path, at=at))
        assert (await read(path, lambda run: run.points)) == points
        for point in points:
            expected = [TextElement("x"), TurnEnd()]
            if point == "output":
                expected = [TextElement("x"), TextElement("x"), TurnEnd()]
            assert await seen_at(path, point) == ([] if point.startswith("output:") else expected)
    with pytest.raises(ConfigError, match=r"at: 'd' is no point; there are 'input', .* the stages 'a', 'b', 'c'"):
        pipeline.execute("x", record=Recording(path=tmp_path / "x", at=["d"]))
    with pytest.raises(ConfigError, match="record: a path or a Recording was expected, got 3"):
        pipeline.execute("x", record=3)  # type: ignore[arg-type]


async def test_an_output_that_is_read_alone_is_recorded_apart(tmp_path: Path) -> None:
    """semantics 24.20: it is no part of the run's own output, and so of no recording of that."""
    path = tmp_path / "a.rec"
    built = PipelineBuilder().chain(PassthroughStage("a")).branch("a", PassthroughStage("b"), PassthroughStage("c"))
    async with built.build().execute("x", record=path) as run:
        alone = [element async for element in run.output("c")]
        rest = [element async for element in run]

    assert alone == await seen_at(path, "output:c") == texts("x")
    assert rest[:-1] == await seen_at(path, "output") == texts("x")
    assert await seen_at(path, "output:b") == []


async def test_a_live_run_records_what_it_is_fed(tmp_path: Path) -> None:
    """semantics 24.20: `run.send()` is input; so is what a sink alone reads."""
    path, heard = tmp_path / "{run_id}.rec", []
    pipeline = (
        PipelineBuilder(PipelineConfig(record=os.fspath(path))).chain(SinkStage(heard.append, name="ear")).build()
    )
    async with pipeline.execute() as run:
        await run.send("a")
        await anyio.sleep(2)
        await run.send("b")
        run.close_input()
        await run.result()

    assert heard == texts("a", "b")
    place = tmp_path / f"{run.run_id}.rec"
    assert await read(place, lambda run: [(one.element, one.at_s) for one in run]) == [
        (TextElement("a"), 0),
        (TextElement("b"), 2),
    ]


@pytest.mark.parametrize("how", ["fail", "break", "cancel", "timeout", "lost"])
async def test_a_run_that_is_cut_short_is_recorded_up_to_there(how: str, tmp_path: Path) -> None:
    """semantics 24.21: whichever way it ends, what the consumer had is in the file, and the reason."""
    path = tmp_path / "a.rec"

    @stage
    async def odd(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            if element.text == "2" and how == "fail":
                raise ValueError
            if element.text == "2":
                await anyio.sleep(1000)

    config = PipelineConfig(timeout_s=5 if how == "timeout" else None)
    pipeline = PipelineBuilder(config).chain(odd).build()
    source = [str(number) for number in range(10)]
    if how == "lost":
        async for element in pipeline.execute(source, record=path):
            if element == TextElement("2"):
                break
        await anyio.sleep(1)
    else:
        try:
            with anyio.move_on_after(3 if how == "cancel" else 100):
                async with pipeline.execute(source, record=path) as run:
                    async for element in run:
                        if how == "break" and element == TextElement("2"):
                            break
        except (StageError, TimeoutError):
            assert how in {"fail", "timeout"}

    ended = await read(path, lambda run: (run.reason, run.code, run.stage))
    assert ended == {
        "fail": ("error", "stage_failed", "odd"),
        "timeout": ("timeout", "timeout", ""),
    }.get(how, ("cancelled", "", ""))
    assert (await seen_at(path, "output"))[:3] == texts("0", "1", "2")
    assert await seen_at(path, "input") == texts(*source)


async def test_a_recording_that_fails_does_not_fail_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """semantics 24.22: it is logged once, and the run says why."""
    path = tmp_path / "none" / "a.rec"
    async with shouting().execute([str(number) for number in range(50)], record=path) as run:
        result = await run.result()

    assert len(result.elements) == 100
    assert run.recording is not None
    assert str(run.recording.error) == f"{path}: cannot be written: No such file or directory"
    assert [one.message for one in caplog.records] == [
        f"{run.run_id}: its recording has ended early, the run goes on: {run.recording.error}"
    ]


async def test_a_run_that_is_not_recorded_has_no_recording() -> None:
    """semantics 24.20: off by default."""
    async with shouting().execute("a") as run:
        await run.result()
    assert run.recording is None


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_blocking_calls_record_too(backend, tmp_path: Path) -> None:
    """semantics 24.20: `execute_sync` and `stream_sync`, and a loop that ends while a run that was left is written."""
    path = tmp_path / "a.rec"
    shouting().execute_sync("a", record=path, backend=backend)
    assert list(shouting().stream_sync("b", record=path, backend=backend))[:-1] == texts("B", "B")

    async def leave() -> None:
        async for _ in shouting().execute("c", record=path):
            break

    anyio.run(leave, backend=backend)
    runs = read_recording(path).runs
    assert [[one.element for one in run.seen_at("output")] for run in runs] == [
        texts("A", "A"),
        texts("B", "B"),
        texts("C"),
    ]
    assert [run.reason for run in runs] == ["done", "done", "cancelled"]


async def test_concurrent_runs_share_a_file(tmp_path: Path) -> None:
    """semantics 24.22: each is whole, and told apart."""
    path, pipeline = tmp_path / "a.rec", shouting()

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(partial(pipeline.run, [f"{number}-{place}" for place in range(5)], record=path))

    runs = await anyio.to_thread.run_sync(lambda: [list(run) for run in read_recording(path).runs])
    assert len(runs) == 20
    for run in runs:
        fed = [one.element.text for one in run if one.point == "input"]
        assert [one.element.text for one in run if one.point == "output"] == [text for text in fed for _ in range(2)]
