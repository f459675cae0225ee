"""The pipeline: an immutable graph with its settings, ready to be run any number of times.

Above: users. Below: `_run`, `_engine`, `graph`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import msgspec

from .. import graph as graphs
from .. import observe
from ..elements import TextElement
from ..errors import ConfigError, DecodeError, SourceError, StreamflowError
from ..graph import GraphBuilder, SubGraph, place_of_caller
from ..stages import is_accepted, open_sources
from ._backend import run_once
from ._config import PipelineConfig
from ._engine import Engine
from ._kill_switch import KillSwitch
from ._lifetime import Lifetime
from ._plan import fused, make_plan
from ._reporting import Reporter
from ._run import Run
from ._sync import SyncSession, SyncStream, check_backend, forbid_inside_a_loop
from ._tracebacks import own_way_left_out

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from ..elements import StreamElement
    from ..graph import Graph, MergePolicy, Router
    from ..observe import AsyncListener, Listener, Recording, TraceContext
    from ..stages import Source, StageLike, Supervision
    from ._record_points import PointWatcher
    from ._result import Result
    from ._sync import BackendName

__all__ = ["Pipeline", "PipelineBuilder"]


def _unread_text(graph: Graph) -> str:
    kinds = {kind.__name__: None for node in graph.nodes for kind in node.stage.accepts}
    wanted = f"a string is a TextElement, which would pass by all stages of this pipeline; they read {', '.join(kinds)}"
    if "MessageElement" not in kinds:
        return f"{wanted}; give one of these, or TextElement(…) to have it passed by"
    return f"{wanted}; give MessageElement(Message('user', …)), or let the pipeline begin with a PromptStage"


class Pipeline:
    """A graph of stages that can be run, any number of times and concurrently; runs share nothing but resources.

    ```python
    async with pipeline:  # opens what stages share; leaving it shuts the pipeline down
        result = await pipeline.run("hello")
    ```

    The block is needed only where stages declare resources that are to be open before the first run. Made by
    `PipelineBuilder.build()`. Immutable, and bound to no event loop.
    """

    def __init__(self, graph: Graph, config: PipelineConfig, listeners: tuple[Listener | AsyncListener, ...]) -> None:
        self._graph = graph
        self._plan = plan = make_plan(graph, config)
        self._heads = tuple(plan.heads)
        self._generators = tuple(one.node.name for one in plan.stages if not one.inputs)
        self._config = config
        self._reads_text = any(is_accepted(TextElement, node.stage.accepts) for node in graph.nodes)
        self._listeners = listeners
        resources = [one for node in graph.nodes for one in node.stage.resources]
        self._lifetime = Lifetime(config.max_concurrent_runs, config.shutdown_timeout_s, resources)

    # Running

    def execute(
        self,
        source: Source | Mapping[str, Source] | None = None,
        *,
        deps: object = None,
        kill_switch: KillSwitch | None = None,
        trace: TraceContext | str | None = None,
        record: Recording | str | os.PathLike[str] | None = None,
    ) -> Run:
        """Return a run, which starts when its `async with` or `async for` is entered.

        Args:
            source: An element, a string, an iterable or async iterable of those, or a channel's receiving end, which is read and
                closed by the run; where several stages take a source, one for each, by name: `{"ears": …, "eyes": …}`.
                None: feed it with `run.send()` and `run.close_input()`.
            deps: What stages find as `run.deps`.
            kill_switch: Ends this run, and all others that it was given to.
            trace: Where the trace of the run goes on, if it is traced: a context, or a `traceparent`. None: in the span that the
                caller is part of, of this library or of OpenTelemetry, if there is one.
            record: The file in which the run is recorded, or a `Recording` that says more; None: what the configuration says.

        Raises:
            SourceError: If `source` cannot be iterated for elements, no stage takes one, or it does not fit to those that do; if it
                is a string, and no stage reads text.
            ConfigError: If `kill_switch` is none, `trace` is no context, or `record` names a point that there is not.
        """
        given = cast("object", kill_switch)
        if given is not None and not isinstance(given, KillSwitch):
            raise ConfigError(
                "kill_switch", f"a KillSwitch was expected, got {given!r:.80}; make one with KillSwitch()"
            )
        if type(source) is str and not self._reads_text and self._heads:
            raise SourceError(_unread_text(self._graph))
        opened = {} if source is None else open_sources(source, self._heads, self._generators)
        reporter = Reporter(self._listeners, self._config.event_buffer)
        if trace is not None or self._config.tracing:
            from ._tracing import tracer_of  # noqa: PLC0415 - most runs are not traced

            reporter.trace(tracer_of(self._config.tracing, reporter.run_id, trace))
        if record is not None or self._config.record is not None:
            reporter.recorder = self._recorder(record, reporter.run_id)
        engine = Engine(self._plan, self._config, opened, deps, reporter, self._lifetime)
        return Run(engine, place_of_caller(), live=source is None and self.takes_source, kill_switch=kill_switch)

    async def run(
        self,
        source: Source | Mapping[str, Source] | None = None,
        *,
        deps: object = None,
        kill_switch: KillSwitch | None = None,
        record: Recording | str | os.PathLike[str] | None = None,
    ) -> Result:
        """Run to the end and return everything that came out; without a source, with an empty input.

        Cancellation: the run is ended, and its tasks are waited for.

        Raises:
            SourceError: If `source` cannot be iterated for elements.
            StageError: If a stage failed.
            RunTimeoutError: If the run, a stage or an edge took too long.
            PipelineBusyError: If there are as many runs as there may be.
        """
        async with self.execute(self._or_nothing(source), deps=deps, kill_switch=kill_switch, record=record) as run:
            return await run.result()

    def execute_sync(
        self,
        source: Source | Mapping[str, Source] | None = None,
        *,
        deps: object = None,
        kill_switch: KillSwitch | None = None,
        record: Recording | str | os.PathLike[str] | None = None,
        backend: BackendName = "asyncio",
    ) -> Result:
        """Run to the end and return everything that came out, blocking; without a source, with an empty input.

        Resources that stages ask for are opened, and closed before it returns.

        Raises:
            SyncInAsyncError: If called inside a running event loop.
            ConfigError: If there is no such backend.
            MissingExtraError: If trio is asked for and not installed.
            SourceError: If `source` cannot be iterated for elements.
            StageError: If a stage failed.
            RunTimeoutError: If the run, a stage or an edge took too long.
            PipelineBusyError: If there are as many runs as there may be.
        """
        forbid_inside_a_loop("execute_sync")
        check_backend(backend)
        try:
            return run_once(functools.partial(self._run_alone, source, deps, kill_switch, record), backend)
        except StreamflowError as error:
            raise own_way_left_out(error) from error.__cause__

    def sync_session(self, *, backend: BackendName = "asyncio") -> SyncSession:
        """Return a session for many blocking runs: its event loop is kept between them, and so is what runs share.

        ```python
        with pipeline.sync_session() as session:
            results = [session.execute(line) for line in lines]
        ```

        Raises:
            SyncInAsyncError: If called inside a running event loop.
            ConfigError: If there is no such backend.
            MissingExtraError: If trio is asked for and not installed.
        """
        forbid_inside_a_loop("sync_session")
        check_backend(backend)
        return SyncSession(self.run, self._lifetime.close_resources, backend)

    def stream_sync(
        self,
        source: Source | Mapping[str, Source] | None = None,
        *,
        deps: object = None,
        kill_switch: KillSwitch | None = None,
        record: Recording | str | os.PathLike[str] | None = None,
        backend: BackendName = "asyncio",
    ) -> SyncStream:
        """Return the output as an iterator for a plain `for` loop; without a source, with an empty input.

        Raises:
            SyncInAsyncError: If called inside a running event loop.
            ConfigError: If there is no such backend.
            MissingExtraError: If trio is asked for and not installed.
        """
        forbid_inside_a_loop("stream_sync")
        check_backend(backend)
        execute = functools.partial(
            self.execute, self._or_nothing(source), deps=deps, kill_switch=kill_switch, record=record
        )
        return SyncStream(execute, self._lifetime.close_resources, backend)

    # Its life

    async def __aenter__(self) -> Self:
        """Open the resources that stages declare; all, or none.

        Raises:
            RunStateError: If the pipeline has been shut down.
            Exception: What an opening raised.
        """
        await self._lifetime.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    async def shutdown(self, timeout_s: float | None = None) -> None:
        """End this pipeline: no new runs; those that there are drain, as by `Run.drain()`; when time is up, they are cancelled.

        Runs give what is on its way through them; the consumer of one that had to be cancelled gets `EndOfStream` with the reason
        `cancelled`. At last the resources are closed. Idempotent.

        Args:
            timeout_s: How long runs may take to come to their end, in seconds; None: `shutdown_timeout_s`.

        Cancellation: what still runs is cancelled at once, and waited for.

        Raises:
            ConfigError: If `timeout_s` is no number from 0 up.
            ShutdownTimeoutError: If stages did not end even though they were cancelled; says what was not delivered.
        """
        await self._lifetime.shut_down(timeout_s)

    # As text, picture and data

    def explain(self) -> str:
        """Return what this pipeline does, as text for a terminal: stages, edges and their capacities, forks, joins, the bound.

        Also which stages share a task, and for each other edge why those at its ends do not.
        """
        config = self._config
        fusion = fused(self._graph, config)
        size, lanes, is_measured = config.buffer_size, config.priority, config.metrics
        return graphs.explain(self._graph, buffer_size=size, priority=lanes, fusion=fusion, is_measured=is_measured)

    def to_mermaid(self) -> str:
        """Return a picture as Mermaid text, which GitHub and many editors draw."""
        return graphs.to_mermaid(self._graph)

    def to_dot(self) -> str:
        """Return a picture as text for Graphviz."""
        return graphs.to_dot(self._graph)

    def to_svg(self, *, timeout_s: float = 30.0) -> str:
        """Return a picture as SVG, drawn by Graphviz' program `dot`. Blocks: in an event loop, call it in a thread.

        Args:
            timeout_s: Longest time that the program may take, in seconds.

        Raises:
            ConfigError: If `timeout_s` is no number above 0.
            MissingProgramError: If `dot` is not installed.
            ProgramError: If it fails, or takes too long.
        """
        return graphs.to_svg(self._graph, timeout_s=timeout_s)

    def to_dict(self) -> dict[str, object]:
        """Return the graph and the settings as values that JSON can hold, for `from_dict()`. Stages and rules are names alone."""
        return {"graph": graphs.graph_to_dict(self._graph), "config": self._config.to_dict()}

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, object],
        stages: Mapping[str, StageLike],
        *,
        policies: Mapping[str, MergePolicy] | None = None,
        routers: Mapping[str, Router] | None = None,
        supervisions: Mapping[str, Supervision] | None = None,
        weights: Mapping[str, Callable[[StreamElement], float]] | None = None,
    ) -> Self:
        """Return the pipeline that `to_dict()` wrote down. Nothing is imported or executed.

        Args:
            data: The graph, and the settings; from anywhere, it is checked.
            stages: The stages, by their names in the graph.
            policies: The policies of merges that have a function, by the stage that reads.
            supervisions: By the same names, what to do when stages fail, where a part of that is code (`on`, `decide`).
            routers: The rules of routes, by the names of the stages (`stage:port` for a port) whose output they divide.
            weights: The functions of edges' bounds by weight, by unit; those of `Weight.bytes()` and the like need not be given.

        Raises:
            DecodeError: If the data is malformed; says where.
            ConfigError: If a setting is wrong, or a policy; names the field.
            BuildError: If stages are missing, too many, or not what was written down, or the graph cannot run.
        """
        written, settings = _parts_of(data)
        try:
            code = policies or {}, supervisions or {}, routers or {}
            graph = graphs.graph_from_dict(written, stages, *code, weights=weights or {})
        except DecodeError as bad:
            raise DecodeError(bad.message, f"$.graph{bad.path[1:]}") from bad.__cause__
        return cls(graph, PipelineConfig().replace(**settings), ())

    # As a part of another one

    def as_stage(self, name: str) -> SubGraph:
        """Return this pipeline as something to add to a builder: its stages become stages of the other one, as `name/stage`.

        Its edges keep their capacity, policy, weight and priority lanes; where they have no lanes, the other one's settings say
        whether they get them. Its limits and listeners belong to its own runs, and do not come along.

        Raises:
            StageDefinitionError: If the name cannot be one.
        """
        return SubGraph(name, self._graph, self._config.buffer_size, self._config.priority or None)

    # Facts

    @property
    def config(self) -> PipelineConfig:
        """The settings."""
        return self._config

    @property
    def graph(self) -> Graph:
        """The stages and edges, as data."""
        return self._graph

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells this graph from others: the same for the same stages, by name, and the same edges; 16 hexadecimal digits."""
        import hashlib  # noqa: PLC0415 - most pipelines are never asked

        written = msgspec.json.encode(graphs.graph_to_dict(self._graph), order="sorted")
        return hashlib.sha256(written).hexdigest()[:16]

    @property
    def takes_source(self) -> bool:
        """Whether a stage has an input that the source feeds: False when all heads generate."""
        return bool(self._plan.heads)

    @property
    def max_in_flight(self) -> int | None:
        """Most elements that are inside a run at any moment: what edges and stages hold, and those in the sources' hands.

        None when a stage cannot say how many it holds; `unbounded_stages` names it. A copy counts as an element.
        """
        config = self._config
        return graphs.in_flight(self._graph, buffer_size=config.buffer_size, priority=config.priority).total

    @property
    def unbounded_stages(self) -> tuple[str, ...]:
        """Stages that cannot say how many elements they hold; `max_held=` tells."""
        return tuple(one.node.name for one in self._plan.stages if one.node.stage.max_held is None)

    def __repr__(self) -> str:
        names = [one.node.name for one in self._plan.stages]
        is_chain = (
            all(
                len(ends) <= 1 and all(len(end.edges) == 1 for end in ends)
                for one in self._plan.stages
                for ends in (one.inputs, one.outputs)
            )
            and len(self._plan.heads) + len(self._generators) == 1
        )
        return f"<Pipeline {(' → ' if is_chain else ', ').join(names)}>"

    def _or_nothing(self, source: Source | Mapping[str, Source] | None) -> Source | Mapping[str, Source] | None:
        return dict.fromkeys(self._plan.heads, ()) if source is None and self.takes_source else source

    def _recorder(self, given: object, run_id: str) -> PointWatcher | None:
        wanted = self._config.record if given is None else given
        settings = None if wanted is None else observe.checked_recording(wanted)
        if settings is None:
            return None
        from ._record_points import points_of  # noqa: PLC0415
        from ._recording import Recorder  # noqa: PLC0415 - most runs are not recorded

        points = points_of(settings.at, self._plan)
        return Recorder(settings, points, run_id=run_id, fingerprint=lambda: self.fingerprint)

    async def _run_alone(
        self,
        source: Source | Mapping[str, Source] | None,
        deps: object,
        kill_switch: KillSwitch | None,
        record: Recording | str | os.PathLike[str] | None,
    ) -> Result:
        try:
            return await self.run(source, deps=deps, kill_switch=kill_switch, record=record)
        finally:
            await self._lifetime.close_resources()


