"""The writing end of a route: each element goes to one of several branches, which a rule chooses.

Above: `runtime`. Below: `_fork`, of which it is a sibling; `stages` and `graph` have the rules.

Rules, besides those of `_fork`:

1. *Data goes to exactly one branch*, control to every one.
2. *A rule is asked once for each element that is sent*, however often the sender looks for room: what it said is remembered until
   the element is sent, also while its sender is cancelled and comes again with the same element.
3. *What the rule chooses must take it.* A branch that does not accept the type is an error of whoever sends.
4. *A chosen branch that has gone* is what `gone` says: the element is dropped and counted, as where a copying fork has lost a
   branch; or it is an error; or the element goes to `otherwise`. A rule to which all branches are alike is told which have gone,
   and chooses among the others.
5. *The chosen branch alone is waited for.* While it is full, what is behind the element waits too, whatever branch it is for:
   that is head-of-line blocking, and what keeps the elements of one sender in order.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from ..elements import ControlElement
from ..errors import RoutingError
from ._fork import Claim, ForkEnd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._control import ControlJoin
    from ._ordering import Ordering
    from ._send_end import SendEnd

__all__ = ["RouteEnd", "Unroutable"]

T_contra = TypeVar("T_contra", contravariant=True)

Unroutable = Literal["drop", "error", "default"]
"""What becomes of an element whose branch has gone: dropped and counted, an error, or sent to the default branch."""

_REMEMBERED = 64  # choices for elements that were not sent; more senders than that do not give up at a time


class RouteEnd(ForkEnd[T_contra]):
    """The writing end of a route. Several tasks may send; those for one branch queue in order.

    Args:
        name: What errors and statistics call it, as `a → (b, c)`.
        branches: The writing ends of the edges that it writes, `otherwise` among them; at least one.
        choices: The branch that each number stands for, which `choose` returns.
        choose: Called once with each data element and the numbers that are not to be chosen; returns a number, None where no rule
            applies. What it raises leaves from the sending.
        otherwise: Where data goes that no rule applies to; None: it is dropped and counted.
        gone: What becomes of data for a branch that has gone.
        spreads: Whether all choices are alike to `choose`, so that it is told which have gone, and asked again.
        joins: As in `ForkEnd`.
        taps: As in `ForkEnd`.
        ordering: As in `ForkEnd`.
    """

    def __init__(
        self,
        name: str,
        branches: Sequence[SendEnd[Any]],
        *,
        choices: Sequence[SendEnd[Any]],
        choose: Callable[[T_contra, Sequence[int]], int | None],
        otherwise: SendEnd[Any] | None = None,
        gone: Unroutable = "drop",
        spreads: bool = False,
        joins: Sequence[tuple[ControlJoin, int]] = (),
        taps: Sequence[SendEnd[Any]] = (),
        ordering: Ordering | None = None,
    ) -> None:
        super().__init__(name, branches, otherwise=otherwise, joins=joins, taps=taps, ordering=ordering)
        self._choices = tuple(choices)
        self._choose = choose
        self._gone = gone
        self._spreads = spreads
        self._chosen: dict[int, tuple[object, int | None]] = {}  # by identity
        self._takers: dict[type, frozenset[SendEnd[Any]]] = {}

    def _route_of(self, item: object) -> tuple[SendEnd[Any], ...]:
        kind = type(item)
        takers = self._takers.get(kind)
        if takers is None:
            super()._route_of(item)  # refuses what is no element
            takers = self._takers[kind] = frozenset(end for end in self._branches if end._peer._admit(item))
        if self._has_lanes or issubclass(kind, ControlElement):
            every = super()._route_of(item)
            if issubclass(kind, ControlElement):
                return every
        if self._closed or not self.is_open:
            return self._branches[:1]  # whoever sends is told so: there is nothing to choose
        chosen = self._chosen.get(id(item))
        number = chosen[1] if chosen is not None else self._decide(item)
        end = self._otherwise if number is None else self._choices[number]
        if end is not None and number is not None and not end.is_open:
            end = self._instead(item, number)
        if end is None:
            return ()
        if end not in takers:
            message = f"an element of type {kind.__name__} was sent to {self._target(end)!r}, which does not accept it"
            hint = "let the rules send it elsewhere, or let that stage accept it"
            raise RoutingError(self.name, f"{message}; {hint}")
        return (end,)

    def _decide(self, item: object) -> int | None:
        gone = [number for number, end in enumerate(self._choices) if not end.is_open] if self._spreads else ()
        number = self._choose(cast("T_contra", item), gone)
        if len(self._chosen) >= _REMEMBERED:
            del self._chosen[next(iter(self._chosen))]
        self._chosen[id(item)] = item, number
        return number

    def _instead(self, item: object, number: int) -> SendEnd[Any] | None:
        """Return where an element goes whose branch has gone."""
        end = self._choices[number]
        if self._spreads and any(one.is_open for one in self._choices):
            again = self._decide(item)
            return None if again is None else self._choices[again]
        if self._gone == "default":
            return self._otherwise
        if self._gone == "error":
            message = f"an element was sent to {self._target(end)!r}, which takes no more"
            raise RoutingError(self.name, f"{message}; say unroutable='drop' or 'default' where that may happen")
        return end  # which is not open: dropped and counted

    @staticmethod
    def _target(end: SendEnd[Any]) -> str:
        return end.name.partition(" → ")[2]

    def _drop(self, item: object) -> None:
        self._chosen.pop(id(item), None)
        super()._drop(item)

    def _note_sent(self, item: T_contra) -> None:
        self._chosen.pop(id(item), None)
        super()._note_sent(item)

    def _claim(self, item: object, *, is_shared: bool) -> Claim:
        claim = super()._claim(item, is_shared=is_shared)
        self._take_choice(claim)
        return claim

    def _take_choice(self, claim: Claim) -> None:
        """Make a choice this sender's own: another one may send the same object, and has its own choice."""
        claim.choice = self._chosen.get(id(claim.item))
        if not claim.is_shared:
            self._chosen.pop(id(claim.item), None)

    def _wait_of(self, claim: Claim) -> Awaitable[None] | None:
        if claim.choice is not None and claim.route and not claim.route[0].is_open and self.is_open:
            self._look_again(claim, claim.choice)
        return super()._wait_of(claim)

    def _look_again(self, claim: Claim, choice: tuple[object, int | None]) -> None:
        """Find out where an element goes whose branch has gone while its sender waited."""
        self._chosen[id(claim.item)] = choice
        route = self._route_of(claim.item)
        self._take_choice(claim)
        if route != claim.route:
            claim.leave()
            claim.route = route
            claim.queue_up(route)

    def _release(self, claim: Claim) -> None:
        super()._release(claim)
        if claim.choice is not None and not claim.is_done and not claim.is_shared:
            self._chosen[id(claim.item)] = claim.choice
