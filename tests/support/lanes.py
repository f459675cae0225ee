"""What the tests of priority lanes share: elements of every lane, and an account of who overtook whom."""

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


def check_order(sent, got):
    """Check what left against what entered: all of it, once each, and as lanes promise."""
    record = LaneRecord()
    for item in sent:
        record.on_sent(item)
    for item in got:
        record.on_received(item)
    assert record.findings(ended=True) == []
