"""What a stage of one synchronous function does with one element: so that the runtime can call it without a task for the stage.

Above: `_functional`, `_flow`, `_forms` say which stages are steps; `runtime` calls them. Below: `_loops`, `channels`.

A step is taken in three parts: `func` is called with the element; `results` says what is to be sent for what it returned; and where
that has to be awaited, so that it is no step after all, `resume` does the rest as the stage itself would.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Never, TypeAlias

from .._records import Record
from ..channels import NOTHING, OUTCOME, pump_filter, pump_flat_map, pump_map, pump_pass, pump_tee
from ..elements import StreamElement
from ._annotations import called
from ._loops import checked_results, filter_loop, flat_map_loop, map_loop, tee_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..channels import ReceiveEnd, SendEnd, Unusual

__all__ = ["Step", "filter_step", "flat_map_step", "is_synchronous", "map_step", "pass_step", "tee_step"]

_Func: TypeAlias = Callable[[Any], Any]
_Pump: TypeAlias = "Callable[[_Func, ReceiveEnd[Any], SendEnd[Any]], Unusual]"
_Loop: TypeAlias = "Callable[[_Func, Any, SendEnd[Any]], Awaitable[None]]"


class Step(Record, frozen=True):
    """What one stage does with one element."""

    func: _Func
    """Called with the element."""
    results: Callable[[Any, Any], Iterable[Any]]
    """Given what `func` returned, and the element, returns what to send."""
    pick: Callable[[object, object], object]
    """Given the same, returns the one element to send; `NOTHING`, or None if it takes more to tell."""
    pump: _Pump
    """Does the same for all elements that wait on one plain edge, as far as there is room on another."""
    sends: object
    """What `func` returns if the element is sent as it is; `OUTCOME` if what it returns is; `NOTHING` if it takes more to tell."""
    loop: _Loop | None = None
    """The body of the stage; None: its outcome is never awaited."""

    def must_be_awaited(self, outcome: object) -> bool:
        """Say whether there is something to wait for in what `func` returned."""
        return self.loop is not None and (inspect.isawaitable(outcome) or isinstance(outcome, AsyncIterable))

    async def resume(self, outcome: object, element: object, input: ReceiveEnd[object], output: SendEnd[Never]) -> None:
        """Wait for what `func` has returned, and send its results, as the stage does.

        Cancellation: the call is cancelled, and what it would have given is not sent.
        """
        if self.loop is not None:
            await self.loop(lambda _element: outcome, _Once(element, input), output)


class _Once:
    """An input of one element, which tells the real one what is in hand."""

    def __init__(self, element: object, input: ReceiveEnd[object]) -> None:
        self._left = [element]
        self._input = input

    @property
    def in_hand(self) -> object:
        return self._input.in_hand

    @in_hand.setter
    def in_hand(self, element: object) -> None:
        self._input.in_hand = element

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> object:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def is_synchronous(func: Callable[..., object]) -> bool:
    """Say whether a function is written as one whose result is there when it returns."""
    its = called(func)
    return not inspect.iscoroutinefunction(its) and not inspect.isasyncgenfunction(its)


def map_step(func: _Func) -> Step:
    """Return the step of a stage that sends what a function returns."""
    return Step(func, _the_outcome, _if_element, pump_map, OUTCOME, map_loop)


def filter_step(func: _Func) -> Step:
    """Return the step of a stage that sends the element if a function is true for it."""
    return Step(func, _if_true, _if_verdict, pump_filter, True, filter_loop)


def flat_map_step(func: _Func) -> Step:
    """Return the step of a stage that sends each of the elements that a function gives."""
    return Step(func, _each, _unknown, pump_flat_map, NOTHING, flat_map_loop)


def tee_step(func: _Func) -> Step:
    """Return the step of a stage that calls a function and sends the element."""
    return Step(func, _the_element, _if_none, pump_tee, None, tee_loop)


def pass_step() -> Step:
    """Return the step of a stage that sends the element."""
    return Step(_nothing, _the_element, _if_none, pump_pass, None)


def _the_outcome(outcome: object, _element: object) -> Iterable[object]:
    return (outcome,)


def _the_element(_outcome: object, element: object) -> Iterable[object]:
    return (element,)


def _if_true(verdict: object, element: object) -> Iterable[object]:
    return (element,) if verdict else ()


def _each(results: object, _element: object) -> Iterator[StreamElement]:
    return iter(checked_results(results))


def _if_element(outcome: object, _element: object) -> object:
    return outcome if isinstance(outcome, StreamElement) else None


def _if_verdict(verdict: object, element: object) -> object:
    return element if verdict is True else NOTHING if verdict is False else None


def _if_none(outcome: object, element: object) -> object:
    return element if outcome is None else None


def _unknown(_outcome: object, _element: object) -> None:
    return None


def _nothing(_element: object) -> None:
    return None
