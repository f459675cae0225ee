"""Joining: several sources, several branches, one stream. What is sent in a turn leaves in that turn, and its end leaves once."""

from collections.abc import AsyncIterator

import anyio

from streamflow import AudioElement, PassthroughStage, PipelineBuilder, StreamElement, TextElement, TurnEnd, stage


@stage
def ears(element: AudioElement) -> TextElement:
    """Stand in for speech recognition: the sound brings its text along."""
    return TextElement(f"heard {element.text}")


@stage
def keyboard(element: TextElement) -> TextElement:
    return TextElement(f"read {element.text}")


# Two stages without an input of their own, and one that gets what both give: fairly, in the order of arrival.
TWO_SOURCES = PipelineBuilder().merge(PassthroughStage("notes"), ears, keyboard).build()


@stage
def french(element: TextElement) -> TextElement:
    return TextElement({"yes": "oui", "no": "non"}[element.text])


@stage
async def german(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    """The slow one."""
    async for element in stream:
        await anyio.sleep(0.01)
        yield TextElement({"yes": "ja", "no": "nein"}[element.text])


# A diamond: both branches accept text, so each gets a copy, and what both make of it comes together again.
DIAMOND = (
    PipelineBuilder()
    .branch(PassthroughStage("words"), french, german)
    .merge(PassthroughStage("together"), french, german)
    .build()
)


async def main():
    # Each stage that takes a source is fed by its own, named like the stage.
    sources = {"ears": AudioElement(b"", text="good morning"), "keyboard": ["dear", "diary"]}
    result = await TWO_SOURCES.run(sources)
    print(sorted(element.text for element in result.elements if isinstance(element, TextElement)))

    # A live run is fed the same way: `to=` says which stage is meant.
    async with TWO_SOURCES.execute() as run:
        await run.send("the end", to="keyboard")
        run.close_input()
        print([text async for text in run.text()])

    # A fork copies control elements to every branch, and the join gives each of them once: behind all that came before it
    # in any branch. So the slow branch does not fall into the next turn.
    source: list[StreamElement] = [TextElement("yes"), TurnEnd(index=0), TextElement("no"), TurnEnd(index=1)]
    turn: list[str] = []
    async for element in DIAMOND.execute(source):
        match element:
            case TextElement(text=text):
                turn.append(text)
            case TurnEnd(index=index):
                print(f"turn {index}: {sorted(turn)}")
                turn.clear()


if __name__ == "__main__":
    anyio.run(main)
