"""What the caller holds of a branch that was added to a live run.

Above: users. Below: `channels`. It holds neither the run nor its engine: who subscribes does not keep a run alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anyio.lowlevel

from ..errors import ChannelClosedError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ..channels import ReceiveEnd
    from ..elements import StreamElement
    from ._backend import Backend

__all__ = ["Subscription"]


class Subscription:
    """A branch of a live run, made by `Run.subscribe()`: iterate it for all that flows there from then on.

    ```python
    async with run.subscribe("llm") as branch:
        async for element in branch:
            ...
    ```

    It has data and control, in order, nothing left out and nothing twice. It ends with what feeds it; after a failure upstream a
    fatal `ErrorElement` is its last element. It can be the source of another run. Leaving the block, `close()`, or letting go of
    it takes the branch away; nothing else notices.
    """

    def __init__(self, end: ReceiveEnd[StreamElement], backend: Backend) -> None:
        self._end = end
        self._backend = backend

    @property
    def name(self) -> str:
        """What the branch is called, as `llm → subscriber 1`."""
        return self._end.name

    @property
    def received(self) -> int:
        """How many elements were taken from it; the ordinal of the next one."""
        return self._end.received

    @property
    def dropped(self) -> int:
        """How many elements found no room, where it was asked for with `overflow="drop_newest"`."""
        return self._end.statistics().discarded.get("overflow", 0)

    def close(self) -> None:
        """Take the branch away; what is in it is dropped. Idempotent, never raises."""
        self._end.close()

    async def aclose(self) -> None:
        """Close. Cancellation: it is closed even when this raises."""
        self.close()
        await anyio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        self.close()
        return False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamElement:
        """Return the next element.

        Cancellation: nothing is lost.

        Raises:
            StopAsyncIteration: At the end, and once it is closed.
            ChannelBusyError: If another task waits here.
        """
        try:
            return await self._end.__anext__()
        except ChannelClosedError:
            raise StopAsyncIteration from None

    def __repr__(self) -> str:
        return f"<Subscription {self.name}>"

    def __del__(self) -> None:
        if self._end.state == "open":
            self._backend.call(self._end.close)
