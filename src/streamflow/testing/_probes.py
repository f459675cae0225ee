"""Both ends of a flow in the hands of a test: it says what is sent and when, and how much is asked for.

Above: tests. Below: `runtime`, `stages`, `channels`. Pekko's `TestSource` and `TestSink` are the anchor.
Rules:

- A probe holds no task. Whoever pulls from a `SourceProbe` waits in `receive()`, whoever feeds a `SinkProbe` in `send()`; both are
  woken and look again, so neither loses an element when it is cancelled.
- Every `expect_…` has a limit on the event loop's clock, and its failure says what was expected, what came, and what runs hold.
"""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream, ObjectSendStream

from ..elements import EndOfStream, ErrorElement, StreamElement, TextElement
from ..errors import ChannelClosedError, CloseReason, OutputClosedError
from ..runtime import PipelineBuilder, PipelineConfig, Run, live_runs
from ..stages import BaseStage, StageKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable
    from contextlib import AbstractAsyncContextManager

    from ..channels import ReceiveEnd, SendEnd
    from ..runtime import Pipeline
    from ..stages import Stage, StageLike

__all__ = ["CancelReason", "ProbeError", "SinkProbe", "SourceProbe", "probed"]

CancelReason: TypeAlias = CloseReason | Literal["cancelled"]
"""Why a source is told to stop: its reader has gone, for one of two reasons, or its task is cancelled."""

_LATEST: Final = 5  # elements of the past that a failure tells


class ProbeError(AssertionError):
    """Something else came than a probe was told to expect; the text says what, and what is in the edges."""


