"""The task of one stage, from its first step to its last: all of it in one coroutine.

Above: `_engine`, `_chain`. Below: `_jobs`, `_interruption`.

A coroutine that awaits another one is made for each run, and passed through whenever the task goes on. So what a `Job` does around
its work, and what a stage needs around its body, stand in one function; only the body is awaited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio

from ._interruption import finish_body, pass_rest, reenter, was_swept
from ._jobs import Job

if TYPE_CHECKING:
    from ..stages import RunContext
    from ._chain import Rest
    from ._wiring import StageRun

__all__ = ["StageJob"]


class StageJob(Job):
    """The task of one stage: a job whose `work` makes what the stage may ask of the run, and is not awaited.

    It is about the stage, and what is to be done before its body is called; None: nothing.
    """

    async def _run(self) -> BaseException | None:  # noqa: C901, PLR0912 - without calls, see above
        error: BaseException | None = None
        stage: StageRun
        rest: Rest | None
        stage, rest = cast("tuple[StageRun, Rest | None]", self._about)
        try:
            self._begun = True  # what follows is `_begins()`
            if self._task is not None and self._backend is not None:
                self._backend.has_begun(self._task, self._struck)
            if not (self.cancel_requested or self._is_struck):
                run: RunContext[Any] = stage.context or self._work(stage)
                try:
                    if stage.supervisor is not None:
                        await stage.supervisor.work(run)
                    else:
                        body: Any = stage.node.stage.start(run)
                        while True:
                            try:
                                if rest is not None:
                                    doing, rest = rest, None
                                    await doing()
                                await body(stage.reads, stage.writes, run)
                                if stage.fence is not None or stage.helpers:
                                    await finish_body(stage)
                                break
                            except BaseException as caught:
                                if not was_swept(stage, caught):
                                    raise
                            await reenter(stage)
                except anyio.EndOfStream:
                    if not stage.has_met_end():
                        raise
                if stage.has_rest():
                    await pass_rest(stage)
            elif self.instead is not None:
                await self.instead(stage, rest)
            if self._is_struck:
                raise anyio.get_cancelled_exc_class()
        except BaseException as caught:  # noqa: BLE001 - handed to the run, which decides who raises it
            error = caught
        try:
            if self.meter is not None:
                return error
            self._end(error)
        finally:
            del error  # its traceback holds this frame
        return None
