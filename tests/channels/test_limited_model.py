"""Edges with a policy or a bound by weight, without an event loop, against a model that is a list and the rules."""

from collections import Counter

import anyio
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamflow.channels import WIDE, EdgeBound, Weight, open_channel
from streamflow.elements import AudioElement, ControlElement, Interrupt, Priority, StreamElement, TextElement, TurnEnd
from streamflow.errors import ChannelClosedError, EdgeOverflowError, ElementError, OutputClosedError
from streamflow.testing import EdgeLedger
from tests.support.lanes import LanesModel

BOUNDS = st.builds(
    lambda capacity, overflow, limit, lanes: EdgeBound(
        max(capacity, 4) if lanes else capacity, overflow, limit and Weight(limit, "letters", letters), lanes
    ),
    st.sampled_from([1, 2, 3, 4, 5, 16, 65]),
    st.sampled_from(["block", "drop_oldest", "drop_newest", "latest", "error"]),
    st.sampled_from([None, 1, 3, 10]),
    st.booleans(),
).filter(lambda bound: bound.overflow != "block" or bound.weight is not None)
ACCEPTED = (TextElement, TurnEnd)
MAKERS = {
    "data": lambda size, priority: TextElement("x" * size, priority=priority),
    "passing data": lambda size, priority: AudioElement(b"x" * size, sample_rate=16000, priority=priority),
    "control": lambda _, priority: TurnEnd(priority=priority),
    "passing control": lambda _, priority: Interrupt(priority=priority),
}
KINDS = st.sampled_from(["data", "data", "data", "passing data", "control", "passing control"])


def letters(element):
    return len(element.text if isinstance(element, TextElement) else element.data)


def is_control(item):
    return isinstance(item, ControlElement)


def admit(item):
    if not isinstance(item, StreamElement):
        raise ElementError("no element")
    return isinstance(item, ACCEPTED)


class LimitedModel:
    """The edge as its rules say it."""

    def __init__(self, bound):
        self.bound = bound
        self.order = LanesModel(bound.capacity)
        self.dropped = []

    @property
    def items(self):
        return self.order.items

    @property
    def drops(self):
        return self.bound.overflow != "block"

    def lane(self, item):
        return item.priority if self.bound.lanes else None

    def fits(self, item, items):
        """Whether it may enter where these are."""
        bound = self.bound
        if self.drops and is_control(item):
            return sum(is_control(one) for one in items) < bound.capacity
        counted = [one for one in items if not (self.drops and is_control(one))]
        lanes = {self.lane(one) for one in counted}
        if self.lane(item) not in lanes:
            return True
        if bound.overflow == "latest":
            return False
        empty = len(Priority) - len(lanes) if bound.lanes else 0
        weights = [letters(one) for one in counted if not is_control(one)]
        weight = 0 if is_control(item) else letters(item)
        is_light = bound.weight is None or not weight or not any(weights) or sum(weights) + weight <= bound.weight.limit
        return len(counted) + empty < bound.capacity and is_light

    def outcome(self, item):
        """What becomes of it: `enter`, `wait`, `fail`."""
        if self.fits(item, self.items):
            return "enter"
        if not self.drops or is_control(item):
            return "wait"
        return "fail" if self.bound.overflow == "error" else "enter"

    def send(self, item):
        if self.fits(item, self.items) or is_control(item):
            return self.put(item)
        rest = list(self.items)
        for lane in sorted(Priority)[: item.priority + 1] if self.bound.lanes else [None]:
            is_own = lane == self.lane(item)
            while not self.fits(item, rest):
                among = [place for place, one in enumerate(rest) if not is_control(one) and self.lane(one) == lane]
                if len(among) <= (not is_own) or (is_own and self.bound.overflow == "drop_newest"):
                    break
                del rest[among[-1 if self.bound.overflow == "drop_newest" else 0]]
        if not self.fits(item, rest):
            self.dropped.append(item)
            return None
        stays = {id(one) for one in rest}
        self.dropped += [one for one in self.items if id(one) not in stays]
        self.order.held = [one for one in self.order.held if id(one.item) in stays]
        return self.put(item)

    def put(self, item):
        if self.bound.lanes:
            self.order.put(item)
        else:
            self.order.append(item)


