"""Several calls of a function at a time: of an async one, with results in order or as they come, and of a blocking one in threads.

Above: users. Below: `_functional`, `_loops`, `channels`.

The stage's own task reads its input. Each call is a helper task of the run, and one more helper, the sender, writes the output.
Between the reader and the sender is a channel of *places*. Its rules:

1. *All that is taken has a place, in order.* A call's place is filled once the call has ended. What passes the stage by goes
   through the same channel (`forward_to()`): behind the results of what came before it, ahead of those of what comes after.
2. *A place is given back when what stood there has been sent.* The channel has one place less than the stage may hold; the last one
   is the reader's hand, which takes nothing while it holds something. So the bound is kept by whatever enters, calls or not.
3. *Without order*, a call that ends fills the first open place between the same two elements that passed by.
4. *A failure is an outcome like another*: the sender raises it when its turn comes, behind all results before it. Once a call has
   failed nothing more is begun.
5. *An interruption* cancels the calls for elements that it would drop on an edge, and with them go their places. Results that wait
   are dropped as on an edge.
6. *When the reader of the output has gone*, the sender closes the input, and the stage's own task leaves as if it had sent itself.
"""

from __future__ import annotations

import functools
import inspect
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from ..channels import Bell, count_waits_between, open_channel, sweep_edge
from ..elements import StreamElement, survives_interruption
from ..errors import ChannelClosedError, ElementError, OutputClosedError
from ._annotations import called, value_types
from ._checks import checked_count
from ._contract import definition_error
from ._functional import _OfFunction  # pyright: ignore[reportPrivateUsage]
from ._loops import map_loop
from ._supervision import NOTHING
from ._turns import turns_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..channels import Origin, ReceiveEnd, SendEnd
    from ..errors import CloseReason
    from ._admission import Accepts, ElementTypes
    from ._context import Lineage, RunContext
    from ._supervision import CallForm

__all__ = ["MapAsyncStage", "MapUnorderedStage", "ThreadStage"]

InT = TypeVar("InT", bound=StreamElement)


class _Concurrent(_OfFunction):
    """What the stages of several calls at a time share."""

    _ordered: ClassVar[bool] = True

    def __init__(
        self, func: object, name: str | None, accepts: Accepts | None, emits: Accepts | None, concurrency: int
    ) -> None:
        super().__init__(func, name, accepts, emits)
        if emits is None:
            self.emits: Accepts | None = value_types(self._func, "return", self.name)
        what = called(self._func)
        if inspect.isasyncgenfunction(what) or inspect.isgeneratorfunction(what):
            message = (
                f"stage {self.name!r}: its function is a generator, and {type(self).__name__} sends one result each"
            )
            raise definition_error(self.name, message, "return the element, or give the function to FlatMapStage")
        self._concurrency = checked_count(concurrency, "concurrency", self.name)
        self._calls: CallForm = "one" if self._concurrency == 1 else "several"
        self.max_held: int | None = self._concurrency

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        call = self._caller()
        if self._concurrency == 1:
            await map_loop(call, input, output)
            return
        if run.guard is not None:
            call = run.guard(call)
        window = _Window(self._concurrency, output, run.lineage, ordered=self._ordered)
        turns_of(run).swept = window
        input.forward_to(window.entrance)
        run.start_soon(window.send_all, input, name="sender")
        try:
            async for element in input:
                if window.is_failing:
                    break
                # Once the run has been cancelled no helper can be started; trio tells a task so no sooner than it asks.
                await anyio.lowlevel.checkpoint_if_cancelled()
                place = window.new_place(element)
                place.cancel = run.start_helper(functools.partial(window.call, call, element, place), "call")
                await window.enter(place)
        except ChannelClosedError:
            raise OutputClosedError(output.name, window.gone or "failure") from None
        finally:
            window.close()
        await window.finish()
        input.forward_to(output)  # what is left behind the last element, and has to wait for nothing any more

    def _caller(self) -> Callable[[Any], Awaitable[Any]]:
        """Return what to await for each element of one run."""
        return functools.partial(_awaited, self._func, self.name)


