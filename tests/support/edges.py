"""What the tests of channels share: edges to try things on, and tasks whose end is kept."""

import anyio
import pytest

from streamflow.channels import open_channel
from streamflow.errors import StreamflowError
from streamflow.testing import EdgeLedger

every_capacity = pytest.mark.parametrize("capacity", [1, 2, 3, 16, 64, 65, 200])
watched_or_not = pytest.mark.parametrize("watched", [False, True], ids=["bare", "watched"])


def open_edge(capacity=16, watched=False):
    return open_channel(capacity, name="a → b", watch=EdgeLedger().watch("a → b") if watched else None)


def fill(send):
    """Fill the channel to its bound; return how many went in."""
    count = 0
    while True:
        try:
            send.send_nowait(count)
        except anyio.WouldBlock:
            return count
        count += 1


def taken_now(end):
    """Return what the reader gets without waiting."""
    found = []
    while True:
        try:
            found.append(end.receive_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            return found


class Caught:
    """Runs an operation in a task and keeps how it ended."""

    def __init__(self, operation, *args):
        self.operation, self.args = operation, args
        self.value = self.error = None
        self.done = False

    async def __call__(self):
        try:
            self.value = await self.operation(*self.args)
        except (StreamflowError, anyio.EndOfStream, StopAsyncIteration) as error:
            self.error = error
        self.done = True
