"""What can still come to a merge that holds a boundary back: whether it waits for something that, in turn, waits for it.

Above: `_merge`, which must not wait for what cannot come. Below: `_receive_end`, `_send_end`.

A merge waits at one input for the copy of a boundary that another input has shown. That copy may never come: a stage may keep it to
itself; or the way to the input may stand still because of this very wait, which holds up the other input, and with it the fork
that feeds both. Nothing tells so, but it can be seen. Nothing comes any more by an edge when

- its writer has gone; or waits for its own input, by which nothing comes; or waits for room where nobody makes room;
- nobody makes room on an edge that the merge in question holds back, nor where the reader waits in one of these ways.

A writer that is at anything else, and a source, may go on at any moment. Nothing that was sent before the boundary comes by an edge
out of a fork that has copied it, nor by one to which no such fork leads. This is the least solution of these rules: what waits in a
circle waits for ever.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..elements import ControlElement
    from ._merge import MergeEnd, Relay
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd

__all__ = ["Ways", "readers_between"]


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
        reader = edge if edge is target else _reader_of(edge)
        if reader is merge or reader._feeds in forks:
            continue
        if reader not in before:
            before[reader] = []
            if reader is not target and reader._feeds is not None:
                following += [(reader, one) for one in reader._feeds._edges]
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


class Ways:
    """The ways by which elements can come to one input of a merge, as they are now.

    Args:
        merge: Holds a boundary back.
        forks: Have copied it.
        came_later: Says whether a boundary was copied by one of them after it.
        overseer: Hears from now on when somebody whose waiting counts begins to wait.
        lets_go: Says of another merge, which holds something back, whether it is about to let that go; by default none is.
    """

    def __init__(
        self,
        merge: MergeEnd[Any],
        forks: Collection[SendEnd[Any]],
        came_later: Callable[[ControlElement], bool],
        overseer: Relay,
        lets_go: Callable[[MergeEnd[Any]], bool] = lambda _: False,
    ) -> None:
        self._merge = merge
        self._origins = {edge for fork in forks for edge in fork._edges}
        self._behind = self._all_behind(self._origins)
        self._came_later = came_later
        self._overseer = overseer
        self._lets_go = lets_go
        self.holding: set[MergeEnd[Any]] = set()
        """Other merges, found on the way, which hold something back."""
        # What may happen: by an edge something comes, a stage goes on; and whether only what came before the boundary counts.
        self._may: dict[tuple[str, ReceiveEnd[Any], bool], bool] = {}

    def lead_to(self, target: ReceiveEnd[Any]) -> bool:
        """Say whether anything that was sent before the boundary may still come by `target`, if the merge goes on waiting.

        True where no way is known: where a stage between reads its input over a channel of its own.
        """
        if target not in self._behind and target not in self._origins:
            return True
        may = self._may
        self._ask("come", target, before=True)
        has_changed = True
        while has_changed:
            has_changed = False
            for key in [key for key, known in may.items() if not known]:
                number = len(may)
                kind, end, before = key
                may[key] = self._comes(end, before=before) if kind == "come" else self._goes_on(end, before=before)
                has_changed |= may[key] or len(may) > number
        return may["come", target, True]

    @staticmethod
    def _all_behind(origins: Collection[ReceiveEnd[Any]]) -> set[ReceiveEnd[Any]]:
        """Return the edges by which what was sent into these may come; they themselves are not among them."""
        found: set[ReceiveEnd[Any]] = set()
        following = list(origins)
        while following:
            output = _reader_of(following.pop())._feeds
            new = [edge for edge in output._edges if edge not in found] if output is not None else []
            found.update(new)
            following += new
        return found.difference(origins)

    def _ask(self, kind: str, end: ReceiveEnd[Any], *, before: bool) -> bool:
        self._listen(end)
        return self._may.setdefault((kind, end, before), False)

    def _listen(self, *ends: ReceiveEnd[Any]) -> None:
        for end in ends:
            if self._overseer not in end._overseers:
                end._overseers += (self._overseer,)

    def _comes(self, edge: ReceiveEnd[Any], *, before: bool) -> bool:
        if edge.state != "open" or (before and edge not in self._behind):
            return False
        writers = _alive(edge)
        if not writers:
            return not _is_waited_for(edge) or self._is_taken_from(edge)
        return self._ask("go on", writers[0], before=before)

    def _goes_on(self, first: ReceiveEnd[Any], *, before: bool) -> bool:
        """Say whether the stage that reads `first`, and what else is read by the same stage, may take or send something."""
        output = first._feeds
        if output is not None and not output.is_open:
            return False
        edges = output._edges if output is not None else ()
        readers = (_alive(edges[0]) if edges else ()) or (first,)
        self._listen(*edges, *readers)
        waiting = [one for one in readers if one._waiter is not None]
        full = [edge for edge in edges if _is_waited_for(edge)]
        if not full and (not waiting or any(self._has_inside(one) for one in readers)):
            return True
        if any(self._receives(one, before=before) for one in waiting):
            return True
        return bool(full) and all(self._is_taken_from(edge) for edge in full)

    def _has_inside(self, reader: ReceiveEnd[Any]) -> bool:
        """Say whether a stage that has a channel of its own between what it reads and what it sends has something there."""
        if reader._forward is None or reader._forward is reader._feeds:
            return False
        between = reader._forward._edges
        self._listen(*between)
        return any(one._buffer or one._waiter is None for one in between)

    def _receives(self, reader: ReceiveEnd[Any], *, before: bool) -> bool:
        """Say whether a reader that waits may get something."""
        if reader._buffer:
            return True
        if not reader._merges:
            return self._ask("come", reader, before=before)
        return self._is_given(reader, before=before)

    def _is_given(self, merge: ReceiveEnd[Any], *, before: bool) -> bool:
        """Say whether a merge may get something more from its inputs."""
        if merge is self._merge:
            return False
        inputs, held = merge._merged()
        # What an input holds stops what is behind it, and if it came later, so did that.
        if not (before and all(self._came_later(one) for one in held.values())):
            before = False
            if held:
                self.holding.add(cast("MergeEnd[Any]", merge))
                if self._lets_go(cast("MergeEnd[Any]", merge)):
                    return True
        return any(edge._buffer or self._ask("come", edge, before=before) for edge in inputs)

    def _is_taken_from(self, edge: ReceiveEnd[Any]) -> bool:
        """Say whether somebody may make room on an edge."""
        reader = _reader_of(edge)
        # Who reads a merge finds out itself what that need not wait for, as soon as it asks for more.
        is_held_back = reader is not edge and edge not in reader._merged()[0]
        has_asked = reader is self._merge or reader._waiter is not None
        if is_held_back and has_asked and not self._is_given(reader, before=False):
            return False
        return self._ask("go on", reader, before=False)


def _reader_of(edge: ReceiveEnd[Any]) -> ReceiveEnd[Any]:
    return (edge._relay.merge() if edge._relay is not None else None) or edge


def _alive(edge: ReceiveEnd[Any]) -> list[ReceiveEnd[Any]]:
    """Return what the stage that writes an edge reads, as far as it is known."""
    ends = (one() for one in edge._fed_by)
    return [one for one in ends if one is not None and one._feeds is not None and edge in one._feeds._edges]


def _is_waited_for(edge: ReceiveEnd[Any]) -> bool:
    """Say whether a sender waits for its turn or for room on this edge, and has not been woken."""
    return any(turn.waiter is not None and not turn.waiter.done() for turn in edge._turns)
