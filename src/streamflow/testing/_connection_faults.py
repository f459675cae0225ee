"""A bad line between a client and a server: a proxy on this machine that cuts, stalls, splits and delays bytes by a plan.

Above: tests. Below: anyio's sockets. It listens on the loopback address alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
from typing import TYPE_CHECKING, Literal

import anyio
from anyio.abc import SocketAttribute

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from anyio.abc import ByteStream, SocketStream

__all__ = ["BadLine", "LinePlan", "bad_line"]

_LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True, slots=True)
class LinePlan:
    """What the line does to one direction of each connection.

    Args:
        cut_after: How many bytes arrive before both sides are cut off; None: all.
        stall_after: How many bytes arrive before nothing more does, while the connection stays; None: all.
        delay_s: How long each piece is held up, in seconds.
        largest: Most bytes of one piece; the size of each is drawn from 1 up, by `seed`. None: pieces stay as they come.
        seed: What sizes are drawn from; each connection and direction has its own draws.

    Raises:
        ConfigError: If a number is impossible.
    """

    cut_after: int | None = None
    """How many bytes arrive before both sides are cut off."""
    stall_after: int | None = None
    """How many bytes arrive before nothing more does."""
    delay_s: float = 0.0
    """How long each piece is held up, in seconds."""
    largest: int | None = None
    """Most bytes of one piece."""
    seed: int = 0
    """What sizes are drawn from."""

    def __post_init__(self) -> None:
        for field in ("cut_after", "stall_after"):
            value: int | None = getattr(self, field)
            if value is not None and value < 0:
                raise ConfigError(field, f"a number of bytes from 0 up was expected, got {value!r}")
        if self.largest is not None and self.largest < 1:
            raise ConfigError("largest", f"a piece has at least 1 byte, got {self.largest!r}")
        if self.delay_s < 0:
            raise ConfigError("delay_s", f"a number of seconds from 0 up was expected, got {self.delay_s!r}")


class BadLine:
    """A line that is open; made by `bad_line()`."""

    def __init__(self, port: int) -> None:
        self.host: str = _LOOPBACK
        """Where to connect to."""
        self.port: int = port
        """At which port."""
        self.connections: int = 0
        """How many connections there have been."""
        self.moved: dict[Literal["to_client", "to_server"], int] = {"to_client": 0, "to_server": 0}
        """How many bytes have arrived, in each direction, over all connections."""


@contextlib.asynccontextmanager
async def bad_line(
    host: str, port: int, *, to_client: LinePlan | None = None, to_server: LinePlan | None = None
) -> AsyncGenerator[BadLine]:
    """Open a line to a server; a client that connects to its `host` and `port` reaches the server through it.

    Args:
        host: Where the server is.
        port: At which port.
        to_client: What happens to what the server sends; None: nothing.
        to_server: What happens to what the client sends; None: nothing.

    Cancellation: closes all connections.
    """
    async with await anyio.create_tcp_listener(local_host=_LOOPBACK, local_port=0) as listener:
        line = BadLine(int(listener.extra(SocketAttribute.local_port)))  # noqa: S610 - anyio's, not Django's

        async def serve(client: SocketStream) -> None:
            line.connections += 1
            number = line.connections
            async with client:
                try:
                    server = await anyio.connect_tcp(host, port)
                except OSError:
                    return
                async with server, anyio.create_task_group() as ways:
                    back = _Way(line, "to_client", to_client or LinePlan(), number)
                    forth = _Way(line, "to_server", to_server or LinePlan(), number)
                    ways.start_soon(back.carry, server, client, ways.cancel_scope)
                    ways.start_soon(forth.carry, client, server, ways.cancel_scope)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            try:
                yield line
            finally:
                tasks.cancel_scope.cancel()


class _Way:
    """One direction of one connection."""

    def __init__(
        self, line: BadLine, direction: Literal["to_client", "to_server"], plan: LinePlan, number: int
    ) -> None:
        self._line = line
        self._direction: Literal["to_client", "to_server"] = direction
        self._plan = plan
        self._chance = random.Random(f"{plan.seed} {direction} {number}")  # noqa: S311 - a seed is the point
        self._left = math.inf if plan.cut_after is None else plan.cut_after
        self._until_stall = math.inf if plan.stall_after is None else plan.stall_after

    async def carry(self, source: ByteStream, target: ByteStream, both: anyio.CancelScope) -> None:
        """Carry bytes from one side to the other, as the plan says, until one side ends."""
        try:
            async for data in source:
                for piece in self._pieces(data):
                    await self._carry_one(piece, target, both)
            await target.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            both.cancel()

    async def _carry_one(self, piece: bytes, target: ByteStream, both: anyio.CancelScope) -> None:
        if self._plan.delay_s:
            await anyio.sleep(self._plan.delay_s)
        fits = piece[: int(min(self._left, self._until_stall, len(piece)))]
        if fits:
            await target.send(fits)
            self._line.moved[self._direction] += len(fits)
        self._left -= len(fits)
        self._until_stall -= len(fits)
        if self._left <= 0:
            both.cancel()
            await anyio.sleep_forever()
        if self._until_stall <= 0:
            await anyio.sleep_forever()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            size = len(data) if self._plan.largest is None else self._chance.randint(1, self._plan.largest)
            yield data[:size]
            data = data[size:]
