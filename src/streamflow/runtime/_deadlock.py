"""Whether a run waits for itself: noticed when its last task begins to wait, and made sure of before anything is said.

Above: `_engine`, which ends the run or lets an edge grow. Below: `channels` (who waits), `_await_chain` (under which limits).

A deadlock is claimed only where nothing can end it any more:

1. Every task of the run waits for an edge of this very run, or for another task of its stage. What waits for anything else (I/O, a
   timer, a thread, a lock, another run) may go on, and so may all that waits for it.
2. None of these waits ends by itself: none is under a time limit.
3. No stage has tasks of its own beside those of the run: none that the loop knows, and none that it declares (`helpers=True`).
4. What the user can do does not help: on no edge to the consumer waits somebody for room, unless the consumer waits for an element;
   and no stage waits for an element that the user may still send.

Nothing here costs anything while a task of the run can go on: `Pulse` counts, and the look is taken when all are at rest.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Literal

from ..channels import Pulse, has_waiting_sender, is_awaited, tell_waits, waits_on, widen, written_edges
from ..errors import Wait, WaitGraph
from ..stages import run_here
from ._await_chain import has_time_limit, place_of

if TYPE_CHECKING:
    import weakref
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ..channels import ReceiveEnd
    from ._config import PipelineConfig
    from ._engine import Engine
    from ._jobs import Job
    from ._stage_run import StageRun

__all__ = ["DeadlockWatch", "let_grow", "stages_with_tasks", "wait_graph"]

_CONSUMER = "consumer"

_NONE: frozenset[str] = frozenset()

_TELLS_ALWAYS = -(2**40)
"""What a pulse begins with that tells of every wait, however many of those that it was told the end of had begun before it."""


class DeadlockWatch:
    """Finds out whether a run is dead, when none of its tasks can go on.

    Args:
        engine: A weak link to the run. It holds this, so this does not hold it.
    """

    __slots__ = ("_engine", "_fed_by_user", "_is_due", "_left_alone", "_sees_user")

    def __init__(self, engine: weakref.ref[Engine]) -> None:
        self._engine = engine
        self._is_due = self._sees_user = False
        self._fed_by_user: Sequence[ReceiveEnd[Any]] = ()  # known once it has mattered what the user does
        self._left_alone = _NONE  # stages that have tasks of their own

    def suspect(self) -> None:
        """Hear that perhaps nothing can go on."""
        engine = self._engine()
        if self._is_due or engine is None or engine.pulse.runnable > 0:
            return
        # A run whose consumer is slow comes here with each burst, a live one with each element, so these are asked first.
        outlet = engine.outlet
        if self._sees_user and outlet.state == "open" and has_waiting_sender(outlet) and not is_awaited(outlet):
            return
        if any(edge.state == "open" and is_awaited(edge) for edge in self._fed_by_user):
            return
        if engine.jobs.alive and not self._is_up_to_user(engine):
            self._is_due = True
            engine.jobs.backend.call_soon(self._look)  # the task that brought this about has not begun to wait

    def _look(self) -> None:
        self._is_due = False
        engine = self._engine()
        if engine is not None and engine.pulse.runnable <= 0 and not engine.end_loops() and self._is_dead(engine):
            engine.found_dead()

    def _is_dead(self, engine: Engine) -> bool:
        jobs = engine.working_jobs()
        if not jobs or engine.cancelled or self._is_up_to_user(engine):
            return False
        if any(stage.name in self._left_alone and stage.job in jobs for stage in engine.stages):
            return False
        waits = waits_on(_ends(engine), engine.pulse)
        for job in jobs:
            view = job.look(engine.jobs.backend)
            if view is None or job.cancel_requested:
                return False
            if (view.key not in waits and not _waits_for_helpers(engine, job)) or has_time_limit(view.coroutine):
                return False
        self._left_alone = frozenset(stages_with_tasks(engine, jobs))
        return not self._left_alone

    def _is_up_to_user(self, engine: Engine) -> bool:
        """Say whether what the user can do may help; then look again when the user waits, too."""
        if not _user_may_help(engine):
            return False
        if not self._sees_user:
            self._sees_user = True
            fed = self._fed_by_user = [
                engine.edges[edge] for head, edge in engine.plan.heads.items() if not engine.has_feeder(head)
            ]
            user = Pulse(_TELLS_ALWAYS, self._engine)
            tell_waits(user, written=fed, read=[engine.outlet, *engine.leaves.values()])
        return True


def wait_graph(engine: Engine) -> WaitGraph:
    """Return who waits for whom in a run at this moment, whether it is dead or not."""
    teller = _Teller(engine)
    told = teller.all()
    return WaitGraph(tuple(told), teller.cycle(told))


def let_grow(graph: WaitGraph, edges: Sequence[ReceiveEnd[Any]], config: PipelineConfig) -> tuple[str, int, int] | None:
    """Give more room to the smallest edge that is full among those that a dead run waits for; Parks' rule.

    Args:
        graph: Who waits for whom.
        edges: The edges of the run.
        config: Says whether edges may grow, and how far.

    Returns:
        The edge, what it held and what it holds now; None if there is none that may grow.
    """
    if config.on_deadlock != "grow":
        return None
    limit = config.deadlock_grow_limit
    full = {one.edge for one in graph.on_cycle if one.kind == "send"}
    smallest = min(
        (
            edge
            for edge in edges
            if edge.name in full and edge.capacity < limit and has_waiting_sender(edge) and has_waiting_sender(edge)
        ),
        key=lambda one: one.capacity,
        default=None,
    )
    if smallest is None:
        return None
    before = smallest.capacity
    widen(smallest, min(2 * before, limit))
    return smallest.name, before, smallest.capacity


class _Teller:
    """Says what each task of a run waits for, and who could end that."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waits = waits_on(_ends(engine), engine.pulse)
        self._readers: dict[str, str] = {}  # of edges
        self._writers: dict[str, str] = {}
        self._tasks: dict[str, list[str]] = {}  # of each of those, by what they are called in reports
        heads = {edge: engine.source_name(name) for name, edge in engine.plan.heads.items()}
        names = [one.name for one in engine.stages]
        for number, edge in enumerate(engine.plan.edges):
            self._readers[edge.name] = _CONSUMER if edge.target is None else names[edge.target]
            self._writers[edge.name] = heads.get(number, "source") if edge.source is None else names[edge.source]
        for stage in engine.stages:
            self._tasks[stage.name] = [one.name for one in (stage.job, *stage.helpers) if one in engine.jobs.alive]

    def all(self) -> list[Wait]:
        """Return what each task of the run does, and its consumer."""
        engine = self._engine
        owners = {job: stage for stage in engine.stages for job in (stage.job, *stage.helpers)}
        told = [self._of_job(job, owners.get(job)) for job in engine.working_jobs()]
        if is_awaited(engine.outlet):
            told.append(self._of_edges(_CONSUMER, "receive", engine.outlet.name, engine.outlet.awaited_edges))
        elif engine.leaves:
            told.append(Wait(_CONSUMER, "runs"))
        return told

    def cycle(self, told: Sequence[Wait]) -> tuple[str, ...]:
        """Return the shortest way round: each waits for the next one, and the last one for the first.

        One with a full edge comes first: where nobody waits for room, as in a loop to which nothing comes, nothing is stuck.
        """
        named = {one.who: one for one in told}
        following = {
            who: [task for other in one.on for task in self._tasks_of(one, other) if task in named]
            for who, one in named.items()
        }
        found: tuple[str, ...] = ()
        for is_cause in (True, False):
            for who, one in named.items():
                around = _way_round(who, following) if (one.kind == "send") is is_cause else ()
                if around and (not found or len(around) < len(found)):
                    found = around
            if found:
                break
        return found

    def _tasks_of(self, wait: Wait, other: str) -> Sequence[str]:
        """Return the tasks that stand for one that is waited for: of a stage all of them; inside a stage it is a task already."""
        return [other] if wait.kind == "inside" else self._tasks.get(other, [other])

    def _of_job(self, job: Job, stage: StageRun | None) -> Wait:
        view = job.look(self._engine.jobs.backend)
        wait = None if view is None else self._waits.get(view.key)
        if stage is not None and _waits_for_helpers(self._engine, job):
            return Wait(job.name, "inside", on=tuple(one.name for one in stage.helpers))
        if wait is None:
            place = None if view is None else place_of(view.coroutine)
            return Wait(job.name, "outside", place=place)
        if wait.kind == "inside":
            others = () if stage is None else tuple(one for one in self._tasks[stage.name] if one != job.name)
            return Wait(job.name, "inside", on=others)
        if stage is not None and job.is_shared:
            # The task waits at one end of its stages, so each of them waits for the one that is nearer to it.
            if wait.kind == "receive":
                return self._of_edges(job.name, wait.kind, stage.inputs[0].name, stage.inputs[0].awaited_edges)
            written = written_edges(stage.output)
            if wait.end not in written:  # else it is the last one, and this edge is the one that is full
                return self._of_edges(job.name, wait.kind, stage.output.name, written)
        return self._of_edges(job.name, wait.kind, wait.name, wait.edges)

    def _of_edges(
        self, who: str, kind: Literal["send", "receive"], name: str, edges: Sequence[ReceiveEnd[Any]]
    ) -> Wait:
        others = self._readers if kind == "send" else self._writers
        on = dict.fromkeys(others[edge.name] for edge in edges if edge.state == "open" and edge.name in others)
        counts = [edge.statistics() for edge in edges]
        buffered, capacity = sum(one.buffered for one in counts), sum(one.capacity for one in counts)
        return Wait(who, kind, name, buffered, capacity, tuple(on))


