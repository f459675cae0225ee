"""What runs share: clients, pools, models. Opened once per pipeline, closed when it shuts down.

Above: stages and their authors; `runtime` opens and closes. Below: nothing.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

__all__ = ["Resource"]

T_co = TypeVar("T_co", covariant=True)


class Resource(Generic[T_co]):
    """A shared object with a life: opened once for all runs of a pipeline, closed by `Pipeline.shutdown()`.

    ```python
    client = Resource(httpx2.AsyncClient, name="client")  # a function that returns a context manager, sync or async


    class Ask(BaseStage):
        resources = (client,)

        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext) -> None:
            http = await run.resource(client)
    ```

    It is opened when `async with pipeline:` is entered, if a stage lists it in `resources`, else when a run asks for it first; each
    pipeline, and each event loop that it runs in, has its own. The context manager is entered and left in one task, so it may hold
    task groups and cancel scopes. An opening that fails is tried again by whoever asks next.

    Args:
        open: Called without arguments; returns a context manager, sync or async, whose value is what `run.resource()` gives.
        name: What errors call it; default the function's name.
    """

    def __init__(
        self,
        open: Callable[[], AbstractAsyncContextManager[T_co] | AbstractContextManager[T_co]],
        *,
        name: str | None = None,
    ) -> None:
        given = cast("object", open)
        if not callable(given) or inspect.iscoroutinefunction(given):
            message = (
                f"a function that returns a context manager was expected, got {given!r:.80}; "
                "write an @asynccontextmanager, or give a class whose objects are context managers"
            )
            raise ConfigError("open", message)
        self.open: Callable[[], AbstractAsyncContextManager[T_co] | AbstractContextManager[T_co]] = open
        """Returns the context manager."""
        own_name: str = getattr(open, "__name__", type(open).__name__)
        self.name: str = own_name if name is None else name
        """What errors call it."""

    def __repr__(self) -> str:
        return f"<Resource {self.name!r}>"