class _Probe(ABC):
    """What both probes share: who waits for a change, and what a failure says."""

    def __init__(self, name: str, limit_s: float) -> None:
        self.name: str = name
        """What failures call it."""
        self.limit_s: float = limit_s
        """Longest time that an expectation waits, in seconds of the event loop's clock."""
        self._changed = anyio.Event()
        self._seen: deque[str] = deque(maxlen=_LATEST)

    def _tell(self) -> None:
        """Let all who wait look again."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _until(self, holds: Callable[[], bool], expected: str) -> None:
        with anyio.move_on_after(self.limit_s):
            while not holds():
                await self._changed.wait()
        if not holds():
            raise self._failure(expected, f"nothing within {self.limit_s:g} s")

    def _failure(self, expected: str, came: str) -> ProbeError:
        lines = [f"{self.name}: expected {expected}", f"  came: {came}", f"  the probe: {self._state()}"]
        if self._seen:
            lines.append(f"  before: {', '.join(self._seen)}")
        lines += [f"  {line}" for run in live_runs() for line in run.splitlines()]
        return ProbeError("\n".join(lines))

    @abstractmethod
    def _state(self) -> str: ...


class SourceProbe(_Probe, ObjectReceiveStream[StreamElement]):
    """A source that gives what a test says, when the test says it.

    Give it to `execute()`, or as the input to a stage's function. Whoever reads it asks for one element at a time; a run asks for
    as many as fit into its first edge, and one more that waits for room.

    ```python
    source, sink = SourceProbe(), SinkProbe()
    async with pipeline.execute(source) as run, anyio.create_task_group() as tasks:
        tasks.start_soon(sink.consume, run)
        await source.send("a")
        sink.request(1)
        await sink.expect_next("A")
        source.complete()
        await sink.expect_complete()
    ```

    Args:
        name: What failures call it.
        limit_s: Longest time that an expectation waits, in seconds of the event loop's clock; under virtual time it costs nothing.
    """

    def __init__(self, name: str = "source", *, limit_s: float = 60.0) -> None:
        super().__init__(name, limit_s)
        self.requests: int = 0
        """How many elements have been asked for so far; what is cancelled before it was given does not count."""
        self.cancelled: CancelReason | None = None
        """Why it was told to stop; None while it was not, and once it has ended by itself."""
        self._given: deque[StreamElement] = deque()
        self._pulling = 0
        self._ended = False
        self._error: Exception | None = None

    # What the flow does

    async def receive(self) -> StreamElement:
        """Ask for the next element, and wait until the test gives it. Cancellation: takes the request back.

        Raises:
            anyio.EndOfStream: After `complete()`.
            Exception: What `fail()` was given.
        """
        await anyio.lowlevel.checkpoint()
        if self.cancelled is not None:
            raise ChannelClosedError(self.name)
        self._pulling += 1
        self.requests += 1
        self._tell()
        try:
            while not self._given and not self._ended:
                await self._changed.wait()
        except BaseException:
            self.requests -= 1
            raise
        finally:
            self._pulling -= 1
            self._tell()
        if self._given:
            return self._given.popleft()
        if self._error is not None:
            raise self._error
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        """Hear that nothing more is wanted; the reason is in the exception that is on its way."""
        if not self._ended and self.cancelled is None:
            self.cancelled = _reason_of(sys.exception())
        self._tell()

    # What the test does

    async def send(self, *elements: StreamElement | str) -> None:
        """Give elements, each when it is asked for; strings become `TextElement`.

        Raises:
            ProbeError: If one is not asked for in time, or the source was told to stop.
        """
        for one in elements:
            element = TextElement(one) if isinstance(one, str) else one
            await self._demanded(f"a request for {element!r:.80}")
            self._given.append(element)
            self._seen.append(f"{element!r:.60}")
            self._tell()

    async def expect_request(self) -> None:
        """Wait until an element is asked for.

        Raises:
            ProbeError: If none is in time, or the source was told to stop.
        """
        await self._demanded("a request")

    async def expect_no_request(self, for_s: float = 1.0) -> None:
        """Check that nothing is asked for within so many seconds.

        Raises:
            ProbeError: If something is.
        """
        with anyio.move_on_after(for_s):
            while not self._is_wanted:
                await self._changed.wait()
            raise self._failure(f"no request for {for_s:g} s", "a request")

    def complete(self) -> None:
        """End by itself: what was given is still taken. Idempotent."""
        self._ended = True
        self._tell()

    def fail(self, error: Exception) -> None:
        """End with an error, behind what was given; the first end wins."""
        if not self._ended:
            self._error = error
        self.complete()

    async def expect_cancelled(self, reason: CancelReason | None = None) -> CancelReason:
        """Wait until the source is told to stop, and return why.

        Args:
            reason: Why it must be. `no_more_needed` or `failure`, as its reader says, where an element had been given that was not
                wanted any more; `cancelled`, where the task was cancelled that waited for one. None: whatever it is.

        Raises:
            ProbeError: If it is not told in time, or for another reason.
        """
        expected = "to be told to stop" + (f" ({reason})" if reason else "")
        await self._until(lambda: self.cancelled is not None, expected)
        assert self.cancelled is not None
        if reason not in (None, self.cancelled):
            raise self._failure(expected, f"the reason {self.cancelled!r}")
        return self.cancelled

    @property
    def _is_wanted(self) -> bool:
        return self._pulling > len(self._given)

    async def _demanded(self, expected: str) -> None:
        await self._until(lambda: self._is_wanted or self.cancelled is not None, expected)
        if not self._is_wanted:
            raise self._failure(expected, f"the word to stop ({self.cancelled})")

    def _state(self) -> str:
        end = "ended" if self._ended else f"told to stop: {self.cancelled}" if self.cancelled else "open"
        return f"{end}, {self.requests} asked for, {len(self._given)} given and not taken"


class SinkProbe(_Probe, ObjectSendStream[StreamElement]):
    """A consumer that takes what a test asks for, when the test asks for it.

    Let `consume(run)` run in a task beside the test; or put `stage()` at the end of a branch; or give the probe itself to a stage's
    function as its output.

    Args:
        name: What failures call it.
        limit_s: Longest time that an expectation waits, in seconds of the event loop's clock; under virtual time it costs nothing.
    """

    def __init__(self, name: str = "sink", *, limit_s: float = 60.0) -> None:
        super().__init__(name, limit_s)
        self.end: EndOfStream | None = None
        """How the run that it consumes has ended; None before, and where it consumes none."""
        self.notice: ErrorElement | None = None
        """What that run said of its failure; None while it has not failed."""
        self._demand = 0
        self._wants_end = False
        self._got: deque[StreamElement] = deque()
        self._is_over = False
        self._error: Exception | None = None
        self._cancelled: CloseReason | None = None
        self._pull = anyio.CancelScope()

    # What the flow does

    async def send(self, item: StreamElement) -> None:
        """Hand over an element, when the test has asked for one. Cancellation: it was not handed over.

        Raises:
            OutputClosedError: If the test has cancelled.
            ChannelClosedError: If it was closed.
        """
        await anyio.lowlevel.checkpoint()
        while not self._may_take and self._cancelled is None and not self._is_over:
            await self._changed.wait()
        if self._is_over:
            raise ChannelClosedError(self.name)
        if self._cancelled is not None:
            raise OutputClosedError(self.name, self._cancelled)
        self._take(item)

    async def aclose(self) -> None:
        """Hear that nothing more comes."""
        self._finish(None)

    async def consume(self, elements: AsyncIterable[StreamElement]) -> None:
        """Take elements of a run, or of anything to iterate, as far as the test asks for them; to be run in a task of its own.

        What a run says of itself, the fatal `ErrorElement` and the `EndOfStream`, is no element here: see `notice` and `end`. What
        the iteration raises is for `expect_error()`.
        """
        try:
            iterator = aiter(elements)
            while True:
                while not self._may_take and self._cancelled is None:
                    await self._changed.wait()
                if self._cancelled is not None:
                    return
                with anyio.CancelScope() as self._pull:
                    self._see(await anext(iterator), of_run=isinstance(elements, Run))
                if self._pull.cancelled_caught:
                    return
        except StopAsyncIteration:
            self._finish(None)
        except Exception as error:  # noqa: BLE001 - what the flow fails with is what the test wants to see
            self._finish(error)
        finally:
            if self._cancelled is not None and isinstance(elements, Run):
                await elements.aclose()

    def stage(self) -> Stage:
        """Return a sink to put at the end of a chain or a branch; it has the name of the probe."""
        return _ProbeStage(self)

    # What the test does

    def request(self, count: int = 1) -> None:
        """Ask for so many elements more."""
        self._demand += count
        self._tell()

    async def expect_next(self, *wanted: StreamElement | str) -> StreamElement:
        """Wait for elements that were asked for, and return the last one.

        Args:
            wanted: What must come, in this order; strings stand for `TextElement`. Nothing: one, whatever it is.

        Raises:
            ProbeError: If something else comes, or nothing in time, or it was not asked for.
        """
        item: StreamElement | None = None
        for one in wanted or (None,):
            element = TextElement(one) if isinstance(one, str) else one
            expected = "an element" if element is None else f"next {element!r:.80}"
            if not self._got and not self._demand and not self._is_over:
                raise self._failure(expected, "no request for it: call request() first")
            await self._until(lambda: bool(self._got) or self._is_over, expected)
            if not self._got:
                raise self._failure(expected, self._told_end())
            item = self._got.popleft()
            self._seen.append(f"{item!r:.60}")
            if element is not None and item != element:
                raise self._failure(expected, f"{item!r:.200}")
        assert item is not None
        return item

    async def request_next(self, *wanted: StreamElement | str) -> StreamElement:
        """Ask for elements, and wait for them as `expect_next()` does."""
        self.request(max(1, len(wanted)))
        return await self.expect_next(*wanted)

    async def expect_no_element(self, for_s: float = 1.0) -> None:
        """Check that nothing comes within so many seconds, neither an element nor the end, though it is asked for.

        Raises:
            ProbeError: If something does; or if nothing is asked for, so that nothing could come.
        """
        expected = f"no element for {for_s:g} s"
        if not self._got and not self._demand and not self._is_over:
            raise self._failure(expected, "no request, so that nothing can come: call request() first")
        with anyio.move_on_after(for_s):
            while not self._got and not self._is_over:
                await self._changed.wait()
        if self._got:
            raise self._failure(expected, f"{self._got[0]!r:.200}")
        if self._is_over:
            raise self._failure(expected, self._told_end())

    async def expect_complete(self) -> None:
        """Wait until the flow ends without an error, and nothing more comes before that.

        Raises:
            ProbeError: If an element comes, an error, or nothing in time.
        """
        await self._ended("the end")
        if self._error is not None:
            raise self._failure("the end", self._told_end()) from self._error

    async def expect_error(self, kind: type[Exception] = Exception) -> Exception:
        """Wait until the flow fails, and return what it fails with.

        Args:
            kind: What the error must be an instance of.

        Raises:
            ProbeError: If an element comes, the end without an error, another error, or nothing in time.
        """
        expected = f"an error ({kind.__name__})"
        await self._ended(expected)
        if not isinstance(self._error, kind):
            raise self._failure(expected, self._told_end()) from self._error
        return self._error

    def cancel(self, reason: CloseReason = "no_more_needed") -> None:
        """Take no more: a stage in front of it gets `OutputClosedError(reason)`; a run is ended. Idempotent."""
        if self._cancelled is None:
            self._cancelled = reason
            self._pull.cancel()
        self._tell()

    async def _ended(self, expected: str) -> None:
        self._wants_end = True
        self._tell()
        await self._until(lambda: bool(self._got) or self._is_over, expected)
        if self._got:
            raise self._failure(expected, f"{self._got[0]!r:.200}")

    @property
    def _may_take(self) -> bool:
        return self._demand > 0 or self._wants_end

    def _see(self, item: StreamElement, *, of_run: bool) -> None:
        if isinstance(item, EndOfStream):
            self.end, self._wants_end = item, True
        elif of_run and isinstance(item, ErrorElement) and item.fatal:
            self.notice, self._wants_end = item, True
        else:
            self._take(item)

    def _take(self, item: StreamElement) -> None:
        self._demand = max(0, self._demand - 1)
        self._wants_end = False
        self._got.append(item)
        self._tell()

    def _finish(self, error: Exception | None) -> None:
        if not self._is_over:
            self._is_over, self._error = True, error
        self._tell()

    def _told_end(self) -> str:
        return "the end" if self._error is None else f"{type(self._error).__name__}: {self._error}"

    def _state(self) -> str:
        end = self._told_end() if self._is_over else f"cancelled: {self._cancelled}" if self._cancelled else "open"
        return f"{end}, {self._demand} asked for and not come, {len(self._got)} come and not looked at"


class _ProbeStage(BaseStage):
    """The stage of a `SinkProbe`.

    Flow:
        emits: nothing.
        backpressures: until the test asks for an element.
        completes: when the input ends, or the test cancels.
        fails: never.
    """

    kind: StageKind = StageKind.SINK

    def __init__(self, probe: SinkProbe) -> None:
        self.name: str = probe.name
        self._probe = probe

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Let the probe take what it is asked for."""
        await self._probe.consume(input)
        reason = self._probe._cancelled  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the probe's own stage
        if reason is not None:
            input.close(reason)


