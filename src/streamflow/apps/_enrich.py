"""What is known of the user, fetched while the message is routed: a stage that asks one service once per turn.

Above: `_enriched_chat`, users. Below: `stages`.
Rule: a service is help, not a condition. One that is slow, fails or gives something else is told, and the answer does without it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import anyio
import msgspec

from ..elements import DataElement, ErrorElement, JsonValue, MessageElement, TextElement, TurnEnd
from ..errors import ConfigError, ElementError
from ..stages import BaseStage, StageKind, as_message, checked_count, checked_seconds

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ..stages import Accepts, OnInterrupt, RunContext

__all__ = ["EnrichFunction", "EnrichStage", "Enricher"]

_Found: TypeAlias = Mapping[str, JsonValue] | None

EnrichFunction: TypeAlias = Callable[[MessageElement], Awaitable[_Found]]
"""An `Enricher` as an async function."""


class Enricher(Protocol):
    """A service that knows something about the user, or about what is said."""

    async def enrich(self, said: MessageElement) -> Mapping[str, JsonValue] | None:
        """Return what is known, None or nothing in it where nothing is.

        Args:
            said: The user's latest message; its metadata says what the caller has put there, such as the user's id.
                `current_run().deps` has what the run was given.
        """
        ...


class EnrichStage(BaseStage):
    """Ask a service once per turn what it knows, and send that as one `DataElement`; the turn never waits longer than `timeout_s`.

    In: `MessageElement`, or `TextElement` as a whole message of the user; `TurnEnd`. They end here: put this stage on a branch.
    Out, for each turn in which the user has said something: a `DataElement` with the name of the stage, if something is known; or
    an `ErrorElement`, `enrichment_timeout`, `enrichment_failed` or `enrichment_invalid`; then the `TurnEnd`.

    What the service raises is named and not repeated. Listeners also get an event `enrichment.skipped` with `reason` and, for a
    failure, `error`, the class.

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full, and while the service is asked; holds one message.
        completes: when the input ends, after the last answer.
        cancels: cancels the call of the service.

    Args:
        service: Has `enrich(said)`, or is such an async function.
        name: Name in the graph, and of the data.
        timeout_s: Longest time that a turn waits, in seconds.
        max_bytes: Largest answer, as JSON.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: seed 000 (ProfileEnrichStage, MemoryEnrichStage).
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"  # what it keeps is a whole
    max_held: int | None = 1
    accepts: Accepts | None = (TextElement, MessageElement, TurnEnd)
    emits: Accepts | None = (DataElement, ErrorElement, TurnEnd)

    def __init__(
        self, service: Enricher | EnrichFunction, *, name: str, timeout_s: float = 2.0, max_bytes: int = 65_536
    ) -> None:
        super().__init__(name)
        method = getattr(service, "enrich", None)
        asked = service if method is None else method
        if not inspect.iscoroutinefunction(asked) and not inspect.iscoroutinefunction(type(asked).__call__):
            what = f"{type(service).__name__} has no async enrich(said)"
            raise ConfigError(self.name, f"{what}; give an object that has it, or an async function of the message")
        self._ask = cast("EnrichFunction", asked)
        self._timeout_s = checked_seconds(timeout_s, "timeout_s", self.name)
        self._max_bytes = checked_count(max_bytes, "max_bytes", self.name)

    async def process(
        self,
        input: ReceiveEnd[TextElement | MessageElement | TurnEnd],
        output: SendEnd[DataElement | ErrorElement | TurnEnd],
        run: RunContext[object],
    ) -> None:
        """Run the stage."""
        said: MessageElement | None = None
        async for element in input:
            if isinstance(element, TurnEnd):
                await self._tell(said, output, run)
                said = None
                await output.send(element)
                continue
            whole = as_message(element)
            if whole.message.role == "user":
                said = whole
        await self._tell(said, output, run)

    async def _tell(
        self,
        said: MessageElement | None,
        output: SendEnd[DataElement | ErrorElement | TurnEnd],
        run: RunContext[object],
    ) -> None:
        if said is None:
            return
        found: object = None
        scope = anyio.CancelScope(deadline=anyio.current_time() + self._timeout_s)
        try:
            with scope:
                found = await self._ask(said)
        except Exception as error:  # noqa: BLE001 - told, by its name
            kind = type(error).__name__
            text = f"{self.name!r} failed: {kind}; the answer goes on without it"
            await self._skip("enrichment_failed", text, kind, output, run)
            return
        if scope.cancelled_caught:
            text = f"{self.name!r} gave nothing within {self._timeout_s:g} s; the answer goes on without it"
            await self._skip("enrichment_timeout", text, None, output, run)
            return
        if found is None or found == {}:
            return
        try:
            await output.send(self._checked(found))
        except ElementError as error:
            await self._skip("enrichment_invalid", f"{error}; the answer goes on without it", None, output, run)

    def _checked(self, found: object) -> DataElement:
        if not isinstance(found, Mapping):
            raise ElementError(f"{self.name!r} gave a {type(found).__name__} where a mapping was expected")
        try:
            size = len(msgspec.json.encode(dict(cast("Mapping[str, object]", found))))
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise ElementError(f"{self.name!r} gave what is no JSON") from None
        if size > self._max_bytes:
            raise ElementError(f"{self.name!r} gave {size} bytes, more than max_bytes={self._max_bytes}")
        return DataElement(self.name, cast("JsonValue", found))

    async def _skip(
        self,
        code: str,
        text: str,
        kind: str | None,
        output: SendEnd[DataElement | ErrorElement | TurnEnd],
        run: RunContext[object],
    ) -> None:
        run.emit("enrichment.skipped", {"reason": code.removeprefix("enrichment_"), "error": kind})
        await output.send(ErrorElement(code, text, self.name, retryable=True))
