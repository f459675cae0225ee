"""A linear pipeline: elements go in at one end, through each stage, and come out while the source still works."""

from collections.abc import AsyncIterator

import anyio

from streamflow import (
    EndOfStream,
    FilterStage,
    Message,
    MessageElement,
    PassthroughStage,
    PipelineBuilder,
    TextElement,
)


def is_word(element: TextElement) -> bool:
    return element.text != ""


def shout(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


PIPELINE = PipelineBuilder().chain(FilterStage(is_word), shout).build()


async def one_by_one(shown: anyio.Semaphore) -> AsyncIterator[str]:
    """A source that makes no word before the last one was shown: if the pipeline held one back, this would wait for ever."""
    for word in ("one", "two", "three"):
        print(f"source: {word}")
        yield word
        await shown.acquire()


async def main():
    # The smallest of all: three stages that change nothing, and a message that goes through them.
    stages = [PassthroughStage(name) for name in ("input", "process", "output")]
    async for element in PipelineBuilder().chain(*stages).build().execute(MessageElement(Message("user", "Hello"))):
        match element:
            case MessageElement(message=message):
                print(f"{message.role}: {message.text}")

    # `async with` ends the run, whichever way the block is left.
    print(PIPELINE)
    shown = anyio.Semaphore(0)
    async with PIPELINE.execute(one_by_one(shown)) as run:
        async for element in run:
            match element:
                case TextElement(text=text):
                    print(f"output: {text}")
                    shown.release()
                case EndOfStream(reason=reason):
                    print(f"end: {reason}")

    # A pipeline runs any number of times. `text()` gives the strings alone; leaving the loop ends this run.
    async for text in PIPELINE.execute(["four", "five"]).text():
        print(f"first word: {text}")
        break

    # `run()` collects everything.
    result = await PIPELINE.run(["six ", "", "seven"])
    print(f"{result.text!r} in {len(result.elements)} elements, {result.reason}")


if __name__ == "__main__":
    anyio.run(main)
