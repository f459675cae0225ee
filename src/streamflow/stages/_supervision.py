"""What is to be done when a stage fails: stop, start it anew, leave the element out, try again, put the element aside.

Above: users, `graph` (which stage is supervised how), `runtime` (does it). Below: `errors`.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NOTHING", "Between", "CallForm", "Directive", "InHand", "Supervision"]

Directive = Literal["stop", "restart", "resume", "retry", "dead_letter"]
"""What to do about one failure; see `Supervision`."""

InHand = Literal["drop", "redeliver", "dead_letter"]
"""What becomes of the element in hand when a stage is restarted."""

Between = Literal["keep", "drop"]
"""What becomes of the elements between stages that are restarted together."""

CallForm = Literal["none", "one", "several"]
"""Whether one element is one call in a stage: not so; one at a time; several at a time."""

NOTHING: Final = object()
"""Stands for the result of a call that was given up: there is none to send."""

_NEVER = (MemoryError,)


@dataclasses.dataclass(frozen=True, slots=True)
class Supervision:
    """What to do when a stage fails. Given to `PipelineBuilder.supervise()`.

    - `stop`: the run fails; as without supervision.
    - `restart`: after a wait, the stage begins anew, with new state, on the same edges: what they hold stays there.
    - `resume`: the element is dropped and the stage goes on.
    - `retry`: after a wait, the element is tried again; after the last of `attempts`, `then` says what follows.
    - `dead_letter`: the element goes to the stage for dead letters, and the stage goes on; in a stage of whole streams, with new
      state. A failure without an element in hand, such as in `open()` or in the last flush, stops.

    `resume` and `retry` need stages in which one element is one call: functions of one element, `MapStage`, `MapAsyncStage` and
    the like. There a restart has no state to renew.

    The wait before the n-th restart, or the n-th try after the first, is `min_backoff_s * factor ** (n - 1)`, at most
    `max_backoff_s`, less up to `jitter` of it. Meanwhile the stage takes nothing, so those before it wait in turn.

    Never supervised are cancellation, `KeyboardInterrupt`, `SystemExit`, `MemoryError`, time limits, and the end of the stage's
    own reader: nobody starts a stage anew for whom nobody reads.

    ```python
    builder.supervise("stt", Supervision("restart", in_hand="redeliver", max_restarts=5, window_s=60))
    ```

    Args:
        directive: What to do.
        on: The exceptions that it is about; all others stop.
        decide: Called once for each of those, returns what to do instead; None: `directive`. What it raises, or a directive that is
            not lawful for the stage, is a stop.
        in_hand: At a restart, what becomes of the elements in hand: those that were taken, and behind which the stage has not yet
            asked for more. `redeliver` gives them again, before anything else: at least once, so what the stage had sent of them
            comes twice. Control elements are never dropped: they pass the stage by.
        attempts: Most times that one element is tried, by `retry` or by being redelivered; from 1 up, the first one counts.
        then: What becomes of an element that was tried so often: `stop` (the stage fails), `drop` or `dead_letter`.
        max_restarts: Most restarts without a healthy window between them; one more failure stops. None: no bound.
        window_s: How long, in seconds, a stage must run without a failure until its restarts are forgotten, and so the wait.
        min_backoff_s: Shortest wait, in seconds; 0 for none.
        max_backoff_s: Longest wait, in seconds.
        factor: By how much each wait is longer than the one before it.
        jitter: Largest part of a wait that is left out by chance, from 0 to 1.
        seed: Makes that chance the same in every run; None: each run has its own.
        rest_for_one: Restart all stages behind this one, too, up to the ends of the graph.
        between: What becomes of the elements between them and in their hands then. Control is kept in any case.

    Raises:
        ConfigError: If a value is wrong, or makes no sense beside the others; names the field.

    Source: Pekko Streams (supervision, `RestartSettings`), OTP (`rest_for_one`).
    """

    directive: Directive = "stop"
    _: dataclasses.KW_ONLY
    on: type[Exception] | tuple[type[Exception], ...] = Exception
    decide: Callable[[Exception], Directive | None] | None = None
    in_hand: InHand = "drop"
    attempts: int = 3
    then: Literal["stop", "drop", "dead_letter"] = "stop"
    max_restarts: int | None = 5
    window_s: float = 60.0
    min_backoff_s: float = 0.1
    max_backoff_s: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    seed: int | None = None
    rest_for_one: bool = False
    between: Between = "keep"

    def __post_init__(self) -> None:
        self._check_words()
        self._check_numbers()
        if self.decide is None and self.directive != "restart":
            for field in ("in_hand", "rest_for_one", "between"):
                if getattr(self, field) != _default(field):
                    raise ConfigError(field, f"it is about restarts, but the directive is {self.directive!r}")
        if self.between != "keep" and not self.rest_for_one:
            raise ConfigError("between", "it is about stages that are restarted together; add rest_for_one=True")

    @property
    def may_dead_letter(self) -> bool:
        """Whether it says itself, without `decide`, that elements become dead letters."""
        is_tried = self.directive == "retry" or (self.directive == "restart" and self.in_hand == "redeliver")
        is_put_aside = self.directive == "restart" and self.in_hand == "dead_letter"
        return self.directive == "dead_letter" or is_put_aside or (is_tried and self.then == "dead_letter")

    def covers(self, error: Exception) -> bool:
        """Say whether a failure is one that this is about."""
        return isinstance(error, self.on) and not _contains(error, _NEVER)

    def backoff_s(self, number: int, chance: float) -> float:
        """Return the wait before the restart, or the further try, of this number from 1, in seconds.

        Args:
            number: Which one.
            chance: A number from 0 up to 1, which is not reached.
        """
        if not self.min_backoff_s:
            return 0.0
        try:
            wait = min(self.min_backoff_s * self.factor ** (number - 1), self.max_backoff_s)
        except OverflowError:
            wait = self.max_backoff_s
        return wait * (1 - self.jitter * chance)

    def to_dict(self) -> dict[str, object]:
        """Return what differs from the defaults, as values that JSON can hold. Exceptions and deciders are code, and left out."""
        values = ((one.name, getattr(self, one.name)) for one in dataclasses.fields(self))
        return {name: value for name, value in values if name not in {"on", "decide"} and value != _default(name)}

    @property
    def has_code(self) -> bool:
        """Whether a part of it is code, which is no data: `on`, `decide`."""
        return self.on is not Exception or self.decide is not None

    def _check_words(self) -> None:
        allowed: dict[str, Any] = {"directive": Directive, "in_hand": InHand, "between": Between}
        words: dict[str, tuple[object, ...]] = {field: get_args(kind) for field, kind in allowed.items()}
        for field, known in {**words, "then": ("stop", "drop", "dead_letter")}.items():
            value: object = getattr(self, field)
            if not isinstance(value, str) or value not in known:
                raise ConfigError(field, f"{value!r:.80} is none of {', '.join(map(repr, known))}")
        classes = cast("tuple[object, ...]", self.on if isinstance(self.on, tuple) else (self.on,))
        for one in classes or (None,):
            if not (isinstance(one, type) and issubclass(one, Exception)):
                message = f"a class of exceptions, or several, was expected, got {self.on!r:.80}; write on=OSError"
                raise ConfigError("on", message)
        if self.decide is not None and not callable(cast("object", self.decide)):
            message = (
                f"a function that takes an exception and returns a directive was expected, got {self.decide!r:.80}"
            )
            raise ConfigError("decide", message)
        if inspect.iscoroutinefunction(self.decide):
            raise ConfigError("decide", "it is async, but has to say at once what to do; write 'def'")
        if not isinstance(cast("object", self.rest_for_one), bool):
            raise ConfigError("rest_for_one", f"a switch is True or False, got {self.rest_for_one!r:.80}")

    def _check_numbers(self) -> None:
        if not _is_count(self.attempts, 1):
            raise ConfigError("attempts", f"a whole number from 1 up was expected, got {self.attempts!r:.80}")
        if self.max_restarts is not None and not _is_count(self.max_restarts, 1):
            message = f"a whole number from 1 up, or None for no bound, was expected, got {self.max_restarts!r:.80}"
            raise ConfigError("max_restarts", message)
        if self.seed is not None and not isinstance(cast("object", self.seed), int):
            raise ConfigError("seed", f"a whole number, or None, was expected, got {self.seed!r:.80}")
        limits = {"window_s": 0.0, "min_backoff_s": 0.0, "max_backoff_s": 0.0, "factor": 1.0, "jitter": 0.0}
        for field, least in limits.items():
            value: object = getattr(self, field)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value < math.inf:
                raise ConfigError(field, f"a number from {least:g} up was expected, got {value!r:.80}")
        if self.jitter > 1:
            raise ConfigError("jitter", f"it is a part of the wait, from 0 to 1, got {self.jitter!r:.80}")
        if self.max_backoff_s < self.min_backoff_s:
            message = (
                f"the longest wait, {self.max_backoff_s:g} s, is shorter than min_backoff_s, {self.min_backoff_s:g} s"
            )
            raise ConfigError("max_backoff_s", message)


def _default(field: str) -> object:
    return next(one.default for one in dataclasses.fields(Supervision) if one.name == field)


def _contains(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Say whether an error is of these kinds, or a group with one of them inside."""
    if isinstance(error, BaseExceptionGroup):
        return any(_contains(one, kinds) for one in cast("BaseExceptionGroup[BaseException]", error).exceptions)
    return isinstance(error, kinds)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
