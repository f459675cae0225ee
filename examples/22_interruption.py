"""Barge-in: the user speaks while the assistant does, and nothing of the old answer is heard any more."""

from collections.abc import AsyncIterator

import anyio

from streamflow import (
    Message,
    MessageElement,
    PipelineBuilder,
    ReceiveEnd,
    Run,
    SendEnd,
    StreamElement,
    TextElement,
    stage,
    turn_scope,
)
from streamflow.observe import Event, RunInterrupted


@stage(on_interrupt="fence")  # it works in turn scopes alone: only these are cancelled
async def answers(input: ReceiveEnd[TextElement], output: SendEnd[StreamElement]) -> None:
    """Answer each question word by word, and leave a whole: cut, if it came to that."""
    async for question in input:
        said: list[str] = []
        async with turn_scope() as turn:
            for word in f"{question.text} is a long story".split():
                await output.send(TextElement(word))
                said.append(word)
                await anyio.sleep(0.2)
        await output.send(MessageElement(Message("assistant", " ".join(said)), cut=turn.interrupted))


@stage  # on_interrupt="reenter": cancelled in what it has in hand, and called again
async def speaks(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    """Speak each word, slower than they come."""
    async for element in stream:
        await anyio.sleep(0.5)
        yield TextElement(f"spoken: {element.text}")


def show(event: Event) -> None:
    """Show what an interruption did."""
    if isinstance(event, RunInterrupted):
        print(f"{event.reason}: dropped {sum(event.dropped.values())}, cancelled {', '.join(event.cancelled)}")


async def listen(run: Run) -> None:
    """Show all that comes out."""
    async for element in run:
        if isinstance(element, TextElement):
            print(element.text)
        elif isinstance(element, MessageElement):
            print(f"to be remembered: {element.message.text!r}, cut: {element.cut}")


async def main() -> None:
    """Interrupt one answer, then hear another one out."""
    pipeline = PipelineBuilder().chain(answers, speaks).on_event(show).build()
    async with pipeline.execute() as run, anyio.create_task_group() as tasks:
        tasks.start_soon(listen, run)
        await run.send("Rome")
        await anyio.sleep(0.7)
        done = run.interrupt("barge-in")
        await done.settled()
        await run.send("Paris")
        run.close_input()


if __name__ == "__main__":
    anyio.run(main)