def _parts_of(data: object) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return the graph and the settings that `Pipeline.to_dict()` wrote down."""
    whole = _mapping(data, "$")
    unknown = next((key for key in whole if key not in {"graph", "config"}), None)
    if unknown is not None:
        raise DecodeError(f"no such field; there are 'graph' and 'config', got {unknown!r:.80}")
    if "graph" not in whole:
        raise DecodeError("the field 'graph' is missing")
    return _mapping(whole["graph"], "$.graph"), _mapping(whole.get("config", {}), "$.config")


def _mapping(value: object, path: str) -> Mapping[str, object]:
    kind = type(value).__name__
    if isinstance(value, Mapping):
        fields = cast("Mapping[object, object]", value)
        if all(isinstance(key, str) for key in fields):
            return cast("Mapping[str, object]", fields)
    raise DecodeError(f"an object with fields was expected, got {kind}", path)


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
        self._listeners: list[Listener | AsyncListener] = []

    def on_event(self, listener: Listener | AsyncListener) -> Self:
        """Call `listener` with every event of every run; what it raises is logged once and changes nothing.

        A function is called inline, so it must be quick. An async function is called in a task of its own, one event at a time,
        from a queue of `event_buffer` events; what does not fit is told as one `EventGap`.

        Raises:
            ConfigError: If it cannot be called.
        """
        if not callable(cast("object", listener)):
            message = f"a function or an async function of one event was expected, got {listener!r:.80}"
            raise ConfigError("listener", message)
        self._listeners.append(listener)
        return self

    def clone(self) -> Self:
        """Return a builder that has all that this one has, settings and listeners included, and goes its own way."""
        made = super().clone()
        made._listeners = list(self._listeners)  # noqa: SLF001 - our own class
        return made

    def build(self) -> Pipeline:
        """Check the graph and return the pipeline. The builder can go on and build others.

        Raises:
            BuildError: With every finding, each with its stage, the line that added it, and a way out.
        """
        return Pipeline(self.build_graph(), self._config, tuple(self._listeners))
