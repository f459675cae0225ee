"""Every form in which you can write a stage. All of them run as one task between two bounded edges."""

from collections.abc import AsyncIterator, Iterator

import anyio

from streamflow import BaseStage, PipelineBuilder, ReceiveEnd, RunContext, SendEnd, TextElement, stage


# A function of one element. It may be async; a generator function gives several elements for one.
@stage
def split(element: TextElement) -> Iterator[TextElement]:
    for word in element.text.split():
        yield TextElement(word)


# An async generator of the stream: the usual form for whatever looks at more than one element.
@stage
async def without_repeats(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    last = None
    async for element in stream:
        if element.text != last:
            yield element
        last = element.text


# A process reads and writes its two edges itself. Return when done: the runtime closes them.
@stage
async def first_four(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    taken = 0
    async for element in input:
        await output.send(element)
        taken += 1
        if taken == 4:
            return


# With one more parameter, `run`, a stage can ask for what the caller gave, and tell what happened.
@stage
async def number(stream: AsyncIterator[TextElement], run: RunContext[int]) -> AsyncIterator[TextElement]:
    count = run.deps
    async for element in stream:
        yield TextElement(f"{count}:{element.text}")
        count += 1
    run.emit("numbered", {"up_to": count - 1})


# A class has settings. All runs share its object, which is frozen: what belongs to one run lives in locals of `process`.
class UppercaseStage(BaseStage):
    def __init__(self, *, at_least: int = 1, name: str | None = None) -> None:
        super().__init__(name)
        self.at_least = at_least

    async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            is_long = len(element.text) >= self.at_least
            await output.send(element.replace(text=element.text.upper()) if is_long else element)


# A class that is given itself is made anew for each run, so it may keep the state of the run.
class Commas:
    def __init__(self) -> None:
        self.seen = 0

    async def process(self, stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            self.seen += 1
            yield element if self.seen == 1 else TextElement(f", {element.text}")


async def main():
    builder = PipelineBuilder().chain(split, without_repeats, first_four, UppercaseStage(at_least=3), number, Commas)
    pipeline = builder.on_event(lambda event: event.data and print(f"event {event.name}: {dict(event.data)}")).build()
    print(pipeline)
    print((await pipeline.run("to be or or not to be", deps=1)).text)


if __name__ == "__main__":
    anyio.run(main)
