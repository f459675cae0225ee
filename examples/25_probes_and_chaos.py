"""Test a stage by hand: say what is sent and when, what is asked for, who is late, and in which order tasks run."""

from collections.abc import AsyncIterator

from streamflow import PipelineBuilder, StageError, TextElement, stage
from streamflow.testing import Called as Call
from streamflow.testing import (
    EdgeFault,
    ProbeError,
    ScriptedTool,
    assert_all_stages_stopped,
    chaos,
    edge_faults,
    misbehaving,
    probed,
    run_stage,
    run_virtual,
)

FORECASTS = [Call("rain", {"city": "Bergen"}), Call("sun", {"city": "Oslo"})]


def weather_stage(ask: ScriptedTool) -> object:
    @stage(name="weather")
    async def weather(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield TextElement(f"{element.text}: {await ask(city=element.text)}")

    return weather


async def by_hand() -> None:
    """Each answer comes before the next question is asked; the tool is called as its script says, and no more."""
    with ScriptedTool("forecast", FORECASTS) as ask:
        async with probed(weather_stage(ask)) as (source, sink):
            sink.request(2)
            await source.send("Bergen")
            print((await sink.expect_next("Bergen: rain")).text)
            await sink.expect_no_element()  # costs nothing: time is virtual
            await source.send("Oslo")
            await sink.expect_next("Oslo: sun")
            source.complete()
            await sink.expect_complete()


async def in_any_order() -> None:
    """The same under ten schedules; one that fails names its seed."""
    for seed in range(10):
        with ScriptedTool("forecast", FORECASTS) as ask, chaos(seed):
            await run_stage(weather_stage(ask), ["Bergen", "Oslo"], capacity=1)
    await assert_all_stages_stopped()
    print("ten schedules, nothing left behind")


async def on_a_bad_day() -> None:
    """What happens when the line dies at the second element, and behind a stage that keeps its last one."""
    with ScriptedTool("forecast", FORECASTS) as ask:
        pipeline = PipelineBuilder().chain(weather_stage(ask)).build()
        with edge_faults(EdgeFault("weather → consumer", at=2, error=OSError("the line is dead"))):
            try:
                await pipeline.run(["Bergen", "Oslo"])
            except StageError as error:
                print(f"{error.stage} failed: {error.__cause__}")
    async with probed(misbehaving.loses_the_last()) as (source, sink):
        await source.send("only")
        source.complete()
        try:
            await sink.request_next("only")
        except ProbeError as error:
            print(error)


if __name__ == "__main__":
    for scene in (by_hand, in_any_order, on_a_bad_day):
        run_virtual(scene)
