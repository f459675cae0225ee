"""How the edges into one input are merged: the policies, as data.

Above: `_builder`, `_validation`, `_explain`, `runtime`, which opens what carries them out. Below: `stages`, `elements`.

A policy without parameters is given by its name. All of them are checked when they are made.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, cast

import msgspec

from .._records import Record
from ..elements import BatchElement, StreamElement
from ..errors import ConfigError, StageDefinitionError
from ..stages import value_types

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..stages import ElementTypes

__all__ = [
    "POLICIES",
    "Arrival",
    "Barrier",
    "Concat",
    "MergePolicy",
    "Ordered",
    "PolicyName",
    "Prioritized",
    "Race",
    "Zip",
    "ZipLatest",
    "checked_policy",
]

PolicyName: TypeAlias = Literal["arrival", "ordered", "concat", "zip", "zip_latest", "barrier", "priority", "race"]
"""The policies by name."""


class MergePolicy(Record, frozen=True):
    """How the edges into one input are merged. Made as one of its subclasses, or given by name."""

    name: ClassVar[PolicyName]
    """What it is called."""
    says: ClassVar[str]
    """What it does, in a few words."""
    makes: ClassVar[bool] = False
    """Whether what leaves is made of what comes in; else it is what comes in."""
    waits_for_inputs: ClassVar[bool] = False
    """Whether it may wait for one input while others have something, so that a branch which holds back can stop all."""

    @property
    def emits(self) -> ElementTypes | None:
        """The types of what it makes; None when unknown, or when it makes nothing."""
        return None

    @property
    def is_code(self) -> bool:
        """Whether a function is a part of it, so that it cannot be written down as data."""
        return False

    def held(self, inputs: int) -> int:
        """Return how many elements it may hold of so many inputs, besides the one that it hands on."""
        return 0 * inputs


class Arrival(MergePolicy, frozen=True):
    """Merge what has arrived, in turns: none waits for more than one element of each other. The default."""

    name: ClassVar[PolicyName] = "arrival"
    says: ClassVar[str] = "what has arrived, in turns"


class Ordered(MergePolicy, frozen=True):
    """Merge in an order: that in which a common fork above has sent the causes; with `key`, as one sorted sequence of several.

    Without `key`, what comes of one element that the fork has sent leaves before what comes of the next. With `key`
    (Pekko's `MergeSorted`), each input is to be sorted; the smallest leaves first, of equal ones that of the first input.

    Args:
        key: Gives what an element is compared by; None: the order of the fork.

    Raises:
        ConfigError: If `key` cannot be called.
    """

    key: Callable[[StreamElement], object] | None = None
    """Gives what an element is compared by; None: the order of the fork."""
    name: ClassVar[PolicyName] = "ordered"
    says: ClassVar[str] = "in the order in which the fork above has sent"
    waits_for_inputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_function("key", self.key)

    @property
    def is_code(self) -> bool:
        return self.key is not None


class Concat(MergePolicy, frozen=True):
    """Merge one input after the other: all of the first one until it ends, then all of the next. Those that wait fill up."""

    name: ClassVar[PolicyName] = "concat"
    says: ClassVar[str] = "one input after the other, each to its end"
    waits_for_inputs: ClassVar[bool] = True


class _Combination(MergePolicy, frozen=True):
    """Base of those that make an element of several.

    Args:
        combine: Makes a data element of one data element of each input, in their order; None: a `BatchElement` of them.

    Raises:
        ConfigError: If `combine` cannot be called, or is async.
    """

    combine: Callable[..., StreamElement] | None = None
    """Makes a data element of one of each input, in their order; None: a `BatchElement` of them."""
    makes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_function("combine", self.combine)

    @property
    def emits(self) -> ElementTypes | None:
        if self.combine is None:
            return (BatchElement,)
        if isinstance(self.combine, type):
            return (self.combine,) if issubclass(self.combine, StreamElement) else None
        with contextlib.suppress(StageDefinitionError):  # what its annotation does not tell is unknown
            return value_types(self.combine, "return", self.name)
        return None

    @property
    def is_code(self) -> bool:
        return self.combine is not None

    def fault(self, inputs: int) -> str | None:
        """Return what is wrong with `combine` for so many inputs."""
        if self.combine is None:
            return None
        try:
            inspect.signature(self.combine).bind(*range(inputs))
        except TypeError as error:
            return f"combine= is given one element of each of {inputs} inputs, but {error}"
        except ValueError:
            pass  # a built-in that does not tell
        return None


class Zip(_Combination, frozen=True):
    """Merge one of each input into one element: the first ones, the second ones, and so on; ends with the first input that ends.

    Pairs never cross the boundary of a turn that the inputs have in common; what is left before one is discarded and counted.

    Args:
        combine: Makes a data element of one data element of each input, in their order; None: a `BatchElement` of them.

    Raises:
        ConfigError: If `combine` cannot be called, or is async.
    """

    name: ClassVar[PolicyName] = "zip"
    says: ClassVar[str] = "one of each input becomes one element"
    waits_for_inputs: ClassVar[bool] = True


class ZipLatest(_Combination, frozen=True):
    """Merge each new element with the latest of the other inputs into one, once each has given one (Rx: `combineLatest`).

    Args:
        combine: Makes a data element of one data element of each input, in their order; None: a `BatchElement` of them.

    Raises:
        ConfigError: If `combine` cannot be called, or is async.
    """

    name: ClassVar[PolicyName] = "zip_latest"
    says: ClassVar[str] = "each new element with the latest of the others as one"

    def held(self, inputs: int) -> int:
        return inputs


class Barrier(MergePolicy, frozen=True):
    """Merge turn by turn: nothing of a turn leaves before every input has come to its end; then input by input.

    Args:
        max_held: Most elements of one turn; more are an error of the stage that reads.

    Raises:
        ConfigError: If `max_held` is no integer from 1 up.
    """

    max_held: int = 1000
    """Most elements of one turn."""
    name: ClassVar[PolicyName] = "barrier"
    says: ClassVar[str] = "turn by turn, once every input has come to the end of it"
    waits_for_inputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_count("max_held", self.max_held, "a turn has at least 1 element")

    def held(self, inputs: int) -> int:
        return self.max_held + inputs


class Prioritized(MergePolicy, frozen=True):
    """Merge by preference: what the first input has, in the order given, that has something (Pekko: `MergePreferred`).

    With weights (`MergePrioritized`, but deterministic) each input gives so often for each time of the others: none waits for
    more than `weight + 1` elements of each other.

    Args:
        weights: One integer from 1 up for each input, in the order given; none: strict preference, which may starve the others.

    Raises:
        ConfigError: If one of the weights is no integer from 1 up.
    """

    weights: tuple[int, ...] = ()
    """One for each input; none: strict preference."""
    name: ClassVar[PolicyName] = "priority"
    says: ClassVar[str] = "by preference"

    def __post_init__(self) -> None:
        given = cast("object", self.weights)
        if not isinstance(given, (tuple, list)):
            raise ConfigError("weights", f"several numbers were expected, got {given!r:.80}; write weights=(3, 1)")
        msgspec.structs.force_setattr(self, "weights", tuple(self.weights))
        for one in self.weights:
            _check_count("weights", one, "an input that never gives anything is none, so a weight is at least 1")


class Race(MergePolicy, frozen=True):
    """Take the first input that gives data, alone: the others are closed at that moment."""

    name: ClassVar[PolicyName] = "race"
    says: ClassVar[str] = "the first that gives data, alone"


POLICIES: dict[str, type[MergePolicy]] = {
    one.name: one for one in (Arrival, Ordered, Concat, Zip, ZipLatest, Barrier, Prioritized, Race)
}
"""The policies by name."""


def checked_policy(given: object) -> MergePolicy:
    """Return a policy that was given as an object or by name.

    Raises:
        ConfigError: If it is none.
    """
    if isinstance(given, MergePolicy):
        return given
    if isinstance(given, str) and given in POLICIES:
        return POLICIES[given]()
    import difflib  # noqa: PLC0415 - only for a message

    near = difflib.get_close_matches(given, POLICIES, n=1) if isinstance(given, str) else []
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, POLICIES))}"
    raise ConfigError("policy", f"{given!r:.80} is no way to merge; {hint}")


def _check_function(field: str, given: object) -> None:
    if given is None or (callable(given) and not inspect.iscoroutinefunction(given)):
        return
    what = "an async function" if callable(given) else f"{given!r:.80}"
    raise ConfigError(field, f"a function of elements was expected, got {what}; await in a stage behind the merge")


def _check_count(field: str, given: object, why: str) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ConfigError(field, f"{why}, got {given!r:.80}")
