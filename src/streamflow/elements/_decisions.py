"""The element by which a person answers what a turn asks: may this call run?

Above: `agents`, which acts on it; `state`, which finds the call that it is about. Below: `_base`, `_registry`.
"""

from __future__ import annotations

from ._base import WholeElement
from ._registry import register_element

__all__ = ["ToolDecisionElement"]


@register_element
class ToolDecisionElement(WholeElement, frozen=True, tag="agents.tool_decision"):
    """What a person has decided about a call that waits, see `TurnEnd.pending`."""

    call_id: str
    """The call."""
    allow: bool
    """Whether it may run."""
    reason: str = ""
    """What the model is told if it may not."""
