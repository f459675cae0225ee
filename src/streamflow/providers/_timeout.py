"""Time limits for any provider.

Above: users. Below: `_protocol`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

from ..elements import ControlElement
from ..errors import ConfigError, ProviderError
from ._protocol import checked_provider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..elements import StreamElement
    from ._protocol import ModelRequest, Provider

__all__ = ["TimeoutProvider"]


class TimeoutProvider:
    """A `Provider` that bounds how long another one may take to begin, to go on, and in all.

    Only waiting for the provider counts, not what is done with an element before the next is asked for. What only keeps the
    connection alive is no element, so a server that sends nothing else is caught here and not by the time limits of its socket.

    ```python
    provider = TimeoutProvider(OpenAIProvider.from_env(), first_token_timeout_s=20, idle_timeout_s=10)
    ```

    Args:
        provider: Who is asked.
        first_token_timeout_s: Longest time to the first element of the answer, in seconds; None: no limit.
        idle_timeout_s: Longest time between two elements, in seconds; None: no limit.
        timeout_s: Longest time in all, in seconds; None: no limit.

    Raises:
        ConfigError: If a number is not positive, or none is given.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        first_token_timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        timeout_s: float | None = None,
    ) -> None:
        limits = {
            "first_token_timeout_s": first_token_timeout_s,
            "idle_timeout_s": idle_timeout_s,
            "timeout_s": timeout_s,
        }
        for field, value in limits.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(field, f"{value} is out of range; give a number above 0")
        if all(value is None for value in limits.values()):
            raise ConfigError("timeout_s", f"no limit is given; give one of {', '.join(limits)}")
        self._provider = checked_provider(provider)
        self._first_s = math.inf if first_token_timeout_s is None else first_token_timeout_s
        self._idle_s = math.inf if idle_timeout_s is None else idle_timeout_s
        self._total_s = math.inf if timeout_s is None else timeout_s

    @property
    def name(self) -> str:
        """What the provider that is asked is called."""
        return self._provider.name

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Call the model within the limits, and give its answer as it arrives.

        Out: as `Provider.stream` says.

        Cancellation: ends the call.

        Raises:
            ProviderError: If the call fails; `transport`, and may be tried again, if it takes too long.
        """
        left_s, left_to_begin_s, has_begun = self._total_s, self._first_s, False
        limit_s = math.inf
        answer = self._provider.stream(request)
        try:
            while True:
                limit_s = min(left_s, self._idle_s if has_begun else left_to_begin_s)
                began_s = anyio.current_time()
                element: StreamElement | None = None
                with anyio.move_on_after(limit_s) as scope:
                    element = await anext(answer, None)
                if scope.cancelled_caught:
                    break
                if element is None:
                    return
                took_s = anyio.current_time() - began_s
                left_s -= took_s
                left_to_begin_s -= took_s
                has_begun = has_begun or not isinstance(element, ControlElement)
                yield element
        finally:
            await answer.aclose()
        raise self._too_late(has_begun=has_begun, is_total=left_s <= limit_s)

    def __repr__(self) -> str:
        return f"<TimeoutProvider {self._provider!r}>"

    def _too_late(self, *, has_begun: bool, is_total: bool) -> ProviderError:
        if is_total:
            what = f"did not finish within {self._total_s:g} s; raise timeout_s"
        elif has_begun:
            what = f"gave nothing for {self._idle_s:g} s; raise idle_timeout_s"
        else:
            what = f"began no answer within {self._first_s:g} s; raise first_token_timeout_s"
        return ProviderError("transport", f"provider {self.name!r} {what} or check it", True)
