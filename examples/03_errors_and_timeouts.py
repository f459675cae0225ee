"""What the caller sees when a stage fails, when a run takes too long, and when a pipeline is put together wrongly."""

from collections.abc import AsyncIterator

import anyio

from streamflow import (
    AudioElement,
    BuildError,
    EndOfStream,
    ErrorElement,
    MapStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    RunTimeoutError,
    StageError,
    StreamflowError,
    TextElement,
    stage,
)


def invert(element: TextElement) -> TextElement:
    return TextElement(f"{1 / float(element.text):g}")


@stage
async def stall(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    """Pass the first element on, then work for ever."""
    async for element in stream:
        yield element
        await anyio.sleep_forever()


async def show(pipeline: Pipeline, source: list[str]) -> None:
    """Print all that comes out: the data, one error element, the end; only then the error is raised."""
    async with pipeline.execute(source) as run:
        async for element in run:
            match element:
                case ErrorElement(code=code, stage=where, fatal=fatal):
                    print(f"  error element: {code} in {where or 'the run'}, fatal: {fatal}")
                case EndOfStream(reason=reason):
                    print(f"  end: {reason}")
                case _:
                    print(f"  {element}")


async def main():
    print("A stage that fails")
    try:
        await show(PipelineBuilder().chain(invert).build(), ["2", "4", "0", "8"])
    except StageError as error:
        print(f"raised: stage {error.stage!r}, element #{error.index}, cause {error.__cause__!r}")

    print("A run that takes too long")
    try:
        await show(PipelineBuilder(PipelineConfig(idle_timeout_s=0.2)).chain(stall).build(), ["first", "second"])
    except RunTimeoutError as error:
        print(f"raised: {error.kind} limit of {error.limit_s:g} s")

    print("A pipeline that cannot work")
    speak = MapStage(lambda _: AudioElement(b"\0\0", sample_rate=16_000), name="speak", emits=AudioElement)
    try:
        PipelineBuilder().chain(speak, invert).build()
    except BuildError as error:
        for finding in error.findings:  # all there are, not just the first
            print(f"  {finding.kind}: {finding.message}")
            print(f"  way out: {finding.hint}")

    print("One name to catch them all")
    try:
        await PipelineBuilder().chain(invert).build().run({"not": "a source"})
    except StreamflowError as error:
        print(f"raised: {error}")


if __name__ == "__main__":
    anyio.run(main)
