"""Going on after failures: start anew, try again, put aside what cannot be done, and let a branch fail alone."""

from collections.abc import AsyncIterator

import anyio

from streamflow import (
    CollectStage,
    DeadLetterElement,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    StageError,
    StreamElement,
    Supervision,
    TextElement,
    stage,
)
from streamflow.observe import Event, StageRestarted

lost_connections = [ConnectionError("reset by peer")]


@stage
async def recognize(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    """Stand in for a recognizer with a connection that breaks once; the new frame numbers anew."""
    number = 0
    async for element in stream:
        if element.text == "three" and lost_connections:
            raise lost_connections.pop()
        number += 1
        yield TextElement(f"{element.text} (#{number} of this connection)")


def parse(element: TextElement) -> TextElement:
    return TextElement(f"{1 / float(element.text):g}")


def restarts(event: Event) -> None:
    if isinstance(event, StageRestarted):
        print(f"  {event.stage} restarts after {event.error_type}, in {event.delay_s:g} s")


async def main():
    print("A connection breaks: the stage begins anew, and gets what it had in hand again")
    again = Supervision("restart", on=ConnectionError, in_hand="redeliver", min_backoff_s=0.01, jitter=0)
    pipeline = PipelineBuilder().chain(recognize).supervise("recognize", again).on_event(restarts).build()
    async for text in pipeline.execute(["one", "two", "three", "four"]).text():
        print(f"  {text}")

    print("Some elements cannot be done: they are put aside, and the stream goes on")
    letters: list[StreamElement] = []
    builder = PipelineBuilder().chain(MapStage(parse))
    builder.supervise("parse", Supervision("dead_letter"), dead_letters=CollectStage(letters))
    result = await builder.build().run(["2", "0", "four", "8"])
    print(f"  {[element.text for element in result.elements if isinstance(element, TextElement)]}")
    for letter in letters:
        if isinstance(letter, DeadLetterElement):
            print(f"  element #{letter.index} of {letter.stage}: {letter.error}: {letter.message}")

    print("Two tries, and then it is a failure: the error says how often it was tried")
    twice = Supervision("retry", attempts=2, min_backoff_s=0.01)
    try:
        await PipelineBuilder().chain(MapStage(parse)).supervise("parse", twice).build().run(["0"])
    except StageError as error:
        print(f"  {error.stage}: {error.attempts} attempts, {error.__cause__!r}")

    print("A branch that may fail: the other one gives everything")
    builder = PipelineBuilder().branch(PassthroughStage("fork"), PassthroughStage("main"), optional=[parse])
    result = await builder.build().run(["a", "b"])
    print(f"  {[element.text for element in result.elements if isinstance(element, TextElement)]}, {result.reason}")
    print(f"  beside it: {[failure.stage for failure in result.failures]}")


if __name__ == "__main__":
    anyio.run(main)
