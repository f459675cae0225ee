"""Events: what a run tells beside its output. Whoever listens changes nothing, and holds nothing up."""

import logging
import sys
from collections.abc import AsyncIterator

import anyio

from streamflow import Event, PipelineBuilder, RunContext, StageError, TextElement, stage
from streamflow.observe import PipelineEnded, StageEnded, StageFailed, log_events


@stage
async def divide(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
    """Divide 1 by each number, and tell of it with an event of its own."""
    async for element in stream:
        result = 1 / float(element.text)
        run.emit("divide.done", {"result": result})
        yield TextElement(f"{result:g}")


def show(event: Event) -> None:
    """A function is called at once, inside the run: it must be quick. Durations differ each time, so none is shown."""
    match event:
        case StageFailed():
            print(f"  {event.name} {event.stage}: {event.error_type}, {event.received} in, {event.sent} out")
        case StageEnded():
            print(f"  {event.name} {event.stage}: {event.received} in, {event.sent} out")
        case PipelineEnded():
            print(f"  {event.name}: {event.elements} elements, {event.reason}")
        case _:
            print(f"  {event.name} {event.stage or ''}".rstrip())


STORED: list[str] = []


async def store(event: Event) -> None:
    """An async function may wait: it has a task and a bounded queue of its own, and the run waits for it at its end."""
    await anyio.sleep(0.001)
    STORED.append(event.name)


async def listen(events: AsyncIterator[Event]) -> None:
    print(f"  {', '.join([event.name async for event in events])}")


async def main():
    builder = PipelineBuilder().chain(divide)

    print("A function and an async function listen:")
    await builder.clone().on_event(show).on_event(store).build().run(["2", "4"])
    print(f"  stored {len(STORED)} events, the last one {STORED[-1]}")

    print("Beside the output:")
    run = builder.build().execute(["5"])
    events = run.events()  # before the run is entered: its start is an event too
    async with run, anyio.create_task_group() as group:
        group.start_soon(listen, events)
        result = await run.result()
    print(f"  output {result.text}")

    print("As a log, without a word of what was in the elements:")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("  %(levelname)s %(event)s stage=%(stage)s"))  # each fact is an attribute
    logging.getLogger("streamflow.events").addHandler(handler)
    logging.getLogger("streamflow.events").setLevel(logging.INFO)
    try:
        await builder.on_event(log_events()).build().run(["0"])
    except StageError as error:
        print(f"raised: {error.stage}, {error.__cause__!r}")


if __name__ == "__main__":
    anyio.run(main)
