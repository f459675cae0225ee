"""The builder: collects stages and edges, checks them, hands out an immutable graph. Starts nothing.

Above: `runtime.PipelineBuilder`, which makes a pipeline of the graph. Below: `_said`, `_nesting`, `_validation`.

A call takes what it is given as a stage at once, or raises and changes nothing. What it names is looked up by `build_graph()`, so
the order of calls does not matter, and every unknown name is told in one report.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from typing import TYPE_CHECKING, Literal, cast

from ..channels import checked_overflow, checked_weight
from ..elements import Priority
from ..errors import ConfigError, StageDefinitionError
from ..stages import Supervision, as_stage, definition_error
from ._callers import caller_of_package, warn_at
from ._fans import FanCall
from ._feedback import checked_feedback
from ._nesting import checked_buffer, checked_priority, nestable
from ._policies import checked_policy
from ._reconvergence import reconvergent
from ._router import DROP, check_route
from ._said import Link, Merged, Named, Said
from ._spec import CONSUMER, SOURCE, Node, Outside
from ._types import unclaimed
from ._validation import check

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Self

    from ..channels import Overflow, Unroutable, Weight
    from ..stages import StageLike
    from ._nesting import GraphStage
    from ._policies import MergePolicy, PolicyName
    from ._router import Drop, Router
    from ._spec import Graph

__all__ = ["GraphBuilder"]


class GraphBuilder:
    """Collect stages and the edges between them. Every method returns the builder, or a builder.

    A stage is given as an object, a function, a class, a pipeline, or a string: the name of a stage, or `name:port`, added before
    or after. `name/inner` is a stage of the pipeline that was nested as `name`; `name` alone stands for its input and its output.
    """

    def __init__(self) -> None:
        self._said = Said()
        self._scope = ""

    def add(self, *stages: GraphStage) -> Self:
        """Add stages without connecting them; all of them, or none where it raises.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
        """
        with self._whole_call(caller_of_package()) as where:
            for one in stages:
                self._add(one, where)
        return self

    def chain(self, *stages: GraphStage | str) -> Self:
        """Add stages and connect each to the next; all of them, or none where it raises.

        Args:
            stages: Objects, functions, classes, pipelines, each of which is added; or names, as to continue behind a stage.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
        """
        with self._whole_call(caller_of_package()) as where:
            named = [self._named(one, where) if isinstance(one, str) else self._add(one, where) for one in stages]
            between = [one.replace(is_between=True) for one in named[1:-1]]
            steps = [*named[:1], *between, *named[1:][-1:]]
            self._said.links += [Link(source, target) for source, target in itertools.pairwise(steps)]
            if len(steps) == 1:
                self._said.alone += steps
        return self

    def connect(
        self,
        source: GraphStage | str | Literal[Outside.SOURCE],
        target: GraphStage | str | Literal[Outside.CONSUMER],
        *,
        buffer: int | None = None,
        overflow: Overflow = "block",
        weight: Weight | None = None,
        priority: bool | None = None,
    ) -> Self:
        """Make one edge. An object that was added before is that stage; another one is added.

        ```python
        builder.connect("camera", "detect", overflow="latest")  # only the newest frame is worth a look
        builder.connect("tts", "play", weight=Weight.audio_ms(500))
        builder.connect(SOURCE, "vad", overflow="drop_oldest")  # of the microphone, the newest sound
        ```

        Args:
            source: What writes; or `SOURCE`, to say what bounds the edge into an input that no stage feeds.
            target: What reads; or `CONSUMER`, to say what bounds the edge from an output that no stage takes.
            buffer: Capacity of the edge, in elements; None: what the pipeline's configuration says.
            overflow: What becomes of data for which there is no room. `block`: its sender waits. `drop_oldest`: what has waited
                longest goes. `drop_newest`: what came last goes. `latest`: only the newest is kept (conflation). `error`: its
                sender fails with `EdgeOverflowError`. Drops are counted; control is never dropped: it has a room of its own, as
                large, unless the policy is `block`.
            weight: A bound by what data weighs, beside `buffer`.
            priority: Whether the edge has priority lanes; None: what the pipeline's configuration says.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
            ConfigError: If one of the options is wrong; names it.
        """
        of_edge = (
            checked_buffer(buffer),
            checked_overflow(overflow),
            checked_weight(weight),
            checked_priority(priority),
        )
        if priority and buffer is not None and buffer < len(Priority):
            message = f"an edge with priority lanes has a place for each of {len(Priority)} priorities, got {buffer}"
            raise ConfigError("buffer", f"{message}; give it {len(Priority)} or more, or no lanes")
        ends: tuple[object, object] = source, target
        outside = [one for one in ends if isinstance(one, Outside)]
        if len(outside) > 1 or ends[0] is CONSUMER or ends[1] is SOURCE:
            hint = "write connect(SOURCE, head, …) or connect(leaf, CONSUMER, …)"
            raise definition_error(None, "elements go from the source to stages, and from stages to the consumer", hint)
        with self._whole_call(caller_of_package()) as where:
            begin = Named("", where) if isinstance(source, Outside) else self._known(source, where)
            end = Named("", where) if isinstance(target, Outside) else self._known(target, where)
            (self._said.outer if outside else self._said.links).append(Link(begin, end, *of_edge))
        return self

    def branch(
        self,
        source: GraphStage | str,
        *targets: GraphStage | str,
        otherwise: GraphStage | str | None = None,
        optional: Sequence[GraphStage | str] = (),
        essential: Sequence[GraphStage | str] = (),
        dynamic: bool = False,
    ) -> Self:
        """Say that the edges out of `source` are branches, and make those that are not there yet.

        Each branch gets a copy of every element whose type its first stage accepts, and all control elements. Several calls add up.

        ```python
        builder.chain(listen, llm, tts).branch("llm", "tts", transcript)  # both get what they accept
        ```

        Args:
            source: What writes.
            targets: What reads. An object that was added before is that stage; another one is added.
            otherwise: One more, for data that no other branch accepts; None: such data is dropped and counted.
            optional: Further branches, which may fail: a stage that only such branches lead to, and that fails, ends its branch
                alone. What is behind it gets an `ErrorElement` that is not fatal, and then the end.
            essential: Those without which the fork ends, among the targets or besides them: when one of them takes no more, the
                others get what they were sent, and the source is told that no more is needed.
            dynamic: Whether further branches may join and leave during a run, see `Run.subscribe()`; then none need be named here.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
            ConfigError: If `optional` is no list or tuple.
        """
        if not isinstance(cast("object", optional), (list, tuple)):
            raise ConfigError("optional", f"a list of branches was expected, got {optional!r:.80}; write optional=[…]")
        with self._whole_call(caller_of_package()) as where:
            begin = self._known(source, where)
            ends = [self._known(one, where) for one in targets]
            rest = None if otherwise is None else self._known(otherwise, where)
            may_fail = [self._known(one, where) for one in _several(optional)]
            needed = [self._known(one, where) for one in _several(essential)]
            self._said.forks.append((begin, rest))
            self._said.optional += [(begin, one) for one in may_fail]
            if needed or dynamic:
                self._said.fans.append(FanCall(begin, "branch", essential=tuple(needed), is_dynamic=dynamic))
            every = (*ends, *([rest] if rest else []), *may_fail, *needed)
            self._said.links += [Link(begin, end, restates=True) for end in every]
        return self

    def route(
        self,
        source: GraphStage | str,
        router: Router,
        *,
        default: GraphStage | str | Drop | None = None,
        unroutable: Unroutable = "drop",
        buffer: int | None = None,
    ) -> Self:
        """Say that each data element out of `source` goes to one branch, which a rule chooses; control goes to all.

        ```python
        builder.route("intake", Router.by_rules((is_question, answer), (is_order, sell)), default=DROP)
        ```

        While the chosen branch is full, what is behind the element waits too, whatever branch it is for.

        Args:
            source: What writes.
            router: The rule, with the stages that it chooses among: see `Router`.
            default: The stage for data that no rule applies to, or `DROP`: it is dropped and counted. One of the two must be given
                where there may be such data.
            unroutable: What becomes of an element whose branch takes no more: `drop` drops and counts it, `error` fails the source,
                `default` sends it to the default.
            buffer: Capacity of the edges that this call makes, in elements; None: what the pipeline's configuration says. An edge
                that `connect()` made has its own.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
            ConfigError: If the router is none, the default is missing or can get nothing, or an option is wrong.
        """
        check_route(router, default, unroutable)
        size = checked_buffer(buffer)
        with self._whole_call(caller_of_package()) as where:
            begin = self._known(source, where)
            choices = tuple(self._known(one, where) for one in router.choices)
            rest = None if default is None or default is DROP else self._known(default, where)
            names = tuple(one.text.removeprefix(self._scope) for one in choices)
            self._said.fans.append(FanCall(begin, "route", rest, router, choices, names, unroutable))
            ends = choices if rest is None else (*choices, rest)
            self._said.links += [Link(begin, end, size, restates=True) for end in dict.fromkeys(ends)]
        return self

    def balance(
        self,
        source: GraphStage | str,
        *workers: GraphStage | str,
        otherwise: GraphStage | str | None = None,
        buffer: int | None = None,
    ) -> Self:
        """Say that each data element out of `source` goes to one branch: whichever is free; control goes to all.

        That is the branch with the fewest elements waiting and in hand; where several are equally free, they take turns. The source
        waits only while all are full. Several calls add up.

        Args:
            source: What writes.
            workers: What reads. Each gets elements of the types that it accepts.
            otherwise: One more, for data that no worker accepts; None: such data is dropped and counted.
            buffer: Capacity of the edges that this call makes, in elements; None: what the pipeline's configuration says. With 1,
                an element is bound to a worker no sooner than it must be.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
            ConfigError: If the buffer is no size.
        """
        size = checked_buffer(buffer)
        with self._whole_call(caller_of_package()) as where:
            begin = self._known(source, where)
            ends = [self._known(one, where) for one in workers]
            rest = None if otherwise is None else self._known(otherwise, where)
            self._said.fans.append(FanCall(begin, "balance", rest))
            self._said.links += [Link(begin, end, size, restates=True) for end in (*ends, *([rest] if rest else []))]
        return self

    def tap(self, source: GraphStage | str, *targets: GraphStage | str, buffer: int | None = None) -> Self:
        """Let stages see what `source` sends, without any effect on where that goes: they are never waited for.

        Each gets a copy of every element that its stage accepts, and of all control, as far as there is room; what does not fit is
        dropped and counted. A source that feeds nothing else still feeds the consumer.

        Args:
            source: What writes.
            targets: What looks on: sinks, mostly. What such a stage sends on is part of the graph like anything else.
            buffer: Capacity of the edges, in elements; None: what the pipeline's configuration says.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
            ConfigError: If the buffer is no size.
        """
        size = checked_buffer(buffer)
        with self._whole_call(caller_of_package()) as where:
            begin = self._known(source, where)
            ends = [self._known(one, where) for one in targets]
            self._said.links += [Link(begin, end, size, is_tap=True) for end in ends]
            self._said.alone += [begin] if not ends else []
        return self

    def merge(
        self,
        into: GraphStage | str,
        *sources: GraphStage | str,
        policy: PolicyName | MergePolicy | None = None,
        isolate: bool = False,
    ) -> Self:
        """Say that the edges into `into` are merged, and how, and make those that are not there yet.

        Several calls add up. Where it matters which input is first, their order is that of `sources`; those that are named
        nowhere come last.

        ```python
        builder.branch("words", french, german).merge(together, french, german, policy="ordered")
        ```

        Args:
            into: What reads.
            sources: What writes. An object that was added before is that stage; another one is added.
            policy: `"arrival"` (what has come, fairly; the default), `"ordered"`, `"concat"`, `"zip"`, `"zip_latest"`,
                `"barrier"`, `"priority"`, `"race"`; or an object, for those with parameters: `Ordered(key=…)`,
                `Zip(combine=…)`, `ZipLatest(combine=…)`, `Barrier(max_held=…)`, `Prioritized(weights)` of `streamflow.graph`.
            isolate: Whether an input that fails ends that input alone: where it was, an `ErrorElement` comes that is not fatal, and
                the others go on. It fails with a stage all of whose ways to the output lead through such a merge.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
            ConfigError: If there is no such policy, or `isolate` is no switch.
        """
        if not isinstance(cast("object", isolate), bool):
            raise ConfigError("isolate", f"a switch is True or False, got {isolate!r:.80}")
        how = None if policy is None else checked_policy(policy)
        with self._whole_call(caller_of_package()) as where:
            begins = [self._known(one, where) for one in sources]
            end = self._known(into, where)
            self._said.joins.append(Merged(end, how, tuple(begins)))
            if isolate:
                self._said.isolating.append(end)
            self._said.links += [Link(begin, end, restates=True) for begin in begins]
        return self

    def feedback(
        self,
        source: GraphStage | str,
        target: GraphStage | str,
        *,
        buffer: int,
        max_rounds: int | None = None,
        on_limit: Literal["error", "drop"] = "error",
    ) -> Self:
        """Make one edge that leads back: the one lawful loop.

        It is one more branch of `source`, for data that `target` accepts; the other branches are the way out. `target` gets what
        comes back before what is new. Control, ends of turns included, is not sent back. The loop ends by itself, once nothing
        new can come and nothing is inside it any more.

        ```python
        builder.chain(plan, act).feedback("act:again", "plan", buffer=8, max_rounds=10)
        ```

        Args:
            source: What writes. An object that was added before is that stage; another one is added.
            target: What reads: a stage from which elements come to `source`.
            buffer: Capacity of the edge, in elements. What does not fit holds the loop up; once all of it is full, for ever: such a
                run is ended with `PipelineDeadlockError`.
            max_rounds: How often an element, and what was made of it, may be sent back; None: no limit.
            on_limit: What happens to an element that would be sent back more often: `error` fails `source` with `RoundLimitError`,
                `drop` drops and counts it.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
            ConfigError: If the buffer or the limit is none.
        """
        size, spec = checked_feedback(buffer, max_rounds, on_limit)
        with self._whole_call(caller_of_package()) as where:
            begin, end = self._known(source, where), self._known(target, where)
            self._said.links.append(Link(begin, end, size, feedback=spec))
        return self

    def supervise(
        self, stage: GraphStage | str, supervision: Supervision, *, dead_letters: GraphStage | str | None = None
    ) -> Self:
        """Say what to do when a stage fails, instead of failing the run.

        ```python
        builder.supervise("parse", Supervision("dead_letter"), dead_letters=CollectStage(unreadable))
        ```

        Args:
            stage: The stage; or a nested pipeline or a prefix: each of its stages of which nothing else is said. An object that was
                added before is that stage; another one is added.
            supervision: What to do.
            dead_letters: What reads the `DeadLetterElement`s of the stage; several stages may have the same.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
            ConfigError: If `supervision` is none.
        """
        if not isinstance(cast("object", supervision), Supervision):
            message = f"a Supervision was expected, got {supervision!r:.80}; write Supervision('restart')"
            raise ConfigError("supervision", message)
        with self._whole_call(caller_of_package()) as where:
            named = self._known(stage, where)
            if ":" in named.text:
                message = f"{named.text!r} is a port, and what is supervised is a stage"
                raise definition_error(None, message, f"write {named.text.partition(':')[0]!r}")
            letters = None if dead_letters is None else self._known(dead_letters, where)
            self._said.supervised.append((named, supervision, letters))
        return self

    def clone(self) -> Self:
        """Return a builder that has all that this one has, and goes its own way."""
        made = copy.copy(self)
        made._said = self._said.copy()  # noqa: SLF001 - our own class
        return made

    def prefixed(self, prefix: str) -> Self:
        """Return a view on this builder: what it adds is added here, with `prefix/` in front of its name.

        Names that it is given are looked up behind the prefix first, then outside, so that one function can add the same stages
        twice. Like the name of a nested pipeline, the prefix alone stands for all that is behind it.

        ```python
        def add_cleaning(builder: PipelineBuilder) -> None:
            builder.chain(strip, lower)


        add_cleaning(builder.prefixed("left"))
        builder.connect("left", "join")
        ```

        Args:
            prefix: A name, or several with slashes between them.

        Raises:
            ConfigError: If it is no prefix.
        """
        given = cast("object", prefix)
        parts = given.split("/") if isinstance(given, str) and ":" not in given else [""]
        if not all(part and part == part.strip() for part in parts):
            message = f"a name, or several with slashes between them, was expected, got {given!r:.80}"
            raise ConfigError("prefix", f"{message}; 'left' makes 'left/stage'")
        view = copy.copy(self)
        view._scope = f"{self._scope}{prefix}/"  # noqa: SLF001 - our own class
        return view

    def build_graph(self) -> Graph:
        """Check everything and return the graph; its stages are frozen from now on.

        Warns with `BuildWarning` where a branch loses data of a type that is known to come, and where paths that part and meet
        again may stop each other for ever.

        Raises:
            BuildError: With every finding.
        """
        graph, named = self._said.graph()
        check(graph, named)
        for one in (*unclaimed(graph), *reconvergent(graph)):
            warn_at(f"{one.message}; {one.hint}", one.where or "")
        for node in graph.nodes:
            if node.stage.freeze is not None:
                node.stage.freeze()
        return graph

    @contextlib.contextmanager
    def _whole_call(self, where: str) -> Generator[str, None, None]:
        """Give the line of a call; take back what it said where it raises, and tell its line."""
        before = self._said.lengths()
        try:
            yield where
        except BaseException as error:
            self._said.forget_after(before)
            if isinstance(error, StageDefinitionError):
                found = [one.replace(where=where) for one in error.findings]
                raise StageDefinitionError(found) from error.__cause__
            raise

    def _add(self, given: GraphStage, where: str) -> Named:
        """Add a stage, or all stages of a pipeline."""
        nested = nestable(given)
        if nested is not None:
            name = self._said.splice(nested, self._scope, where)
        else:
            spec = as_stage(cast("StageLike", given))
            name = self._scope + spec.name
            self._said.nodes.append(Node(name, spec, where))
        self._said.given.append((given, self._scope, name))
        return Named(name, where)

    def _known(self, given: GraphStage | str, where: str) -> Named:
        """Return the stage that was given before, by name or as an object; add what was not."""
        if isinstance(given, str):
            return self._named(given, where)
        name = self._said.name_of(given, self._scope)
        return self._add(given, where) if name is None else Named(name, where)

    def _named(self, text: str, where: str) -> Named:
        name, colon, port = text.partition(":")
        if not name.strip() or (colon and not port.strip()):
            message = f"{text!r} names no stage" if not name.strip() else f"{text!r} names no port of {name!r}"
            raise definition_error(None, message, "a stage is named as in 'name', a port of it as in 'name:port'")
        return Named(text, where, self._scope)


def _several(given: Sequence[GraphStage | str]) -> list[GraphStage | str]:
    """Return stages that were given as one argument; a string is one name."""
    return [given] if isinstance(given, str) else list(given)
