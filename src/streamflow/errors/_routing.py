"""How a route tells that an element cannot go where its rule sends it.

Above: `channels`, `stages`. Below: `_base`.
"""

from __future__ import annotations

from ._base import StreamflowError

__all__ = ["RoutingError"]


class RoutingError(StreamflowError):
    """A route cannot send an element where its rule says: no such branch, one that does not accept it, or one that has gone.

    Args:
        route: The route, as `a → (b, c)`.
        message: What is wrong, and the way out.
    """

    def __init__(self, route: str, message: str) -> None:
        super().__init__(route, message)
        self.route: str = route
        """The route, as `a → (b, c)`."""
        self.message: str = message
        """What is wrong, and the way out."""

    def __str__(self) -> str:
        return f"route {self.route}: {self.message}"
