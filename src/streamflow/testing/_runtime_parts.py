"""What the scenarios of the runtime's rules are made of: stages that copy, dawdle or let others run, and sources.

Above: `_runtime_scenarios`, `_runtime_edges`. Below: `runtime`, `stages`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import anyio
from anyio.lowlevel import checkpoint

from ..channels import ReceiveEnd, SendEnd  # noqa: TC001 - `@stage` reads annotations
from ..elements import StreamElement, TextElement
from ..stages import stage
from ._harness import assert_all_stages_stopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..runtime import Pipeline
    from ..stages import StageLike

__all__ = [
    "CAPACITIES",
    "LONG_S",
    "Endless",
    "cancel_after",
    "copying",
    "late",
    "never",
    "one_each",
    "outcome_of",
    "parity",
    "send_in_tries",
    "slowly",
    "texts",
    "waking",
    "words_of",
]

LONG_S: Final = 1000.0
"""Longest time of a scenario, in virtual seconds."""
CAPACITIES: Final = (1, 2, 16)
"""Those that scenarios are tried at."""
_TRIES: Final = 500


def texts(count: int) -> list[StreamElement]:
    """Return so many texts, which are numbers."""
    return [TextElement(str(number)) for number in range(count)]


def words_of(elements: Sequence[StreamElement]) -> list[str]:
    """Return the texts among elements."""
    return [one.text for one in elements if isinstance(one, TextElement)]


async def outcome_of(pipeline: Pipeline, source: object) -> list[StreamElement]:
    """Run to the end and return what came out.

    Raises:
        AssertionError: The run did not end, or left something behind.
    """
    got: list[StreamElement] = []
    with anyio.move_on_after(LONG_S) as limit:
        async with pipeline.execute(source) as run:  # type: ignore[arg-type]
            async for element in run:
                got.append(element)  # noqa: PERF401 - what came until the limit is told
    if limit.cancelled_caught:
        raise AssertionError(f"the run did not end; it gave {words_of(got)}")
    await assert_all_stages_stopped()
    return got


class Endless:
    """A source that never ends, and says how much it has given."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.given: int = 0
        """How much it has given."""
        self.is_closed: bool = False
        """Whether it was closed."""
        self._pause_s = pause_s

    async def elements(self) -> AsyncIterator[StreamElement]:
        """Give texts, which are numbers."""
        try:
            for number in itertools.count():
                if self._pause_s:
                    await anyio.sleep(self._pause_s)
                self.given = number + 1
                yield TextElement(str(number))
        finally:
            self.is_closed = True


def copying(name: str) -> StageLike:
    """Return a stage that sends what it takes."""

    @stage(name=name)
    async def copying(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            await output.send(element)

    return copying


def never(_: TextElement) -> bool:
    """Say no."""
    return False


def one_each(_: StreamElement) -> float:
    """Return what everything weighs."""
    return 1


def late(name: str) -> StageLike:
    """Return a stage that begins to read when its inputs are full, and then takes one element a second."""

    @stage(name=name)
    async def late(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        await anyio.sleep(5)
        async for element in input:
            await output.send(element)
            await anyio.sleep(1)

    return late


async def send_in_tries(output: SendEnd[TextElement], element: TextElement, ticks: int) -> None:
    """Send an element, and cancel that after so many turns of the event loop, again and again until it is sent."""
    for _ in range(_TRIES):
        is_sent = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_after, tasks.cancel_scope, ticks)
            await output.send(element)
            is_sent = True
            tasks.cancel_scope.cancel()
        if is_sent:
            return
        await checkpoint()
    raise AssertionError(f"{element.text} was not sent in {_TRIES} tries of {ticks} turns")


def waking(name: str) -> StageLike:
    """Return a stage that lets others run between any two elements."""

    @stage(name=name)
    async def waking(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            for _ in range(12):
                await checkpoint()
            await output.send(element)

    return waking


def parity(element: TextElement) -> str:
    """Return whether a number is odd or even."""
    return "odd" if int(element.text) % 2 else "even"


async def slowly(count: int) -> AsyncIterator[StreamElement]:
    """Give so many texts, and let others run before each."""
    for one in texts(count):
        for _ in range(8):
            await checkpoint()
        yield one


async def cancel_after(scope: anyio.CancelScope, ticks: int) -> None:
    """Cancel a scope after so many turns of the event loop."""
    for _ in range(ticks):
        await checkpoint()
    scope.cancel()
