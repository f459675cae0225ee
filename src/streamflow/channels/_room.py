"""What an edge with a policy or a bound by weight holds, and what has to go for what comes.

Above: `_limited`. Below: `_bounds`, `_lanes` (which lane an element is of).

Rules:

1. Where data can be dropped, data and control are counted apart, `capacity` of each; else together.
2. *Each lane keeps a place*, as in `_lanes`: an element enters an empty lane whatever else there is and whatever it weighs; else
   elements and empty lanes together must be fewer than the capacity, and the weight must fit. An edge without lanes is one of one
   lane: so an element that is heavier than the whole bound enters when there is no other.
3. *The least urgent goes first*: to make way for data, a less urgent lane gives what it has beyond its kept place, the least urgent
   lane first; then the lane of the data itself. A more urgent one gives nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..elements import ControlElement, Priority
from ._lanes import lane_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._bounds import EdgeBound

__all__ = ["Load", "Room"]


class Load(NamedTuple):
    """What an element takes up."""

    lane: int
    """Its lane; 0 where there are none."""
    weight: float
    """What it weighs."""
    is_control: bool
    """Whether it is control."""


class Room:
    """What one edge holds.

    Args:
        bound: What it may hold.
    """

    def __init__(self, bound: EdgeBound) -> None:
        self._bound = bound
        self._is_dropping = bound.overflow != "block"
        self._keeps_one = bound.overflow == "latest"
        self._weights: dict[
            int, tuple[float, int]
        ] = {}  # by identity: what an element inside weighs, and how often it is
        self._loaded = 0  # elements that weigh something
        self._judged: tuple[object, Load] | None = None  # so that none is weighed at each step of its way in
        self.held: list[int] = [0] * (len(Priority) if bound.lanes else 1)
        """How many elements each lane holds; of data alone, where data can be dropped."""
        self.controls: int = 0
        """How many control elements there are, where they are counted apart."""
        self.weight: float = 0
        """What all elements weigh together."""

    def widen(self, bound: EdgeBound) -> None:
        """Hold as much as a wider bound says, from now on."""
        self._bound = bound

    def load_of(self, item: Any) -> Load:
        """Return what an element takes up.

        Raises:
            ElementError: If it has no lane, or no weight.
        """
        if self._judged is not None and self._judged[0] is item:
            return self._judged[1]
        bound, is_control = self._bound, isinstance(item, ControlElement)
        lane = lane_of(item) if bound.lanes else 0
        if bound.weight is None or is_control:
            return Load(lane, 0, is_control)
        self._judged = item, Load(lane, bound.weight.weigh(item), is_control)
        return self._judged[1]

    def is_apart(self, load: Load) -> bool:
        """Say whether this is control that is counted apart."""
        return self._is_dropping and load.is_control

    def has_room(self, load: Load) -> bool:
        """Say whether this may enter, and nothing has to go for it."""
        if self.is_apart(load):
            return self.controls < self._bound.capacity
        return self._fits(load, self.held, self.weight if self._loaded else None)

    def _fits(self, load: Load, held: Sequence[int], weight: float | None) -> bool:
        """Say whether this may enter where so much is held; no weight: nothing that weighs."""
        if not held[load.lane]:
            return True
        if self._keeps_one or sum(held) + held.count(0) >= self._bound.capacity:
            return False
        limit = self._bound.weight
        return limit is None or not load.weight or weight is None or weight + load.weight <= limit.limit

    def is_low(self, load: Load, mark: int) -> bool:
        """Say whether so much has left that it is worth the while to wake who waits with this.

        Args:
            load: What it takes up.
            mark: Half of what its lane held when it came.
        """
        half = self._bound.capacity // 2
        if self.is_apart(load):
            return self.controls <= half
        held = self.held
        if not held[load.lane]:
            return True
        limit = self._bound.weight
        return (sum(held) <= half or held[load.lane] <= mark) and (limit is None or self.weight <= limit.limit / 2)

    def enter(self, item: object, load: Load) -> None:
        """Count what has entered."""
        self._judged = None
        if self.is_apart(load):
            self.controls += 1
        else:
            self.held[load.lane] += 1
        if load.weight:
            self._weights[id(item)] = load.weight, self._weights.get(id(item), (0, 0))[1] + 1
            self._bear(load.weight, 1)

    def leave(self, item: Any) -> None:
        """Count what has left."""
        if self._is_dropping and isinstance(item, ControlElement):
            self.controls -= 1
        else:
            self.held[lane_of(item) if self._bound.lanes else 0] -= 1
        if id(item) in self._weights:
            weight, count = self._weights.pop(id(item))
            if count > 1:
                self._weights[id(item)] = weight, count - 1
            self._bear(weight, -1)

    def clear(self) -> None:
        """Count nothing any more."""
        self.held = [0] * len(self.held)
        self.controls = self._loaded = 0
        self.weight = 0
        self._weights.clear()

    def victims(self, load: Load, buffer: Sequence[Any]) -> list[int] | None:
        """Return the places of those who have to go for this, in order; None if it has to go itself.

        Args:
            load: What data takes up for which there is no room.
            buffer: All that is inside, in the order of leaving.
        """
        is_newest, has_lanes = self._bound.overflow == "drop_newest", self._bound.lanes
        held, weight, loaded = list(self.held), self.weight, self._loaded
        found: list[int] = []
        for lane in range(load.lane + 1):
            least = int(lane < load.lane)
            if is_newest and not least:
                return None
            places = range(len(buffer))
            for place in reversed(places) if is_newest else places:
                if held[lane] <= least:
                    break
                item = buffer[place]
                if isinstance(item, ControlElement) or (has_lanes and lane_of(item) != lane):
                    continue
                found.append(place)
                held[lane] -= 1
                its = self._weights.get(id(item), (0,))[0]
                weight, loaded = weight - its, loaded - bool(its)
                if self._fits(load, held, weight if loaded else None):
                    return sorted(found)
        return sorted(found)

    def _bear(self, weight: float, sign: int) -> None:
        self._loaded += sign
        # Rounding errors end with the last one that weighs: else an empty edge could seem to hold something for ever.
        self.weight = self.weight + sign * weight if self._loaded else 0
