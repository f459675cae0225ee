"""A pipeline that waits for itself: what `build()` warns about, what the run says, and three ways out."""

import warnings
from collections.abc import AsyncIterator, Mapping

from streamflow import (
    BuildWarning,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    PipelineDeadlockError,
    ReceiveEnd,
    SendEnd,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)


@stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd), max_held=1000)
async def summary(words: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[StreamElement]:
    """Say, at the end, how many words there were; hold everything back until then."""
    count = 0
    async for element in words:
        if isinstance(element, TextElement):
            count += 1
    yield TextElement(f"{count} words:")


@stage(inputs={"title": TextElement, "text": TextElement})
async def page(inputs: Mapping[str, ReceiveEnd[TextElement]], output: SendEnd[TextElement]) -> None:
    """The title first, then the text: so it waits for the title, and does not read the text meanwhile."""
    for port in ("title", "text"):
        async for element in inputs[port]:
            await output.send(element)


def layout(config: PipelineConfig, room: int | None = None) -> PipelineBuilder:
    builder = PipelineBuilder(config).chain(PassthroughStage("words"), summary)
    builder.branch("words", "summary", PassthroughStage("body")).add(page)
    return builder.connect("summary", "page:title").connect("body", "page:text", buffer=room)


def main() -> None:
    words = [f"w{number}" for number in range(9)]
    small = PipelineConfig(buffer_size=2)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", BuildWarning)
        pipeline = layout(small).build()
    print("warning:", str(told[0].message).partition(";")[0])

    try:
        pipeline.execute_sync(words)
    except PipelineDeadlockError as error:
        print("error:", str(error).partition("beside")[0])

    warnings.simplefilter("ignore", BuildWarning)
    print("more room:", layout(small, room=9).build().execute_sync(words).text)
    growing = layout(small.replace(on_deadlock="grow"))
    growing.on_event(lambda event: print(" ", event.to_dict()["edge"]) if event.name == "edge.grown" else None)
    print("grown to:", growing.build().execute_sync(words).text)


if __name__ == "__main__":
    main()
