"""Priority lanes without an event loop, against a model that counts for each element how often it was passed."""

from collections import Counter

import anyio
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamflow.channels import WIDE, open_channel
from streamflow.elements import (
    AudioElement,
    Interrupt,
    Priority,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnStart,
)
from streamflow.errors import ChannelClosedError, ChannelFailedError, ConfigError, ElementError, OutputClosedError
from tests.support.lanes import CRITICAL, HIGH, LOW, MOST, NORMAL, LaneRecord, LanesModel, names, text

CAPACITIES = st.sampled_from([4, 5, 7, 16, 64, 65, 200])
ACCEPTED = (TextElement, TurnEnd, Interrupt)
MAKERS = {
    "data": lambda text, priority: TextElement(text, priority=priority),
    "passing data": lambda text, priority: AudioElement(text.encode(), sample_rate=16000, priority=priority),
    "interrupt": lambda text, priority: Interrupt(id=text, priority=priority),
    "fence": lambda text, priority: TurnEnd(id=text, priority=priority),
    "passing fence": lambda text, priority: TurnStart(id=text, priority=priority),
}
KINDS = st.sampled_from(["data", "data", "data", "data", "passing data", "interrupt", "fence", "passing fence"])
PRIORITIES = st.sampled_from(Priority)


def admit(item):
    if not isinstance(item, StreamElement):
        raise ElementError("no element")
    return isinstance(item, ACCEPTED)


class LanesMachine(RuleBasedStateMachine):
    """Everything that can be done without waiting, from both ends, in every order."""

    def __init__(self):
        super().__init__()
        self.state = "open"
        self.own_closed = self.reader_closed = False
        self.sent = self.received = 0
        self.discarded = Counter()

    @initialize(capacity=CAPACITIES, watched=st.booleans(), forwards=st.booleans())
    def open(self, capacity, watched, forwards):
        self.forwards, self.watched = forwards, watched
        self.model = LanesModel(capacity)
        self.record = LaneRecord("edge") if watched else None
        self.send, self.receive = open_channel(capacity, name="edge", admit=admit, watch=self.record, lanes=True)
        if watched:
            self.record.attach(self.send)
        if forwards:
            self.output, self.unread = open_channel(1)
            self.receive.forward_to(self.output)

    def make(self, kind, priority):
        return MAKERS[kind](f"{self.sent}", priority)

    def entered(self, item):
        self.model.put(item)
        self.sent += 1

    def accepted(self):
        return [isinstance(item, ACCEPTED) for item in self.model.items]

    @rule(kind=KINDS, priority=PRIORITIES, count=st.integers(1, 80))
    def send_nowait(self, kind, priority, count):
        """As far as its lane reaches, whatever the others hold."""
        for _ in range(count):
            item = self.make(kind, priority)
            if self.state != "open":
                with pytest.raises(ChannelClosedError if self.own_closed else OutputClosedError):
                    self.send.send_nowait(item)
                return
            if not self.model.has_room(item):
                with pytest.raises(anyio.WouldBlock):
                    self.send.send_nowait(item)
                return
            self.send.send_nowait(item)
            self.entered(item)

    @rule(kind=KINDS, priority=PRIORITIES, count=st.integers(1, 80))
    def try_send(self, kind, priority, count):
        """True exactly when there is room; a wide edge says False when a checkpoint is due."""
        for _ in range(count):
            item = self.make(kind, priority)
            sent = self.send.try_send(item)
            has_room = self.state == "open" and self.model.has_room(item)
            if self.model.capacity <= WIDE:
                assert sent == has_room
            else:
                assert has_room or not sent
                assert sent or not has_room or len(self.model.held) >= WIDE // 2
            if not sent:
                return
            self.entered(item)

    @rule(count=st.integers(1, 20))
    def send_mixed(self, count):
        """Every lane in turn: what makes the order differ from that of sending."""
        for number in range(count):
            item = self.make("data", Priority(number % 4))
            if self.send.try_send(item):
                self.entered(item)

    @rule(bad=st.sampled_from([None, "text", 3, TextElement("", priority=4), TextElement("", priority="high")]))
    def refuse_what_has_no_lane(self, bad):
        """In every state, also when the edge is full, and without a trace."""
        for send in (self.send.try_send, self.send.send_nowait):
            with pytest.raises(ElementError):
                send(bad)

    @rule()
    def receive_nowait(self):
        """The head, if it is accepted; who passes by is dropped, or stays for the output."""
        while not self.forwards and any(self.accepted()) and not self.accepted()[0]:
            self.model.take()
            self.received += 1
        if self.model.held and self.accepted()[0]:
            assert self.receive.receive_nowait() is self.model.take()
            self.received += 1
        elif self.state != "open" and not any(self.accepted()):
            with pytest.raises(ChannelClosedError if self.reader_closed else (ChannelFailedError, anyio.EndOfStream)):
                self.receive.receive_nowait()
        else:
            with pytest.raises(anyio.WouldBlock):
                self.receive.receive_nowait()
            if not self.forwards:
                self.received += len(self.model.held)
                self.model.held.clear()

    @rule(count=st.integers(1, 100))
    def receive_some(self, count):
        """Drain, so that full edges get room again."""
        for _ in range(count):
            if self.model.held and self.accepted()[0]:
                self.receive_nowait()

    @rule(count=st.integers(1, 80))
    def try_receive(self, count):
        """The head when the fast path can: data alone in a narrow edge that nobody watches."""
        for _ in range(count):
            is_fast = not self.watched and self.model.capacity <= WIDE
            if is_fast and self.model.held and all(isinstance(item, TextElement) for item in self.model.items):
                assert self.receive.try_receive() is self.model.take()
                self.received += 1
            else:
                assert self.receive.try_receive() is None

    @precondition(lambda self: self.sent > 40)
    @rule(how=st.sampled_from(["close", "fail", "close_with"]), kind=KINDS, priority=PRIORITIES)
    def writer_ends(self, how, kind, priority):
        """The first end wins; a last notice enters while the channel is open, full or not."""
        match how:
            case "close":
                self.send.close()
            case "fail":
                self.send.fail(ValueError("the writer broke"))
            case _:
                item = self.make(kind, priority)
                self.send.close_with(item)
                if self.state == "open":
                    self.entered(item)
        if self.state == "open":
            self.state = "failed" if how == "fail" else "completed"
        self.own_closed = True

    @precondition(lambda self: self.sent > 40)
    @rule()
    def reader_closes(self):
        """What is buffered is discarded and counted."""
        self.receive.close("failure")
        if self.model.held:
            self.discarded["failure"] += len(self.model.held)
            self.model.held.clear()
        if self.state == "open":
            self.state = "cancelled"
        self.reader_closed = True

    @invariant()
    def the_order_and_the_books_agree(self):
        """The order of leaving is the model's; `sent == received + buffered + discarded`."""
        if not hasattr(self, "send"):
            return
        assert [id(item) for item in self.receive.backlog] == [id(item) for item in self.model.items]
        told = self.receive.statistics()
        assert told == self.send.statistics()
        assert (told.state, told.sent, told.received) == (self.state, self.sent, self.received)
        assert (told.buffered, told.discarded) == (len(self.model.held), dict(self.discarded))
        assert self.sent == self.received + told.buffered + self.discarded.total()
        assert told.buffered <= self.model.capacity or self.state != "open"
        assert all(one.passed <= MOST[Priority.CRITICAL] for one in self.model.held)
        assert self.receive.at_end == (self.state != "open" and not any(self.accepted()))
        if self.watched:
            assert self.record.findings() == []


