"""A provider that tries again.

Above: users. Below: `_attempt`.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import anyio

from ..errors import ConfigError, ProviderError
from ._attempt import Attempt, emit
from ._protocol import checked_provider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..elements import StreamElement
    from ._protocol import ModelRequest, Provider

__all__ = ["RetryProvider"]


class RetryProvider:
    """A `Provider` that asks another one again when a call fails before its answer has begun.

    It asks again after a failure that says that this may help (`ProviderError.retryable`). The waits are `min_backoff_s` and twice
    as long each time, `max_backoff_s` at most, each drawn anew between nothing and that ("full jitter"), so that those who failed
    together do not come back together. A server that says when to come back is not asked before (`Retry-After`), and not again at
    all if it wants more than `max_backoff_s`. Once an element of the answer has left, a failure is final: trying again would say
    things twice. Each wait is told to the run's listeners as `model.retry`.

    ```python
    provider = RetryProvider(OpenAIProvider.from_env(), attempts=4)
    ```

    Args:
        provider: Who is asked.
        attempts: Calls at most, the first included.
        min_backoff_s: Wait before the second call, in seconds, before chance has taken its part.
        max_backoff_s: Longest wait at all, in seconds.
        jitter: Largest part of a wait that is left out by chance, from 0 to 1.

    Raises:
        ConfigError: If a number is out of its range.

    Source: M. Brooker, Exponential backoff and jitter.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        attempts: int = 3,
        min_backoff_s: float = 0.5,
        max_backoff_s: float = 30.0,
        jitter: float = 1.0,
    ) -> None:
        if attempts < 1:
            raise ConfigError("attempts", f"{attempts} is out of range; give 1 or more")
        if not (min_backoff_s > 0 and math.isfinite(min_backoff_s)):
            raise ConfigError("min_backoff_s", f"{min_backoff_s} is out of range; give a number above 0")
        if not (max_backoff_s >= min_backoff_s and math.isfinite(max_backoff_s)):
            raise ConfigError("max_backoff_s", f"{max_backoff_s} is out of range; give min_backoff_s or more")
        if not 0 <= jitter <= 1:
            raise ConfigError("jitter", f"{jitter} is out of range; give a part of the wait, from 0 to 1")
        self._provider = checked_provider(provider)
        self._attempts = attempts
        self._min_backoff_s = min_backoff_s
        self._max_backoff_s = max_backoff_s
        self._jitter = jitter

    @property
    def name(self) -> str:
        """What the provider that is asked is called."""
        return self._provider.name

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Call the model, again if need be, and give its answer as it arrives.

        Out: as `Provider.stream` says, of one call.

        Cancellation: ends the call, or the wait.

        Raises:
            ProviderError: The last call's.
        """
        for number in range(1, self._attempts + 1):
            attempt = Attempt(self._provider, request)
            answer = attempt.stream()
            try:
                async for element in answer:
                    yield element
            finally:
                await answer.aclose()
            failure = attempt.take_failure()
            if failure is None:
                return
            wait_s = self._wait_s(number, failure)
            if wait_s is None:
                try:
                    raise failure
                finally:
                    del failure  # its traceback holds this frame
            emit("model.retry", {"provider": self.name, "code": failure.code, "attempt": number + 1, "wait_s": wait_s})
            await anyio.sleep(wait_s)

    def __repr__(self) -> str:
        return f"<RetryProvider {self._provider!r} attempts={self._attempts}>"

    def _wait_s(self, number: int, failure: ProviderError) -> float | None:
        """Return how long to wait after a call; None if there is no other one."""
        asked = failure.retry_after_s or 0.0
        if number == self._attempts or not failure.retryable or asked > self._max_backoff_s:
            return None
        # Beyond 2 ** 60 the product is past any limit, and much beyond that no float.
        longest = min(self._max_backoff_s, self._min_backoff_s * 2.0 ** min(number - 1, 60))
        drawn = longest * (1 - self._jitter * random.random())  # noqa: S311 - no secret
        return max(asked, drawn)
