"""Which types of data a route can send to each of its branches, and which of those a branch does not accept.

Above: `_types`. Below: `_router`, `_spec`, `stages`.

Nobody but the route itself decides where an element goes, so a branch that does not accept it is an error when it comes. What can
be known before is told before: by the types that a rule names, and by the types that a stage declares to emit where a rule sends
everything everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import StreamElement
from ..errors import Finding
from ..stages import is_accepted, nearest_among

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..stages import ElementTypes
    from ._spec import Endpoint, ForkSpec, RouteSpec

__all__ = ["refused_by_branches", "routed"]

_Kinds = frozenset[type[StreamElement]]


def routed(fork: ForkSpec, route: RouteSpec, target: Endpoint, kinds: _Kinds) -> _Kinds:
    """Return those types that the route can send to a branch."""
    is_default = target == fork.otherwise and route.unroutable == "default"
    if is_default or not route.router.types or target not in (*route.choices, fork.otherwise):
        return kinds  # a branch that no rule names has a finding of its own
    nearest = _nearest(route, kinds)
    return frozenset(kind for kind, end in nearest.items() if target in (end, fork.otherwise if end is None else end))


def refused_by_branches(
    fork: ForkSpec,
    route: RouteSpec,
    accepts: Mapping[Endpoint, ElementTypes],
    kinds: _Kinds,
    declared: Iterable[type[StreamElement]],
) -> Iterator[Finding]:
    """Yield a finding for each branch that gets what it does not accept, as far as that is known.

    Args:
        fork: The route's fork.
        route: The route.
        accepts: What each branch accepts.
        kinds: What can come.
        declared: What is declared to come.
    """
    router, name = route.router, str(fork.source)
    sent: dict[Endpoint, set[type[StreamElement]]] = {}
    if router.types:
        nearest = _nearest(route, kinds)
        for kind, end in zip(router.types, route.choices, strict=True):
            comes = [one for one in kinds if issubclass(one, kind) and nearest[one] == end]
            if end in accepts and comes and not any(is_accepted(one, accepts[end]) for one in comes):
                sent.setdefault(end, set()).add(kind)
    elif not router.may_miss:
        for end in route.choices:
            taken = accepts.get(end, (StreamElement,))
            lost = [one for one in declared if not any(issubclass(one, own) or issubclass(own, one) for own in taken)]
            if lost:
                sent.setdefault(end, set()).update(lost)
    for end, several in sent.items():
        told = " or ".join(sorted(one.__name__ for one in several))
        own = " or ".join(one.__name__ for one in accepts[end])
        message = f"the route out of {name!r} sends {told} to {str(end)!r}, which accepts {own}"
        hint = "send it elsewhere, or let that stage accept it"
        yield Finding("type-mismatch", end.stage, message, hint, fork.where)


def _nearest(route: RouteSpec, kinds: Iterable[type[StreamElement]]) -> dict[type[StreamElement], Endpoint | None]:
    """Return for each type the branch that it is sent to, None where no rule applies."""
    nearest = nearest_among(route.router.types)
    numbers = {kind: nearest(kind) for kind in kinds}
    return {kind: None if number is None else route.choices[number] for kind, number in numbers.items()}
