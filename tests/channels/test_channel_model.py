"""The channel without an event loop, against a model that is a deque, a state and three counters."""

from collections import Counter, deque

import anyio
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamflow.channels import WIDE, open_channel
from streamflow.elements import AudioElement, Interrupt, StreamElement, TextElement, TurnEnd
from streamflow.errors import ChannelClosedError, ChannelFailedError, ElementError, OutputClosedError
from streamflow.testing import EdgeLedger

CAPACITIES = st.sampled_from([1, 2, 3, 16, 64, 65, 200])
REASONS = st.sampled_from(["no_more_needed", "failure"])
ACCEPTED = (TextElement, TurnEnd)
MAKERS = {
    "data": TextElement,
    "passing data": lambda text: AudioElement(text.encode(), sample_rate=16000),
    "control": lambda text: TurnEnd(metadata={}).replace(id=text),
    "passing control": lambda text: Interrupt(id=text),
}
KINDS = st.sampled_from(list(MAKERS))


def admit(item):
    if not isinstance(item, StreamElement):
        raise ElementError("no element")
    return isinstance(item, ACCEPTED)


class ChannelMachine(RuleBasedStateMachine):
    """Everything that can be done without waiting, from both ends, in every order."""

    def __init__(self):
        super().__init__()
        self.ledger = EdgeLedger()
        self.buffer = deque()
        self.state = "open"
        self.reason = None
        self.own_closed = self.reader_closed = False
        self.sent = self.received = 0
        self.discarded = Counter()
        self.cause = ValueError("the writer broke")

    @initialize(capacity=CAPACITIES, watched=st.booleans(), forwards=st.booleans())
    def open(self, capacity, watched, forwards):
        self.capacity, self.watched, self.forwards = capacity, watched, forwards
        watch = self.ledger.watch("edge") if watched else None
        self.send, self.receive = open_channel(capacity, name="edge", admit=admit, watch=watch)
        if watched:
            watch.attach(self.send)
        if forwards:
            self.output, self.unread = open_channel(1)
            self.receive.forward_to(self.output)

    def make(self, kind):
        return MAKERS[kind](f"{self.sent}")

    def accepts_any(self):
        return any(isinstance(item, ACCEPTED) for item in self.buffer)

    def refusal(self):
        """Return what a send must raise now, None while the channel is open."""
        if self.own_closed:
            return ChannelClosedError
        return None if self.state == "open" else OutputClosedError

    def end(self):
        """Return what the reader must meet at the end."""
        if self.reader_closed:
            return ChannelClosedError
        return ChannelFailedError if self.state == "failed" else anyio.EndOfStream

    def enter(self, state):
        if self.state == "open":
            self.state = state

    def entered(self, item):
        self.buffer.append(item)
        self.sent += 1

    @rule(kind=KINDS, count=st.integers(1, 80))
    def send_nowait(self, kind, count):
        """Up to the bound and not beyond; the right refusal afterwards."""
        for _ in range(count):
            item = self.make(kind)
            if self.refusal() is not None:
                with pytest.raises(self.refusal()) as caught:
                    self.send.send_nowait(item)
                assert caught.value.edge == "edge"
                assert getattr(caught.value, "reason", self.reason) == self.reason
                return
            if len(self.buffer) == self.capacity:
                with pytest.raises(anyio.WouldBlock):
                    self.send.send_nowait(item)
                return
            self.send.send_nowait(item)
            self.entered(item)

    @rule(kind=KINDS, count=st.integers(1, 80))
    def try_send(self, kind, count):
        """True exactly when there is room; a wide edge says False when a checkpoint is due."""
        for _ in range(count):
            item = self.make(kind)
            sent = self.send.try_send(item)
            if self.capacity <= WIDE:
                assert sent == (self.state == "open" and len(self.buffer) < self.capacity)
            elif sent:
                assert self.state == "open"
                assert len(self.buffer) < self.capacity
            else:
                assert self.state != "open" or len(self.buffer) >= WIDE // 2
            if not sent:
                return
            self.entered(item)

    @rule(bad=st.sampled_from([None, "text", 3]))
    def refuse_what_is_no_element(self, bad):
        """In every state, and also when full."""
        for send in (self.send.try_send, self.send.send_nowait):
            with pytest.raises(ElementError):
                send(bad)

    @rule()
    def receive_nowait(self):
        """The oldest that is accepted; who passes by is dropped, or stays for the output."""
        if not self.forwards:
            while self.buffer and not isinstance(self.buffer[0], ACCEPTED) and self.accepts_any():
                self.buffer.popleft()
                self.received += 1
        if self.buffer and isinstance(self.buffer[0], ACCEPTED):
            assert self.receive.receive_nowait() is self.buffer.popleft()
            self.received += 1
            return
        if self.state != "open" and not self.accepts_any():
            with pytest.raises(self.end()) as caught:
                self.receive.receive_nowait()
            if self.end() is ChannelFailedError:
                assert caught.value.__cause__ is self.cause
            return
        with pytest.raises(anyio.WouldBlock):
            self.receive.receive_nowait()
        if not self.forwards:
            self.received += len(self.buffer)
            self.buffer.clear()

    @rule()
    def receive_all(self):
        """Drain, so that full edges get room again."""
        while self.buffer and isinstance(self.buffer[0], ACCEPTED):
            self.receive_nowait()

    @rule(count=st.integers(1, 80))
    def try_receive(self, count):
        """The oldest when the fast path can: data alone that nobody watches; a wide edge says None when a checkpoint is due."""
        for _ in range(count):
            taken = self.receive.try_receive()
            if taken is None:
                is_fast = (
                    not self.watched and self.buffer and all(isinstance(item, TextElement) for item in self.buffer)
                )
                assert not is_fast or (self.capacity > WIDE and self.received >= WIDE // 2)
                return
            assert not self.watched
            assert taken is self.buffer.popleft()
            self.received += 1

    @precondition(lambda self: self.sent > 5)
    @rule(how=st.sampled_from(["close", "fail", "close_with"]), kind=KINDS)
    def writer_ends(self, how, kind):
        """The first end wins; a last notice enters while the channel is open, full or not."""
        match how:
            case "close":
                self.send.close()
                self.enter("completed")
            case "fail":
                self.send.fail(self.cause)
                self.enter("failed")
            case _:
                item = self.make(kind)
                self.send.close_with(item)
                if self.state == "open":
                    self.entered(item)
                self.enter("completed")
        self.own_closed = True

    @precondition(lambda self: self.sent > 5)
    @rule(reason=REASONS)
    def reader_closes(self, reason):
        """What is buffered is discarded under the reason, whoever ended the channel before."""
        self.receive.close(reason)
        if self.buffer:
            self.discarded[reason] += len(self.buffer)
            self.buffer.clear()
        if self.state == "open":
            self.reason = reason
        self.enter("cancelled")
        self.reader_closed = True

    @invariant()
    def the_books_agree(self):
        """`sent == received + buffered + discarded`, by the model's own counters; both ends say the same."""
        if not hasattr(self, "send"):
            return
        told = self.receive.statistics()
        assert told == self.send.statistics()
        assert (told.state, told.sent, told.received) == (self.state, self.sent, self.received)
        assert (told.buffered, told.discarded) == (len(self.buffer), dict(self.discarded))
        assert self.sent == self.received + len(self.buffer) + self.discarded.total()
        assert (told.waiting_senders, told.waiting_receiver) == (0, False)
        assert self.receive.at_end == (self.state != "open" and not self.accepts_any())
        assert self.send.is_open == (self.state == "open")
        assert f"edge {self.state} {len(self.buffer)}/{self.capacity}" in repr(self.send)
        self.ledger.check()

    def teardown(self):
        if hasattr(self, "send") and self.forwards:
            assert self.unread.statistics().sent == 0


class TestChannel(ChannelMachine.TestCase):
    """semantics 2.1, 2.2, 2.5: order, the bound, states that absorb, refusals, accounts; watched and not."""
