"""What a conformance rule is, where the checks of all rules are found, and what a check is given.

Above: `_conformance_runner`, the modules with the checks of one subject, `check_stage` and its siblings. Below: `_clock`. Rules:

- A rule is one promise, under one id, about one kind of subject. `@rule` registers its check, an async
  function of a `Trial`.
- A check says what it tries next (`trial.given`), from short to long: what it said last before it failed is the shortest
  input or schedule that shows the fault.
- A check that cannot say anything about a subject says why (`trial.skip`), and is no failure.
- Checks of one event loop run one after the other: one leaves nothing behind for the next.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Generic, Literal, NoReturn, TypeAlias, TypeVar, cast

import anyio

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ._clock import BackendName

__all__ = [
    "BACKENDS",
    "Check",
    "Level",
    "NotApplicable",
    "Rule",
    "Subject",
    "Trial",
    "Variant",
    "check_of",
    "rule",
    "rules_of",
]

S = TypeVar("S")

Subject = Literal["stage", "channel", "graph", "provider", "store", "runtime"]
"""What rules are about."""

Level = Literal["required", "optional", "stochastic"]
"""Whether all must keep a rule, those who offer what it is about, or all in most of many random trials."""

BACKENDS: Final[tuple[BackendName, ...]] = ("asyncio", "trio")
"""The event loops on which every check runs."""


_BLINK_S: Final = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One promise that can be checked."""

    id: str
    """How reports name it, as in `SF-01`; unique among the rules of its subject."""
    promise: str
    """What must be so, in one sentence."""
    holds: str
    """The number of the heading in `docs/semantics.md` that it holds, as in `2.3`."""
    subject: Subject
    """What it is about."""
    level: Level = "required"
    """Who must keep it."""
    heavy: bool = False
    """Whether its check is costly, so that it is tried in fewer variants unless all are asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """The circumstances under which checks run: an event loop, and what the subject's kind adds to it."""

    backend: BackendName
    """The event loop."""
    settings: tuple[tuple[str, object], ...] = ()
    """Further circumstances, name and value."""

    def __getitem__(self, name: str) -> object:
        """Return a setting.

        Raises:
            KeyError: If the variant has none of that name.
        """
        return dict(self.settings)[name]

    def __str__(self) -> str:
        told = (f"{name} {value}" if not isinstance(value, str) else value for name, value in self.settings)
        return ", ".join((self.backend, *told))


class NotApplicable(Exception):  # noqa: N818 - it is no error
    """A rule says nothing about this subject; the text says why. Raised by `Trial.skip`."""


class Trial(Generic[S]):
    """What a check gets: what is on trial, under which circumstances, and how to tell what it finds.

    Args:
        subject: What is on trial.
        variant: The circumstances.
        effort: How many times the usual number of random examples to try.
        real_time: Whether time goes by as it does, and does not jump.
    """

    def __init__(self, subject: S, variant: Variant, *, effort: int = 1, real_time: bool = False) -> None:
        self.subject: S = subject
        """What is on trial."""
        self.variant: Variant = variant
        """The circumstances."""
        self.effort: int = effort
        """How many times the usual number of random examples to try."""
        self.real_time: bool = real_time
        """Whether time goes by as it does, and does not jump."""
        self.deferred: list[Callable[[], Awaitable[object]]] = []
        """What is to be done when the check has ended, the last one first."""
        self.shown_by: str = ""
        """What is tried now, in words."""

    def given(self, what: str) -> None:
        """Say what is tried next: an input or a schedule. Go from short to long."""
        self.shown_by = what

    async def rest(self, seconds: float) -> None:
        """Let the subject go on by itself for so long, or where time is real for a blink.

        Args:
            seconds: How long, in virtual time.

        Cancellation: ends the wait.
        """
        await anyio.sleep(min(seconds, _BLINK_S) if self.real_time else seconds)

    def require(self, holds: object, otherwise: str) -> None:
        """Fail unless `holds` is true.

        Args:
            holds: What must be true.
            otherwise: What is wrong, with the values that show it.

        Raises:
            AssertionError: If it is not.
        """
        if not holds:
            raise AssertionError(otherwise)

    def skip(self, why: str) -> NoReturn:
        """End the check: the rule says nothing about this subject.

        Args:
            why: In words that follow "not applicable because".

        Raises:
            NotApplicable: Always.
        """
        raise NotApplicable(why)


Check: TypeAlias = "Callable[[Trial[S]], Awaitable[None]]"
"""Checks one rule: returns if it is kept, raises an exception that says what is wrong if not."""

_CHECKS: Final[dict[tuple[Subject, str], tuple[Rule, Check[object]]]] = {}


def rule(
    id: str, promise: str, *, holds: str, subject: Subject, level: Level = "required", heavy: bool = False
) -> Callable[[Check[S]], Check[S]]:
    """Register the async function below as the check of a rule.

    ```python
    @rule("SF-01", "An empty input ends a stage.", holds="3.1", subject="stage")
    async def empty_input(trial: Trial[StageCase]) -> None: ...
    ```

    Args:
        id: Unique among the rules of the subject.
        promise: What must be so, in one sentence.
        holds: The number of the heading in `docs/semantics.md`.
        subject: What it is about.
        level: Who must keep it.
        heavy: Whether the check is costly.

    Raises:
        ConfigError: If the subject has a rule of that id.
    """

    def register(check: Check[S]) -> Check[S]:
        if (subject, id) in _CHECKS:
            raise ConfigError("id", f"there is a rule {id!r} for a {subject} already; give this one an id of its own")
        _CHECKS[subject, id] = Rule(id, promise, holds, subject, level, heavy), cast("Check[object]", check)
        return check

    return register


def rules_of(subject: Subject, only: Iterable[str] | None = None) -> tuple[Rule, ...]:
    """Return the registered rules of a subject, by id.

    Args:
        subject: What they are about.
        only: The ids to return; None: all.

    Raises:
        ConfigError: If one of the ids is unknown.
    """
    known = {id: found for (about, id), (found, _) in _CHECKS.items() if about == subject}
    if only is None:
        return tuple(known[id] for id in sorted(known))
    wanted = tuple(only)
    unknown = [id for id in wanted if id not in known]
    if unknown:
        message = f"there is no rule {unknown[0]!r} for a {subject}; there are {', '.join(sorted(known))}"
        raise ConfigError("rules", message)
    return tuple(known[id] for id in sorted(set(wanted)))


def check_of(rule: Rule) -> Check[object]:
    """Return the check of a registered rule."""
    return _CHECKS[rule.subject, rule.id][1]
