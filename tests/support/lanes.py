"""What the tests of priority lanes share: elements of every lane, and an account of who overtook whom."""

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
        super().__init__(name, capacity)
        self.overtaken = {}  # by identity of what has not left, the priorities of those that passed it

    def on_received(self, item):
        self.received.append(item)
        place = next((place for place, held in enumerate(self._held) if held is item), None)
        if place is None:
            self._wrong.append(f"{item!r} was received and is not there")
            return
        for other in list(self._held)[:place]:
            self._overtake(item, other)
        del self._held[place]

    def _overtake(self, item, other):
        passers = self.overtaken.setdefault(id(other), [])
        passers.append(item.priority)
        if is_fence(item) or is_fence(other):
            self._wrong.append(f"{item!r} passed {other!r}: control is a fence")
        if item.priority <= other.priority:
            self._wrong.append(f"{item!r} passed {other!r}, which is no less urgent")
        for priority, most in MOST.items():
            if sum(one <= priority for one in passers) > most:
                self._wrong.append(f"{other!r} was passed more than {most} times by elements up to {priority!r}")


def check_order(sent, got):
    """Check what left against what entered: all of it, once each, and as lanes promise."""
    record = LaneRecord()
    for item in sent:
        record.on_sent(item)
    for item in got:
        record.on_received(item)
    assert record.findings(ended=True) == []
