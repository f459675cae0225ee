"""Ctrl-C: the first one drains a run that would never end, so that nothing it has taken is lost; a second one cancels it."""

import signal
import sys
from collections.abc import AsyncIterator

import anyio
from anyio.abc import TaskStatus

from streamflow import EndOfStream, PipelineBuilder, Run, TextElement, stage

WAITS = "--wait" in sys.argv  # for you to press Ctrl-C; without it the program presses for you


class Orders:
    """Stand in for a queue of a shop that never closes."""

    def __init__(self) -> None:
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[TextElement]:
        while True:
            self.taken += 1
            yield TextElement(f"order {self.taken}")
            await anyio.sleep(0.05)


@stage
async def pack(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for order in stream:
        await anyio.sleep(0.1)  # slower than orders come, so that there is always something inside
        yield TextElement(f"{order.text}, packed")


async def obey(run: Run, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with anyio.create_task_group() as tasks:
            task_status.started()
            is_first = True
            async for _ in signals:
                if is_first:
                    print("Ctrl-C: no more orders, and those in the house are finished", flush=True)
                    tasks.start_soon(run.drain, 5)  # five seconds at most, then what is left is cancelled
                else:
                    print("Ctrl-C again: everything stops", flush=True)
                    run.cancel()
                is_first = False


async def main():
    orders, packed = Orders(), 0
    async with PipelineBuilder().chain(pack).build().execute(orders) as run, anyio.create_task_group() as tasks:
        await tasks.start(obey, run)
        async for element in run:
            if isinstance(element, EndOfStream):
                print(f"the end: {element.reason}")
                continue
            packed += 1
            if packed <= 3:
                print(element.text, flush=True)
            if packed == 3 and not WAITS:
                signal.raise_signal(signal.SIGINT)
        tasks.cancel_scope.cancel()
    print(f"every order that was taken was packed: {packed == orders.taken}")
    if run.undelivered:
        print(f"not delivered: {sum(run.undelivered.values())} or more")


if __name__ == "__main__":
    anyio.run(main)
