"""The stage that keeps to a rate: a token bucket, one for all or one for each key.

Above: users. Below: `_functional`, `_shared_clock`.

A bucket is kept as the one time at which it will be full again (the generic cell rate algorithm): what is taken moves that time on,
and it is not allowed to be further ahead than a full bucket is worth. So a bucket needs no task and no clock of its own, and one
that is full need not be remembered.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import anyio

from ..elements import ErrorElement, StreamElement
from ..errors import ConfigError, ElementError
from ._checks import checked_count
from ._deadlines import checked_seconds
from ._functional import _OfFunction  # pyright: ignore[reportPrivateUsage]
from ._shared_clock import SharedClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts, ElementTypes
    from ._context import RunContext

__all__ = ["RateLimitMode", "RateLimitStage"]

RateLimitMode = Literal["wait", "reject"]
"""What becomes of an element for which there is no token: it waits, and all behind it; or an error element takes its place."""

InT = TypeVar("InT", bound=StreamElement)

_INSTANT_S = 1e-9
"""What is shorter than this is rounding, not a wait, in seconds."""


class RateLimitStage(_OfFunction):
    """Let elements leave at a rate, after a burst: each takes a token out of a bucket that fills up steadily. Order is kept.

    ```python
    RateLimitStage(60, 60, burst=5)  # one a second, five at once after a rest
    RateLimitStage(10, key=lambda message: message.metadata.get("user"), mode="reject", accepts=MessageElement)
    ```

    All runs of this stage share its buckets, since a rate is what a service allows, and not a run. `ThrottleStage` limits each run
    for itself, by a sliding log.

    In: what it accepts, default all data; others pass by in order.
    Out: the same elements; with `mode="reject"` an `ErrorElement` with the code `rate_limited` for each that had no token.

    Flow:
        emits: each element, once there is a token for it.
        backpressures: while the output is full, and with `mode="wait"` while the bucket is empty; holds one element. What waits
            for the token of its key holds up what is behind it, of other keys too.
        fails: with what `key` raises; `ElementError` if a key cannot be hashed.
        cancels: drops the element that waits, and puts its token back.

    Args:
        rate: How many tokens come in `per_s`, above 0; need not be whole.
        per_s: Span of time, in seconds.
        burst: Most tokens in a bucket, so most elements that leave at once; default `rate`, at least 1.
        key: Takes an element and returns whose bucket it is, which must be hashable; may be async. None: there is one bucket.
        mode: What becomes of an element for which there is no token. With `reject`, listeners get an event `rate_limit.rejected`
            with `retry_after_s`.
        max_keys: Most buckets that are remembered; beyond that the one that will be full first is taken to be full.
        name: Name in the graph.
        accepts: Element types that are limited; default the annotation of `key`, else all data.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: semantics 3.12; ITU-T I.371 (GCRA).
    """

    def __init__(
        self,
        rate: float,
        per_s: float = 1.0,
        *,
        burst: int | None = None,
        key: Callable[[InT], Hashable | Awaitable[Hashable]] | None = None,
        mode: RateLimitMode = "wait",
        max_keys: int = 10_000,
        name: str = "rate_limit",
        accepts: type[InT] | ElementTypes | None = None,
    ) -> None:
        super().__init__(_no_key if key is None else key, name, accepts)
        given = cast("object", rate)
        if not isinstance(given, (int, float)) or isinstance(given, bool) or not 0 < given < math.inf:
            raise ConfigError("rate", f"stage {self.name!r}: give a number above 0, got {given!r:.80}")
        per_s = checked_seconds(per_s, "per_s", self.name)
        if mode not in {"wait", "reject"}:
            raise ConfigError("mode", f"stage {self.name!r}: give 'wait' or 'reject', got {mode!r:.80}")
        self._rejects = mode == "reject"
        self._is_keyed = key is not None
        self.emits: Accepts | None = _and_errors(self.accepts) if self._rejects else self.accepts
        burst = max(1, math.floor(rate)) if burst is None else checked_count(burst, "burst", self.name)
        self._buckets = _Buckets(per_s / rate, burst, checked_count(max_keys, "max_keys", self.name))

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        async for element in input:
            key = await self._key_of(element) if self._is_keyed else None
            wait_s = self._buckets.take(key, may_wait=not self._rejects)
            if wait_s and self._rejects:
                run.emit("rate_limit.rejected", {"retry_after_s": wait_s})
                message = f"stage {run.stage!r}: there are too many; try again in {wait_s:.3g} s"
                await output.send(ErrorElement("rate_limited", message, run.stage, retryable=True))
                continue
            if wait_s:
                try:
                    await anyio.sleep(wait_s)
                except anyio.get_cancelled_exc_class():
                    self._buckets.put_back(key)
                    raise
            if not output.try_send(element):
                await output.send(element)

    async def _key_of(self, element: StreamElement) -> Hashable:
        found = self._func(element)
        key: Hashable = await found if inspect.isawaitable(found) else found
        try:
            hash(key)
        except TypeError as error:
            message = f"stage {self.name!r}: {key!r:.80} cannot be hashed, and so is not a key"
            raise ElementError(f"{message}; let key= return a text, a number or a tuple of those") from error
        return key


class _Buckets:
    """A bucket for each key, remembered while it is not full."""

    def __init__(self, interval_s: float, burst: int, most: int) -> None:
        self._interval_s = interval_s
        self._slack_s = interval_s * (burst - 1)
        self._most = most
        self._clock = SharedClock()
        self._full_s: dict[Hashable, float] = {}  # when each will be full again

    def take(self, key: Hashable, *, may_wait: bool) -> float:
        """Take a token, and return in how many seconds it will be there; 0: now. Without `may_wait` take it only if it is there."""
        now = self._clock.now()
        full = max(now, self._full_s.get(key, now))
        wait_s = full - self._slack_s - now
        if wait_s < _INSTANT_S:
            wait_s = 0.0
        if may_wait or not wait_s:
            if key not in self._full_s and len(self._full_s) >= self._most:
                self._forget(now)
            self._full_s[key] = full + self._interval_s
        return wait_s

    def put_back(self, key: Hashable) -> None:
        """Give back a token that was taken and not used."""
        if key in self._full_s:
            self._full_s[key] -= self._interval_s

    def _forget(self, now: float) -> None:
        """Make room: forget all that are full; if none is, the one that will be first."""
        self._full_s = {key: full for key, full in self._full_s.items() if full > now}
        if len(self._full_s) >= self._most:
            del self._full_s[min(self._full_s, key=self._full_s.__getitem__)]


def _no_key(_element: Any) -> None:
    """Stand in for the key where there is one bucket."""


def _and_errors(types: Accepts | None) -> Accepts | None:
    if types is None:
        return None
    return (*(types if isinstance(types, tuple) else (types,)), ErrorElement)
