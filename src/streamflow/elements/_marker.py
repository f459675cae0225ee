"""Notes that the runtime sends along among the elements, to itself; no stage and no consumer ever sees one.

Above: `channels`. Below: `_base`.
"""

from __future__ import annotations

from ._base import ControlElement

__all__ = ["Marker"]


class Marker(ControlElement, frozen=True, gc=False):
    """A place among the elements of an edge that the runtime has marked for itself, such as the end of one element's results.

    A control element that no stage accepts, whatever it names: so it passes every stage by behind the results of all that the stage
    took before it, which is what makes it useful. The consumer's end takes and drops it. It is never encoded.
    """
