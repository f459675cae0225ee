"""A scheduler out of a nightmare, and the same one every time: further checkpoints at edges and at the starts of tasks, by a seed.

Above: tests. Below: `_edge_methods`; `runtime`, of which two methods are replaced while it is on. Rules:

- Off means off: the methods are then the very ones that the package defines.
- All that is drawn comes from the seed. trio draws the order of its tasks from a generator of its own, which gets the seed too.
"""

from __future__ import annotations

import contextlib
import random
import sys
from typing import TYPE_CHECKING, Any, Final, Never

from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from ..errors import RunStateError
from ..runtime._jobs import Job, JobGroup
from ..runtime._stage_run import StageRun
from ._edge_methods import hooked_edges, replaced
from ._tasks import is_on_trio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ..channels import ReceiveEnd, SendEnd
    from ._edge_methods import EndKind

__all__ = ["Chaos", "chaos"]

_QUIET: Final = 0.55  # of all operations, how many go on as they would
_MOST_PAUSES: Final = 3

_on: list[Chaos] = []


class Chaos:
    """What `chaos()` does, while it is on."""

    def __init__(self, seed: int) -> None:
        self.seed: int = seed
        """What all of it is drawn from."""
        self.pauses: int = 0
        """How many checkpoints it has added so far."""
        self._random = random.Random(seed)  # noqa: S311 - a seed is the point
        self._undo = contextlib.ExitStack()
        self._trio_is_seeded = False

    async def pause(self, *, shielded: bool = False) -> None:
        """Let others run a few times, or not, as the seed says."""
        if not self._trio_is_seeded and is_on_trio():
            self.seed_trio()
        if self.is_quiet():
            return
        for _ in range(self._random.randint(1, _MOST_PAUSES)):
            self.pauses += 1
            await (cancel_shielded_checkpoint() if shielded else checkpoint())

    def is_quiet(self) -> bool:
        """Say whether the next operation goes on as it would."""
        return self._random.random() < _QUIET

    def shuffled(self, jobs: tuple[Job, ...]) -> list[Job]:
        """Return tasks in another order."""
        return self._random.sample(jobs, len(jobs))

    def seed_trio(self) -> None:
        """Make trio draw the order of its tasks from the seed, from now on."""
        from ._trio import same_schedule  # noqa: PLC0415 - trio is imported only where it is the loop that runs

        self._trio_is_seeded = True
        self._undo.enter_context(same_schedule(self.seed))

    async def before(self, kind: EndKind, end: SendEnd[Never] | ReceiveEnd[object]) -> None:
        """Pause before an operation at an edge."""
        await self.pause()

    def allows_quick(self, end: SendEnd[Never] | ReceiveEnd[object]) -> bool:
        """Say whether an attempt that cannot wait goes on as it would."""
        return self.is_quiet()

    def begin(self) -> None:
        """Replace the methods."""
        if "trio" in sys.modules:
            self.seed_trio()
        self._undo.enter_context(hooked_edges(self))
        starts = [(kind, "_run", _late_start(self, vars(kind)["_run"])) for kind in (Job, StageRun)]
        order = (JobGroup, "start", _start_anyhow(self, vars(JobGroup)["start"]))
        self._undo.enter_context(replaced((*starts, order)))

    def end(self) -> None:
        """Put them back."""
        self._undo.close()


@contextlib.contextmanager
def chaos(seed: int | None = None) -> Generator[Chaos]:
    """Let every edge of every run in this process take further checkpoints, and tasks start in another order, by a seed.

    What works for some seeds and not for others depends on who runs first. An exception that leaves the block has a note that
    names the seed; the same seed makes the same schedule again, where nothing else is random and no thread or socket is waited
    for. In a `cancel_sweep`, put the block inside the scenario, so that all runs meet the same schedule.

    ```python
    @pytest.mark.parametrize("seed", range(10))
    async def test_in_any_order(seed):
        with chaos(seed):
            ...
    ```

    Args:
        seed: What the schedule is drawn from; None: a new one each time.

    Raises:
        RunStateError: If it is on already; it is there for the whole process.
    """
    if _on:
        message = f"chaos(seed={_on[0].seed}) is on already, for the whole process; leave its block first"
        raise RunStateError(message)
    storm = Chaos(random.SystemRandom().randrange(2**32) if seed is None else seed)
    _on.append(storm)
    storm.begin()
    try:
        yield storm
    except BaseException as error:
        error.add_note(f"under chaos(seed={storm.seed}), after {storm.pauses} further checkpoints")
        raise
    finally:
        storm.end()
        _on.clear()


def _late_start(storm: Chaos, original: Callable[..., Any]) -> object:
    async def run(self: Job) -> object:
        # The run may cancel a task that has not begun, and then waits for it; nobody else does.
        await storm.pause(shielded=True)
        return await original(self)

    return run


def _start_anyhow(storm: Chaos, original: Callable[..., Any]) -> object:
    def start(self: JobGroup, *jobs: Job) -> None:
        original(self, *storm.shuffled(jobs))

    return start
