"""Stages that count or look on: take the first ones, skip them, drop what was there before, tell a callback.

Above: users. Below: `_functional`, `_contract`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from ..elements import StreamElement
from ..errors import ElementError
from ._checks import checked_count
from ._contract import BaseStage
from ._functional import _OfFunction  # pyright: ignore[reportPrivateUsage]
from ._loops import tee_loop
from ._steps import is_synchronous, tee_step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts, ElementTypes
    from ._steps import Step
    from ._supervision import CallForm
    from ._turns import OnInterrupt

__all__ = ["DedupeStage", "SkipStage", "TakeStage", "TeeStage"]

InT = TypeVar("InT", bound=StreamElement)


class _OfCount(BaseStage):
    """What the stages of a number share."""

    on_interrupt: OnInterrupt | None = "fence"

    def __init__(self, count: int, name: str, accepts: Accepts | None) -> None:
        super().__init__(name)
        self._count = checked_count(count, "count", self.name, least=0)
        self.accepts: Accepts | None = accepts
        self.emits: Accepts | None = accepts


class TakeStage(_OfCount):
    """Send the first `count` elements, then stop: what is before it in the graph learns that no more is needed.

    Flow:
        emits: each of the first `count` elements that it accepts; what it does not accept passes by in order meanwhile.
        backpressures: while the output is full; holds one element.
        completes: with the last of them, without waiting for another one; at once if `count` is 0. What comes later, control
            too, ends here.

    Args:
        count: How many, from 0 up.
        name: Name in the graph.
        accepts: Element types that are counted; default all data.

    Raises:
        ConfigError: If `count` is no whole number from 0 up.
    """

    holds_back: bool = True

    def __init__(self, count: int, *, name: str = "take", accepts: Accepts | None = None) -> None:
        super().__init__(count, name, accepts)

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        left = self._count
        if not left:
            return
        async for element in input:
            if not output.try_send(element):
                await output.send(element)
            left -= 1
            if not left:
                return


class SkipStage(_OfCount):
    """Drop the first `count` elements, send the others.

    Flow:
        emits: each element that it accepts, from the one with the ordinal `count` on; what it does not accept passes by in order.
        backpressures: while the output is full; holds one element.

    Args:
        count: How many, from 0 up.
        name: Name in the graph.
        accepts: Element types that are counted; default all data.

    Raises:
        ConfigError: If `count` is no whole number from 0 up.
    """

    holds_back: bool = True

    def __init__(self, count: int, *, name: str = "skip", accepts: Accepts | None = None) -> None:
        super().__init__(count, name, accepts)

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        left = self._count
        async for element in input:
            if left:
                left -= 1
            elif not output.try_send(element):
                await output.send(element)


class DedupeStage(_OfFunction):
    """Drop an element whose key is equal to one of the last `window` keys that were let through.

    ```python
    DedupeStage()  # the very same elements: equal in all that their makers gave
    DedupeStage(lambda element: element.text, accepts=TextElement, window=1)  # the same text again and again
    ```

    Flow:
        emits: each element whose key is new.
        backpressures: while the output is full; holds one element, and remembers `window` keys, never more.
        fails: with what `key` raises; `ElementError` if a key cannot be hashed.

    Args:
        key: Takes an element, returns what to compare, which must be hashable; may be async. Default the element itself: then whole
            elements are remembered, so give a key where they are large.
        window: How many keys are remembered; the oldest is forgotten first. A repetition does not make its key any younger.
        name: Name in the graph.
        accepts: Element types that are compared; default the annotation of `key`, else all data. Others pass by in order.

    Raises:
        ConfigError: If `window` is no whole number from 1 up.
    """

    on_interrupt: OnInterrupt | None = "fence"
    holds_back: bool = True

    def __init__(
        self,
        key: Callable[[InT], Hashable | Awaitable[Hashable]] | None = None,
        *,
        window: int = 1000,
        name: str = "dedupe",
        accepts: type[InT] | ElementTypes | None = None,
    ) -> None:
        super().__init__(_itself if key is None else key, name, accepts)
        self.emits: Accepts | None = self.accepts
        self._window = checked_count(window, "window", self.name)

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        seen: dict[Hashable, None] = {}
        async for element in input:
            key = self._func(element)
            if key is not element and inspect.isawaitable(key):
                key = await key
            try:
                is_known = key in seen
            except TypeError as error:
                raise ElementError(self._told(key, element)) from error
            if is_known:
                continue
            if len(seen) >= self._window:
                del seen[next(iter(seen))]
            seen[key] = None
            if not output.try_send(element):
                await output.send(element)

    def _told(self, key: object, element: StreamElement) -> str:
        what = "a key" if key is not element else "an element that is its own key"
        message = f"stage {self.name!r}: {key!r:.80} cannot be hashed, and so is not {what} that can be remembered"
        return f"{message}; give key= a function that returns a text, a number or a tuple of those"


class TeeStage(_OfFunction):
    """Give every element to a callback, then send it on unchanged.

    Flow:
        emits: each element, once `callback` has returned.
        backpressures: while `callback` works, and while the output is full; holds one element.
        fails: with what `callback` raises; the element is not sent.

    Args:
        callback: Takes an element; may be async. What it returns does not matter.
        name: Name in the graph.
        accepts: Element types for `callback`; default its annotation. Others pass by in order.
    """

    _calls: CallForm = "one"

    def __init__(
        self,
        callback: Callable[[InT], object],
        *,
        name: str = "tee",
        accepts: type[InT] | ElementTypes | None = None,
    ) -> None:
        super().__init__(callback, name, accepts)
        self.emits: Accepts | None = self.accepts

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        await tee_loop(self._func, input, output)

    def _as_step(self) -> Step | None:
        return tee_step(self._func) if is_synchronous(self._func) else None


def _itself(element: Any) -> Any:
    return element
