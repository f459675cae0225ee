"""Branching: one stage feeds several, and each branch gets the elements that its first stage accepts."""

from collections.abc import AsyncIterator

import anyio

from streamflow import AudioElement, DataElement, PassthroughStage, PipelineBuilder, StreamElement, TextElement, stage


@stage
async def processor(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement | AudioElement | DataElement]:
    """Answer each text: in writing, in sound, and with a figure about both."""
    async for element in stream:
        answer = f"You said {element.text}."
        yield TextElement(answer)
        yield AudioElement(bytes(2 * 1600 * len(answer)))  # a real one asks a service for speech
        yield DataElement("characters", len(answer))


# The annotation decides: text elements go here, …
@stage
def text_output(element: TextElement) -> TextElement:
    return TextElement(f"[screen] {element.text}")


# … audio elements go here, …
@stage
def audio_output(element: AudioElement) -> AudioElement:
    return element.with_metadata(speaker="left")


# … and what neither of them accepts goes to `otherwise`. Without it such data is dropped, and `build()` warns about that.
PIPELINE = (
    PipelineBuilder()
    .chain(PassthroughStage("input"), processor)
    .branch("processor", text_output, audio_output, otherwise=PassthroughStage("figures"))
    .build()
)


def told(element: StreamElement) -> str:
    match element:
        case TextElement(text=text):
            return text
        case AudioElement(duration_s=duration_s, metadata=metadata):
            return f"{duration_s:g} s of sound for the {metadata['speaker']} speaker"
        case _:
            return str(element)


async def main():
    # The ends of all branches together are the output of the run. Between branches there is no order.
    result = await PIPELINE.run("hello")
    print("together:", ", ".join(sorted(type(element).__name__ for element in result.elements)))

    # Each end can be read alone. Read all of them at the same time: one that nobody reads holds up the others.
    got: dict[str, list[str]] = {}

    async def read(name: str, elements: AsyncIterator[StreamElement]) -> None:
        got[name] = [told(element) async for element in elements]

    async with PIPELINE.execute(["hello", "goodbye"]) as run, anyio.create_task_group() as readers:
        for name in ("text_output", "audio_output", "figures"):
            readers.start_soon(read, name, run.output(name))

    for name, lines in sorted(got.items()):
        print(f"{name}:")
        for line in lines:
            print(f"  {line}")


if __name__ == "__main__":
    anyio.run(main)
