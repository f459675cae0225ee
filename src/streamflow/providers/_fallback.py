"""A provider that asks another one when the first cannot answer.

Above: users. Below: `_attempt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..elements import TurnReset
from ..errors import ConfigError, ProviderError
from ._attempt import Attempt, emit
from ._protocol import checked_provider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ..elements import StreamElement
    from ._protocol import ModelRequest, Provider

__all__ = ["FallbackProvider"]


class FallbackProvider:
    """A `Provider` that hands a request over to the next one when a call fails before its answer has begun.

    The first is given the request as it is; the others are given it without the name of a model, which would be none of theirs.
    Each handover is told to the run's listeners as `model.fallback`. Once an element of the answer has left, a failure is final,
    unless whoever reads the answer understands `TurnReset` and `reset` says so: then that is sent, and the next provider begins
    anew, with another `id`. What had left is to be forgotten.

    ```python
    provider = FallbackProvider(RetryProvider(cloud), local)
    ```

    Args:
        first: Who is asked first.
        others: Who is asked then, in this order.
        when: Says whether a failure is one to hand over after; None: every one is.
        reset: Whether to send `TurnReset` and hand over also in the middle of an answer.

    Raises:
        ConfigError: If there is no other provider.
    """

    def __init__(
        self,
        first: Provider,
        *others: Provider,
        when: Callable[[ProviderError], bool] | None = None,
        reset: bool = False,
    ) -> None:
        if not others:
            raise ConfigError("others", "there is no other provider to hand over to; give at least one")
        self._providers = tuple(checked_provider(one) for one in (first, *others))
        self._when = when
        self._reset = reset

    @property
    def name(self) -> str:
        """What the first provider is called. The usage says who has answered."""
        return self._providers[0].name

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Call one model after the other until one answers, and give its answer as it arrives.

        Out: as `Provider.stream` says, of one provider; with `reset`, more may come before a `TurnReset`, to be forgotten.

        Cancellation: ends the call.

        Raises:
            ProviderError: The last provider's, or the first that is not handed over after.
        """
        last = self._providers[-1]
        for provider in self._providers:
            attempt = Attempt(provider, request)
            answer = attempt.stream()
            try:
                async for element in answer:
                    yield element
                failure = attempt.take_failure()
            except ProviderError as error:
                if not self._reset:
                    raise
                failure = error
            finally:
                await answer.aclose()
            if failure is None:
                return
            if provider is last or not (self._when is None or self._when(failure)):
                try:
                    raise failure
                finally:
                    del failure  # its traceback holds this frame
            emit("model.fallback", {"provider": provider.name, "code": failure.code})
            if attempt.has_begun:
                yield TurnReset(f"{provider.name}: {failure.code}")
            request = msgspec.structs.replace(request, model=None)

    def __repr__(self) -> str:
        return f"<FallbackProvider {', '.join(repr(provider) for provider in self._providers)}>"
