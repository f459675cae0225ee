"""Control elements that a fork has copied, joined again where its branches meet.

Above: `_fork`, which says what it copied; `_merge`, which asks what to do with what arrives. Below: nothing.

A copy is the very same object, so nothing is written into it. Objects may be sent more than once (a constant is a lawful element),
so what is counted is how often each was copied, how often it arrived by each input, and how often it has left.

- A boundary of a turn leaves once, when every open input that its fork leads to has shown it. An input that has shown it waits
  meanwhile: what is behind the boundary stays behind it.
- Any other control element (usage, errors, …) leaves at its first copy; the later ones are dropped.
- A stage in a branch may take a boundary and send one of its own instead, or none. The first boundary of the same type that is no
  copy, or any copy that was made later, shows that the one that is waited for will not come by that input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..elements import ControlElement, TurnEnd, TurnReset, TurnStart

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ControlJoin", "Verdict"]

_BOUNDARIES = (TurnStart, TurnEnd, TurnReset)

_REMEMBERED = 256
"""Most elements of which it is remembered that a copy may still come; only stages that keep control to themselves make more."""

Verdict = Literal["pass", "drop", "hold"]
"""What to do with a control element: let it leave, forget it, or wait with it and with all that is behind it on its input."""


class _Copied:
    """One element that was copied, and where its copies are."""

    __slots__ = ("arrived", "copies", "element", "excused", "left")

    def __init__(self, element: ControlElement, inputs: int) -> None:
        self.element = element
        self.copies: dict[int, int] = {}  # by fork, how often it was copied there
        self.arrived = [0] * inputs
        self.excused = [0] * inputs  # how many copies are not waited for any more, but would be dropped
        self.left = 0


class ControlJoin:
    """What one merge knows of the control elements that were copied above it.

    Args:
        inputs: How many inputs the merge has.
        reach: For each fork above it, the inputs that its branches lead to.
    """

    def __init__(self, inputs: int, reach: Mapping[int, frozenset[int]]) -> None:
        self._inputs = inputs
        self._reach = reach
        self._copied: dict[int, _Copied] = {}  # by identity, in the order of their first copying
        self._ended: set[int] = set()
        self.held: dict[int, ControlElement] = {}
        """The element that each waiting input has shown."""

    def expect(self, element: ControlElement, fork: int) -> None:
        """Know that `fork` sends a copy of `element` to each of its branches."""
        known = self._copied.get(id(element))
        if known is None:
            if len(self._copied) >= _REMEMBERED:
                self._forget_one()
            known = self._copied[id(element)] = _Copied(element, self._inputs)
        known.copies[fork] = known.copies.get(fork, 0) + 1

    def announce(self, number: int, element: ControlElement) -> None:
        """Learn from the element at the head of input `number` what need not be waited for there; `release()` comes before it."""
        shown = self._copy_of(number, element)
        for held in {id(one): one for one in self.held.values()}.values():
            known = self._copied[id(held)]
            passed_over = isinstance(held, type(element)) if shown is None else self._was_first(known, shown)
            if passed_over and known.arrived[number] <= known.left < self._expected(known, number):
                known.arrived[number] += 1
                known.excused[number] += 1

    def arrive(self, number: int, element: ControlElement) -> Verdict:
        """Say what to do with an element that input `number` gives."""
        known = self._copy_of(number, element)
        if known is None:
            return "pass"
        if known.excused[number]:
            known.excused[number] -= 1
            self._forget_if_done(known)
            return "drop"
        known.arrived[number] += 1
        if known.arrived[number] <= known.left:
            self._forget_if_done(known)
            return "drop"
        if not isinstance(element, _BOUNDARIES):
            known.left += 1
            self._forget_if_done(known)
            return "pass"
        self.held[number] = element
        return "hold"

    def end(self, number: int) -> None:
        """Know that nothing more comes by input `number`."""
        self._ended.add(number)

    def release(self) -> ControlElement | None:
        """Return the first boundary that need not be waited with any longer, and let its inputs go on; None if there is none."""
        for held in self.held.values():
            known = self._copied[id(held)]
            if self._is_complete(known):
                known.left += 1
                for number in [number for number, one in self.held.items() if one is held]:
                    del self.held[number]
                self._forget_if_done(known)
                return held
        return None

    def _copy_of(self, number: int, element: ControlElement) -> _Copied | None:
        """Return what is known of an element, if copies of it come by this input."""
        known = self._copied.get(id(element))
        return known if known is not None and self._expected(known, number) else None

    def _expected(self, known: _Copied, number: int) -> int:
        """Return how many copies are to come by an input, from the first one on."""
        return max((count for fork, count in known.copies.items() if number in self._reach[fork]), default=0)

    def _is_complete(self, known: _Copied) -> bool:
        return all(
            known.arrived[number] > known.left or number in self._ended or self._expected(known, number) <= known.left
            for number in range(self._inputs)
        )

    def _was_first(self, one: _Copied, other: _Copied) -> bool:
        """Say whether one element was copied before another one."""
        return (
            one is not other and next(known for known in self._copied.values() if known is one or known is other) is one
        )

    def _forget_if_done(self, known: _Copied) -> None:
        done = all(
            number in self._ended
            or (known.arrived[number] >= self._expected(known, number) and not known.excused[number])
            for number in range(self._inputs)
        )
        if done:
            del self._copied[id(known.element)]

    def _forget_one(self) -> None:
        held = {id(one) for one in self.held.values()}
        oldest = next((key for key in self._copied if key not in held), None)
        if oldest is not None:
            del self._copied[oldest]
