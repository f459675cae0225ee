"""Cancellation at every tick of one task, while others that outlive it go on with their work."""

import anyio
import pytest

from streamflow.testing import cancel_sweep

every_mode = pytest.mark.parametrize("how", ["scope", "native", "timeout"])


class Service:
    """A task that outlives the runs of a sweep and does the other end's work in each of them."""

    def __init__(self, work):
        self.work = work
        self.orders = anyio.Event()
        self.current = ()
        self.idle = anyio.Event()

    def begin(self, *current):
        self.current, self.idle = current, anyio.Event()
        self.orders.set()

    async def __call__(self):
        while True:
            await self.orders.wait()
            self.orders = anyio.Event()
            await self.work(*self.current)
            self.idle.set()


async def sweep(scenario, how, check, *works):
    """Sweep while each of `works` is done by a service of its own; return the services to the scenario."""
    services = [Service(work) for work in works]
    async with anyio.create_task_group() as tasks:
        for service in services:
            tasks.start_soon(service)
        report = await cancel_sweep(lambda: scenario(*services), how=how, check=lambda _: check(*services))
        tasks.cancel_scope.cancel()
    if report.completed:
        assert report.ticks > 1
