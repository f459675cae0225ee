"""The text of one answer, piece by piece, as an async iterator.

Above: `_strategies`. Below: `runtime`.
Who owns the run: a bare `async for` owns it, and ends it when it is left; with `async with`, or `aclose()`, its tasks are waited
for as well. It is no generator: one that is left early is closed late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..elements import TextElement, TurnReset
from ..errors import ProviderError, RunStateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Self

    from ..elements import MessageElement, StreamElement
    from ..runtime import Pipeline, Run

__all__ = ["TokenStream"]


class TokenStream:
    """The text of one answer, in pieces that are not empty and join to the response. To be iterated once.

    ```python
    async for token in agent.stream_chat("Hello!"):
        print(token, end="", flush=True)
    ```

    Leaving the loop early ends the model's call at once; `async with` also waits until all is closed. A failure is raised behind
    the text that had come: `StageError`, `RunTimeoutError`. Text that was handed over cannot be taken back, so a provider that
    begins anew in the middle (a fallback, a retry) makes it fail with a `ProviderError`.
    """

    def __init__(self, pipeline: Pipeline, asked: MessageElement) -> None:
        self._pipeline = pipeline
        self._asked = asked
        self._run: Run | None = None
        self._texts: _Texts | None = None
        self._is_taken = False

    def __aiter__(self) -> AsyncIterator[str]:
        if self._is_taken:
            raise RunStateError("this answer has been iterated before; ask again for another one")
        self._is_taken = True
        return _Texts(aiter(self._run if self._run is not None else self._pipeline.execute(self._asked)))

    async def __anext__(self) -> str:
        """Return the next piece.

        Cancellation: nothing is lost; the answer goes on.

        Raises:
            StageError: If the model failed.
            RunTimeoutError: If it took too long.
            StopAsyncIteration: At the end.
        """
        if self._texts is None:
            self._texts = aiter_texts(self)
        return await anext(self._texts)

    async def aclose(self) -> None:
        """End the answer. Idempotent."""
        self._is_taken = True
        self._texts = None
        if self._run is not None:
            await self._run.aclose()

    async def __aenter__(self) -> Self:
        if self._is_taken or self._run is not None:
            raise RunStateError("this answer has been iterated or entered before; ask again for another one")
        self._run = await self._pipeline.execute(self._asked).__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        run, self._run, self._texts, self._is_taken = self._run, None, None, True
        return False if run is None else await run.__aexit__(kind, error, traceback)


def aiter_texts(stream: TokenStream) -> _Texts:
    """Return the one iteration of a stream."""
    texts = aiter(stream)
    assert isinstance(texts, _Texts)
    return texts


class _Texts:
    """One iteration. It holds no `Run`, so that a bare loop that is left ends the run at once."""

    def __init__(self, elements: AsyncIterator[StreamElement]) -> None:
        self._elements = elements
        self._has_text = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            element = await anext(self._elements)
            if isinstance(element, TextElement):
                if element.text:
                    self._has_text = True
                    return element.text
            elif isinstance(element, TurnReset) and self._has_text:
                message = "the provider began its answer anew, after text had been handed over; ask again"
                raise ProviderError("truncated", message, retryable=True)
