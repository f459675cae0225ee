"""The pipeline: an immutable graph with its settings, ready to be run any number of times.

Above: users. Below: `_run`, `_engine`, `graph`.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, cast

import anyio

from ..errors import ConfigError, SourceError
from ..graph import GraphBuilder, caller_of_package
from ..observe import EventBus
from ..stages import StageKind, open_source
from ._config import PipelineConfig
from ._engine import Engine
from ._run import Run
from ._sync import SyncStream, check_backend, forbid_inside_a_loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ..graph import Graph
    from ..observe import Event
    from ..stages import Source
    from ._result import Result
    from ._sync import BackendName

__all__ = ["Pipeline", "PipelineBuilder"]


class Pipeline:
    """A graph of stages that can be run, any number of times and concurrently; runs share nothing.

    Made by `PipelineBuilder.build()`. Immutable, and bound to no event loop.
    """

    def __init__(self, graph: Graph, config: PipelineConfig, listeners: tuple[Callable[[Event], object], ...]) -> None:
        self._graph = graph
        self._chain = graph.chain()
        self._config = config
        self._listeners = listeners

    def execute(self, source: Source | None = None, *, deps: object = None) -> Run:
        """Return a run, which starts when its `async with` or `async for` is entered.

        Args:
            source: An element, a string, an iterable or async iterable of those, or a channel's receiving end, which is read and
                closed by the run; None: feed it with `run.send()` and `run.close_input()`.
            deps: What stages find as `run.deps`.

        Raises:
            SourceError: If `source` cannot be iterated for elements, or the first stage takes no input.
        """
        head = self._chain[0]
        if source is not None and not self.takes_source:
            message = f"stage {head.name!r} generates and takes no source; call execute() without one"
            raise SourceError(message)
        opened = None if source is None else open_source(source)
        engine = Engine(self._chain, self._config, opened, deps, EventBus(self._listeners))
        return Run(engine, caller_of_package(), live=source is None and self.takes_source)

    async def run(self, source: Source | None = None, *, deps: object = None) -> Result:
        """Run to the end and return everything that came out; without a source, with an empty input.

        Cancellation: the run is ended, and its tasks are waited for.

        Raises:
            SourceError: If `source` cannot be iterated for elements.
            StageError: If a stage failed.
            RunTimeoutError: If the run, a stage or an edge took too long.
        """
        async with self.execute(self._or_nothing(source), deps=deps) as run:
            return await run.result()

    def execute_sync(
        self, source: Source | None = None, *, deps: object = None, backend: BackendName = "asyncio"
    ) -> Result:
        """Run to the end and return everything that came out, blocking; without a source, with an empty input.

        Raises:
            SyncInAsyncError: If called inside a running event loop.
            ConfigError: If there is no such backend.
            MissingExtraError: If trio is asked for and not installed.
            SourceError: If `source` cannot be iterated for elements.
            StageError: If a stage failed.
            RunTimeoutError: If the run, a stage or an edge took too long.
        """
        forbid_inside_a_loop("execute_sync")
        check_backend(backend)
        return anyio.run(functools.partial(self.run, source, deps=deps), backend=backend)

    def stream_sync(
        self, source: Source | None = None, *, deps: object = None, backend: BackendName = "asyncio"
    ) -> SyncStream:
        """Return the output as an iterator for a plain `for` loop; without a source, with an empty input.

        Raises:
            SyncInAsyncError: If called inside a running event loop.
            ConfigError: If there is no such backend.
            MissingExtraError: If trio is asked for and not installed.
        """
        forbid_inside_a_loop("stream_sync")
        check_backend(backend)
        return SyncStream(functools.partial(self.execute, self._or_nothing(source), deps=deps), backend)

    @property
    def config(self) -> PipelineConfig:
        """The settings."""
        return self._config

    @property
    def takes_source(self) -> bool:
        """Whether the first stage has an input: False when it generates."""
        return self._chain[0].stage.kind is not StageKind.GENERATE

    @property
    def max_in_flight(self) -> int | None:
        """Most elements that are inside a run at any moment: what edges and stages hold, and the one in the source's hand.

        None when a stage cannot say how many it holds; `unbounded_stages` names it.
        """
        if self.unbounded_stages:
            return None
        edges = (
            len(self._chain) + 1 - sum(one.stage.kind in (StageKind.SINK, StageKind.GENERATE) for one in self._chain)
        )
        return edges * self._config.buffer_size + sum(one.stage.max_held or 0 for one in self._chain) + 1

    @property
    def unbounded_stages(self) -> tuple[str, ...]:
        """Stages that cannot say how many elements they hold; `max_held=` tells."""
        return tuple(one.name for one in self._chain if one.stage.max_held is None)

    def __repr__(self) -> str:
        return f"<Pipeline {' → '.join(one.name for one in self._chain)}>"

    def _or_nothing(self, source: Source | None) -> Source | None:
        return () if source is None and self.takes_source else source


class PipelineBuilder(GraphBuilder):
    """Collect stages, connect them, and build a pipeline.

    ```python
    pipeline = PipelineBuilder().chain(listen, think, speak).build()
    ```

    Args:
        config: Sizes and limits; default `PipelineConfig()`.
    """

    def __init__(self, config: PipelineConfig | None = None) -> None:
        super().__init__()
        given = cast("object", config)
        if given is not None and not isinstance(given, PipelineConfig):
            raise ConfigError(
                "config", f"a PipelineConfig was expected, got {given!r:.80}; write PipelineConfig(buffer_size=…)"
            )
        self._config = config if config is not None else PipelineConfig()
        self._listeners: list[Callable[[Event], object]] = []

    def on_event(self, listener: Callable[[Event], object]) -> Self:
        """Call `listener` with every event of every run, inline; what it raises is logged once and changes nothing."""
        given = cast("object", listener)
        if not callable(given) or inspect.iscoroutinefunction(given):
            message = (
                f"a plain function of one event was expected, got {listener!r:.80}; it is called inline and cannot wait"
            )
            raise ConfigError("listener", message)
        self._listeners.append(listener)
        return self

    def build(self) -> Pipeline:
        """Check the graph and return the pipeline. The builder can go on and build others.

        Raises:
            BuildError: With every finding, each with its stage, the line that added it, and a way out.
        """
        return Pipeline(self.build_graph(), self._config, tuple(self._listeners))
