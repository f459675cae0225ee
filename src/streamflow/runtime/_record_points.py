"""Where a run is recorded: points by name, and the watches that stand there.

Above: `_recording` (into a file), `_replay` (to compare). Below: `_plan`, `_metering`, `channels`.

Rules: an element is seen at `input`, and on an edge, when it enters; at `output` when the consumer takes it. Notes that the
runtime sends to itself are not seen. An edge that is no point has no watch.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

from ..elements import Marker, StreamElement
from ..errors import ConfigError
from ..observe import EDGES, INPUT, OUTPUT
from ._metering import Watches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

    from ..channels import ChannelWatch, EdgeBound
    from ..elements import EndReason
    from ..errors import RecordingError
    from ._engine import Engine
    from ._plan import Plan

    MakeWatch = Callable[[str, EdgeBound | None], ChannelWatch | None]

__all__ = ["PointWatcher", "Points", "RecordingState", "points_of"]


@dataclasses.dataclass(frozen=True, slots=True)
class Points:
    """The points of a pipeline at which its runs are recorded, in the order in which elements come to them."""

    names: tuple[str, ...]
    """What they are called."""
    entering: dict[str, int]
    """For each edge on which elements are seen when they enter, the number of its point."""
    taken: dict[str, int]
    """For each edge or merge at which elements are seen when they are taken, the number of its point."""
    leaves: dict[str, str]
    """For each edge of those to which that applies only once its leaf is read alone, the leaf."""


def points_of(at: Sequence[str], plan: Plan) -> Points:
    """Return the points that were asked for.

    Raises:
        ConfigError: If one is nothing that the pipeline has.
    """
    heads = {plan.edges[number].name: _of_head(name, plan) for name, number in plan.heads.items()}
    leaves = {plan.edges[number].name: name for name, number in plan.leaves.items()}
    wanted: set[str] = set()
    takes_output = False
    for point in at:
        if point in {OUTPUT, EDGES}:
            takes_output = bool(leaves)
        if point in {INPUT, EDGES}:
            wanted.update(heads)
        if point == EDGES:
            wanted.update(one.name for one in plan.edges if one.name not in leaves or len(leaves) > 1)
        elif point not in {INPUT, OUTPUT}:
            wanted.update(_edges_named(point, plan))
    order = sorted(plan.edges, key=lambda one: -1 if one.source is None else one.source)
    entering = {edge.name: heads.get(edge.name, edge.name) for edge in order if edge.name in wanted}
    taken: dict[str, str] = {}
    if takes_output and len(leaves) > 1:
        taken = {edge: f"{OUTPUT}:{name}" for edge, name in leaves.items()}
    if takes_output:
        taken[plan.outlet.name if len(leaves) > 1 else next(iter(leaves))] = OUTPUT
    names = tuple(dict.fromkeys([*entering.values(), *taken.values()]))
    numbers = {name: number for number, name in enumerate(names)}
    return Points(
        names,
        {edge: numbers[name] for edge, name in entering.items()},
        {edge: numbers[name] for edge, name in taken.items()},
        leaves if len(leaves) > 1 else {},
    )


def _of_head(name: str, plan: Plan) -> str:
    return INPUT if len(plan.heads) == 1 else f"{INPUT}:{name}"


def _edges_named(point: str, plan: Plan) -> Iterator[str]:
    """Yield the names of the edges that a point stands for: one edge, or all of a stage or of a nested pipeline."""
    wanted = point.replace(" -> ", " → ")
    stages = {one.index for one in plan.stages if one.node.name == wanted or one.node.name.startswith(f"{wanted}/")}
    found = [one.name for one in plan.edges if one.name == wanted or one.source in stages or one.target in stages]
    if not found:
        names = ", ".join(repr(one.node.name) for one in plan.stages)
        edges = ", ".join(repr(one.name) for one in plan.edges)
        message = (
            f"{point!r:.80} is no point; there are 'input', 'output', 'edges', the stages {names}, the edges {edges}"
        )
        raise ConfigError("at", f"{message:.2000}")
    yield from found


@dataclasses.dataclass(frozen=True, slots=True)
class RecordingState:
    """How far the recording of a run has come."""

    path: str
    """The file."""
    elements: int
    """Elements that were seen at its points."""
    lost: int
    """Elements that were not recorded: they came faster than they could be written, and nobody could be made to wait."""
    error: RecordingError | None
    """Why the recording has ended early; None: it has not."""


class PointWatcher:
    """Sees what comes to the points of one run; this one forgets it."""

    def __init__(self, points: Points) -> None:
        self.points: Points = points
        """Where it looks."""

    @property
    def state(self) -> RecordingState | None:
        """How far the recording has come; None: there is no file."""
        return None

    @property
    def is_at_work(self) -> bool:
        """Whether something has to be waited for at the end of the run."""
        return False

    def watching(self, further: MakeWatch | None) -> MakeWatch:
        """Return what makes the watches of the run's edges; `further` makes another one for each."""
        return partial(self._watch_of, further)

    def begin(self, engine: Engine) -> None:
        """Know that the run begins."""

    def end(self, reason: EndReason, elements: int) -> None:
        """Know that the run is over."""

    async def finish(self, timeout_s: float, *, shield: bool) -> None:
        """Wait until all is done. Cancellation: changes nothing, unless shielded."""

    def note(self, point: int, element: StreamElement) -> None:
        """See an element at a point. Must not raise and must not wait."""

    def is_taken(self, leaf: str) -> bool:
        """Say whether a leaf is read alone."""
        return False

    def _watch_of(self, further: MakeWatch | None, name: str, bound: EdgeBound | None) -> ChannelWatch | None:
        entering, taken = self.points.entering.get(name), self.points.taken.get(name)
        leaf = self.points.leaves.get(name)
        watches: list[ChannelWatch] = []
        if entering is not None:
            is_input = self.points.names[entering].startswith(INPUT)
            watches.append(_Entering(partial(self.note, entering), sees_refused=is_input))
        if taken is not None:
            watches.append(_Taken(partial(self.note, taken), None if leaf is None else partial(self.is_taken, leaf)))
        other = None if further is None else further(name, bound)
        if other is not None:
            watches.append(other)
        return watches[0] if len(watches) == 1 else Watches(*watches) if watches else None


