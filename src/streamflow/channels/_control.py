"""Control elements that a fork has copied, joined again where its branches meet.

Above: `_fork`, which says what it copied; `_merge`, which asks what to do with what arrives. Below: nothing.

A copy is the very same object, so nothing is written into it; a fork that is given an object again while copies of it are on their
way sends an equal one in its place, so that an object stands for one occurrence.

- A boundary of a turn, or a marker of the runtime's, leaves once, when every open input that its fork leads to has shown it. An
  input that has shown it waits meanwhile: what is behind the boundary stays behind it.
- Any other control element (usage, errors, …) leaves at its first copy; the later ones are dropped.
- A copy is not waited for any more where it has been passed over: the input shows a boundary that the same fork copied later, or
  nothing can come there any more (see `_ways`). Should it come after all, it is dropped.
- A stage on the way may take a boundary in, and keep it or send others in its place: those say nothing of where it stands. So the
  first fork that copies a boundary which a stage between it and a merge may take in sends a `TurnMarker` behind it. That passes
  every stage by, behind what the stage has sent before it asked for more, and passes the boundary over where it has not come.
- A fork below another one may send its copy when all that this merge waits for have come: they overtook it on shorter ways, and it
  is dropped further up. So what has been joined stays known as long as that may happen.
- Boundaries of different forks may come in different orders. Where inputs wait for each other because of that, the one whose fork
  has the most forks above it leaves; of equal ones, the one that was copied first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Never

from ..elements import ControlElement, Marker, TurnEnd, TurnReset, TurnStart

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterable, Mapping

    from ._fork import ForkEnd

__all__ = ["BOUNDARIES", "REMEMBERED", "TURNS", "ControlJoin", "TurnMarker", "Verdict"]

TURNS: tuple[type[ControlElement], ...] = (TurnStart, TurnEnd, TurnReset)
"""The boundaries of turns."""

BOUNDARIES: tuple[type[ControlElement], ...] = (*TURNS, Marker)
"""What a merge aligns, unless its policy is another."""

REMEMBERED = 1000
"""Most elements of which it is remembered that a copy may still come, unless more of them fit into the edges."""

_NONE: frozenset[int] = frozenset()

Verdict = Literal["pass", "drop", "hold"]
"""What to do with a control element: let it leave, forget it, or wait with it and with all that is behind it on its input."""


class TurnMarker(Marker, frozen=True, gc=False):
    """Comes behind a boundary of a turn that a stage on the way may take in: what that stage makes of it comes before."""


class _Copied:
    """One element that was copied, and where its copies are."""

    __slots__ = ("awaited", "element", "forks", "has_left", "late", "number")

    def __init__(self, element: ControlElement, number: int) -> None:
        self.element = element
        self.number = number
        """In the order of the first copying."""
        self.forks: dict[int, int] = {}
        """Which forks have copied it, and when."""
        self.awaited: set[int] = set()
        """The inputs that a copy is still to come by."""
        self.late: set[int] = set()
        """The inputs that a copy is no more waited for at, but would be dropped."""
        self.has_left = False


class ControlJoin:
    """What one merge knows of the control elements that were copied above it.

    Args:
        inputs: How many inputs the merge has.
        reach: For each fork above it, the inputs that its branches lead to.
        above: For each fork, those from which an element may come to it; none where nothing is said.
        remembered: Most elements of which it is remembered that a copy may still come. Where more control elements than that can be
            in the edges between, one that was forgotten would leave twice.
        aligned: The types that leave when all have shown them; all others leave at their first copy.
        taken: For each fork, the boundaries that a stage on a way from there may take in; none where nothing is said.
    """

    def __init__(
        self,
        inputs: int,
        reach: Mapping[int, frozenset[int]],
        remembered: int = REMEMBERED,
        aligned: tuple[type[ControlElement], ...] = BOUNDARIES,
        *,
        above: Mapping[int, frozenset[int]] | None = None,
        taken: Mapping[int, tuple[type[ControlElement], ...]] | None = None,
    ) -> None:
        self._open = set(range(inputs))
        self._above: Mapping[int, frozenset[int]] = {} if above is None else above
        self.reach: Mapping[int, frozenset[int]] = reach
        """For each fork above, the inputs that its branches lead to."""
        self.taken: Mapping[int, tuple[type[ControlElement], ...]] = {} if taken is None else taken
        """For each fork above, the boundaries that a stage on a way from there may take in."""
        self._remembered = remembered
        self._aligned = aligned
        self._count = 0
        self._copied: dict[int, _Copied] = {}  # by identity, in the order of their first copying
        self._done: dict[int, _Copied] = {}  # of which all copies have come that are known of
        self.held: dict[int, ControlElement] = {}
        """The element that each waiting input has shown."""
        self.forks: dict[int, weakref.ref[ForkEnd[Never]]] = {}
        """The forks above it, by number."""
        self._orders: set[int] = set()  # forks that mark what they send

    def is_on_its_way(self, element: ControlElement, fork: int) -> bool:
        """Say whether copies of the very same object are about, and not because a fork above has sent `fork` one of them."""
        known = self._copied.get(id(element))
        return known is not None and (fork in known.forks or not self._is_below(fork, known))

    def expect(self, element: ControlElement, fork: int, inputs: frozenset[int] | None = None) -> None:
        """Know that `fork` sends a copy of `element` to each of its branches, or to those that lead to some `inputs`."""
        known = self._copied.get(id(element)) or self._done.get(id(element))
        if known is not None and id(element) in self._done and (fork in known.forks or not self._is_below(fork, known)):
            del self._done[id(element)]  # sent again
            known = None
        if known is None:
            if len(self._copied) >= self._remembered:
                self._forget_one()
            self._count += 1
            known = self._copied[id(element)] = _Copied(element, self._count)
            known.awaited |= (self.reach[fork] if inputs is None else inputs) & self._open
        elif self._is_unordered(known) and fork in self._orders:
            self._copied[id(element)] = self._copied.pop(id(element))  # behind what the fork has marked before it
        self._orders |= {fork} if inputs is not None else _NONE
        self._count += 1
        known.forks.setdefault(fork, self._count)

    def needs_marker(self, element: ControlElement, fork: int) -> bool:
        """Say whether `fork`, which has just copied a boundary, has to send a `TurnMarker` behind it: nobody above it has."""
        known = self._copied.get(id(element))
        return known is not None and next(iter(known.forks)) == fork and isinstance(element, self.taken.get(fork, ()))

    def announce(self, number: int, element: ControlElement) -> None:
        """Learn from the element at the head of input `number` what need not be waited for there; `release()` comes before it."""
        shown = self._copied.get(id(element))
        # What is no boundary may have left a merge above at its first copy, before what is held there.
        if shown is not None and number in shown.awaited | shown.late and isinstance(element, BOUNDARIES):
            for known in self._copied.values():
                if number in known.awaited and self._came_before(known, shown):
                    self._pass_over(known, number)

    def arrive(self, number: int, element: ControlElement) -> Verdict:
        """Say what to do with an element that input `number` gives."""
        known = self._copied.get(id(element))
        if known is None or number not in known.awaited | known.late:
            return "pass"
        known.awaited.discard(number)
        known.late.discard(number)
        verdict: Verdict = "drop"
        if not known.has_left and isinstance(element, self._aligned):
            self.held[number] = element
            verdict = "hold"
        elif not known.has_left:
            known.has_left = True
            verdict = "pass"
        self._forget_if_done(known)
        return verdict

    def take(self, number: int, element: ControlElement) -> None:
        """Know that input `number` has given an element to its reader: that copy is out of the books."""
        known = self._copied.get(id(element))
        if known is not None:
            known.awaited.discard(number)
            known.late.discard(number)
            self._forget_if_done(known)

    def awaited(self) -> list[tuple[int, ControlElement]]:
        """Return what is waited for: an input that holds nothing, and a held element that it has not shown."""
        return [
            (number, known.element) for known in self._waiting() for number in known.awaited if number not in self.held
        ]

    def next_awaited(self) -> tuple[int, ControlElement] | None:
        """Return the first boundary that is waited for at an input which can go on, and the first such input.

        One that is still to come to a fork whose order is restored is behind all that this fork has sent so far.
        """
        for known in self._copied.values():
            if known.awaited and isinstance(known.element, self._aligned) and not self._is_still_above(known):
                number = min((one for one in known.awaited if one not in self.held), default=None)
                if number is not None:
                    return number, known.element
        return None

    def has_left(self, number: int, element: ControlElement) -> bool:
        """Say whether an element is a copy, still to come by input `number`, of one that has left."""
        known = self._copied.get(id(element))
        return known is not None and known.has_left and number in known.awaited | known.late

    def is_awaited(self, number: int, element: ControlElement) -> bool:
        """Say whether a copy of an element is waited for at input `number`."""
        known = self._copied.get(id(element))
        return known is not None and number in known.awaited

    def is_ahead(self, number: int, kind: type[ControlElement]) -> bool:
        """Say whether input `number` has passed over an element of this type which others have still to give."""
        return any(
            number in known.late and known.awaited and not known.has_left and isinstance(known.element, kind)
            for known in self._copied.values()
        )

    def origins(self, element: ControlElement) -> list[ForkEnd[Never]]:
        """Return the forks that have copied an element of which copies are awaited, as far as they are there."""
        known = (self.forks.get(fork) for fork in self._copied[id(element)].forks)
        ends = (one() for one in known if one is not None)
        return [one for one in ends if one is not None]

    def came_later(self, element: ControlElement, other: ControlElement) -> bool:
        """Say whether `other` was copied after `element` by the same fork: no copy of `element` is behind that one."""
        known, later = self._copied[id(element)], self._copied.get(id(other))
        return later is not None and self._came_before(known, later)

    def give_up(self, number: int, element: ControlElement) -> None:
        """Know that no copy of `element` is to be waited for at input `number`."""
        self._pass_over(self._copied[id(element)], number)

    def end(self, number: int) -> None:
        """Know that nothing more comes by input `number`."""
        self._open.discard(number)
        for known in tuple(self._copied.values()):
            known.awaited.discard(number)
            known.late.discard(number)
            self._forget_if_done(known)

    def release(self) -> ControlElement | None:
        """Return the first boundary that need not be waited with any longer, and let its inputs go on; None if there is none."""
        for known in self._waiting():
            if not known.awaited:
                return self._leave(known)
        stuck = [known for known in self._waiting() if self._is_stuck(known)]
        return self._leave(max(stuck, key=self._depth)) if stuck else None

    def _waiting(self) -> list[_Copied]:
        """Return what is held, in the order of the first copying."""
        known = {id(one): self._copied[id(one)] for one in self.held.values()}
        return sorted(known.values(), key=lambda one: one.number)

    def _is_stuck(self, known: _Copied) -> bool:
        """Say whether all inputs that `known` waits for hold something that waits, in turn, for inputs that hold something."""
        seen, following = {id(known.element)}, [known]
        while following:
            for number in following.pop().awaited:
                held = self.held.get(number)
                if held is None:
                    return False
                if id(held) not in seen:
                    seen.add(id(held))
                    following.append(self._copied[id(held)])
        return True

    def _depth(self, known: _Copied) -> int:
        """Return how many forks are above the one that has copied `known` first.

        Inputs may show two boundaries in different orders, if a stage has sent the one of its own behind the other one, which a
        stage further down keeps. What comes by there is still before the outer one, and nothing is lost behind the inner one: so
        that leaves first.
        """
        return len(self._above.get(next(iter(known.forks)), _NONE))

    def _leave(self, known: _Copied) -> ControlElement:
        known.has_left = True
        for number in tuple(known.awaited):
            self._pass_over(known, number)
        for number in [number for number, one in self.held.items() if one is known.element]:
            del self.held[number]
        self._forget_if_done(known)
        return known.element

    def _pass_over(self, known: _Copied, number: int) -> None:
        known.awaited.remove(number)
        known.late.add(number)

    def _forget_if_done(self, known: _Copied) -> None:
        if known.awaited or known.late or any(one is known.element for one in self.held.values()):
            return
        self._copied.pop(id(known.element), None)
        if any(fork not in known.forks and self._is_below(fork, known) for fork in self.reach):
            if len(self._done) >= self._remembered:
                del self._done[next(iter(self._done))]
            self._done[id(known.element)] = known

    @staticmethod
    def _came_before(known: _Copied, later: _Copied) -> bool:
        """Say whether the fork above all others that have copied `known` has copied `later` after it.

        What a fork further down has copied after it says nothing of the ways that lead past that fork.
        """
        first, copied = next(iter(known.forks.items()))
        return copied < later.forks.get(first, 0)

    def _is_below(self, fork: int, known: _Copied) -> bool:
        """Say whether a fork may get an element from one that has copied it."""
        return not known.forks.keys().isdisjoint(self._above.get(fork, _NONE))

    def _is_unordered(self, known: _Copied) -> bool:
        """Say whether no fork that marks what it sends has copied an element."""
        return self._orders.isdisjoint(known.forks)

    def _is_still_above(self, known: _Copied) -> bool:
        """Say whether an element is on its way to a fork that marks what it sends."""
        return self._is_unordered(known) and any(self._is_below(fork, known) for fork in self._orders)

    def _forget_one(self) -> None:
        """Forget the oldest one that nothing is waited for of; else the oldest one that is not held."""
        held = {id(one) for one in self.held.values()}
        free: Iterable[_Copied] = [one for key, one in self._copied.items() if key not in held]
        oldest = next((one for one in free if not one.awaited), next(iter(free), None))
        if oldest is not None:
            del self._copied[id(oldest.element)]
