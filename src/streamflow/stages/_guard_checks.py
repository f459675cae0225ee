"""How guards are asked: in order, within a time, and closed when they fail.

Above: `_guard_window`, `_guard_stages`. Below: `_guardrails`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, cast

import anyio

from ..elements import DataElement, Metadata
from ..errors import ConfigError, ElementError
from ._deadlines import checked_seconds
from ._guardrails import GuardDecision, Guardrail, GuardView

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..elements import JsonValue, StreamElement
    from ._guardrails import GuardAnswer, GuardFunction

__all__ = ["GUARD", "Found", "Guards", "OnGuardFailure", "decision_element", "told_of"]

GUARD = "guard"
"""Name of the `DataElement`, and of the metadata, that tell what a guard has decided."""

OnGuardFailure = Literal["deny", "allow"]
"""What is decided where a guard raises, or takes too long."""

_FUNCTION_REACH = 100


class _FunctionGuard:
    """A function as a guard."""

    def __init__(self, function: GuardFunction) -> None:
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self.reach: int | None = _FUNCTION_REACH
        self._function = function

    def check(self, view: GuardView) -> GuardAnswer | Awaitable[GuardAnswer]:
        return self._function(view.text)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A decision, whose it is, and where."""

    decision: GuardDecision
    guard: str
    start: int
    end: int
    is_all: bool
    """Whether it is about all that was shown, and so has to be done at once."""

    @property
    def stops(self) -> bool:
        """Whether the text ends here."""
        return self.decision.action in ("deny", "abort")


class Guards:
    """The guards of a stage.

    Args:
        guards: Guards, or functions of a text.
        timeout_s: Longest time that one may take, in seconds; one that is not async is not stopped.
        on_failure: What is decided if one fails.
        stage: Name of the stage.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self, guards: Iterable[Guardrail | GuardFunction], timeout_s: float, on_failure: OnGuardFailure, stage: str
    ) -> None:
        self._guards = _checked_guards(guards, stage)
        self._timeout_s = checked_seconds(timeout_s, "timeout_s", stage)
        if on_failure not in ("deny", "allow"):
            raise ConfigError("on_failure", f"stage {stage!r}: give 'deny' or 'allow', got {on_failure!r:.80}")
        self._on_failure: OnGuardFailure = on_failure
        self.names_of_wholes: list[str] = [one.name for one in self._guards if one.reach is None]
        """Names of those that have to see all of a text."""
        self.reach: int = max([1, *(one.reach or 0 for one in self._guards)])
        """Longest text that one of them has to see at once; for a function that is a guess."""
        self.least_reach: int = max(
            [1, *(one.reach or 0 for one in self._guards if not isinstance(one, _FunctionGuard))]
        )
        """The same without functions."""

    async def check(self, view: GuardView) -> list[Found]:
        """Ask all guards; return what they found, in the order of its places.

        Cancellation: a guard that is being asked is cancelled.
        """
        found: list[Found] = []
        for guard in self._guards:
            found.extend(self._placed(guard, await self._ask(guard, view), view))
        found.sort(key=lambda one: (one.start, not one.stops))
        return found

    async def _ask(self, guard: Guardrail, view: GuardView) -> Sequence[GuardDecision]:
        try:
            with anyio.move_on_after(self._timeout_s) as scope:
                answer = guard.check(view)
                return _decisions(await answer if inspect.isawaitable(answer) else answer)
        except Exception as error:  # noqa: BLE001 - a guard that fails decides, as `on_failure` says
            return self._failed(f"the guard failed with {type(error).__name__}")
        if not scope.cancelled_caught:
            return ()
        return self._failed(f"the guard took longer than {self._timeout_s:g} s")

    def _failed(self, reason: str) -> Sequence[GuardDecision]:
        return (GuardDecision("deny", reason),) if self._on_failure == "deny" else ()

    def _placed(self, guard: Guardrail, decisions: Iterable[GuardDecision], view: GuardView) -> Iterable[Found]:
        size = len(view.text)
        for one in decisions:
            if one.action == "allow":
                continue
            start = view.start if one.start is None else min(max(one.start, view.start), size)
            end = size if one.end is None else min(one.end, size)
            if end > start or one.start is None:
                yield Found(one, guard.name, start, max(start, end), one.start is None)


def decision_element(found: Found, stage: str, header: StreamElement | None, refusal: str) -> DataElement:
    """Return what tells the consumer of a decision.

    Args:
        found: The decision.
        stage: Name of the stage.
        header: What the decision is about.
        refusal: What is said instead.
    """
    value: dict[str, JsonValue] = {
        "guard": found.guard,
        "action": found.decision.action,
        "reason": found.decision.reason,
        "stage": stage,
    }
    if found.stops:
        value["message"] = found.decision.text or refusal
    return DataElement(GUARD, Metadata(value), id="" if header is None else header.id, interruptible=False)


def told_of(stop: Found | None, stage: str) -> dict[str, JsonValue]:
    """Return what the metadata of a message say of what was done to it; None: parts of it were replaced."""
    if stop is None:
        return {"action": "replace", "stage": stage}
    return {"action": stop.decision.action, "guard": stop.guard, "reason": stop.decision.reason, "stage": stage}


def _decisions(answer: object) -> Sequence[GuardDecision]:
    kind = type(answer).__name__
    if answer is None or answer is True:
        return ()
    if answer is False:
        return (GuardDecision("deny", "the guard said no"),)
    if isinstance(answer, GuardDecision):
        return (answer,)
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        given = cast("Sequence[object]", answer)
        if all(isinstance(one, GuardDecision) for one in given):
            return cast("Sequence[GuardDecision]", given)
    raise ElementError(f"a guard returned a {kind}; give None, a bool, or GuardDecisions")


def _checked_guards(guards: object, stage: str) -> tuple[Guardrail, ...]:
    if isinstance(guards, str) or not isinstance(guards, Iterable):
        raise ConfigError("guards", f"stage {stage!r}: give a list of guards, got {guards!r:.80}")
    checked: list[Guardrail] = []
    for place, guard in enumerate(cast("Iterable[object]", guards)):
        if isinstance(guard, Guardrail):
            checked.append(guard)
        elif callable(guard):
            checked.append(_FunctionGuard(cast("GuardFunction", guard)))
        else:
            field = f"guards[{place}]"
            raise ConfigError(field, f"stage {stage!r}: give a guard, or a function of a text, got {guard!r:.80}")
    if not checked:
        raise ConfigError("guards", f"stage {stage!r}: no guard; give what is to be checked")
    return tuple(checked)