def _way_round(begin: str, following: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the shortest way from `begin` back to it, without its second end."""
    before: dict[str, str] = {}
    waiting = deque([begin])
    while waiting:
        one = waiting.popleft()
        for other in following[one]:
            if other == begin:
                way = [one]
                while way[-1] != begin:
                    way.append(before[way[-1]])
                return tuple(reversed(way))
            if other not in before:
                before[other] = one
                waiting.append(other)
    return ()


def _ends(engine: Engine) -> dict[ReceiveEnd[Any], None]:
    """Return all that is waited at: the edges of a run, and what reads several of them as one."""
    ends = dict.fromkeys(engine.edges)
    ends |= dict.fromkeys(one for stage in engine.stages for one in stage.inputs)
    return ends | {engine.outlet: None}


def _user_may_help(engine: Engine) -> bool:
    """Say whether somebody waits for what the user can do: read, send, or say that there is no more."""
    for name, edge in engine.leaves.items():
        reader = edge if engine.is_taken(name) else engine.outlet
        if edge.state == "open" and has_waiting_sender(edge) and not is_awaited(reader):
            return True
    return any(
        inlet.is_open and not engine.has_feeder(name) and is_awaited(engine.edges[engine.plan.heads[name]])
        for name, inlet in engine.inlets.items()
    )


def _waits_for_helpers(engine: Engine, job: Job) -> bool:
    return any(one.job is job and one.waits_for_helpers and bool(one.helpers) for one in engine.stages)


def stages_with_tasks(engine: Engine, jobs: Sequence[Job], among: Collection[str] | None = None) -> Iterator[str]:
    """Yield the stages that have tasks that are none of the run's, as they say themselves or as can be seen.

    Args:
        engine: The run.
        jobs: The tasks of the run.
        among: The stages that it is about; None: all.
    """
    for stage in engine.stages:
        if stage.node.stage.helpers and stage.job in jobs and (among is None or stage.name in among):
            yield stage.name
    views = [job.look(engine.jobs.backend) for job in jobs]
    own = {id(view.task) for view in views if view is not None}
    for task, context in engine.jobs.backend.contexts():
        run = run_here(context)  # a task sees what the one that started it saw
        if run is not None and run.run_id == engine.run_id and id(task) not in own:
            yield run.stage
