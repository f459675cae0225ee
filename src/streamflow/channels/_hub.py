"""The writing end of a fork whose branches come and go while it is open.

Above: `runtime`. Below: `_fork`, of which it is a sibling.

Rules, besides those of `_fork`:

1. *Who joins late gets everything from then on*, and nothing from before: all that is put into the other branches behind a certain
   moment, in the same order, nothing left out and nothing twice. Senders that wait at that moment wait for the new branch too, in
   the order in which they queue already.
2. *A branch that is added is a branch*: it is waited for while it is full, and left out once its reader has gone. One that is added
   as a tap is not waited for.
3. *Control that it gets is nobody's to join*: no merge below the fork is told of it.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ..elements import ControlElement
from ._bounded import open_channel
from ._fork import Claim, ForkEnd
from ._waits import widen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..elements import StreamElement
    from ._control import ControlJoin
    from ._ordering import Ordering
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd

__all__ = ["HubEnd"]

T_contra = TypeVar("T_contra", contravariant=True)


class HubEnd(ForkEnd[T_contra]):
    """The writing end of a fork to which branches can be added. Takes what `ForkEnd` takes."""

    def __init__(
        self,
        name: str,
        branches: Sequence[SendEnd[Any]],
        *,
        otherwise: SendEnd[Any] | None = None,
        joins: Sequence[tuple[ControlJoin, int]] = (),
        taps: Sequence[SendEnd[Any]] = (),
        essential: Sequence[SendEnd[Any]] = (),
        ordering: Ordering | None = None,
    ) -> None:
        super().__init__(
            name, branches, otherwise=otherwise, joins=joins, taps=taps, essential=essential, ordering=ordering
        )
        self.claims: dict[Claim, None] = {}
        """The senders that wait, in the order of their arrival: here, or at an end of which this one is a part."""
        self._fixed = len(self._branches), len(self._taps)

    def widen_added(self, capacity: int) -> None:
        """Let each branch that was added, and is waited for, hold up to `capacity` elements from now on."""
        for end in self._branches[self._fixed[0] :]:
            widen(end._peer, capacity)

    @property
    def _edges(self) -> tuple[ReceiveEnd[Any], ...]:
        # What reads the others is no stage of the graph.
        branches, taps = self._fixed
        return tuple(one._peer for one in (*self._branches[:branches], *self._taps[:taps]))

    def added(self) -> tuple[ReceiveEnd[object], ...]:
        """Return the reading ends of the branches that were added."""
        branches, taps = self._fixed
        return tuple(one._peer for one in (*self._branches[branches:], *self._taps[taps:]))

    def attach(
        self, capacity: int, *, name: str, admit: Callable[[object], bool], waits: bool = True
    ) -> ReceiveEnd[StreamElement]:
        """Add a branch, and return its reading end; closing that takes it away again.

        Args:
            capacity: The bound, in elements.
            name: What errors and statistics call it.
            admit: As in `open_channel()`.
            waits: Whether the fork waits for it while it is full; False: it is a tap.
        """
        send: SendEnd[Any]
        receive: ReceiveEnd[StreamElement]
        send, receive = open_channel(capacity, name=name, admit=admit)
        if self._closed or not self.is_open:
            send.close()
            return receive
        branches, taps = self._fixed
        self._taps = (*self._taps[:taps], *(one for one in self._taps[taps:] if one.is_open))
        if not waits:
            self._taps = (*self._taps, send)
            return receive
        # Those that have gone are forgotten here: there are never more of them than there were readers at a time.
        self._branches = (*self._branches[:branches], *(one for one in self._branches[branches:] if one.is_open), send)
        self._routes.clear()
        for claim in self.claims:
            if isinstance(claim.item, ControlElement) or admit(claim.item):
                claim.route = (*claim.route, send)
                claim.queue_up((send,))
        return receive

    def _claim(self, item: object, *, is_shared: bool) -> Claim:
        claim = super()._claim(item, is_shared=is_shared)
        self.claims[claim] = None
        return claim

    def _release(self, claim: Claim) -> None:
        self.claims.pop(claim)
        super()._release(claim)