class MapAsyncStage(_Concurrent):
    """Send what an async function makes of each element, in order, with several calls running at a time.

    Calls that may run at the same time begin in any order.

    In: what `func` is annotated to take, default all data; others pass by in order.
    Out: one element for each.

    Flow:
        emits: for each element, once its call and all before it have ended.
        backpressures: while it holds `concurrency` elements, whose calls run or whose results wait for their turn.
        completes: when the input ends and all results have been sent.
        fails: with what `func` raises, once the results before it have been sent; calls that run then are cancelled. With
            `concurrency` above 1 the error's `index` is None. `ElementError` if it returns no element, or nothing to await.
        cancels: cancels the calls that run, drops the results that wait.

    Args:
        func: Takes an element and returns one; async.
        concurrency: Most calls that run at a time, and most elements that the stage holds, those that pass by included.
        name: Name in the graph; default the function's.
        accepts: Element types for `func`; default its annotation.
        emits: Element types that it returns; default its annotation.

    Raises:
        ConfigError: If `concurrency` is no whole number from 1 up.
        StageDefinitionError: If `func` is no function of one element that returns one.

    Source: semantics 3.2, 3.3.
    """

    def __init__(
        self,
        func: Callable[[InT], Awaitable[StreamElement]],
        *,
        concurrency: int,
        name: str | None = None,
        accepts: type[InT] | ElementTypes | None = None,
        emits: Accepts | None = None,
    ) -> None:
        super().__init__(func, name, accepts, emits, concurrency)


class MapUnorderedStage(MapAsyncStage):
    """Send what an async function makes of each element as it comes, with several calls running at a time.

    As `MapAsyncStage`, but a result does not wait for those of elements before it. It stays between what passes by: what the stage
    does not accept, control as a rule, leaves behind the results of all elements before it and ahead of all later ones.

    Flow:
        emits: for each element, once its call has ended.
        backpressures: while it holds `concurrency` elements, whose calls run or whose results wait to be sent.
        completes: when the input ends and all results have been sent.
        fails: with what `func` raises, once the results that came earlier have been sent; calls that run then are cancelled. With
            `concurrency` above 1 the error's `index` is None. `ElementError` if it returns no element, or nothing to await.
        cancels: cancels the calls that run, drops the results that wait.

    Args:
        func: Takes an element and returns one; async.
        concurrency: Most calls that run at a time, and most elements that the stage holds, those that pass by included.
        name: Name in the graph; default the function's.
        accepts: Element types for `func`; default its annotation.
        emits: Element types that it returns; default its annotation.

    Raises:
        ConfigError: If `concurrency` is no whole number from 1 up.
        StageDefinitionError: If `func` is no function of one element that returns one.

    Source: semantics 3.2, 3.3.
    """

    _ordered: ClassVar[bool] = False


class ThreadStage(_Concurrent):
    """Send what a blocking function makes of each element, in order, calling it in worker threads.

    The threads are the event loop's own (`anyio.to_thread`), at most `concurrency` of them in one run, whatever else uses threads.
    The function sees the context variables of its stage, and may call back with `anyio.from_thread`.

    In: what `func` is annotated to take, default all data; others pass by in order.
    Out: one element for each.

    Flow:
        emits: for each element, once its call and all before it have ended.
        backpressures: while it holds `concurrency` elements, whose calls run or whose results wait for their turn.
        completes: when the input ends and all results have been sent.
        fails: with what `func` raises, once the results before it have been sent. With `concurrency` above 1 the error's `index`
            is None. `ElementError` if it returns no element.
        cancels: nothing stops a thread. The stage waits until the calls that run have returned, and drops their results; so the
            run ends no sooner, and names the stage in `run.zombies` if it takes longer than `shutdown_timeout_s`. With
            `abandon_on_cancel` it does not wait: the calls go on unseen, and what they return or raise is dropped.

    Args:
        func: Takes an element and returns one; blocks as long as it likes.
        concurrency: Most calls that run at a time, and most elements that the stage holds, those that pass by included. Above 1,
            `func` must be safe to call from several threads.
        abandon_on_cancel: Leave threads alone when the stage is cancelled, instead of waiting for them.
        name: Name in the graph; default the function's.
        accepts: Element types for `func`; default its annotation.
        emits: Element types that it returns; default its annotation.

    Raises:
        ConfigError: If `concurrency` is no whole number from 1 up.
        StageDefinitionError: If `func` is no function of one element that returns one, or is async.

    Source: semantics 3.2.
    """

    def __init__(
        self,
        func: Callable[[InT], StreamElement],
        *,
        concurrency: int = 1,
        abandon_on_cancel: bool = False,
        name: str | None = None,
        accepts: type[InT] | ElementTypes | None = None,
        emits: Accepts | None = None,
    ) -> None:
        super().__init__(func, name, accepts, emits, concurrency)
        if inspect.iscoroutinefunction(called(self._func)):
            message = f"stage {self.name!r}: its function is async, and would not run in a thread"
            raise definition_error(self.name, message, "give it to MapAsyncStage, or write 'def'")
        self._abandon_on_cancel = abandon_on_cancel

    def _caller(self) -> Callable[[Any], Awaitable[Any]]:
        limiter = anyio.CapacityLimiter(self._concurrency)
        in_thread = _in_abandoned_thread if self._abandon_on_cancel else _in_thread
        return functools.partial(in_thread, limiter, self._func)


