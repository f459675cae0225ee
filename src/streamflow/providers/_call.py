"""One call of a model server, whatever the wire and whoever opens the connection: from the request to the whole answer.

Above: `_openai`, `_anthropic`, `_clients`. Below: `_connection`, `_wires`, `_assembly`, `_failures`, `wire`.
Rules: an element leaves before the next chunk is read. The connection is closed before the whole leaves, and whenever the call ends
otherwise. No scope is open while an element is out. What goes wrong is one `ProviderError`; an answer that is whole is never one.
"""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec

from ..elements import ControlElement
from ..errors import ConfigError, DecodeError, ProviderError
from ..wire import SSEParser
from ._assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..elements import StreamElement
    from ._connection import Connection
    from ._failures import Failures
    from ._protocol import ModelRequest
    from ._wires import Answer, Wire

__all__ = ["Limits", "Opener", "call_model"]

_GRACE_S = 5.0  # for a server that has given its finish reason, and does not end the stream: its usage may still come


class Limits(msgspec.Struct, frozen=True):
    """What a call may take."""

    first_token_timeout_s: float | None
    """Longest time to the first element of the answer, in seconds; None: no limit."""
    max_event_bytes: int
    """Largest server-sent event."""
    max_answer_chars: int
    """Longest answer."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            check_positive(field, getattr(self, field))


def check_positive(field: str, value: float | None) -> None:
    """Check a limit.

    Raises:
        ConfigError: If it is no number above 0.
    """
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise ConfigError(field, f"{value} is out of range; give a number above 0")


class Opener(Protocol):
    """Sends a request, and returns the connection on which the answer arrives."""

    async def __call__(self, body: dict[str, object], failures: Failures) -> Connection:
        """Send the request; return when the server has begun a success."""
        ...


async def call_model(
    wire: Wire,
    request: ModelRequest,
    open: Opener,
    *,
    provider: str,
    model: str | None,
    limits: Limits,
    failures: Failures,
) -> AsyncGenerator[StreamElement, None]:
    """Call a model and give its answer as it arrives.

    Args:
        wire: How the server is asked, and how it answers.
        request: What is asked.
        open: Sends it.
        provider: Named in the usage.
        model: Name of the model; None: left to the server.
        limits: What the call may take.
        failures: Makes the errors.

    Cancellation: closes the connection.

    Raises:
        ProviderError: If the call fails, also in the middle.
    """
    body = wire.body(request, model)
    assembly = Assembly(
        id=f"msg-{uuid.uuid4().hex}",
        provider=provider,
        model=model,
        max_answer_chars=limits.max_answer_chars,
        failures=failures,
    )
    answer = wire.answer(assembly, request)
    reader = _Reader(answer, limits, failures)
    connection = await reader.open(open, body)
    try:
        while (events := await reader.read(connection)) is not None:
            for data in events:
                for element in answer.take(data):
                    if reader.is_waiting and not isinstance(element, ControlElement):
                        reader.is_waiting = False
                    yield element
        if answer.done:
            await connection.read_out()  # only a connection that was read to its end can be used again
    finally:
        await connection.aclose()
    for element in answer.finish():
        yield element


class _Reader:
    """Reads the events of one answer, within its limits of time and size."""

    def __init__(self, answer: Answer, limits: Limits, failures: Failures) -> None:
        self.is_waiting = limits.first_token_timeout_s is not None
        """Whether the answer must begin within a limit, and has not begun."""
        self._answer = answer
        self._limits = limits
        self._failures = failures
        self._parser = SSEParser(max_event_bytes=limits.max_event_bytes)
        self._until = anyio.current_time() + (limits.first_token_timeout_s or math.inf)

    async def open(self, open: Opener, body: dict[str, object]) -> Connection:
        if not self.is_waiting:
            return await open(body, self._failures)
        with anyio.CancelScope(deadline=self._until):
            return await open(body, self._failures)
        raise self._late()

    async def read(self, connection: Connection) -> list[str] | None:
        """Return the data of the events that the next chunk completes; None at the end of the answer."""
        answer = self._answer
        if answer.done:
            return None
        if answer.complete:
            return await self._read_rest(connection)
        if self.is_waiting:
            chunk = await self._read_in_time(connection)
        else:
            chunk = await connection.read()
        return None if chunk is None else self._parse(chunk)

    async def _read_in_time(self, connection: Connection) -> bytes | None:
        with anyio.CancelScope(deadline=self._until):
            return await connection.read()
        raise self._late()

    async def _read_rest(self, connection: Connection) -> list[str] | None:
        """Read on behind a finish reason: what goes wrong there is not worth an error."""
        with anyio.move_on_after(_GRACE_S):
            try:
                chunk = await connection.read()
                return None if chunk is None else self._parse(chunk)
            except ProviderError:
                pass
        return None

    def _parse(self, chunk: bytes) -> list[str]:
        try:
            return [event.data for event in self._parser.feed(chunk)]
        except DecodeError as error:
            what = f"an event of more than {self._limits.max_event_bytes} bytes"
            raise self._failures.too_large(what, "max_event_bytes") from error

    def _late(self) -> ProviderError:
        return self._failures.late(self._limits.first_token_timeout_s or math.inf)
