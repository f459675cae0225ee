"""How an output feeds several stages, beyond plain branches: what calls said of it, and what is wrong with that.

Above: `_said`, `_builder`, `_edges`. Below: `_router`, `_spec`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from .._records import Record
from ..errors import Finding
from ._spec import ForkSpec, RouteSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..channels import Unroutable
    from ._names import Names
    from ._router import Router
    from ._said import Named
    from ._spec import Endpoint, ForkMode, Graph

__all__ = ["FanCall", "fan_call_of", "fan_findings", "with_fans"]


class FanCall(Record, frozen=True):
    """What one call said of how an output feeds several stages."""

    source: Named
    """What writes."""
    mode: ForkMode
    """How it chooses among its branches."""
    otherwise: Named | None = None
    """The branch for the rest."""
    router: Router | None = None
    """The rule of a route."""
    choices: tuple[Named, ...] = ()
    """What the rule chooses among."""
    names: tuple[str, ...] = ()
    """How the rule calls those."""
    unroutable: Unroutable = "drop"
    """What becomes of elements whose branch has gone."""
    essential: tuple[Named, ...] = ()
    """The branches without which the fork ends."""
    is_dynamic: bool = False
    """Whether branches may come and go during a run."""

    def fork(self, source: Endpoint, target: Callable[[Named], Endpoint]) -> ForkSpec:
        """Return it as a fork of one output, with its names looked up."""
        route = None
        if self.router is not None:
            route = RouteSpec(self.router, tuple(target(one) for one in self.choices), self.names, self.unroutable)
        return ForkSpec(
            source,
            self.source.where,
            None if self.otherwise is None else target(self.otherwise),
            mode=self.mode,
            route=route,
            essential=tuple(target(one) for one in self.essential),
            is_dynamic=self.is_dynamic,
        )


def fan_call_of(fork: ForkSpec, named: Callable[[Endpoint, str], Named]) -> FanCall | None:
    """Return the call that makes a nested fork again, besides what makes a plain one; None where that is all."""
    if fork.mode == "branch" and not fork.essential and not fork.is_dynamic:
        return None
    return FanCall(
        named(fork.source, fork.where),
        fork.mode,
        None if fork.otherwise is None or fork.mode == "branch" else named(fork.otherwise, fork.where),
        None if fork.route is None else fork.route.router,
        () if fork.route is None else tuple(named(one, fork.where) for one in fork.route.choices),
        () if fork.route is None else fork.route.names,
        "drop" if fork.route is None else fork.route.unroutable,
        tuple(named(one, fork.where) for one in fork.essential),
        fork.is_dynamic,
    )


def with_fans(
    forks: Iterable[ForkSpec],
    calls: Iterable[FanCall],
    sources: Callable[[Named], tuple[Endpoint, ...]],
    target: Callable[[Named], Endpoint],
) -> list[ForkSpec]:
    """Return plain forks and those that calls made, one for each output; another one for each that contradicts the first.

    Args:
        forks: The plain ones.
        calls: What was said besides.
        sources: Returns what writes where something is named.
        target: Returns what reads there.
    """
    found = list(forks)
    for call in calls:
        for source in sources(call.source):
            one = call.fork(source, target)
            place = next((place for place, other in enumerate(found) if _adds_up(other, one)), None)
            if place is None:
                found.append(one)
                continue
            before = found[place]
            found[place] = before.replace(
                otherwise=before.otherwise or one.otherwise,
                essential=tuple(dict.fromkeys((*before.essential, *one.essential))),
                is_dynamic=before.is_dynamic or one.is_dynamic,
            )
    return found


def _adds_up(one: ForkSpec, other: ForkSpec) -> bool:
    rests = {one.otherwise, other.otherwise} - {None}
    return one.source == other.source and one.mode == other.mode != "route" and len(rests) < 2


def fan_findings(graph: Graph, names: Names) -> Iterator[Finding]:
    """Yield a finding for each output that feeds others in two ways, and for each branch that is missing or never chosen."""
    first: dict[Endpoint, ForkSpec] = {}
    targets: defaultdict[Endpoint, dict[Endpoint, str]] = defaultdict(dict)
    for edge in graph.edges:
        if not edge.is_tap:
            targets[edge.source].setdefault(edge.target, edge.where)
    for fork in graph.forks:
        if fork.source not in names.outputs:
            continue
        name, stage = repr(str(fork.source)), fork.source.stage
        before = first.setdefault(fork.source, fork)
        if before is not fork and before.mode == fork.mode != "route":
            continue  # two places for the rest: that has a finding of its own
        if before is not fork:
            message = (
                f"{name} feeds others by {before.mode}() and by {fork.mode}(), the other was made at {before.where}"
            )
            hint = "leave one of them out, or let it feed a PassthroughStage that feeds the others"
            yield Finding("two-ways-out", stage, message, hint, fork.where)
            continue
        chosen = (*(fork.route.choices if fork.route is not None else ()), *fork.essential)
        for one in dict.fromkeys(chosen):
            if one in names.inputs and one not in targets[fork.source]:
                message = f"{fork.mode}({name}, …) names {str(one)!r}, but there is no edge to it"
                yield Finding("missing-branch", stage, message, f"connect({name}, {str(one)!r})", fork.where)
        unused = [one for one in targets[fork.source] if one not in {*chosen, fork.otherwise}]
        for one in unused if fork.mode == "route" else ():
            message = f"no rule of route({name}, …) sends anything to {str(one)!r}"
            hint = "name it in the router, or as default=; or leave the edge out"
            yield Finding("unused-branch", one.stage, message, hint, targets[fork.source][one])
