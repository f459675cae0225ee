"""A scheduler out of a nightmare, and the same one every time: further checkpoints at edges and at the starts of tasks, by a seed.

Above: tests. Below: `channels` and `runtime`, whose methods are replaced while it is on. Rules:

- A pause comes before an element moves, never between the moving and the return: what an edge promises about cancellation holds.
- Off means off: the methods are then the very ones that the package defines.
- All that is drawn comes from the seed. trio draws the order of its tasks from a generator of its own, which gets the seed too.
"""

from __future__ import annotations

import contextlib
import random
import sys
from typing import TYPE_CHECKING, Any, Final

from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from ..channels import ReceiveEnd, SendEnd
from ..errors import RunStateError
from ..runtime._jobs import Job, JobGroup
from ._tasks import is_on_trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator

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

    def begin(self) -> None:
        """Replace the methods."""
        if "trio" in sys.modules:
            self.seed_trio()
        for owner, name, replacement in _replacements(self):
            self._undo.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, replacement)

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


def _replacements(storm: Chaos) -> Iterator[tuple[type, str, object]]:
    """Yield each method to be replaced, its class, and what takes its place."""
    for owner in _with_subclasses(SendEnd):
        if "send" in vars(owner):
            yield owner, "send", _late_send(storm, vars(owner)["send"])
    yield SendEnd, "send_all", _send_all
    yield SendEnd, "send_each", _send_each
    yield SendEnd, "try_send", _reluctant(storm, vars(SendEnd)["try_send"], refusal=False)
    yield ReceiveEnd, "__anext__", _late_receive(storm, vars(ReceiveEnd)["__anext__"])
    yield ReceiveEnd, "try_receive", _reluctant(storm, vars(ReceiveEnd)["try_receive"], refusal=None)
    yield Job, "_run", _late_start(storm, vars(Job)["_run"])
    yield JobGroup, "start", _start_anyhow(storm, vars(JobGroup)["start"])


def _with_subclasses(owner: type[object]) -> Iterator[type[object]]:
    yield owner
    for one in owner.__subclasses__():
        yield from _with_subclasses(one)


def _late_send(storm: Chaos, original: Callable[..., Any]) -> object:
    async def send(self: SendEnd[Any], item: object) -> None:
        await storm.pause()
        await original(self, item)

    return send


def _late_receive(storm: Chaos, original: Callable[..., Any]) -> object:
    async def receive(self: ReceiveEnd[Any]) -> object:
        await storm.pause()
        return await original(self)

    return receive


def _reluctant(storm: Chaos, original: Callable[..., Any], *, refusal: object) -> object:
    """Return a method that now and then says what sends its caller the long way."""

    def attempt(*args: Any) -> object:
        return original(*args) if storm.is_quiet() else refusal

    return attempt


def _late_start(storm: Chaos, original: Callable[..., Any]) -> object:
    async def run(self: Job) -> None:
        # The run may cancel a task that has not begun, and then waits for it; nobody else does.
        await storm.pause(shielded=True)
        await original(self)

    return run


def _start_anyhow(storm: Chaos, original: Callable[..., Any]) -> object:
    def start(self: JobGroup, *jobs: Job) -> None:
        original(self, *storm.shuffled(jobs))

    return start


def _as_it_is(item: Any) -> Any:
    return item


async def _send_all(self: SendEnd[Any], items: AsyncIterable[Any], convert: Callable[[Any], Any] = _as_it_is) -> None:
    """Do what `SendEnd.send_all()` does, without its fast path."""
    async for item in items:
        await self.send(convert(item))


async def _send_each(self: SendEnd[Any], items: Iterable[Any], convert: Callable[[Any], Any] = _as_it_is) -> None:
    """Do what `SendEnd.send_each()` does, without its fast path."""
    for item in items:
        await self.send(convert(item))
