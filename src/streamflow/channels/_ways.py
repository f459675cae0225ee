"""What lies between the forks that have copied an element and a merge below: who reads there.

Above: `_merge`, which must not wait for what cannot come. Below: `_receive_end`, `_send_end`.

A stage may take a boundary and keep it to itself. Nothing tells that it does not come, and a merge that waited for it would hold up
the other branches, for ever once they are full and so their fork is stopped. What a merge can see is that nothing is on the way any
more: all edges between are empty, and all who read them wait for more. What lies in front of a fork that has copied the element
does not count: all that is there came later. Nor does what a merge between holds back behind a boundary that came later.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd

__all__ = ["readers_between"]


def readers_between(forks: Collection[SendEnd[Any]], target: ReceiveEnd[Any]) -> list[ReceiveEnd[Any]] | None:
    """Return the ends that are read on all ways to `target`, which a merge reads, behind the last of `forks` on each.

    Returns:
        The ends, each once, in no order; None if no way is known: where a stage reads its input over a channel of its own.
    """
    merge = target._relay.merge() if target._relay is not None else None
    before: dict[ReceiveEnd[Any], list[ReceiveEnd[Any] | None]] = {}
    following: list[tuple[ReceiveEnd[Any] | None, ReceiveEnd[Any]]]
    following = [(None, edge) for fork in forks for edge in fork._edges]
    while following:
        writer, edge = following.pop()
        reader = edge if edge is target or edge._relay is None else edge._relay.merge() or edge
        if reader is merge or reader._forward in forks:
            continue
        if reader not in before:
            before[reader] = []
            if reader is not target and reader._forward is not None:
                following += [(reader, one) for one in reader._forward._edges]
        before[reader].append(writer)
    if target not in before:
        return None
    found: set[ReceiveEnd[Any]] = {target}
    backwards = [target]
    while backwards:
        for one in before[backwards.pop()]:
            if one is not None and one not in found:
                found.add(one)
                backwards.append(one)
    return list(found - {target})
