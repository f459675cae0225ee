"""Every kind of channel that the package has, registered once, and run through the kit; anyio's stream as the known-bad control."""

from __future__ import annotations

from typing import get_args

import anyio
import pytest

from streamflow import Weight, channels
from streamflow.channels import (
    ArrivalEnd,
    BalanceEnd,
    BarrierEnd,
    ChainedSendEnd,
    ConcatEnd,
    ControlJoin,
    FeedbackMergeEnd,
    ForkEnd,
    HubEnd,
    MergeEnd,
    OrderedEnd,
    Ordering,
    Overflow,
    PlainForkEnd,
    PriorityEnd,
    RaceEnd,
    ReceiveEnd,
    Rounds,
    RouteEnd,
    SendEnd,
    SortedEnd,
    WholeEnd,
    ZipEnd,
    ZipLatestEnd,
    open_chained,
    open_channel,
    open_feedback,
)
from streamflow.elements import Marker
from streamflow.errors import ElementError
from streamflow.testing import ChannelUnderTest, ConformanceError, Parcel, check_channel, ends_under_test, rules_of


def admit(item):
    if item is None:
        raise ElementError("None is no element")
    return not isinstance(item, Marker)


def edges(capacity, count=2, **options):
    made = [open_channel(capacity, name=f"edge {number}", admit=admit, **options) for number in range(count)]
    return [send for send, _ in made], [receive for _, receive in made]


def plain(capacity):
    sends, receives = edges(capacity, 1)
    return ends_under_test(sends, receives, bound=capacity)


def chained(capacity):
    """An edge between fused stages, as it is when nobody goes on behind it: then each stage has a task of its own."""
    send, receive = open_chained(capacity, name="edge", admit=admit)
    return ends_under_test([send], [receive], bound=capacity)


def lanes(capacity):
    sends, receives = edges(capacity, 1, lanes=True)
    return ends_under_test(sends, receives, bound=capacity - 3, has_lanes=True)


def limited(overflow, **options):
    def make(capacity):
        sends, receives = edges(capacity, 1, overflow=overflow, **options)
        drops = overflow != "block"
        return ends_under_test(sends, receives, delivery="some" if drops else "all", bound=None if drops else capacity)

    return make


def forked(make_end, delivery, *, times=1, **more):
    def make(capacity):
        sends, receives = edges(capacity)
        return ends_under_test([make_end(sends)], receives, delivery=delivery, bound=times * capacity, **more)

    return make


def in_turn():
    last = -1

    def choose(_element, gone):
        nonlocal last
        for _ in range(2):
            last = (last + 1) % 2
            if last not in gone:
                break
        return last

    return choose


def routed(sends, **options):
    return RouteEnd("route", sends, choices=sends, choose=in_turn(), spreads=True, **options)


def with_guests(capacity):
    sends, receives = edges(capacity)
    hub = HubEnd("hub", sends)
    return ends_under_test(
        [hub], receives, bound=capacity, attach=lambda: hub.attach(capacity, name="guest", admit=admit)
    )


def with_tap(capacity):
    sends, receives = edges(capacity)
    fork = ForkEnd("fork", sends[:1], taps=sends[1:])
    return ends_under_test([fork], receives, delivery="first", bound=capacity)


def merged(make_end, delivery="all", **more):
    def make(capacity):
        sends, receives = edges(capacity)
        end = make_end("merge", receives, admit)
        return ends_under_test(sends, [end], edges=[*receives, end], delivery=delivery, bound=capacity, **more)

    return make


def ordered(capacity):
    """A route that marks what it sends, and the merge that puts it in order again: one sender, one reader."""
    sends, receives = edges(capacity)
    join = ControlJoin(2, {0: frozenset({0, 1})})
    marks = Ordering(0, {send: [(join, frozenset({number}))] for number, send in enumerate(sends)})
    fork = routed(sends, joins=[(join, 0)], ordering=marks)
    end = OrderedEnd("merge", receives, admit, None, join, forks=[0])
    return ends_under_test([fork], [end], edges=[*receives, end])


def fed_back(capacity):
    send, receive = open_channel(capacity, name="outer", admit=admit)
    back, came_back = open_feedback(capacity, Rounds("merge", None, "error"), name="back", admit=admit)
    end = FeedbackMergeEnd("merge", [came_back, receive], admit, None, None, entry="merge")
    return ends_under_test([send, back], [end], bound=capacity)


class Pair:
    def __init__(self, items):
        self.items = items


def unpacked(item):
    return item.items if isinstance(item, Pair) else [item] if item != () else [()]


