"""A channel on trial: what the checks need of it, and the traffic that they send through it.

Above: `_channel_court`, `_channel_rules` and its siblings, `_check_channel`. Below: `channels`. Rules:

- A channel is known by its ends alone: so any pair of ends with `send`, `receive` and `close` can be tried.
- Traffic can be taken up again where a cancelled task has left it, as a user would who tries again: what was lost then is missing,
  and what was kept by a `send()` that raised arrives twice.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal, Never, Protocol, TypeAlias, cast

import anyio

from ..elements import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..channels import ChannelStatistics, ReceiveEnd, SendEnd
    from ..errors import CloseReason

__all__ = [
    "ChannelReceiver",
    "ChannelSender",
    "ChannelUnderTest",
    "Delivery",
    "Parcel",
    "Traffic",
    "ends_under_test",
]

Delivery: TypeAlias = Literal["all", "one", "first", "some", "any"]
"""Who gets what is sent: `all` receivers each element; `one` of them each; the `first` receiver each, and others what there is room
for; `some` elements are dropped and the others keep their order; `any`: only what was sent."""


class ChannelSender(Protocol):
    """The writing end of a channel, as far as checks use it."""

    async def send(self, item: Parcel, /) -> None:
        """Put an element in, waiting for room."""
        ...

    def close(self) -> None:
        """End the channel behind what was sent."""
        ...


class ChannelReceiver(Protocol):
    """The reading end of a channel, as far as checks use it."""

    async def receive(self) -> object:
        """Take the next element; raises `anyio.EndOfStream` at the end."""
        ...

    def close(self) -> None:
        """Take no more."""
        ...


class Parcel:
    """What checks send: told apart by identity, and by its label. It has a priority, for channels that ask for one."""

    __slots__ = ("__weakref__", "label", "priority")

    def __init__(self, label: str, priority: Priority = Priority.NORMAL) -> None:
        self.label: str = label
        """How failures call it."""
        self.priority: Priority = priority
        """How urgent it is, where that matters."""

    def __repr__(self) -> str:
        return self.label


def _itself(item: object) -> Sequence[object]:
    return (item,)


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelUnderTest:
    """One channel, just opened, and what its kind promises. What it does not promise is left at its default, and not checked."""

    senders: Sequence[ChannelSender]
    """Its writing ends; several where it merges."""
    receivers: Sequence[ChannelReceiver]
    """Its reading ends; several where it forks."""
    delivery: Delivery = "all"
    """Who gets what is sent."""
    bound: int | None = None
    """How many elements one sender can send while nobody reads; None: it never waits, or cannot say."""
    make: Callable[[str], Parcel] = Parcel
    """Makes an element of its label."""
    unpack: Callable[[object], Sequence[object]] = _itself
    """Gives what was sent of what is received, where that is made of several."""
    fail: Callable[[Exception], None] | None = None
    """Ends it with a failure of its writer."""
    accounts: Callable[[], Sequence[ChannelStatistics]] | None = None
    """What its edges say of themselves."""
    refuses_none: bool = False
    """Whether None is refused."""
    has_one_reader: bool = False
    """Whether a second task that reads is refused."""
    leave: Callable[[CloseReason], None] | None = None
    """Closes its readers for a reason, which the sender is told."""
    is_balanced: bool = False
    """Whether an idle receiver gets the next element."""
    has_lanes: bool = False
    """Whether what is urgent goes first."""
    attach: Callable[[], ChannelReceiver] | None = None
    """Adds a receiver while it is open."""
    holds_elements: bool = False
    """Whether what is received is something that it has made, or may keep: then nothing is said about references."""


def ends_under_test(
    senders: Sequence[SendEnd[Never]],
    receivers: Sequence[ReceiveEnd[object]],
    *,
    edges: Sequence[ReceiveEnd[object]] | None = None,
    delivery: Delivery = "all",
    bound: int | None = None,
    unpack: Callable[[object], Sequence[object]] = _itself,
    is_balanced: bool = False,
    has_lanes: bool = False,
    attach: Callable[[], ReceiveEnd[object]] | None = None,
    holds_elements: bool = False,
) -> ChannelUnderTest:
    """Return our own ends as a channel on trial, with all that every edge of ours promises.

    Args:
        senders: The writing ends.
        receivers: The reading ends.
        edges: The reading ends of all edges, if those are others; their accounts are looked at.
        delivery: Who gets what is sent.
        bound: How many elements one sender can send while nobody reads.
        unpack: Gives what was sent of what is received, where that is made of several.
        is_balanced: Whether an idle receiver gets the next element.
        has_lanes: Whether what is urgent goes first.
        attach: Adds a receiver while it is open.
        holds_elements: Whether what is received is something that it has made, or may keep.
    """
    every = tuple(receivers if edges is None else edges)

    def fail(error: Exception) -> None:
        for one in senders:
            one.fail(error)

    def leave(reason: CloseReason) -> None:
        for one in receivers:
            one.close(reason)

    def accounts() -> list[ChannelStatistics]:
        return [one.statistics() for one in every]

    return ChannelUnderTest(
        cast("Sequence[ChannelSender]", senders),
        receivers,
        delivery,
        bound,
        unpack=unpack,
        fail=fail,
        accounts=accounts,
        refuses_none=True,
        has_one_reader=True,
        leave=leave,
        is_balanced=is_balanced,
        has_lanes=has_lanes,
        attach=attach,
        holds_elements=holds_elements,
    )


class Traffic:
    """Elements on their way through one channel.

    Args:
        channel: The channel.
        count: How many each sender sends.
    """

    def __init__(self, channel: ChannelUnderTest, count: int) -> None:
        self.channel: ChannelUnderTest = channel
        """The channel."""
        self.items: list[list[Parcel]] = [
            [channel.make(f"{sender}.{number}") for number in range(count)] for sender in range(len(channel.senders))
        ]
        """What each sender sends."""
        self.sent: list[int] = [0] * len(channel.senders)
        """How many of those have been sent, by each sender."""
        self.got: list[list[object]] = [[] for _ in channel.receivers]
        """What came to each receiver."""

    async def write(self, sender: int) -> None:
        """Send what is left of one sender, then close it."""
        while self.sent[sender] < len(self.items[sender]):
            if not await self.send_next(sender):
                return
        self.channel.senders[sender].close()

    async def send_next(self, sender: int) -> bool:
        """Send the next element of one sender; say whether it was wanted."""
        try:
            await self.channel.senders[sender].send(self.items[sender][self.sent[sender]])
        except anyio.BrokenResourceError:
            if self.channel.delivery != "any":
                raise
            return False
        self.sent[sender] += 1
        return True

    async def read(self, receiver: int) -> None:
        """Receive until the end."""
        end = self.channel.receivers[receiver]
        while True:
            try:
                item = await end.receive()
            except anyio.EndOfStream:
                return
            self.got[receiver] += self.channel.unpack(item)

    async def all(self) -> None:
        """Let every sender and every receiver work at once, to the end."""
        async with anyio.create_task_group() as tasks:
            for sender in range(len(self.channel.senders)):
                tasks.start_soon(self.write, sender)
            for receiver in range(len(self.channel.receivers)):
                tasks.start_soon(self.read, receiver)

    def faults(self) -> list[str]:
        """Return what is wrong once all has been sent and received."""
        found: list[str] = []
        known = {
            id(item): (sender, number) for sender, items in enumerate(self.items) for number, item in enumerate(items)
        }
        came: Counter[tuple[int, int]] = Counter()
        for receiver, got in enumerate(self.got):
            places = [known.get(id(item)) for item in got]
            found += [
                f"{item!r} came to receiver {receiver} and was never sent"
                for item, place in zip(got, places, strict=True)
                if place is None
            ]
            came.update(place for place in places if place is not None)
            found += self._of_one(receiver, [place for place in places if place is not None])
        if self.channel.delivery == "one":
            for sender, items in enumerate(self.items):
                found += [
                    f"{item!r} came {came[sender, number]} times"
                    for number, item in enumerate(items)
                    if came[sender, number] != 1
                ]
        return found

    def _of_one(self, receiver: int, places: list[tuple[int, int]]) -> list[str]:
        delivery = self.channel.delivery
        if delivery == "any":
            return []
        found: list[str] = []
        for sender, items in enumerate(self.items):
            numbers = [number for one, number in places if one == sender]
            got = [items[number] for number in numbers]
            if numbers != sorted(set(numbers)):
                found.append(f"receiver {receiver} got {got}: not in the order of sending, or twice")
            elif (delivery == "all" or (delivery == "first" and receiver == 0)) and len(numbers) < len(items):
                missing = [item for number, item in enumerate(items) if number not in numbers]
                found.append(f"{missing} never came to receiver {receiver}, which got {got}")
        return found


SHORT: Final = (1, 3)
"""How many elements the first attempts send."""
