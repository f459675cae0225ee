"""`live_table()`: a run in the terminal, and as lines where there is none."""

from __future__ import annotations

import io
from typing import Any

import anyio
import pytest
import rich  # asks for the working directory, once, when it is imported

from streamflow import MapStage, PipelineBuilder, PipelineConfig, TextElement
from streamflow.errors import ConfigError, RunStateError
from streamflow.runtime import live_table

assert rich


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def slowly(element: TextElement) -> TextElement:
    await anyio.sleep(1)
    return element


def builder(**settings: Any) -> PipelineBuilder:
    return PipelineBuilder(PipelineConfig(**settings)).chain(MapStage(slowly, name="[slow]"))


async def test_a_table_is_drawn_on_a_terminal() -> None:
    """semantics 24.8: stages, shares of time, progress; names are no markup; what limits the run is told."""
    screen = Terminal()
    async with builder(metrics=True).build().execute(["x"] * 4) as run, live_table(run, refresh_s=1.5, file=screen):
        async for _element in run:
            pass
    told = screen.getvalue()
    assert "[slow]" in told
    assert "100%" in told
    assert "4 of 4 (100%) elements in; stage '[slow]' is at work for 100% of the time" in " ".join(told.split())


async def test_lines_are_written_where_there_is_no_terminal() -> None:
    """semantics 24.8: one as often as the table would be drawn; also without metrics, and for a live run."""
    lines = io.StringIO()
    async with builder().build().execute() as run, live_table(run, refresh_s=0.75, total=2, file=lines):
        await run.send("x")
        await run.send("y")
        await anyio.sleep(2.5)
    told = lines.getvalue().splitlines()
    assert [line.partition(": ")[2] for line in told] == [
        "0.0 s, 0 of 2 (0%) elements in",
        "0.8 s, 1 of 2 (50%) elements in",
        "1.5 s, 2 of 2 (100%) elements in",
        "2.2 s, 2 of 2 (100%) elements in",
        "2.5 s, 2 of 2 (100%) elements in",
    ]


async def test_the_error_of_the_block_passes_and_wrong_settings_are_refused() -> None:
    """semantics 24.8: it changes nothing."""
    async with builder().build().execute("x") as run:
        with pytest.raises(KeyError):
            async with live_table(run, file=io.StringIO()):
                raise KeyError
        for wrong in ({"refresh_s": 0}, {"total": -1}):
            with pytest.raises(ConfigError, match=next(iter(wrong))):
                async with live_table(run, file=io.StringIO(), **wrong):  # type: ignore[arg-type]
                    pass
    with pytest.raises(RunStateError):
        async with live_table(builder().build().execute("x"), file=io.StringIO()):
            pass
