"""The writing end of all outputs of a stage that has several, where one of them chooses by a rule of its own.

Above: `runtime`. Below: `_fork`, `_hub`.

What the stage does not accept passes it by to every output: on each of them to where that output sends elements, control to all. An
output that balances gets it on the branch that is freest when the sender looks first.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ..elements import ControlElement
from ._fork import Claim, ForkEnd
from ._hub import HubEnd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._control import ControlJoin
    from ._ordering import Ordering
    from ._send_end import SendEnd

__all__ = ["WholeEnd"]

T_contra = TypeVar("T_contra", contravariant=True)


class WholeEnd(ForkEnd[T_contra]):
    """The writing end of several outputs at once.

    Args:
        name: What errors and statistics call it.
        parts: The writing end of each output.
        branches: The writing ends of all their edges, taps left out.
        joins: As in `ForkEnd`.
        ordering: As in `ForkEnd`.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[SendEnd[Any]],
        branches: Sequence[SendEnd[Any]],
        *,
        joins: Sequence[tuple[ControlJoin, int]] = (),
        ordering: Ordering | None = None,
    ) -> None:
        super().__init__(name, branches, joins=joins, ordering=ordering)
        self._parts = tuple(parts)
        self._hubs = [one for one in parts if isinstance(one, HubEnd)]

    @property
    def is_open(self) -> bool:
        return any(part.is_open for part in self._parts)

    def _route_of(self, item: object) -> tuple[SendEnd[Any], ...]:
        super()._route_of(item)  # refuses what is no element
        is_control = isinstance(item, ControlElement)
        route: list[SendEnd[Any]] = []
        for part in self._parts:
            if isinstance(part, ForkEnd):
                route += part._route_of(item)
            elif is_control or part._peer._accepts(item):
                route.append(part)
        return tuple(route)

    def _note_sent(self, item: T_contra) -> None:
        for part in self._parts:
            if isinstance(part, ForkEnd):
                part._note_sent(item)

    def _claim(self, item: object, *, is_shared: bool) -> Claim:
        claim = super()._claim(item, is_shared=is_shared)
        for hub in self._hubs:
            hub.claims[claim] = None
        return claim

    def _release(self, claim: Claim) -> None:
        for hub in self._hubs:
            hub.claims.pop(claim)
        super()._release(claim)

    def close(self) -> None:
        super().close()
        for part in self._parts:
            part.close()

    def fail(self, cause: BaseException) -> None:
        super().fail(cause)
        for part in self._parts:
            part.fail(cause)

    def close_with(self, item: T_contra) -> None:
        if self.is_open:
            item = self._told(item)
        for part in self._parts:
            part.close_with(item)
        self.close()
