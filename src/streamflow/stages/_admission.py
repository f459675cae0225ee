"""Who may enter an edge, and who passes the stage behind it by.

Above: `runtime`, which opens the edges. Below: `elements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import ControlElement, EndOfStream, Marker, Message, StreamElement
from ..errors import ElementError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALL_DATA", "EVERYTHING", "Accepts", "ElementTypes", "admission", "is_accepted"]

ElementTypes = tuple[type[StreamElement], ...]
"""Element types that a stage accepts or emits; a type stands for its subclasses too."""

Accepts = type[StreamElement] | ElementTypes
"""How element types are given as `accepts=` and `emits=`: one type, or a tuple of them."""

ALL_DATA: ElementTypes = (StreamElement,)
"""The default of every stage: all data. A control element reaches only stages that name its type, or `ControlElement`."""

EVERYTHING: ElementTypes = (StreamElement, ControlElement)
"""Data and control: what the consumer of a run sees. Not the runtime's own `Marker`s: nobody accepts those."""


def is_accepted(kind: type, accepts: ElementTypes) -> bool:
    """Say whether a stage that `accepts` these types gets elements of type `kind`, or is passed by."""
    if issubclass(kind, Marker):
        return False
    if issubclass(kind, ControlElement):
        return any(issubclass(kind, one) for one in accepts if issubclass(one, ControlElement))
    return issubclass(kind, accepts)


def admission(accepts: ElementTypes, *, producer: str) -> Callable[[object], bool]:
    """Return the gatekeeper of an edge from `producer` to a stage that `accepts` these types (see `open_channel(admit=)`).

    It raises `ElementError` for what is no element, and for an `EndOfStream`.
    """

    def admit(item: object) -> bool:
        kind = type(item)
        if not isinstance(item, StreamElement):
            raise ElementError(_refusal(producer, item))
        if issubclass(kind, EndOfStream):
            message = f"stage {producer!r} sent EndOfStream, which only the runtime makes; just return, or send TurnEnd"
            raise ElementError(message)
        return is_accepted(kind, accepts)

    return admit


def _refusal(producer: str, item: object) -> str:
    if item is None:
        return f"stage {producer!r} sent None, which is no element; send nothing instead, or a StreamElement"
    what = f"{producer!r} sent {item!r:.80} ({type(item).__name__}), which is no StreamElement"
    if isinstance(item, (list, tuple)):
        return f"stage {what}; to send several, yield each of them, or use a FlatMapStage"
    wrapped = "TextElement(…)" if isinstance(item, str) else "DataElement(name, value)"
    if isinstance(item, Message):
        wrapped = "MessageElement(message)"
    return f"stage {what}; wrap it, as in {wrapped}"