async def _awaited(func: Callable[[Any], Any], stage: str, element: StreamElement) -> Any:
    result = func(element)
    if inspect.isawaitable(result):
        return await result
    message = f"stage {stage!r}: its function returned {result!r:.80}, which cannot be awaited"
    raise ElementError(f"{message}; write 'async def', or use MapStage, or ThreadStage if it blocks")


async def _in_abandoned_thread(
    limiter: anyio.CapacityLimiter, func: Callable[[Any], Any], element: StreamElement
) -> Any:
    return await anyio.to_thread.run_sync(func, element, limiter=limiter, abandon_on_cancel=True)


async def _in_thread(limiter: anyio.CapacityLimiter, func: Callable[[Any], Any], element: StreamElement) -> Any:
    """Call `func(element)` in a worker thread. Cancellation: waits until the call has returned, and drops its result."""
    right_to_begin = [None]  # taken by the thread, or by whoever gives up before it has begun; `pop()` is one step
    ended = threading.Event()

    def work() -> Any:
        try:
            right_to_begin.pop()
        except IndexError:
            return None
        try:
            return func(element)
        finally:
            ended.set()

    try:
        return await anyio.to_thread.run_sync(work, limiter=limiter)
    except anyio.get_cancelled_exc_class():
        # A run's tasks are cancelled natively on asyncio, which gets through the shield that anyio has around a thread.
        with suppress(IndexError):
            right_to_begin.pop()
            ended.set()
        while not ended.is_set():
            with suppress(anyio.get_cancelled_exc_class()), anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(ended.wait, limiter=anyio.CapacityLimiter(1))
        raise


class _Place:
    """The place of one element that was taken, and in the end what came of a call."""

    __slots__ = ("_error", "_result", "cancel", "element", "fence", "is_gone", "is_open", "origin", "result_origin")

    def __init__(self, element: StreamElement, fence: int) -> None:
        self.element: StreamElement | None = element
        """What its call works on; None once that has ended."""
        self.cancel: Callable[[], None] | None = None
        """Cancels its call."""
        self.fence = fence
        """How many elements had passed by before it."""
        self.is_open = True
        """Whether nothing stands there yet."""
        self.is_gone = False
        """Whether an interruption has taken it away."""
        self.origin: Origin | None = None
        """Where the element of its call was, for the traces."""
        self.result_origin: Origin | None = None
        """The same of what stands there."""
        self._result: object = None
        self._error: Exception | None = None

    def fill(self, result: object, error: Exception | None, origin: Origin | None) -> None:
        """Put there what came of a call, and where its element was."""
        self.is_open, self._result, self._error, self.result_origin = False, result, error, origin

    @property
    def stays(self) -> bool:
        """Whether an interruption leaves it: what is open is decided by its call, see `_Window.sweep()`."""
        return self.is_open or self._error is not None or survives_interruption(self._result)

    def take(self) -> Any:
        """Return or raise what stands there."""
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error  # which knows this frame: it must not be known in turn


def _stays(item: Any) -> bool:
    """Say whether an interruption leaves what has a place, or passes by."""
    return (item.stays and not item.is_gone) if isinstance(item, _Place) else survives_interruption(item)


class _Bell(Bell):
    """Wakes the reader and the sender of a window. Hears, as the watch of its channel, of all that takes a place."""

    hears_sends: bool = True

    def __init__(self, output: SendEnd[Any]) -> None:
        super().__init__(output)
        self.fences = 0
        """How many elements have passed by."""

    def on_sent(self, item: object) -> None:
        """Hear of a place, or of an element that passes by."""
        self.fences += not isinstance(item, _Place)
        self.ring()

    def on_received(self, item: object) -> None:
        """Hear of what has left."""
        self.ring()

    def on_discarded(self, items: Sequence[object], reason: str) -> None:
        """Hear that all is over."""
        self.ring()

    def on_refused(self, item: object, reason: str) -> None:
        """Leave it: this edge lets everything in."""

    def on_blocked(self, end: Literal["send", "receive"], *, blocked: bool) -> None:
        """Hear that something waits for a place."""


