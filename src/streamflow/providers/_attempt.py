"""One attempt at an answer, as those see it who may have to try again: has it begun, and until then nothing leaves.

Above: `_retry`, `_fallback`, `_timeout`. Below: `_protocol`, `stages`.
Rule: an answer has begun with its first element that is no control element. What comes before it, such as the usage of what was
read, is kept aside until then, so that an attempt that fails before it has left nothing behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import ControlElement
from ..errors import ProviderError
from ..stages import run_here

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ..elements import StreamElement
    from ._protocol import ModelRequest, Provider

__all__ = ["Attempt", "emit"]

_MAX_HELD = 1000  # control elements before an answer; more than a few is a provider gone wrong


class Attempt:
    """One call of a provider.

    Args:
        provider: Who is asked.
        request: What is asked.
    """

    def __init__(self, provider: Provider, request: ModelRequest) -> None:
        self.has_begun = False
        """Whether an element of the answer has left."""
        self._failure: ProviderError | None = None
        self._provider = provider
        self._request = request

    def take_failure(self) -> ProviderError | None:
        """Return, once, how it failed before it had begun; None: it did not. Kept, it and its traceback would hold each other."""
        failure, self._failure = self._failure, None
        return failure

    async def stream(self) -> AsyncGenerator[StreamElement, None]:
        """Yield the answer. A failure before it has begun is kept for `take_failure()`, a later one is raised.

        Raises:
            ProviderError: If the call fails once the answer has begun.
        """
        held: list[StreamElement] = []
        answer = self._provider.stream(self._request)
        try:
            async for element in answer:
                if not self.has_begun:
                    if isinstance(element, ControlElement) and len(held) < _MAX_HELD:
                        held.append(element)
                        continue
                    self.has_begun = True
                    for one in held:
                        yield one
                yield element
        except ProviderError as error:
            if self.has_begun:
                raise
            self._failure = error
            return
        finally:
            await answer.aclose()
        if not self.has_begun:
            for one in held:
                yield one


def emit(name: str, data: Mapping[str, object]) -> None:
    """Tell the listeners of the run in which the provider is called, if it is called in one."""
    run = run_here()
    if run is not None:
        run.emit(name, data)
