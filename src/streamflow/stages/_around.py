"""What the stages that run another stage inside themselves have in common: what they take over from it, and their loop.

Above: `_time_limit`, `_breaker`, `_fallback`, `_retry`, `_cache`. Below: `_inner`.

Such a stage accepts what its inner stage accepts, so that everything else passes it by as it would pass the inner one by. It
hands over one unit at a time and sends all its results before it asks for the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import anyio

from ..elements import ControlElement, ErrorElement, TurnEnd, TurnReset
from ..errors import (
    CircuitOpenError,
    ConfigError,
    ElementError,
    FallbackExhaustedError,
    ProviderError,
    StageDefinitionError,
    StageTimeLimitError,
)
from ._admission import is_accepted
from ._checks import checked_count
from ._contract import BaseStage, StageKind, definition_error
from ._forms import as_stage
from ._inner import RESULTS, InnerRun, TurnCount, Unit, inner_part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import StreamElement
    from ._admission import Accepts, ElementTypes
    from ._context import RunContext
    from ._contract import Bypass, StageSpec
    from ._forms import StageLike
    from ._resources import Resource

__all__ = ["AroundStage", "OnFailure", "forward", "raised"]

OnFailure = Literal["error", "end_turn"]
"""What becomes of a unit that fails. `error`: the stage fails with it. `end_turn`: an `ErrorElement` stands for the rest of its
results, in a turn with a `TurnEnd` behind it, and the stage goes on with the next unit."""

_SPOKEN = (ProviderError, StageTimeLimitError, CircuitOpenError, FallbackExhaustedError)
"""Errors whose text was made to be shown."""


_MADE = (StageTimeLimitError, CircuitOpenError, FallbackExhaustedError)
"""Errors that are made by the outer stages themselves."""


class AroundStage(BaseStage, ABC):
    """Base of the stages that run others inside themselves, one unit of input at a time."""

    def __init__(
        self,
        inner: Sequence[StageLike],
        name: str,
        max_turn: int,
        on_failure: object = "error",
        field: str = "on_failure",
    ) -> None:
        super().__init__(name)
        specs = [_checked_inner(one, self.name) for one in inner]
        first = specs[0]
        for other in specs[1:]:
            _check_alike(first, other, self.name)
        self._specs: tuple[StageSpec, ...] = tuple(specs)
        self._by_turn: bool = first.kind is StageKind.ACCUMULATE
        most_of_turn = checked_count(max_turn, "max_turn", self.name)
        self._most: int = most_of_turn + 1 if self._by_turn else 1
        if on_failure not in {"error", "end_turn"}:
            raise ConfigError(field, f"stage {self.name!r}: give 'error' or 'end_turn', got {on_failure!r:.80}")
        self._ends_turn: bool = on_failure == "end_turn"
        self.kind: StageKind = first.kind
        self.accepts: Accepts | None = first.accepts
        self.emits: Accepts | None = _emits(specs)
        self.bypass: Bypass = first.bypass
        held = [one.max_held for one in specs if one.max_held is not None]
        # A unit, what waits inside, and the result in hand; of several inner stages one works at a time, the others are at rest.
        most = self._most + sum(held) + RESULTS * len(specs) + 1
        self.max_held: int | None = most if len(held) == len(specs) else None
        self.resources: tuple[Resource[object], ...] = tuple(
            dict.fromkeys(resource for one in specs for resource in one.resources)
        )

    def freeze(self) -> None:
        """Forbid changes from now on, to the inner stages too."""
        super().freeze()
        for one in self._specs:
            if one.freeze is not None:
                one.freeze()

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[Any], run: RunContext[object]) -> None:
        """Run the stage."""  # `Any`: an inner stage that does not say what it emits leaves it open
        inner = [InnerRun(one, run, self._most, output) for one in self._specs]
        turns = TurnCount()
        is_first = True
        try:
            while True:
                unit = await self._next_unit(input, turns)
                if unit.elements:
                    await self._handle(unit, inner, output, run)
                if any(one.has_returned for one in inner):
                    return
                if unit.is_last:
                    break
                is_first = False
            # Those that live have an end to meet; of an empty input the first one makes what it makes of nothing.
            is_empty = is_first and not unit.elements
            for one in inner[:1] if is_empty else [one for one in inner if one.is_alive]:
                await self._finish(Unit((), turns, is_last=True), one, output, run)
        except Exception as failure:  # noqa: BLE001 - raised again
            # Frames that it came through here say nothing to a user, and know it in turn: nothing is left to the garbage collector.
            inside = inner_part(failure.__traceback__)
            keeps_all = inside is None and not isinstance(failure, _MADE)
            raise failure.with_traceback(failure.__traceback__ if keeps_all else inside)  # noqa: B904
        finally:
            for one in inner:
                one.cancel()

    @abstractmethod
    async def _handle(
        self, unit: Unit, inner: Sequence[InnerRun], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Send all results of a unit."""

    async def _finish(
        self, unit: Unit, inner: InnerRun, output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Let an inner stage meet the end of its input, which the empty `unit` says, and send what it still has to say."""
        del run
        failure = await forward(inner, unit, output.send)
        if failure is not None:
            raised(failure)

    async def _next_unit(self, input: ReceiveEnd[StreamElement], turns: TurnCount) -> Unit:
        elements: list[StreamElement] = []
        while True:
            try:
                element = await input.receive()
            except anyio.EndOfStream:
                turns.begin(elements)
                return Unit(tuple(elements), turns, is_last=True)
            elements.append(element)
            if not self._by_turn or isinstance(element, TurnEnd):
                turns.begin(elements)
                return Unit(tuple(elements), turns)
            if len(elements) == self._most:
                message = f"stage {self.name!r}: more than {self._most - 1} elements in one turn"
                raise ElementError(f"{message}; send TurnEnd in time, or raise max_turn")

    async def _give_up(
        self, unit: Unit, failure: Exception, output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """End a unit that has failed, as the user has said."""
        if not self._ends_turn:
            raised(failure)
        await output.send(_notice(failure, run.stage))
        end = unit.elements[-1] if unit.elements else None
        if isinstance(end, TurnEnd):
            await output.send(unit.turns.numbered(end.replace(stop_reason="error")))


async def forward(inner: InnerRun, unit: Unit, send: Callable[[StreamElement], Awaitable[None]]) -> Exception | None:
    """Hand a unit to an inner stage and send all its results; return what it failed with, None if it has not.

    Cancellation: the inner stage goes on; what was received was sent or is lost with the outer stage.

    Raises:
        Exception: What `send` raises.
    """
    await inner.begin(unit)
    while (element := await inner.next()) is not None:
        await send(element)
    return inner.take_failure()


def raised(failure: Exception) -> NoReturn:
    """Raise what an inner stage has failed with: its traceback goes on to where that was."""
    try:
        raise failure
    finally:
        del failure  # which knows this frame: it must not be known in turn


def _notice(failure: Exception, stage: str) -> ErrorElement:
    """Return what the output says of a failure. It may reach a client, so it repeats no text that was not made for that."""
    if isinstance(failure, _SPOKEN):
        return ErrorElement(failure.code, str(failure), stage, retryable=failure.retryable)
    return ErrorElement("stage_failed", f"stage {stage!r} failed: {type(failure).__name__}", stage)


def _checked_inner(given: StageLike, outer: str) -> StageSpec:
    """Return a stage that can be run inside another.

    Raises:
        StageDefinitionError: If it is none, or one without the one input and the one output that are needed.
    """
    try:
        spec = as_stage(given)
    except StageDefinitionError as error:
        finding = error.findings[0]
        raise definition_error(outer, f"the inner stage of {outer!r}: {finding.message}", finding.hint) from error
    what = f"the inner stage {spec.name!r} of {outer!r}"
    if spec.input_ports or spec.output_ports:
        raise definition_error(outer, f"{what} has named ports", "give one with one input and one output")
    if spec.timeout_s is not None:
        message = f"{what} has timeout_s, which is a limit of stages in a graph"
        raise definition_error(outer, message, "leave it out, and put TimeoutStage(total_s=…) around it")
    if spec.kind not in {StageKind.TRANSFORM, StageKind.ACCUMULATE}:
        message = f"{what} is of the kind {spec.kind.value!r}, which has no results of its own for each input"
        raise definition_error(outer, message, "give one that transforms or accumulates")
    return spec


def _check_alike(first: StageSpec, other: StageSpec, outer: str) -> None:
    """Refuse an inner stage that cannot be handed what another one was given."""
    told = f"the inner stages {first.name!r} and {other.name!r} of {outer!r}"
    if (first.kind is StageKind.ACCUMULATE) is not (other.kind is StageKind.ACCUMULATE):
        message = f"{told} are given different things: one takes a turn at a time, the other one element"
        raise definition_error(outer, message, "let both accumulate, or neither")
    missing = [kind for kind in first.accepts if not _takes(other.accepts, kind)]
    if missing:
        names = ", ".join(kind.__name__ for kind in missing)
        message = f"{told} cannot stand in for each other: {other.name!r} does not accept {names}"
        raise definition_error(outer, message, f"let {other.name!r} accept all that {first.name!r} accepts")


def _takes(accepts: ElementTypes, kind: type[StreamElement]) -> bool:
    return kind in accepts or is_accepted(kind, accepts)


def _emits(specs: Sequence[StageSpec]) -> ElementTypes | None:
    known = [one.emits for one in specs if one.emits is not None]
    if len(known) < len(specs):
        return None
    own: tuple[type[ControlElement], ...] = (ErrorElement, TurnReset)
    return tuple(dict.fromkeys(kind for types in (*known, own) for kind in types))