class _Window:
    """All that a stage of several calls holds in one run; see the module."""

    def __init__(self, size: int, output: SendEnd[Any], lineage: Lineage | None, *, ordered: bool) -> None:
        self._output = output
        self._lineage = lineage
        self._ordered = ordered
        self._room = size - 1
        self._bell = _Bell(output)
        self._open: dict[_Place, None] = {}
        self._entering: _Place | None = None  # waits for room
        self._calls: dict[_Place, None] = {}  # those that run; without order, they do not fill their own places
        self._sending = True
        self.gone: CloseReason | None = None
        """Why the reader of the output has gone; None while it has not."""
        self.is_failing = False
        """Whether a call has failed."""
        self.entrance: SendEnd[Any]
        """Where what passes by takes its place."""
        self._places: ReceiveEnd[Any]
        # By the name of the output: to a writer, a place that it cannot have is an output that has closed.
        self.entrance, self._places = open_channel(self._room, name=output.name, watch=self._bell)
        count_waits_between(output, self._places)

    def new_place(self, element: StreamElement) -> _Place:
        """Return a place behind all that has been taken so far."""
        place = _Place(element, self._bell.fences)
        if self._lineage is not None:
            place.origin = self._lineage.taken()
        self._open[place] = self._calls[place] = None
        return place

    async def enter(self, place: _Place) -> None:
        """Wait for room, and let a place stand in the order.

        Raises:
            OutputClosedError: If the reader of the output has gone.
        """
        self._entering = place
        while len(self._places.backlog) >= self._room:
            await self._bell.wait()
        self._entering = None
        if not place.is_gone:
            self.entrance.send_nowait(place)

    async def call(self, func: Callable[[Any], Awaitable[Any]], element: StreamElement, place: _Place) -> None:
        """Fill a place with what comes of one call."""
        try:
            result = await func(element)
        except Exception as error:  # noqa: BLE001 - raised by the sender, when its turn comes
            self.is_failing = True
            self._fill(place, None, error)
        else:
            self._fill(place, result, None)
        finally:
            del self, place  # an error knows this frame: it must not be known in turn

    def sweep(self) -> None:
        """Cancel the calls for elements that an interruption drops, and give up their places; drop results as on an edge."""
        for call in tuple(self._calls):
            if not survives_interruption(call.element):
                del self._calls[call]
                place = call if self._ordered else next(one for one in reversed(self._open) if one.fence == call.fence)
                del self._open[place]
                place.is_gone = True
                if call.cancel is not None:
                    call.cancel()
        if self._entering is not None and not _stays(self._entering):
            self._entering.is_gone = True
        sweep_edge(self._places, _stays)
        self._bell.ring()

    def _fill(self, place: _Place, result: object, error: Exception | None) -> None:
        if place not in self._calls:
            return  # an interruption has dropped it
        del self._calls[place]
        origin = place.origin
        if not self._ordered:
            place = next(one for one in self._open if one.fence == place.fence)
        del self._open[place]
        place.fill(result, error, origin)
        self._bell.ring()

    async def send_all(self, input: ReceiveEnd[Any]) -> None:
        """Send what stands in the places, from the first one on, until the window is closed and empty.

        Raises:
            Exception: What a call has raised, when its turn has come.
            OutputClosedError: If the reader of the output has gone; then the input is closed too.
        """
        places = self._places
        try:
            while not places.at_end:
                head = places.backlog[0] if places.backlog else None
                if head is None or (isinstance(head, _Place) and head.is_open):
                    await self._bell.wait()
                    continue
                item = head.take() if isinstance(head, _Place) else head
                self._places.is_passing_on = True
                if self._lineage is not None and isinstance(head, _Place):
                    self._lineage.derive(item, (head.result_origin,))
                try:
                    if item is not NOTHING:  # what a call was given up for leaves no gap
                        await (self._output.send if isinstance(head, _Place) else self._output.pass_on)(item)
                except OutputClosedError as closed:
                    self.gone = closed.reason
                    input.close(closed.reason)
                    raise
                finally:
                    self._places.is_passing_on = False
                places.receive_nowait()  # not before it has been sent: until then it is held, and counts
        finally:
            self._sending = False
            places.close()
            self._bell.ring()

    async def finish(self) -> None:
        """Wait until all that has a place has been sent.

        Raises:
            OutputClosedError: If the reader of the output has gone.
        """
        while self._sending:
            await self._bell.wait()
        if self.gone is not None:
            raise OutputClosedError(self._output.name, self.gone)

    def close(self) -> None:
        """Take nothing more."""
        self.entrance.close()
        self._bell.ring()
