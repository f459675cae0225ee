"""Faults of an object with async methods, by plan: the n-th call is late, fails, or never comes back. For stores, clients, tools.

Above: tests. Below: nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["CallFault", "faulty"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class CallFault:
    """What goes wrong with one call.

    Args:
        method: The method that it is about; None: any.
        at: Which of its calls, from 1; None: each.
        delay_s: How long the call takes longer, in seconds of the event loop's clock.
        error: What it raises instead of its result; None: nothing.
        hangs: Whether it never comes back, until it is cancelled.
        after: Whether it strikes when the call has had its effect: the caller does not learn that it has.

    Raises:
        ConfigError: If a number is impossible, or nothing would go wrong.
    """

    method: str | None = None
    """The method that it is about."""
    at: int | None = None
    """Which of its calls, from 1."""
    delay_s: float = 0.0
    """How long the call takes longer, in seconds."""
    error: Exception | None = None
    """What it raises."""
    hangs: bool = False
    """Whether it never comes back."""
    after: bool = False
    """Whether it strikes when the call has had its effect."""

    def __post_init__(self) -> None:
        if (self.at is not None and self.at < 1) or self.delay_s < 0:
            raise ConfigError("at", f"calls count from 1, delays from 0 s; got {self.at!r} and {self.delay_s!r}")
        if not (self.delay_s or self.error or self.hangs):
            raise ConfigError("error", "nothing would go wrong: give delay_s=, error= or hangs=True")

    async def strike(self) -> None:
        """Do it. Cancellation: ends the wait."""
        await anyio.sleep_forever() if self.hangs else await anyio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error


def faulty(target: T, *faults: CallFault) -> T:
    """Return something that does what `target` does, but for the faults of its async methods and async generators.

    ```python
    store = faulty(MemoryStore(), CallFault("save", at=2, error=StoreError("the disk is full"), after=True))
    ```

    Args:
        target: Any object with async methods, as a store, a client, a provider.
        faults: What goes wrong with their calls; several may strike one call.
    """
    return cast("T", _Faulty(target, faults))


class _Faulty:
    def __init__(self, target: object, faults: tuple[CallFault, ...]) -> None:
        self._target = target
        self._faults = faults
        self._counts: Counter[str | None] = Counter()

    def __getattr__(self, name: str) -> object:
        found: object = getattr(self._target, name)
        if inspect.iscoroutinefunction(found):
            return self._call(name, cast("Callable[..., Any]", found))
        if inspect.isasyncgenfunction(found):
            return self._stream(name, cast("Callable[..., Any]", found))
        return found

    # Python looks these two up on the class, not on the object.
    async def __aenter__(self) -> object:
        entered: object = await cast("Any", self._target).__aenter__()
        return self if entered is self._target else entered

    async def __aexit__(self, *error: object) -> object:
        return await cast("Any", self._target).__aexit__(*error)

    def _due(self, name: str) -> list[CallFault]:
        self._counts.update((name, None))
        return [
            one
            for one in self._faults
            if one.method in (name, None) and one.at in (None, self._counts[None if one.method is None else name])
        ]

    def _call(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def call(*args: object, **options: object) -> object:
            due = self._due(name)
            for fault in due:
                if not fault.after:
                    await fault.strike()
            result: object = await method(*args, **options)
            for fault in due:
                if fault.after:
                    await fault.strike()
            return result

        return call

    def _stream(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def stream(*args: object, **options: object) -> AsyncGenerator[object, None]:
            due = self._due(name)
            for fault in due:
                if not fault.after:
                    await fault.strike()
            items = method(*args, **options)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()
            for fault in due:
                if fault.after:
                    await fault.strike()

        return stream
