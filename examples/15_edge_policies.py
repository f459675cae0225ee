"""Edge policies: what becomes of an element for which there is no room, bounds by weight, and urgent elements that overtake."""

from collections.abc import AsyncIterator

import anyio

from streamflow import (
    CONSUMER,
    SOURCE,
    AudioElement,
    PassthroughStage,
    PipelineBuilder,
    Priority,
    SinkStage,
    TextElement,
    TurnEnd,
    Weight,
    stage,
)
from streamflow.channels import Overflow
from streamflow.errors import EdgeOverflowError


@stage
async def detect(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        await anyio.sleep(0.05)
        yield TextElement(f"looked at {element.text}")


async def camera(overflow: Overflow) -> None:
    """A camera does not wait: five pictures, one right after the other, and the end of the turn."""
    pipeline = PipelineBuilder().add(detect).connect(SOURCE, "detect", buffer=2, overflow=overflow).build()
    async with pipeline.execute() as run:
        for number in range(5):
            await run.send(TextElement(f"{number}"))
        await run.send(TurnEnd())  # control is never dropped
        run.close_input()
        texts = [text async for text in run.text()]
    print(f"{overflow:>12}: {', '.join(texts)}; {run.stats().edges['source → detect'].counts.discarded}")


ahead = [0, 0]  # milliseconds of speech: what there is now, and the most there was


async def play(_: AudioElement) -> None:
    await anyio.sleep(0.02)
    ahead[0] -= 100


@stage
async def speak(_: TextElement) -> AudioElement:
    ahead[:] = ahead[0] + 100, max(ahead[1], ahead[0] + 100)
    return AudioElement(bytes(32 * 100), sample_rate=16000)  # 100 ms


async def main():
    await camera("block")
    await camera("drop_oldest")
    await camera("drop_newest")
    await camera("latest")
    try:
        await camera("error")
    except EdgeOverflowError as error:
        print(f"{'error':>12}: {error}")

    # At most 300 ms of speech wait to be played, whatever the number of pieces; one is played, one in hand.
    voice = PipelineBuilder().connect(speak, SinkStage(play, name="play"), weight=Weight.audio_ms(300)).build()
    await voice.run([str(number) for number in range(20)])
    print(f"speech was at most {ahead[1]} ms ahead")

    # One edge with priority lanes: what is urgent overtakes what waits there.
    lanes = PipelineBuilder().add(PassthroughStage("log")).connect("log", CONSUMER, priority=True).build()
    urgent = TextElement("stop! ", priority=Priority.CRITICAL)
    print((await lanes.run([TextElement("one, "), TextElement("two"), urgent])).text)


if __name__ == "__main__":
    anyio.run(main)