class LimitedMachine(RuleBasedStateMachine):
    """Everything that can be done without waiting, from both ends, in every order."""

    def __init__(self):
        super().__init__()
        self.state, self.own_closed = "open", False
        self.sent = self.received = self.entered = 0
        self.may_begin = True  # the reader has taken nothing yet
        self.discarded = Counter()

    @initialize(bound=BOUNDS, watched=st.booleans(), forwards=st.booleans())
    def open(self, bound, watched, forwards):
        self.bound, self.model, self.forwards = bound, LimitedModel(bound), forwards
        self.ledger = EdgeLedger()
        watch = self.ledger.watch("edge", bound) if watched else None
        self.send, self.receive = open_channel(
            bound.capacity,
            name="edge",
            admit=admit,
            watch=watch,
            lanes=bound.lanes,
            overflow=bound.overflow,
            weight=bound.weight,
        )
        if watch is not None:
            watch.attach(self.send)
        if forwards:
            self.output, self.unread = open_channel(1)
            self.receive.forward_to(self.output)

    def is_due(self, item):
        """A checkpoint comes at least every half of `WIDE` elements, and before a drop that the reader could not prevent."""
        waits_for_reader = self.may_begin and self.model.drops and not is_control(item)
        if waits_for_reader and not self.model.fits(item, self.model.items):
            return True
        return self.entered >= WIDE // 2 and (self.model.drops or self.bound.capacity > WIDE)

    def count(self, item):
        self.model.send(item)
        self.sent += 1
        self.entered += 1

    @rule(kind=KINDS, size=st.integers(0, 4), priority=st.sampled_from(Priority), count=st.integers(1, 40))
    def send_nowait(self, kind, size, priority, count):
        """What is dropped needs no room, and what is no data waits for it."""
        for _ in range(count):
            item = MAKERS[kind](size, priority)
            outcome = self.model.outcome(item)
            wanted = {"wait": anyio.WouldBlock, "fail": EdgeOverflowError}.get(outcome)
            if self.state != "open":
                wanted = ChannelClosedError if self.own_closed else OutputClosedError
            if wanted is not None:
                with pytest.raises(wanted):
                    self.send.send_nowait(item)
                return
            self.send.send_nowait(item)
            self.count(item)

    @rule(kind=KINDS, size=st.integers(0, 4), priority=st.sampled_from(Priority), count=st.integers(1, 40))
    def try_send(self, kind, size, priority, count):
        """True exactly when it need not wait for room or for a checkpoint."""
        for _ in range(count):
            item = MAKERS[kind](size, priority)
            sent = self.send.try_send(item)
            assert sent == (self.state == "open" and not self.is_due(item) and self.model.outcome(item) == "enter")
            if not sent:
                return
            self.count(item)

    @rule(count=st.integers(1, 40))
    def receive_some(self, count):
        """The head, if it is accepted; who passes by stays for the output, or is dropped like on any edge."""
        for _ in range(count):
            if not self.forwards:
                accepted = [isinstance(item, ACCEPTED) for item in self.model.items]
                while any(accepted) and not accepted[0]:
                    accepted.pop(0)
                    self.model.order.take()
                    self.received += 1
            if not self.model.items or not isinstance(self.model.items[0], ACCEPTED):
                return
            self.may_begin = False
            assert self.receive.receive_nowait() is self.model.order.take()
            self.received += 1

    @precondition(lambda self: self.sent > 40)
    @rule(kind=KINDS, how=st.sampled_from(["close", "fail", "close_with"]))
    def writer_ends(self, kind, how):
        """A last notice enters whatever there is, and drops nothing."""
        if how == "close_with":
            item = MAKERS[kind](9, Priority.HIGH)
            self.send.close_with(item)
            if self.state == "open":
                self.model.put(item)
                self.sent += 1
        else:
            self.send.close() if how == "close" else self.send.fail(ValueError("broke"))
        if self.state == "open":
            self.state = "failed" if how == "fail" else "completed"
        self.own_closed = True

    @precondition(lambda self: self.sent > 40)
    @rule()
    def reader_closes(self):
        """What is inside is discarded, under another reason than what was dropped."""
        self.receive.close("failure")
        self.discarded["failure"] += len(self.model.items)
        self.model.order.held.clear()
        self.state = "cancelled" if self.state == "open" else self.state

    @invariant()
    def the_order_and_the_books_agree(self):
        """What is inside is what the model has; nothing is beyond the bounds; every drop is counted."""
        if not hasattr(self, "send"):
            return
        items, bound = self.model.items, self.bound
        assert [id(item) for item in self.receive.backlog] == [id(item) for item in items]
        told = self.receive.statistics()
        assert told == self.send.statistics()
        wanted = +Counter(self.discarded, overflow=len(self.model.dropped))
        assert (told.state, told.sent, told.received) == (self.state, self.sent, self.received)
        assert (told.buffered, told.discarded, told.overflow) == (len(items), dict(wanted), bound.overflow)
        assert self.sent == self.received + told.buffered + wanted.total()
        data = [item for item in items if not is_control(item)]
        assert not any(is_control(item) for item in self.model.dropped)
        assert told.weight == (None if bound.weight is None else sum(map(letters, data)))
        if self.state == "open":
            most = (4 if bound.lanes else 1) if bound.overflow == "latest" else bound.capacity
            assert len(data) <= most
            assert len(items) - len(data) <= bound.capacity
        self.ledger.check()


class TestLimited(LimitedMachine.TestCase):
    """semantics 2.7, 2.8, 2.5: every policy, with weight and lanes: who goes, who waits, what is counted; watched and not."""