class _Seeing:
    """A watch that sees nothing."""

    hears_sends: bool = False

    def __init__(self, note: Callable[[StreamElement], None]) -> None:
        self._note = note

    def on_sent(self, item: object) -> None:
        """Leave it to others."""

    def on_received(self, item: object) -> None:
        """Leave it to others."""

    def on_discarded(self, items: Sequence[object], reason: str) -> None:
        """Leave it to others."""

    def on_refused(self, item: object, reason: str) -> None:
        """Leave it to others."""

    def on_blocked(self, end: Literal["send", "receive"], *, blocked: bool) -> None:
        """Leave it to others."""


class _Entering(_Seeing):
    """Sees what enters an edge; where that is the input, also what is dropped instead."""

    hears_sends: bool = True

    def __init__(self, note: Callable[[StreamElement], None], *, sees_refused: bool) -> None:
        super().__init__(note)
        self._sees_refused = sees_refused

    def on_sent(self, item: object) -> None:
        """See it."""
        if isinstance(item, StreamElement) and not isinstance(item, Marker):
            self._note(item)

    def on_refused(self, item: object, reason: str) -> None:
        """See it, if it was given to the run."""
        if self._sees_refused:
            self.on_sent(item)


class _Taken(_Seeing):
    """Sees what is taken from an end; where that is a leaf, as long as it is read alone."""

    def __init__(self, note: Callable[[StreamElement], None], applies: Callable[[], bool] | None) -> None:
        super().__init__(note)
        self._applies = applies

    def on_received(self, item: object) -> None:
        """See it."""
        if (
            isinstance(item, StreamElement)
            and not isinstance(item, Marker)
            and (self._applies is None or self._applies())
        ):
            self._note(item)
