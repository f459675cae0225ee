"""A stage that swallows its cancellation: cancelled again, ever later, told of once, and never in the caller's way."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from streamflow import Pipeline, PipelineBuilder, PipelineConfig, ReceiveEnd, SendEnd, TextElement, stage
from streamflow.runtime._await_chain import place_of
from streamflow.testing import assert_all_stages_stopped

LINES = Path(__file__).read_text(encoding="utf-8").splitlines()


def pipeline_of(*stages, **settings) -> Pipeline:
    return PipelineBuilder(PipelineConfig(**settings)).chain(*stages).build()


class Swallower:
    """Counts the cancellations that its stage swallows, until it is told to let them pass."""

    def __init__(self, wait_s: float = 10**6) -> None:
        self.swallowed = 0
        self.lets_pass = False
        self.wait_s = wait_s

    def stage(self, most: int = sys.maxsize) -> object:
        @stage(name="stubborn")
        async def stubborn(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
            async for element in stream:
                yield element
                while True:
                    try:
                        await anyio.sleep(self.wait_s)  # swallows at this line
                    except anyio.get_cancelled_exc_class():
                        self.swallowed += 1
                        if self.lets_pass or self.swallowed > most:
                            raise

        return stubborn


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "swallowed" in record.getMessage()]


@pytest.mark.parametrize("ending", ["block", "bare loop", "drain"])
async def test_a_stage_that_swallows_for_ever_burns_nothing_and_holds_nobody(
    ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SF-27 (7.7): a few dozen cancellations in ten seconds, where each await would raise; the caller is released in time."""
    swallower = Swallower()
    pipeline = pipeline_of(swallower.stage(), shutdown_timeout_s=10)
    began = anyio.current_time()
    with caplog.at_level(logging.WARNING, logger="streamflow.runtime"):
        if ending == "bare loop":
            async for _element in pipeline.execute("x"):
                break
            await anyio.sleep(10)
        else:
            async with pipeline.execute("x") as run:
                await anext(run)
                if ending == "drain":
                    with pytest.raises(TimeoutError, match="'stubborn'"):
                        await run.drain(1)
            assert run.zombies == ("stubborn",)

    assert anyio.current_time() - began == pytest.approx(11 if ending == "drain" else 10)
    assert 4 <= swallower.swallowed <= 25
    swallower.lets_pass = True
    await anyio.sleep(2)
    await assert_all_stages_stopped()
    assert len(warnings_of(caplog)) == 1


async def test_it_is_told_once_with_its_name_and_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """SF-27 (7.7): what to mend, and where."""
    swallower = Swallower()
    with caplog.at_level(logging.WARNING, logger="streamflow.runtime"):
        async with pipeline_of(swallower.stage(most=6), shutdown_timeout_s=60).execute("x") as run:
            await anext(run)

    (told,) = warnings_of(caplog)
    line = 1 + next(number for number, text in enumerate(LINES) if text.endswith("# swallows at this line"))
    assert told.startswith(f"stubborn has swallowed its cancellation and goes on, at {__file__}:{line};")
    assert run.zombies == ()
    await assert_all_stages_stopped()


async def test_one_that_swallows_once_and_waits_for_something_else_is_cancelled_again() -> None:
    """SF-27 (7.7): it does not carry on until the deadline."""
    swallower = Swallower()
    began = anyio.current_time()
    async with pipeline_of(swallower.stage(most=1), shutdown_timeout_s=60).execute("x") as run:
        await anext(run)

    assert anyio.current_time() - began < 1
    assert run.zombies == ()
    await assert_all_stages_stopped()


@pytest.mark.parametrize("how", ["shielded", "shielded, with a limit of its own", "in many steps"])
async def test_clean_up_is_not_taken_for_swallowing(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """SF-27, SF-29 (7.7): however long it takes, it is not disturbed; a second `cancel()` does not strike it either."""
    log: list[str] = []

    @stage
    async def careful(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        try:
            async for element in stream:
                await output.send(element)
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(200):
                    await checkpoint()
                if how == "shielded, with a limit of its own":
                    with anyio.move_on_after(2):
                        await anyio.sleep(100)
                for _ in range(1 if how == "shielded" else 6):
                    await anyio.sleep(1)
            log.append("cleaned up")

    with caplog.at_level(logging.WARNING, logger="streamflow.runtime"):
        async with pipeline_of(careful).execute() as run:
            await run.send("x")
            await anext(run)
            run.cancel()
            await anyio.sleep(0.5)
            run.cancel()
    assert log == ["cleaned up"]
    assert warnings_of(caplog) == []
    await assert_all_stages_stopped()


async def test_one_that_swallows_a_failure_beside_it_does_not_hold_the_failure_up() -> None:
    """semantics 5.5, 5.6 (7.7): the consumer is told, after the deadline."""
    swallower = Swallower()

    @stage
    async def fails(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            await anyio.sleep(1)
            raise ValueError("broken")

    with pytest.raises(Exception, match="broken"):
        async with pipeline_of(swallower.stage(), fails, shutdown_timeout_s=2).execute("x") as run:
            async for _element in run:
                pass
    assert run.zombies == ("stubborn",)
    swallower.lets_pass = True
    await anyio.sleep(2)
    await assert_all_stages_stopped()


def test_the_place_is_found_behind_generators_and_objects_that_await() -> None:
    """7.7: the user's innermost line, whatever stands between."""

    class Waits:
        def __await__(self):
            yield "waits"  # in here

    async def generator() -> AsyncIterator[int]:
        await Waits()
        yield 1

    async def outer() -> None:
        async with aclosing(generator()) as numbers:
            async for _ in numbers:
                pass

    coroutine = outer()
    assert coroutine.send(None) == "waits"
    file, _, line = (place_of(coroutine) or "").rpartition(":")
    assert (file, LINES[int(line) - 1].strip()) == (__file__, 'yield "waits"  # in here')
    with pytest.raises(StopIteration):
        while True:
            coroutine.send(None)
    assert place_of(object()) is None
