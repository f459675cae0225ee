"""One switch that ends many runs, from any thread.

Above: users, `_run`. Below: `_drain`.

The switch holds its runs weakly, and they hold it. It never acts inside the call: each run hears of it in a turn of its own event
loop, so that a call from a thread, or from a signal handler, strikes between two steps and never within one.
"""

from __future__ import annotations

import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from ..errors import ConfigError
from ._drain import abort, begin_drain

if TYPE_CHECKING:
    from ._engine import Engine

__all__ = ["KillSwitch", "KillSwitchState"]

KillSwitchState = Literal["armed", "shutdown", "aborted"]
"""Whether a kill switch has been used, and how."""


class KillSwitch:
    """Ends all runs that were started with it, by one call from anywhere.

    ```python
    switch = KillSwitch()
    async with pipeline.execute(microphone(), kill_switch=switch) as run:
        ...  # elsewhere, in any task or thread: switch.shutdown()
    ```

    The first call wins, later ones do nothing. A run that is started after that ends at once. Runs of different pipelines and
    event loops may share a switch; it keeps none of them alive.

    Source: Pekko's `SharedKillSwitch`.
    """

    def __init__(self) -> None:
        self._runs: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._lock = threading.RLock()  # reentrant: a signal handler may come in between
        self._state: KillSwitchState = "armed"
        self._cause: BaseException | None = None

    @property
    def state(self) -> KillSwitchState:
        """Whether it has been used, and how."""
        return self._state

    def shutdown(self) -> None:
        """End the input of all runs, as `Run.drain()` does, and let them complete. Does not wait; from any thread."""
        self._fire("shutdown", None)

    def abort(self, error: BaseException | str | None = None) -> None:
        """Cancel all runs and fail each with `RunAbortedError`. Does not wait; from any thread.

        Args:
            error: Why: the cause of that error.

        Raises:
            ConfigError: If `error` is something else.
        """
        given = cast("object", error)
        if isinstance(given, str):
            given = RuntimeError(given)
        if given is not None and not isinstance(given, BaseException):
            message = f"an exception was expected, or a text that says why, got {given!r:.80}"
            raise ConfigError("error", message)
        self._fire("aborted", given)

    def attach(self, run: Engine) -> None:
        """Let a run that has just been started hear of this switch; at once, if it has been used. For the runtime."""
        with self._lock:
            self._runs.add(run)  # first: what fires now finds it
            if self._state != "armed":
                self._tell(run)()

    def _fire(self, state: KillSwitchState, cause: BaseException | None) -> None:
        with self._lock:
            if self._state != "armed":
                return
            self._cause, self._state = cause, state
            for run in tuple(self._runs):
                run.jobs.backend.call_soon(self._tell(run))

    def _tell(self, run: Engine) -> partial[None]:
        return partial(begin_drain, run) if self._state == "shutdown" else partial(abort, run, self._cause)

    def __repr__(self) -> str:
        return f"<KillSwitch {self._state}>"
