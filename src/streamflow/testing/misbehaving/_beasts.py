"""Stages that break the rules on purpose, one rule each.

Above: tests of the kit and of the runtime. Below: `_cage`. Each has one line that says what it does wrong; where the runtime bears
it, nobody else in the run notices.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import msgspec

from ...elements import ControlElement, StreamElement, TextElement
from ...errors import ChannelClosedError, OutputClosedError
from ...stages import EVERYTHING
from .._tasks import is_on_trio
from ._cage import PAUSE_S, Memory, Misbehaviour, beast

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ...channels import ReceiveEnd, SendEnd

    In = ReceiveEnd[Any]
    Out = SendEnd[Any]

__all__ = [
    "ZOO",
    "blocks_the_loop",
    "cleans_up_for_ever",
    "closes_twice",
    "drops_control",
    "drops_for_want_of_room",
    "duplicates",
    "forgets_to_close",
    "is_bound_to_its_loop",
    "iterates_twice",
    "keeps_its_ports",
    "leaks_a_task",
    "loses_the_last",
    "mutates",
    "never_ends",
    "raises_in_cleanup",
    "reads_everything_first",
    "reads_in_two_tasks",
    "reorders",
    "returns_unread",
    "sends_after_return",
    "sends_from_a_helper",
    "sends_none",
    "sends_on_when_nobody_reads",
    "shares_state",
    "swallows_cancellation",
    "swallows_cancellation_once",
]

_STUBBORN: Final = 5  # how often what goes on sending does so


# What the runtime bears


@beast("SF-05", borne=True)
async def forgets_to_close(input: In, output: Out, memory: Memory) -> None:
    """Returns without closing its output: the runtime does it."""
    async for element in input:
        await output.send(element)


@beast("SF-07", borne=True)
async def returns_unread(input: In, output: Out, memory: Memory) -> None:
    """Returns before it has read anything: its source is told that no more is needed."""
    await anyio.lowlevel.checkpoint()


@beast("SF-30", borne=True)
async def closes_twice(input: In, output: Out, memory: Memory) -> None:
    """Closes both of its ends twice, and again after the end."""
    async for element in input:
        await output.send(element)
    for _ in range(2):
        input.close()
        output.close()


@beast("SF-74", borne=True)
async def iterates_twice(input: In, output: Out, memory: Memory) -> None:
    """Iterates its input again after its end: that ends at once."""
    for _ in range(2):
        async for element in input:
            await output.send(element)


@beast("SF-74", borne=True)
async def sends_after_return(input: In, output: Out, memory: Memory) -> None:
    """Leaves a task behind that sends after it has returned: the task gets an error, nobody an element."""

    async def later() -> None:
        await anyio.sleep(PAUSE_S)
        try:
            await output.send(TextElement("too late"))
        except (ChannelClosedError, OutputClosedError) as error:
            memory["error"] = error

    async for element in input:
        await output.send(element)
    _leak(later())


@beast("SF-74", borne=True)
async def sends_from_a_helper(input: In, output: Out, memory: Memory) -> None:
    """Lets a task of its own send each element, and waits for it."""
    async for element in input:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(output.send, element)


@beast("SF-74", borne=True)
async def keeps_its_ports(input: In, output: Out, memory: Memory) -> None:
    """Sends to the output of its last run: it gets an error there, and no run an element of another one."""
    kept: Out | None = memory.get("output")
    memory["output"] = output
    if kept is not None:
        try:
            await kept.send(TextElement("from another run"))
        except (ChannelClosedError, OutputClosedError) as error:
            memory["error"] = error
    async for element in input:
        await output.send(element)


@beast("SF-06", borne=True)
async def sends_on_when_nobody_reads(input: In, output: Out, memory: Memory) -> None:
    """Goes on sending when it was told that nobody reads any more."""
    left = _STUBBORN
    async for element in input:
        try:
            await output.send(element)
        except OutputClosedError:
            left -= 1
            if not left:
                raise


@beast("SF-27", borne=True)
async def swallows_cancellation_once(input: In, output: Out, memory: Memory) -> None:
    """Goes on after its first cancellation, as if nothing had been."""
    try:
        async for element in input:
            await output.send(element)
    except anyio.get_cancelled_exc_class():
        pass
    async for element in input:
        await output.send(element)


# What a check of the stage must find


@beast("SF-27")
async def swallows_cancellation(input: In, output: Out, memory: Memory) -> None:
    """Never ends when it is cancelled, however often: it goes on waiting."""
    async for element in input:
        await output.send(element)
        while True:
            try:
                await anyio.sleep(math.inf)
            except anyio.get_cancelled_exc_class():
                continue


@beast("SF-29")
async def cleans_up_for_ever(input: In, output: Out, memory: Memory) -> None:
    """Cleans up in a shield without a limit, and waits there for ever."""
    try:
        async for element in input:
            await output.send(element)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(math.inf)


@beast("SF-29")
async def raises_in_cleanup(input: In, output: Out, memory: Memory) -> None:
    """Raises when it cleans up, instead of what it was to end with."""
    try:
        async for element in input:
            await output.send(element)
    finally:
        message = "the clean-up failed"
        raise RuntimeError(message)


@beast("SF-18")
async def blocks_the_loop(input: In, output: Out, memory: Memory) -> None:
    """Blocks the event loop for each element, so that nothing else runs meanwhile."""
    async for element in input:
        time.sleep(0.02)  # noqa: ASYNC251, TID251 - that is its sin
        await output.send(element)


@beast("SF-15")
async def sends_none(input: In, output: Out, memory: Memory) -> None:
    """Sends None at its end, which is no element."""
    async for element in input:
        await output.send(element)
    await output.send(None)


@beast("SF-02")
async def never_ends(input: In, output: Out, memory: Memory) -> None:
    """Waits for ever when its input has ended."""
    async for element in input:
        await output.send(element)
    await anyio.sleep(math.inf)


@beast("SF-20")
async def leaks_a_task(input: In, output: Out, memory: Memory) -> None:
    """Leaves a task behind that belongs to nobody and never ends."""
    _leak(anyio.sleep(math.inf))
    async for element in input:
        await output.send(element)


@beast("SF-02")
async def loses_the_last(input: In, output: Out, memory: Memory) -> None:
    """Keeps its last element to itself: it sends one when the next one comes."""
    held: StreamElement | None = None
    async for element in input:
        if held is not None:
            await output.send(held)
        held = element


@beast("SF-02")
async def duplicates(input: In, output: Out, memory: Memory) -> None:
    """Sends its third element twice."""
    count = 0
    async for element in input:
        count += 1
        await output.send(element)
        if count == 3:
            await output.send(element)


@beast("SF-02")
async def reorders(input: In, output: Out, memory: Memory) -> None:
    """Lets each second element go first."""
    held: StreamElement | None = None
    async for element in input:
        if held is None:
            held = element
            continue
        await output.send(element)
        await output.send(held)
        held = None
    if held is not None:
        await output.send(held)


@beast("SF-40", accepts=EVERYTHING)
async def drops_control(input: In, output: Out, memory: Memory) -> None:
    """Takes control elements and does not pass them on."""
    async for element in input:
        if not isinstance(element, ControlElement):
            await output.send(element)


@beast("SF-51")
async def mutates(input: In, output: Out, memory: Memory) -> None:
    """Writes into the elements that it takes, which others hold too."""
    async for element in input:
        msgspec.structs.force_setattr(element, "id", f"{element.id}!")
        await output.send(element)


@beast("SF-09")
async def shares_state(input: In, output: Out, memory: Memory) -> None:
    """Keeps on the stage object what belongs to one run: the second run begins where the first one ended."""
    async for element in input:
        count = memory["count"] = memory.get("count", 0) + 1
        if count <= 5:
            await output.send(element)


@beast("SF-10")
async def is_bound_to_its_loop(input: In, output: Out, memory: Memory) -> None:
    """Keeps on the stage object what belongs to one event loop, and fails in another one."""
    token = anyio.lowlevel.current_token()
    if memory.setdefault("token", token) != token:
        message = "made in another event loop"
        raise RuntimeError(message)
    async for element in input:
        await output.send(element)


@beast("SF-12")
async def reads_everything_first(input: In, output: Out, memory: Memory) -> None:
    """Reads its whole input before it sends anything, and says that it holds one element."""
    held = [element async for element in input]
    for element in held:
        await output.send(element)


@beast("SF-13")
async def drops_for_want_of_room(input: In, output: Out, memory: Memory) -> None:
    """Drops what does not fit into its output at once, instead of waiting."""
    async for element in input:
        try:
            output.send_nowait(element)
        except anyio.WouldBlock:
            await anyio.lowlevel.checkpoint()


@beast("SF-17")
async def reads_in_two_tasks(input: In, output: Out, memory: Memory) -> None:
    """Reads its input in two tasks at a time."""

    async def read() -> None:
        async for element in input:
            await output.send(element)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(read)


def _leak(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a task that belongs to nobody."""
    if is_on_trio():
        import trio  # noqa: PLC0415 - only where it is the loop that runs

        async def run() -> None:
            await coroutine

        trio.lowlevel.spawn_system_task(run, name="leaked")
        return
    task = asyncio.get_running_loop().create_task(coroutine, name="leaked")
    _leaked.add(task)  # the loop itself holds tasks weakly
    task.add_done_callback(_leaked.discard)


_leaked: Final[set[asyncio.Task[None]]] = set()

ZOO: Final[tuple[Misbehaviour, ...]] = tuple(one for one in (*globals().values(),) if isinstance(one, Misbehaviour))
"""All of them: first what the runtime bears, then what a check of the stage must find."""