def _reason_of(error: BaseException | None) -> CancelReason:
    if isinstance(error, OutputClosedError):
        return error.reason
    return "no_more_needed" if error is None or isinstance(error, Exception) else "cancelled"


def probed(
    stage: StageLike, *, capacity: int = 1, deps: object = None, limit_s: float = 60.0
) -> AbstractAsyncContextManager[tuple[SourceProbe, SinkProbe]]:
    """Run a stage alone, as its pipeline would, between two probes; leaving the block ends the run.

    ```python
    async with probed(shout) as (source, sink):
        sink.request(1)
        await source.send("a")
        await sink.expect_next("A")
        source.complete()
        await sink.expect_complete()
    ```

    Args:
        stage: In any form that `chain()` takes; one that generates is given no source.
        capacity: Of the edge before it and of the edge behind it.
        deps: What it finds as `run.deps`.
        limit_s: Longest time that an expectation waits, in seconds of the event loop's clock.

    Raises:
        StageError: If the stage has failed, and the sink was not told to expect that.
    """
    # Built here, so that errors tell the line of the test as the place where the stage was added.
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(stage).build()
    return _probed(pipeline, deps, limit_s)


@contextlib.asynccontextmanager
async def _probed(pipeline: Pipeline, deps: object, limit_s: float) -> AsyncGenerator[tuple[SourceProbe, SinkProbe]]:
    source, sink = SourceProbe(limit_s=limit_s), SinkProbe(limit_s=limit_s)
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            async with pipeline.execute(source if pipeline.takes_source else None, deps=deps) as run:
                tasks.start_soon(sink.consume, run)
                yield source, sink
        except Exception as error:  # noqa: BLE001 - raised below, where no task group wraps it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
