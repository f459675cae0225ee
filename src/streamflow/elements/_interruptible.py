"""What an interruption leaves: the one rule by which elements are dropped or stay.

Above: `channels` (edges), `stages` and `runtime` (what stages have in hand). Below: `_base`, `_types`.
"""

from __future__ import annotations

from ._base import ControlElement, StreamElement, WholeElement
from ._types import BatchElement

__all__ = ["survives_interruption"]


def survives_interruption(element: object) -> bool:
    """Say whether an interruption leaves `element` alone: control, wholes, and what is not `interruptible`.

    A `BatchElement` stays, as it is, if one of its items does. So does what is no element at all.
    """
    if isinstance(element, BatchElement) and any(survives_interruption(item) for item in element.items):
        return True
    if isinstance(element, (ControlElement, WholeElement)) or not isinstance(element, StreamElement):
        return True
    return not element.interruptible
