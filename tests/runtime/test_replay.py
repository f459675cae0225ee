"""A recorded run, played again: where it is first different, and at what pace it is fed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from streamflow import MapStage, PassthroughStage, Pipeline, PipelineBuilder, PipelineConfig, TextElement, stage
from streamflow.elements import StreamElement
from streamflow.errors import ConfigError, RecordingError, StageError
from streamflow.observe import Recording, read_recording
from streamflow.runtime import Replay, replay
from streamflow.stages import StageLike


def text_stage(name: str, change: str = "") -> StageLike:
    return MapStage(lambda element: TextElement(element.text + change), name=name)


def chained(first: str = "", second: str = "", *, more: bool = False, config: PipelineConfig | None = None) -> Pipeline:
    stages = [text_stage("a", first), text_stage("b", second)]
    return PipelineBuilder(config).chain(*stages, *([PassthroughStage("c")] if more else [])).build()


async def test_the_same_pipeline_gives_the_same(tmp_path: Path) -> None:
    """semantics 24.26: true if nothing differs; says what was compared."""
    path = tmp_path / "a.rec"
    await chained("1", "2").run(["x", "y"], record=Recording(path=path, at=["edges"]))

    played = await replay(path, chained("1", "2", config=PipelineConfig(buffer_size=1, fuse=False)))
    assert played
    assert (played.compared, played.skipped, played.is_changed) == ({"a → b": 2, "output": 2}, (), False)
    assert [one.text for one in played.elements if isinstance(one, TextElement)] == ["x12", "y12"]
    assert str(played).endswith(": no difference; compared: 2 at a → b, 2 at output")


async def test_the_first_difference_is_where_it_has_begun_and_not_where_it_has_led_to(tmp_path: Path) -> None:
    """semantics 24.26: points are compared from the input on."""
    path = tmp_path / "a.rec"
    await chained("1", "2").run(["x", "y"], record=Recording(path=path, at=["edges"]))

    first, second = await replay(path, chained("0", "2")), await replay(path, chained("1", "3"))
    assert first.difference is not None
    assert second.difference is not None
    assert (first.difference.point, first.difference.index, first.difference.path) == ("a → b", 0, "$.text")
    assert second.difference.point == "output"
    assert not first
    assert "first difference at a → b, element #0, $.text" in str(first)


async def test_points_that_a_changed_pipeline_does_not_have_are_passed_over_and_told(tmp_path: Path) -> None:
    """semantics 24.26: the rest is compared."""
    path = tmp_path / "a.rec"
    await chained(more=True).run(["x"], record=Recording(path=path, at=["edges"]))

    played = await replay(path, chained())
    assert played
    assert (played.skipped, played.is_changed) == (("b → c",), True)
    assert "the graph is another one" in str(played)
    assert "no such point: b → c" in str(played)


@pytest.mark.parametrize("how", ["fails", "ends"])
async def test_how_a_run_ends_is_compared_too(how: str, tmp_path: Path) -> None:
    """semantics 24.26: a failure that was not there, and one that is there no more."""

    def pipeline(fails: bool) -> Pipeline:
        @stage(name="a")
        async def last(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
            async for element in stream:
                yield element
            if fails:
                raise ValueError

        return PipelineBuilder().chain(last).build()

    path = tmp_path / "a.rec"
    async with pipeline(how == "fails").execute(["x"], record=path) as run:
        try:
            await run.result()
        except StageError:
            assert how == "fails"

    assert await replay(path, pipeline(how == "fails"))
    played = await replay(path, pipeline(how != "fails"))
    assert played.difference is not None
    told = {str(played.difference.expected), str(played.difference.got)}
    assert "done" in told or any("stage_failed" in one for one in told)


async def test_of_a_run_that_was_left_what_is_there_is_compared(tmp_path: Path) -> None:
    """semantics 24.26: whoever takes two of ten elements has recorded two."""
    path = tmp_path / "a.rec"
    async with chained("1").execute([str(number) for number in range(10)], record=path) as run:
        assert [(await anext(run)).text for _ in range(2)] == ["01", "11"]

    played = await replay(path, chained("1"))
    assert played, str(played)
    assert played.compared == {"output": 2}
    assert not await replay(path, chained("2"))


async def test_the_input_comes_at_once_or_at_its_pace(tmp_path: Path) -> None:
    """semantics 24.26: by the times in the recording, times the speed."""
    path = tmp_path / "a.rec"
    async with chained().execute(record=path) as run:
        for _ in range(3):
            await anyio.sleep(2)
            await run.send("x")
        run.close_input()
        await run.result()

    for speed, seconds in ((None, 0), (1, 6), (4, 1.5)):
        began_s = anyio.current_time()
        assert await replay(path, chained(), speed=speed)
        assert anyio.current_time() - began_s == pytest.approx(seconds, abs=0.01)


async def test_several_heads_and_outputs_are_played_as_they_were(tmp_path: Path) -> None:
    """semantics 24.26: each head has its input; an output that was taken alone is taken alone."""
    path = tmp_path / "a.rec"

    def pipeline(change: str = "") -> Pipeline:
        builder = PipelineBuilder().chain(text_stage("ear"), PassthroughStage("mind"))
        return builder.chain(text_stage("eye", change), PassthroughStage("end")).build()

    async with pipeline().execute({"ear": ["a"], "eye": ["b", "c"]}, record=path) as run:
        alone = [element async for element in run.output("end")]
        await run.result()

    assert alone == [TextElement("b"), TextElement("c")]
    played = await replay(path, pipeline())
    assert played
    assert played.compared == {"output:mind": 0, "output:end": 2, "output": 1}
    changed = await replay(path, pipeline("!"))
    assert changed.difference is not None
    assert changed.difference.point == "output:end"


async def refused(path: Path, pipeline: Pipeline) -> str:
    with pytest.raises(RecordingError) as caught:
        await replay(path, pipeline)
    return caught.value.message


async def test_what_cannot_be_played_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Bad input: no input, another input, input that is missing, a run that is not there, options that are none."""
    path, other, gone, none = (tmp_path / name for name in ("a", "b", "c", "d"))
    await chained().run("x", record=Recording(path=path, at=["output"]))
    builder = PipelineBuilder().chain(text_stage("ear"), PassthroughStage("mind"))
    two = builder.chain(text_stage("eye"), PassthroughStage("end")).build()
    await two.run({"ear": "x", "eye": "y"}, record=other)
    await chained().run("x", record=Recording(path=gone, redact=lambda one: None))
    await anyio.Path(none).write_bytes(b"")

    assert "has recorded nothing, and what takes a source is 'a'" in await refused(path, chained())
    assert "has recorded 'input:ear', 'input:eye', and" in await refused(other, chained())
    assert "element #0 of the input of" in await refused(gone, chained())
    assert await refused(none, chained()) == "no run is in it"
    with pytest.raises(ConfigError, match="speed: a number above 0"):
        await replay(other, two, speed=0)
    with pytest.raises(ConfigError, match="pipeline: a Pipeline was expected"):
        await replay(other, PipelineBuilder())  # type: ignore[arg-type]


async def test_one_run_of_several_can_be_played(tmp_path: Path) -> None:
    """semantics 24.26: the newest, or the one that is given."""
    path = tmp_path / "a.rec"
    for text in ("x", "y"):
        await chained().run(text, record=path)
    runs = await anyio.to_thread.run_sync(lambda: read_recording(path).runs)

    def said(played: Replay) -> list[str]:
        return [one.text for one in played.elements if isinstance(one, TextElement)]

    assert said(await replay(path, chained())) == ["y"]
    assert said(await replay(runs[0], chained())) == ["x"]
