"""The stage that remembers what another one has said, and says it again.

Above: users. Below: `_around`, `_memory_cache`.

The first who asks under a key leads: a helper task reads the inner stage into a recording, and the leader plays the recording to
its output as it grows. Others who ask under the same key meanwhile wait until it is whole. The helper does not wait for the
leader's reader, unless the recording gets too long to be kept: else a reader that has stopped would hold up everybody who waits
for the same, and one task that reads two runs in turns would wait for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import msgspec

from ..elements import ErrorElement, MessageElement, StreamElement, TurnEnd, TurnReset
from ..errors import ConfigError, ElementError
from ._around import AroundStage, forward, raised
from ._checks import checked_count
from ._memory_cache import MemoryCache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from anyio.lowlevel import EventLoopToken

    from ..channels import SendEnd
    from ._context import RunContext
    from ._forms import StageLike
    from ._inner import InnerRun, Unit
    from ._memory_cache import Cache

__all__ = ["CacheStage"]

_FLIGHTS: dict[tuple[int, EventLoopToken, Hashable], _Flight] = {}
"""The calls that go on now, by the identity of the cache, which their stages hold, by event loop and by key."""


class CacheStage(AroundStage):
    """Run a stage inside, keep what it makes of each input, and send the same again when the same comes in.

    ```python
    answers = MemoryCache(max_entries=500, ttl_s=3600)
    CacheStage(ProviderStage(provider), answers)
    ```

    What is looked up is one *unit*: one element that the inner stage is given, or one turn if it accumulates, which it is given
    once its `TurnEnd` has come. On a hit the inner stage is not asked and the very same elements leave, ids and usage too. All runs
    of this stage share its cache; give several stages the same one where they make the same of the same. Who asks for what another
    run has just asked for waits for that answer (single flight), and asks by itself if that fails or cannot be kept.

    Kept is only what is complete: nothing from a call that failed or was cancelled, nothing with an `ErrorElement`, a `TurnReset`,
    a message that was cut, or a turn that ended with an error or an interruption.

    In: what the inner stage accepts; other elements pass by in order.
    Out: what it sends, now or then.

    Flow:
        emits: what the inner stage sends, as it comes; on a hit all at once.
        backpressures: while the output is full, and what it has read ahead is `max_results` elements; while another run asks for
            the same. Holds one unit, what the inner stage holds, and the results that it has read ahead.
        completes: when the input ends and the inner stage has said its last; or when the inner stage returns before.
        fails: with what the inner stage raises, behind what it had sent; with what `key` or the cache raises; `ElementError` if a
            key cannot be hashed.
        cancels: cancels the inner stage, drops what has not left, keeps nothing; who waits for that asks by itself.

    Args:
        inner: The stage; a function, a class, an object, as in `chain()`.
        cache: Where results are kept; None: a `MemoryCache` of its own, with the defaults.
        key: Given the elements of a unit as a tuple, returns what they are looked up by, which must be hashable; None: not at all.
            Default the elements themselves, without their `id` and `timestamp_s`. A cache that several stages share needs keys that
            tell them apart, unless they make the same of the same.
        max_results: Most results of one unit that are kept; a longer sequence is sent and forgotten.
        max_turn: Most elements of one turn.
        name: Name in the graph; the inner stage's context and errors call it `name/inner`.

    Listeners get an event `cache.hit`, `cache.miss` or `cache.waited`, each with the number of `elements` that came of it.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
        StageDefinitionError: If `inner` is no stage that can be run inside another.

    Source: semantics 3.11; single flight is Go's.
    """

    def __init__(
        self,
        inner: StageLike,
        cache: Cache | None = None,
        *,
        key: Callable[[tuple[StreamElement, ...]], Hashable] | None = None,
        max_results: int = 10_000,
        max_turn: int = 1000,
        name: str = "cache",
    ) -> None:
        super().__init__((inner,), name, max_turn)
        given: object = cache
        if given is not None and not (callable(getattr(given, "get", None)) and callable(getattr(given, "put", None))):
            raise ConfigError("cache", f"stage {self.name!r}: give an object with get() and put(), got {given!r:.80}")
        self._cache: Cache = MemoryCache() if cache is None else cache
        self._key = _content if key is None else key
        self._max_results = checked_count(max_results, "max_results", self.name)
        held = self.max_held
        self.max_held: int | None = None if held is None else held + self._max_results

    async def _handle(
        self, unit: Unit, inner: Sequence[InnerRun], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        key = self._key(unit.elements)
        if key is None:
            failure = await forward(inner[0], unit, output.send)
            if failure is not None:
                raised(failure)
            return
        try:
            hash(key)
        except TypeError as error:
            raise ElementError(self._told(key)) from error
        place = id(self._cache), anyio.lowlevel.current_token(), key
        how = "cache.hit"
        while True:
            known = await self._cache.get(key)
            if known is not None:
                run.emit(how, {"elements": len(known)})
                await output.send_each(known)
                return
            flight = _FLIGHTS.get(place)
            if flight is None or flight.ended.is_set():
                break
            how = "cache.waited"
            await flight.ended.wait()
        flight = _FLIGHTS[place] = _Flight(self._max_results)
        try:
            run.start_soon(self._record, flight, unit, inner[0], key, name="recorder")
            await flight.play(output)
        finally:
            flight.land()
            if _FLIGHTS.get(place) is flight:
                del _FLIGHTS[place]
        failure = flight.take_failure()
        run.emit("cache.miss", {"elements": flight.count})
        if failure is not None:
            raised(failure)

    async def _record(self, flight: _Flight, unit: Unit, inner: InnerRun, key: Hashable) -> None:
        """Read the results of a unit into a flight, and keep them if they are worth it."""
        failure: Exception | None = None
        try:
            failure = await forward(inner, unit, flight.add)
            if failure is None and not inner.has_returned and flight.can_be_kept:
                await self._cache.put(key, tuple(flight.elements))
        finally:
            flight.end(failure)
            del failure  # which knows the frames that it came through

    def _told(self, key: object) -> str:
        message = f"stage {self.name!r}: {key!r:.80} cannot be hashed, and so is no key"
        return f"{message}; give key= a function that returns a text, a number or a tuple of those"


class _Flight:
    """A call whose results others may wait for: read ahead of the reader, and played to it."""

    def __init__(self, most: int) -> None:
        self.elements: list[StreamElement] = []
        """The results so far; those that have been played are forgotten once there are too many."""
        self.count: int = 0
        """How many results there were so far."""
        self.can_be_kept: bool = True
        """Whether all of them are there, and none says that something was wrong."""
        self.ended = anyio.Event()
        """Set when there is nothing to wait for: it is whole, or will not be."""
        self._most = most
        self._played = 0
        self._is_over = False
        self._failure: Exception | None = None
        self._bell: anyio.Event | None = None

    async def add(self, element: StreamElement) -> None:
        """Take a result. Waits for the reader only where there are too many to be kept."""
        self.elements.append(element)
        self.count += 1
        self.can_be_kept = self.can_be_kept and _is_sound(element)
        self._ring()
        if len(self.elements) > self._most:
            self.can_be_kept = False
            self.land()
            while self._played < len(self.elements):
                await self._change()
            self.elements.clear()
            self._played = 0

    async def play(self, output: SendEnd[StreamElement]) -> None:
        """Send the results as they come, to the last one."""
        while True:
            while self._played < len(self.elements):
                await output.send(self.elements[self._played])
                self._played += 1
            self._ring()
            if self._is_over:
                return
            await self._change()

    def end(self, failure: Exception | None) -> None:
        """Know that there is no further result."""
        self._is_over, self._failure = True, failure
        self._ring()
        self.land()

    def land(self) -> None:
        """Let those go on who wait. Idempotent."""
        self.ended.set()

    def take_failure(self) -> Exception | None:
        """Return what the call has failed with, once."""
        failure, self._failure = self._failure, None
        return failure

    async def _change(self) -> None:
        if self._bell is None:
            self._bell = anyio.Event()
        await self._bell.wait()

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.set()
            self._bell = None


def _is_sound(element: StreamElement) -> bool:
    """Say whether an element may be part of what is kept."""
    match element:
        case ErrorElement() | TurnReset():
            return False
        case MessageElement(cut=cut):
            return not cut
        case TurnEnd(stop_reason=reason):
            return reason not in {"error", "interrupted"}
        case _:
            return True


def _content(unit: tuple[StreamElement, ...]) -> Hashable:
    """Return a unit without what is new each time that the same is said."""
    return tuple(map(_anonymous, unit))


def _anonymous(element: StreamElement) -> StreamElement:
    if isinstance(element, MessageElement) and element.message.id:
        element = element.replace(message=msgspec.structs.replace(element.message, id=""))
    return element.replace(id="", timestamp_s=None)
