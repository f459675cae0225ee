"""What the tests of priority lanes share: elements of every lane, and an account of who overtook whom."""

from collections import Counter

from streamflow.channels import EdgeBound
from streamflow.elements import ControlElement, Interrupt, Priority, TextElement
from streamflow.testing import EdgeRecord

MOST = {Priority.LOW: 0, Priority.NORMAL: 16, Priority.HIGH: 32, Priority.CRITICAL: 64}
"""How often another element may have been passed, by whomever, for one of this priority to pass it."""

LOW, NORMAL, HIGH, CRITICAL = Priority


def text(name, priority=NORMAL):
    return TextElement(str(name), priority=priority)


def names(items):
    """Return the texts of texts, the ids of others, and where there is none the type."""
    return [getattr(item, "text", "") or item.id or type(item).__name__ for item in items]


def is_fence(item):
    """Say whether nothing passes it, and it passes nothing."""
    return isinstance(item, ControlElement) and not isinstance(item, Interrupt)


class LaneRecord(EdgeRecord):
    """Checks what lanes promise instead of the order of sending. Elements are told apart by identity: send none twice."""

    def __init__(self, name="edge", capacity=None):
        super().__init__(name, capacity, EdgeBound(16, lanes=True))


class Held:
    """One element in the edge of the model."""

    def __init__(self, item):
        self.item = item
        self.passed = 0


class LanesModel:
    """The edge as its rules say it, one element at a time."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.held = []

    def has_room(self, item):
        lanes = Counter(one.item.priority for one in self.held)
        empty = len(Priority) - len(lanes)
        return not lanes[item.priority] or len(self.held) + empty < self.capacity

    def put(self, item):
        place = len(self.held)
        while not is_fence(item) and place and self._passes(item, self.held[place - 1]):
            place -= 1
            self.held[place].passed += 1
        self.held.insert(place, Held(item))

    def append(self, item):
        self.held.append(Held(item))

    def _passes(self, item, other):
        is_older = not is_fence(other.item) and other.passed < MOST[item.priority]
        return is_older and other.item.priority < item.priority

    def take(self):
        return self.held.pop(0).item

    @property
    def items(self):
        return [one.item for one in self.held]


def check_order(sent, got):
    """Check what left against what entered: all of it, once each, and as lanes promise."""
    record = LaneRecord()
    for item in sent:
        record.on_sent(item)
    for item in got:
        record.on_received(item)
    assert record.findings(ended=True) == []
