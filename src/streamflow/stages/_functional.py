"""Stages made from one function: map, filter, flat map, pass through, sink, collect.

Above: users. Below: `_loops`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ..elements import StreamElement
from ._annotations import parameters, stream_types, value_types
from ._contract import BaseStage, StageKind, definition_error
from ._forms import function_name
from ._loops import filter_loop, flat_map_loop, map_loop, sink_loop, tee_loop
from ._steps import filter_step, flat_map_step, is_synchronous, map_step, pass_step

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, MutableSequence

    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts, ElementTypes
    from ._steps import Step
    from ._supervision import CallForm

__all__ = ["CollectStage", "FilterStage", "FlatMapStage", "MapStage", "PassthroughStage", "SinkStage"]

InT = TypeVar("InT", bound=StreamElement)


class _OfFunction(BaseStage):
    """What the stages of one function share: its name, and what its annotations say."""

    def __init_subclass__(cls) -> None:
        if "process" in vars(cls) and "_calls" not in vars(cls):
            cls._calls = "none"  # what a subclass of a user's does in its own process() is not known

    def __init__(
        self,
        func: object,
        name: str | None,
        accepts: Accepts | None,
        emits: Accepts | None = None,
    ) -> None:
        if not callable(func):
            message = f"{type(self).__name__} was given {func!r:.80}, which is no function"
            raise definition_error(name, message, "give it a function of one element")
        super().__init__(name if name is not None else function_name(func))
        taken = parameters(func, self.name, of_element=True)
        if len(taken) != 1:
            message = f"stage {self.name!r}: its function must be given {len(taken)} arguments ({', '.join(taken)})"
            raise definition_error(self.name, message, f"{type(self).__name__} gives it one element")
        self._func: Callable[[Any], Any] = func
        self.accepts: Accepts | None = accepts if accepts is not None else value_types(func, taken[0], self.name)
        self.emits: Accepts | None = emits


class MapStage(_OfFunction):
    """Send what a function makes of each element, in order.

    In: what `func` is annotated to take, default all data; others pass by in order.
    Out: one element for each.

    Flow:
        emits: for each element, once `func` has returned.
        backpressures: while the output is full; holds one element.
        fails: with what `func` raises; `ElementError` if it returns no element.

    Args:
        func: Takes an element and returns one; may be async.
        name: Name in the graph; default the function's.
        accepts: Element types for `func`; default its annotation.
        emits: Element types that it returns; default its annotation.
    """

    _calls: CallForm = "one"

    def __init__(
        self,
        func: Callable[[InT], StreamElement | Awaitable[StreamElement]],
        *,
        name: str | None = None,
        accepts: type[InT] | ElementTypes | None = None,
        emits: Accepts | None = None,
    ) -> None:
        super().__init__(func, name, accepts, emits)
        if emits is None:
            self.emits: Accepts | None = value_types(func, "return", self.name)

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        await map_loop(self._func, input, output)

    def _as_step(self) -> Step | None:
        return map_step(self._func) if is_synchronous(self._func) else None


class FilterStage(_OfFunction):
    """Let through the elements for which a function is true, in order. Control elements pass by, whatever the function says.

    Flow:
        emits: for each element for which `func` is true.
        backpressures: while the output is full; holds one element.
        fails: with what `func` raises.

    Args:
        func: Takes an element, returns whether it goes on; may be async.
        name: Name in the graph; default the function's.
        accepts: Element types that are asked about; default its annotation. Others go on.
    """

    holds_back: bool = True
    _calls: CallForm = "one"

    def __init__(
        self,
        func: Callable[[InT], bool | Awaitable[bool]],
        *,
        name: str | None = None,
        accepts: type[InT] | ElementTypes | None = None,
    ) -> None:
        super().__init__(func, name, accepts)
        self.emits: Accepts | None = self.accepts

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        await filter_loop(self._func, input, output)

    def _as_step(self) -> Step | None:
        return filter_step(self._func) if is_synchronous(self._func) else None


class FlatMapStage(_OfFunction):
    """Send each of the elements that a function makes of one element, in order.

    Flow:
        emits: for each element that `func` gives, as it comes.
        backpressures: while the output is full; holds one element and what is left of its results, so it cannot say how many.
        fails: with what `func` raises; `ElementError` if it gives no elements.
        cancels: closes the async generator that it is reading.

    Args:
        func: Takes an element, returns an iterable or async iterable of elements; may be async, or a generator of either kind.
        name: Name in the graph; default the function's.
        accepts: Element types for `func`; default its annotation.
        emits: Element types that it gives; default its annotation.
    """

    max_held: int | None = None
    _calls: CallForm = "one"

    def __init__(
        self,
        func: Callable[
            [InT], Iterable[StreamElement] | AsyncIterable[StreamElement] | Awaitable[Iterable[StreamElement]]
        ],
        *,
        name: str | None = None,
        accepts: type[InT] | ElementTypes | None = None,
        emits: Accepts | None = None,
    ) -> None:
        super().__init__(func, name, accepts, emits)
        if emits is None:
            self.emits: Accepts | None = stream_types(func, "return", self.name)

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        await flat_map_loop(self._func, input, output)

    def _as_step(self) -> Step | None:
        return flat_map_step(self._func) if is_synchronous(self._func) else None


class PassthroughStage(BaseStage):
    """Send every element on, unchanged.

    Flow:
        emits: each element.
        backpressures: while the output is full; holds one element.

    Args:
        name: Name in the graph.
    """

    _calls: CallForm = "one"

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        await tee_loop(_nothing, input, output)

    def _as_step(self) -> Step | None:
        return pass_step()


class SinkStage(_OfFunction):
    """Give every element to a function; nothing goes on. Stands at the end of a graph.

    Flow:
        emits: nothing.
        backpressures: while `func` works; holds one element.
        completes: when the input ends and `func` has returned.
        fails: with what `func` raises.

    Args:
        func: Takes an element; may be async.
        name: Name in the graph; default the function's.
        accepts: Element types for `func`; default its annotation. Others end here.
    """

    kind: StageKind = StageKind.SINK
    _calls: CallForm = "one"

    def __init__(
        self,
        func: Callable[[InT], object],
        *,
        name: str | None = None,
        accepts: type[InT] | ElementTypes | None = None,
    ) -> None:
        super().__init__(func, name, accepts)

    async def process(self, input: ReceiveEnd[StreamElement]) -> None:
        """Run the stage."""
        await sink_loop(self._func, input)


class CollectStage(SinkStage):
    """Append every element to a list of yours. Stands at the end of a graph; concurrent runs share the list.

    Flow:
        emits: nothing.

    Args:
        into: What to append to; it grows without bound.
        name: Name in the graph.
        accepts: Element types that are collected. Others end here.
    """

    def __init__(
        self,
        into: MutableSequence[StreamElement],
        *,
        name: str = "collect",
        accepts: Accepts | None = None,
    ) -> None:
        append = getattr(into, "append", None)
        if not callable(append):
            message = f"CollectStage was given {into!r:.80} ({type(into).__name__}), which has no append()"
            raise definition_error(name, message, "give it a list, or a deque")
        super().__init__(append, name=name, accepts=accepts)


def _nothing(_element: object) -> None:
    return None
