"""An interceptor around the rest of a chain: hooks before it, after it, and on its errors.

Above: `_chain`. Below: `_next`, `_outcome`, `_threads`. Where several stand next to each other, each stands around those of higher
priority, so that an inner one sees every try that an outer one asks for.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import TYPE_CHECKING

import anyio

from ..errors import MiddlewareError
from ._messages import read
from ._next import Mark
from ._outcome import LegacyFailure, Outcome, Status, outcome_of
from ._threads import invoke

if TYPE_CHECKING:
    import datetime
    from contextlib import AbstractContextManager

    from ._chain import Call
    from ._next import Rest
    from ._shapes import Link

__all__ = ["CallResult", "Interception"]

_ACTIONS = ("retry", "fallback", "fail")

_UNMET = {
    "fallback": ("no_fallback", "asked for a fallback, and there is none: let it set ctx.response first"),
    "retry": ("retries_exhausted", "asked for one more try than max_attempts allows"),
}


@dataclasses.dataclass(slots=True)
class CallResult:
    """What an interceptor is told of the call that it stands around."""

    name: str
    """Name of the adapter."""
    status: str
    """`completed` or `failed`."""
    started_at: datetime.datetime
    """When the call began."""
    ended_at: datetime.datetime
    """When it ended."""
    data: dict[str, object]
    """What was given."""
    error: str | None = None
    """What the exception said, when it failed."""


class Interception:
    """One interceptor in one call."""

    def __init__(self, call: Call, link: Link, target: object) -> None:
        self._call = call
        self._link = link
        self._target = target
        self._stage = call.settings.stage
        self._started_at = call.ctx.now()

    async def run(self, rest: Rest) -> None:
        """Run the rest of the chain, unless `before` says otherwise, and again if `on_error` says so.

        Raises:
            MiddlewareError: If the interceptor refuses the call, or asks for what cannot be.
            Exception: What the rest raised; what a hook raises.
        """
        call = self._call
        limit_before = self._limit_ms()
        call.ctx.enter(self._stage)
        verdict = await self._ask("before", call.ctx)
        if verdict is not None and read(verdict, "stage_ran") is False:
            self._short_circuit(verdict)
            return
        limit_ms = self._limit_ms()
        mark = Mark(call)
        attempt = 1
        while True:
            try:
                with _limited(limit_ms if limit_ms != limit_before else None):
                    await rest()
                break
            except Exception as error:
                mark.note_failure(error)
                action = await self._action(error)
                if action == "retry" and attempt < call.settings.max_attempts:
                    attempt += 1
                    await mark.rewind()
                    continue
                await self._ask("after", self._result("failed", str(error)), call.ctx)
                if action == "fail":
                    raise
                if action == "fallback" and call.ctx.response is not None:
                    return
                code, what = _UNMET[action]
                raise call.failure(code, self._link, what) from error
        await self._ask("after", self._result("completed"), call.ctx)

    async def _ask(self, hook: str, *args: object) -> object:
        function = getattr(self._target, hook, None)
        return await invoke(function, self._stage, *args) if callable(function) else None

    async def _action(self, error: Exception) -> str:
        """Return what the interceptor wants to be done about an error, by the name or the value of what it answers."""
        given = await self._ask("on_error", error, self._call.ctx)
        if given is None:
            return "fail"
        for word in (given, read(given, "name"), read(given, "value")):
            if isinstance(word, str) and word.lower() in _ACTIONS:
                return word.lower()
        message = f"{self._call.who(self._link)} answered an error with {given!r:.80}; answer RETRY, FALLBACK or FAIL"
        raise MiddlewareError("bad_result", message) from error

    def _short_circuit(self, verdict: object) -> None:
        """Take what `before` gave in place of the rest. Its own `after` is not called: there was nothing to stand around."""
        call, link = self._call, self._link
        error = read(verdict, "error")
        if error is not None:
            raise call.failure("refused", link, "refused the call") from LegacyFailure(str(error))
        result = read(verdict, "result")
        if result is None:
            outcome = Outcome(Status.SKIP, {"reason": f"{link.name} skipped it"})
        else:
            outcome = outcome_of(result, call.settings.response_key, call.who(link))
        call.take(link, link.name, outcome)
        call.ended = True

    def _result(self, status: str, error: str | None = None) -> CallResult:
        call = self._call
        data: dict[str, object] = {}
        for name in call.given:
            data.update(call.ctx.outputs[name].data)
        if not data and call.ctx.response is not None:
            data = {call.settings.response_key: call.ctx.response}
        return CallResult(self._stage, status, self._started_at, call.ctx.now(), data, error)

    def _limit_ms(self) -> float | None:
        """Return the limit of time that an interceptor has left for who runs the call, in the data that interceptors share."""
        limit = self._call.ctx.data.get(f"_timeout.{self._stage}")
        return limit if isinstance(limit, int | float) and limit > 0 else None


def _limited(limit_ms: float | None) -> AbstractContextManager[object]:
    return nullcontext() if limit_ms is None else anyio.fail_after(limit_ms / 1000)