class TestLanes(LanesMachine.TestCase):
    """semantics 2.2, 2.5, 2.7: order, fences, ageing, reserved places, states and accounts; watched and not."""


def open_lanes(capacity=16):
    return open_channel(capacity, name="a → b", lanes=True)


def fill(send, *items):
    for item in items:
        send.send_nowait(item)


def fill_lane(send, priority):
    """Send data of one priority until there is no room; return how many went in."""
    count = 0
    while send.try_send(text(f"{priority.name} {count}", priority)):
        count += 1
    return count


def drain(receive):
    got = []
    while receive.statistics().buffered:
        got.append(receive.receive_nowait())
    return got


def test_the_urgent_goes_first_and_the_order_inside_a_lane_is_kept() -> None:
    """semantics 2.7: what was sent while the reader was busy leaves by priority."""
    send, receive = open_lanes()
    fill(send, *(text(f"{priority.name} {number}", priority) for number in range(3) for priority in Priority))

    wanted = [f"{priority.name} {number}" for priority in reversed(Priority) for number in range(3)]
    assert names(drain(receive)) == wanted


def test_without_lanes_priority_changes_nothing() -> None:
    """semantics 2.7: priority edges are something that is turned on."""
    send, receive = open_channel(16)
    items = [text(number, priority) for number in range(3) for priority in Priority]
    fill(send, *items)

    assert drain(receive) == items


def test_control_is_a_fence_that_nothing_passes_in_either_direction() -> None:
    """semantics 2.7, 1.4: control keeps its place among the data of every lane, whatever its own priority is."""
    send, receive = open_lanes(20)
    before = [text("before", priority) for priority in Priority]
    between = [text("between", priority) for priority in Priority]
    behind = [text("behind", priority) for priority in Priority]
    end, low = TurnEnd(), TurnStart(priority=LOW)
    fill(send, *before, end, *between, low, *behind)

    assert drain(receive) == [*before[::-1], end, *between[::-1], low, *behind[::-1]]


