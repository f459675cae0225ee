"""The rules of a channel about cancellation: at every tick, by every way to cancel, nothing is lost and nothing comes twice.

Above: `_check_channel`. Below: `_conformance`, `_sweep`, `_channel_court`, `_channel_case`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ._channel_case import Traffic
from ._channel_court import Maker, opened, require_faultless
from ._conformance import Trial, rule
from ._sweep import cancel_sweep
from ._tasks import is_on_trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._sweep import CancelMode

__all__: list[str] = []


@rule(
    "SF-20",
    "A wait that a cancel scope ends has moved nothing: neither a send() nor a receive().",
    holds="2.3",
    subject="channel",
    heavy=True,
)
async def cancelled_by_scope(trial: Trial[Maker]) -> None:
    await _sweep_each_end(trial, "scope")


@rule(
    "SF-21",
    "The same where `asyncio.Task.cancel()` or `asyncio.timeout()` ends it.",
    holds="2.3",
    subject="channel",
    heavy=True,
)
async def cancelled_natively(trial: Trial[Maker]) -> None:
    if is_on_trio():
        trial.skip("only asyncio has a second way to cancel")
    for how in ("native", "timeout"):
        await _sweep_each_end(trial, how)


@rule(
    "SF-22",
    "All tasks at a channel, cancelled together, leave one that works.",
    holds="2.3",
    subject="channel",
    heavy=True,
)
async def cancelled_together(trial: Trial[Maker]) -> None:
    await _sweep(trial, "scope", "all tasks", Traffic.all)


async def _sweep_each_end(trial: Trial[Maker], how: CancelMode) -> None:
    channel = opened(trial)
    others = [_reader(number) for number in range(1, len(channel.receivers))]
    writers = [_writer(number) for number in range(len(channel.senders))]
    await _sweep(trial, how, "the reader", _reader(0), *others, *writers)
    await _sweep(trial, how, "the sender", writers[0], *writers[1:], _reader(0), *others)


def _reader(number: int) -> Callable[[Traffic], Awaitable[None]]:
    return lambda traffic: traffic.read(number)


def _writer(number: int) -> Callable[[Traffic], Awaitable[None]]:
    return lambda traffic: traffic.write(number)


class _Service:
    """A task that outlives the runs of a sweep and does one end's work in each of them."""

    def __init__(self, work: Callable[[Traffic], Awaitable[None]]) -> None:
        self._work = work
        self._orders = anyio.Event()
        self._traffic: Traffic | None = None
        self.idle = anyio.Event()

    def begin(self, traffic: Traffic) -> None:
        self._traffic, self.idle = traffic, anyio.Event()
        self._orders.set()

    async def run(self) -> None:
        while True:
            await self._orders.wait()
            self._orders = anyio.Event()
            if self._traffic is not None:
                await self._work(self._traffic)
            self.idle.set()


async def _sweep(
    trial: Trial[Maker],
    how: CancelMode,
    who: str,
    mine: Callable[[Traffic], Awaitable[None]],
    *beside: Callable[[Traffic], Awaitable[None]],
) -> None:
    """Cancel what `mine` does at every tick, and let it go on, while others go on beside it; then all must have arrived."""
    count = int(str(trial.variant["capacity"])) + 2
    services = [_Service(work) for work in beside]
    traffic = Traffic(opened(trial), 0)
    trial.given(f"{count} elements, {who} cancelled ({how})")

    async def scenario() -> None:
        nonlocal traffic
        traffic = Traffic(opened(trial), count)
        for service in services:
            service.begin(traffic)
        await mine(traffic)

    async def check(_outcome: object) -> None:
        await mine(traffic)
        for service in services:
            await service.idle.wait()
        require_faultless(trial, traffic)

    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        for service in services:
            tasks.start_soon(service.run)
        try:
            await cancel_sweep(scenario, how=how, check=check)
        except Exception as error:  # noqa: BLE001 - raised below, where no task group wraps it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
