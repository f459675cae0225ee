"""The forks of one run: what the plan says of each, and the writing end that is made of it.

Above: `_plan`, `_wiring`. Below: `channels`, `graph`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._records import Record
from ..channels import BalanceEnd, ForkEnd, HubEnd, RouteEnd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import ControlJoin, Ordering, SendEnd
    from ..graph import Endpoint, ForkSpec

__all__ = ["FanPlan", "fan_of", "fork_name", "open_fan"]


class FanPlan(Record, frozen=True):
    """How one output divides its elements, where it is no plain copy. Edges are named by their place among those of the output."""

    fork: ForkSpec | None
    """What was said; None: it has taps, and nothing else to say."""
    taps: frozenset[int]
    """The taps."""
    choices: tuple[int, ...]
    """What the rule of a route chooses among."""
    essential: tuple[int, ...]
    """The branches without which it ends."""

    @property
    def is_dynamic(self) -> bool:
        """Whether branches may come and go."""
        return self.fork is not None and self.fork.is_dynamic


def fan_of(fork: ForkSpec | None, targets: Sequence[Endpoint | None], taps: frozenset[int]) -> FanPlan | None:
    """Return how an output divides its elements; None where each edge gets a copy, or there is only one.

    Args:
        fork: What was said of it, if anything.
        targets: What reads each of its edges; None: the consumer.
        taps: The places of those edges that are taps.
    """
    if not taps and (fork is None or (fork.mode == "branch" and not fork.essential and not fork.is_dynamic)):
        return None
    places = {target: place for place, target in enumerate(targets) if place not in taps}
    return FanPlan(
        fork,
        taps,
        () if fork is None or fork.route is None else tuple(places[one] for one in fork.route.choices),
        () if fork is None else tuple(places[one] for one in fork.essential),
    )


def fork_name(source: str, branches: Sequence[SendEnd[Any]]) -> str:
    """Return what errors and statistics call what writes several edges, as `a → (b, c)`."""
    return f"{source} → ({', '.join(branch.name.partition(' → ')[2] for branch in branches)})"


def open_fan(
    name: str,
    plan: FanPlan,
    edges: Sequence[SendEnd[Any]],
    *,
    otherwise: SendEnd[Any] | None,
    joins: Sequence[tuple[ControlJoin, int]],
    ordering: Ordering | None,
) -> ForkEnd[Any]:
    """Return what writes an output.

    Args:
        name: What errors and statistics call it.
        plan: How it divides its elements.
        edges: The writing ends of its edges.
        otherwise: Among them, the one for the rest.
        joins: The merges below, each with the number by which it knows this fork.
        ordering: Marks what is sent, for merges below that restore its order.
    """
    taps = [edges[place] for place in sorted(plan.taps)]
    branches = [edge for place, edge in enumerate(edges) if place not in plan.taps]
    fork = plan.fork
    if fork is not None and fork.route is not None:
        route = fork.route
        return RouteEnd(
            name,
            branches,
            choices=[edges[place] for place in plan.choices],
            choose=route.router.begin(route.names, name),
            otherwise=otherwise,
            gone=route.unroutable,
            spreads=route.router.spreads,
            joins=joins,
            taps=taps,
            ordering=ordering,
        )
    if fork is not None and fork.mode == "balance":
        return BalanceEnd(name, branches, otherwise=otherwise, joins=joins, taps=taps, ordering=ordering)
    kind = HubEnd[Any] if plan.is_dynamic else ForkEnd[Any]
    needed = [edges[place] for place in plan.essential]
    return kind(name, branches, otherwise=otherwise, joins=joins, taps=taps, essential=needed, ordering=ordering)