def test_an_interrupt_passes_data_and_no_other_control() -> None:
    """semantics 2.7: `Interrupt` is the one control element that is no fence."""
    send, receive = open_lanes()
    fill(send, text(1), TurnEnd(), text(2), text(3, HIGH), Interrupt(), text(4, CRITICAL))

    assert names(drain(receive)) == ["1", "TurnEnd", "Interrupt", "4", "3", "2"]


@pytest.mark.parametrize("passer", [NORMAL, HIGH, CRITICAL], ids=str)
@pytest.mark.parametrize("waiting", [1, 5])
def test_what_waits_is_overtaken_a_bounded_number_of_times(passer, waiting) -> None:
    """semantics 2.7: under a load that never ends, at most 16 normal, 32 up to high, 64 elements in all go first."""
    send, receive = open_lanes()
    old = [text(f"old {number}", LOW) for number in range(waiting)]
    fill(send, *old)

    got = []
    for number in range(200):
        fill(send, text(number, passer))
        got.append(receive.receive_nowait())

    # Then all that waited, in its order: it has aged together.
    assert [got.index(one) for one in old] == [MOST[passer] + number for number in range(waiting)]


def test_age_counts_whoever_passes_and_the_more_urgent_still_pass_what_is_old_to_others() -> None:
    """semantics 2.7: a load of high elements leaves critical ones their lead, 64 in all."""
    send, receive = open_lanes()
    old = text("old", LOW)
    fill(send, old)
    passed = 0
    for priority in (NORMAL, HIGH, CRITICAL):
        fill(send, text(passed, priority))
        while receive.backlog[0] is not old:
            receive.receive_nowait()
            passed += 1
            fill(send, text(passed, priority))
        assert passed == MOST[priority]


@pytest.mark.parametrize("capacity", [4, 5, 16, 64, 65, 200])
@pytest.mark.parametrize("full", Priority, ids=str)
def test_a_full_lane_leaves_each_other_lane_a_place(capacity, full) -> None:
    """semantics 2.7: at least one reserved place per lane, for data and for control, and never more than the capacity."""
    send, receive = open_lanes(capacity)
    for number in range(capacity - 3):
        send.send_nowait(text(number, full))
    with pytest.raises(anyio.WouldBlock):
        send.send_nowait(text("too many", full))
    others = [priority for priority in Priority if priority is not full]
    for priority in others:
        send.send_nowait(TurnEnd() if priority is CRITICAL else text("other", priority))
        with pytest.raises(anyio.WouldBlock):
            send.send_nowait(text("too many", priority))

    assert receive.statistics().buffered == capacity
    assert not send.try_send(Interrupt())


def test_places_that_are_no_lanes_own_go_to_whoever_comes() -> None:
    """Four of ten places are reserved; one lane may have the other six, or they are shared."""
    send, _ = open_lanes(10)
    fill(send, *(text(number, LOW) for number in range(4)), *(text(number, HIGH) for number in range(4)))

    assert [fill_lane(send, priority) for priority in Priority] == [0, 1, 0, 1]


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_an_edge_that_is_too_narrow_for_lanes_is_refused(capacity) -> None:
    """semantics 2.7: capacity 4 and up; the error names the field and the way out."""
    with pytest.raises(ConfigError, match=f"capacity: .*4 priorities, got {capacity}; give it 4 or more, or no lanes"):
        open_channel(capacity, lanes=True)


def test_what_has_no_priority_is_refused_with_the_way_out() -> None:
    """Bad input gets a clear error at once; without lanes the field is not looked at."""
    send, _ = open_lanes()
    with pytest.raises(ElementError, match=r"has the priority 'high'; where edges have lanes it must be a Priority"):
        send.send_nowait(TextElement("a", priority="high"))
    plain, _ = open_channel(4)
    plain.send_nowait(TextElement("a", priority="high"))


@pytest.mark.parametrize("inside", [[], [text(0)], [text(0), text(1, HIGH)], [TurnEnd()]])
def test_what_has_no_priority_is_refused_whatever_is_inside(inside) -> None:
    """None is no priority, and never one that an edge takes for that of the elements inside."""
    send, receive = open_lanes()
    fill(send, text("a"), *inside)
    for attempt in (send.try_send, send.send_nowait):
        with pytest.raises(ElementError, match="has the priority None"):
            attempt(TextElement("b", priority=None))
    assert len(drain(receive)) == 1 + len(inside)


def test_a_priority_given_as_a_number_is_that_priority() -> None:
    """`Priority` is an `IntEnum`; elements do not check what they are given."""
    send, receive = open_lanes()
    fill(send, text(0), text(1, 2), text(2, 0), text(3, 3))

    assert names(drain(receive)) == ["3", "1", "0", "2"]