BUILT = {"holds_elements": True}
CHANNELS = {
    "plain": (SendEnd, plain),
    "chained": (ChainedSendEnd, chained),
    "lanes": (None, lanes),
    "weight": (None, limited("block", weight=Weight(1000, "parcels", lambda _: 1))),
    "drop_oldest": (None, limited("drop_oldest")),
    "drop_newest": (None, limited("drop_newest")),
    "latest": (None, limited("latest")),
    "error": (
        None,
        limited("error"),
    ),  # with room for all that is sent at a time: else a sender is refused, as it should be
    "fork": (ForkEnd, forked(lambda sends: ForkEnd("fork", sends), "all")),
    "fork of plain edges": (PlainForkEnd, forked(lambda sends: PlainForkEnd("fork", sends), "all")),
    "whole": (WholeEnd, forked(lambda sends: WholeEnd("whole", sends, sends), "all")),
    "hub": (HubEnd, with_guests),
    "tap": (None, with_tap),
    "route": (RouteEnd, forked(routed, "one", times=2)),
    "balance": (BalanceEnd, forked(lambda sends: BalanceEnd("balance", sends), "one", times=2, is_balanced=True)),
    "merge": (MergeEnd, merged(MergeEnd)),
    "merge of arrivals": (ArrivalEnd, merged(ArrivalEnd)),
    "concat": (ConcatEnd, merged(ConcatEnd)),
    "priority": (PriorityEnd, merged(PriorityEnd)),
    "barrier": (BarrierEnd, merged(lambda *given: BarrierEnd(*given, max_held=1000))),
    "sorted": (SortedEnd, merged(lambda *given: SortedEnd(*given, key=lambda item: item.label))),
    "race": (RaceEnd, merged(RaceEnd, "any")),
    "zip": (
        ZipEnd,
        merged(lambda *given: ZipEnd(*given, combine=lambda *items: Pair(items)), unpack=unpacked, **BUILT),
    ),
    "zip_latest": (
        ZipLatestEnd,
        merged(
            lambda *given: ZipLatestEnd(*given, combine=lambda *items: Pair(items)), "any", unpack=unpacked, **BUILT
        ),
    ),
    "ordered": (OrderedEnd, ordered),
    "feedback": (FeedbackMergeEnd, fed_back),
}
SKIPPED = {"barrier": {"CH-04": "nothing leaves before every input has come to the end of its turn"}}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_keeps_the_rules(name) -> None:
    """conformance, channels: the rules of edges, forks and merges, each on both loops and at several capacities."""
    capacities = {"lanes": (4, 5, 16), "error": (32, 64)}.get(name, (1, 2, 16))
    report = check_channel(CHANNELS[name][1], name=name, capacities=capacities, skip=SKIPPED.get(name))
    assert report.ok
    assert len({one.rule.id for one in report.passed}) > 10


def test_every_kind_of_end_is_registered() -> None:
    """conformance, channels: a new end that nobody has tried fails here."""
    ends = {one for one in vars(channels).values() if isinstance(one, type) and issubclass(one, (SendEnd, ReceiveEnd))}
    assert ends - {one for one, _ in CHANNELS.values()} == {ReceiveEnd}  # the other end of SendEnd


def test_every_policy_of_a_full_edge_is_registered() -> None:
    """conformance, channels: what becomes of elements for which there is no room is what an edge is most likely to get wrong."""
    assert set(get_args(Overflow)) - set(CHANNELS) == {"block"}  # that is what all others do


def of_anyio(capacity):
    send, receive = anyio.create_memory_object_stream(capacity)  # noqa: TID251 - that is what is on trial
    return ChannelUnderTest([send], [receive], bound=capacity)


@pytest.mark.slow
def test_the_streams_of_anyio_fail_under_native_cancellation_and_nowhere_else() -> None:
    """conformance, power: the known-bad control (anyio #146, #536, #728); the kit finds that fault, and no other."""
    with pytest.raises(ConformanceError) as caught:
        check_channel(of_anyio, name="anyio")
    failed = {(one.rule.id, one.variant.backend) for one in caught.value.report.failed}
    assert failed == {("SF-21", "asyncio")}
    assert "never came" in str(caught.value)
    kept = {one.rule.id for one in caught.value.report.passed}
    assert {"SF-02", "SF-03", "SF-04", "SF-11", "SF-18", "SF-20", "SF-22", "SF-30", "SF-31", "CH-04", "CH-05"} <= kept


def test_every_rule_of_channels_says_something_about_one_of_ours() -> None:
    """conformance, channels: a rule that is skipped everywhere checks nothing."""
    applies = {
        "SF-50": "fork",
        "SF-52": "route",
        "SF-58": "hub",
        "SF-53": "balance",
        "SF-54": "merge",
        "SF-55": "lanes",
    }
    for rule in rules_of("channel"):
        name = applies.get(rule.id, "plain")
        capacities = (4,) if name == "lanes" else (2,)
        report = check_channel(CHANNELS[name][1], name=name, capacities=capacities, rules=[rule.id])
        assert report.passed, rule.id


def test_parcels_are_told_apart_by_identity() -> None:
    """conformance, channels: two of one label are two."""
    assert Parcel("a") != Parcel("a")
    assert repr(Parcel("a")) == "a"
