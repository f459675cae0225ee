"""A random graph as data: its stages, how they feed each other, what bounds the edges; and the builder that it makes.

Above: `_graph_strategies`, which draws them; your tests. Below: `runtime`, `graph`. What a stage does is up to whoever builds: a
stage has a kind, and `builder(make)` asks for the stage of each kind.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..graph import DROP, Router
from ..runtime import PipelineBuilder, PipelineConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..graph import PolicyName
    from ..stages import StageLike

__all__ = ["DrawnGraph", "DrawnStage", "Fan"]

Fan: TypeAlias = Literal["copy", "route", "balance"]
"""How a stage feeds several: a copy to each, one chosen by a rule, or whichever is free."""


@dataclasses.dataclass(frozen=True, slots=True)
class DrawnStage:
    """One stage of a random graph."""

    name: str
    """What it is called."""
    kind: str
    """What it is to do; whoever builds the graph knows."""
    inputs: tuple[str, ...] = ()
    """The stages that feed it, in the order of the merge; none: the source does."""
    fan: Fan = "copy"
    """How it feeds those behind it."""
    policy: PolicyName = "arrival"
    """How its inputs are merged, if it has several."""
    is_tap: bool = False
    """Whether it only looks on: it taps its one input."""
    is_sink: bool = False
    """Whether it sends nothing."""

    def __str__(self) -> str:
        fed = ", ".join(self.inputs) or "source"
        joined = f" by {self.policy}" if len(self.inputs) > 1 else ""
        return f"{self.name}: {fed}{joined} → {self.kind}{' (tap)' if self.is_tap else ''} → {self.fan}"


@dataclasses.dataclass(frozen=True, slots=True)
class DrawnGraph:
    """A random graph, of which `builder()` makes a pipeline."""

    stages: tuple[DrawnStage, ...]
    """The stages; each behind those that feed it."""
    capacity: int = 16
    """The bound of each edge that has none of its own."""
    buffers: tuple[tuple[str, str, int], ...] = ()
    """The edges with a bound of their own: from, to, bound."""

    def stage(self, name: str) -> DrawnStage:
        """Return the stage of that name."""
        return next(one for one in self.stages if one.name == name)

    def fed_by(self, name: str) -> tuple[str, ...]:
        """Return the stages that a stage feeds, those that tap it left out."""
        return tuple(one.name for one in self.stages if name in one.inputs and not one.is_tap)

    def taps_of(self, name: str) -> tuple[str, ...]:
        """Return the stages that tap a stage."""
        return tuple(one.name for one in self.stages if name in one.inputs and one.is_tap)

    @property
    def heads(self) -> tuple[str, ...]:
        """The stages that the source feeds."""
        return tuple(one.name for one in self.stages if not one.inputs)

    @property
    def leaves(self) -> tuple[str, ...]:
        """The stages that feed the consumer."""
        return tuple(one.name for one in self.stages if not one.is_sink and not self.fed_by(one.name))

    def above(self, name: str) -> frozenset[str]:
        """Return all stages from which something may come to a stage."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            new = [one for one in self.stage(waiting.pop()).inputs if one not in found]
            found.update(new)
            waiting += new
        return frozenset(found)

    def builder(
        self,
        make: Callable[[DrawnStage], StageLike],
        *,
        config: PipelineConfig | None = None,
        route: Callable[[DrawnStage, Sequence[str]], Router] | None = None,
    ) -> PipelineBuilder:
        """Return a builder that holds this graph, to be added to or built.

        Args:
            make: Returns what is to run as a stage; it has to have the name of that stage.
            config: Settings; None: edges of `capacity`.
            route: Returns the rule of a stage that routes, given the names that it chooses among; None: round robin.
        """
        builder = PipelineBuilder(config or PipelineConfig(buffer_size=self.capacity))
        builder.add(*(make(one) for one in self.stages))
        for source, target, buffer in self.buffers:
            if not self.stage(target).is_tap:
                builder.connect(source, target, buffer=buffer)
        for one in self.stages:
            self._join_below(builder, one, route)
        for one in self.stages:
            if len(one.inputs) > 1:
                builder.merge(one.name, *one.inputs, policy=one.policy)
        return builder

    def _join_below(
        self,
        builder: PipelineBuilder,
        one: DrawnStage,
        route: Callable[[DrawnStage, Sequence[str]], Router] | None,
    ) -> None:
        targets, taps = self.fed_by(one.name), self.taps_of(one.name)
        if targets and one.fan == "route":
            router = Router.round_robin(*targets) if route is None else route(one, targets)
            builder.route(one.name, router, default=DROP if router.may_miss else None)
        elif len(targets) > 1 and one.fan == "balance":
            builder.balance(one.name, *targets)
        elif len(targets) > 1:
            builder.branch(one.name, *targets)
        elif not targets:
            builder.chain(one.name)
        elif not any((source, target) == (one.name, targets[0]) for source, target, _ in self.buffers):
            builder.connect(one.name, targets[0])
        for tap in taps:
            buffer = next((size for source, target, size in self.buffers if (source, target) == (one.name, tap)), None)
            builder.tap(one.name, tap, buffer=buffer)

    def __str__(self) -> str:
        bounds = [f"{source} → {target}: {size}" for source, target, size in self.buffers]
        return "\n".join([*map(str, self.stages), f"edges of {self.capacity}", *bounds])
