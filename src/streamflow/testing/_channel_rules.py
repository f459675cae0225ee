"""The rules of a channel: what comes out, how full it gets, who is let in, and that nobody is forgotten.

Above: `_check_channel`. Below: `_channel_court`, `_channel_case`, `_conformance`. How it ends is in `_channel_ends`, what kinds of
it promise besides in `_channel_kinds`, what cancellation may do in `_channel_cancellation`.
"""

from __future__ import annotations

import random
import weakref
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import anyio.lowlevel

from ..errors import ElementError
from ._channel_case import SHORT, ChannelUnderTest, Parcel, Traffic
from ._channel_court import LONG_S, Maker, opened, require_accounts, require_error, require_faultless
from ._conformance import Trial, rule

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

# Elements that may enter one edge between two turns of another task: trio may run it first in one round and last in the next.
_FAIR: Final = 128


@rule(
    "SF-02",
    "What is sent arrives: all of it, once, in the order of each sender; then the end.",
    holds="2.1",
    subject="channel",
)
async def all_arrives(trial: Trial[Maker]) -> None:
    for count in (0, *SHORT, 40):
        trial.given(f"{count} elements")
        traffic = Traffic(opened(trial), count)
        await traffic.all()
        require_faultless(trial, traffic)


@rule("SF-03", "The end comes behind what is inside, and needs nobody to read.", holds="2.2", subject="channel")
async def the_end_comes_behind(trial: Trial[Maker]) -> None:
    trial.given("one element, sent and closed before anybody reads")
    traffic = Traffic(opened(trial), 1)
    for sender in range(len(traffic.items)):
        await traffic.write(sender)
    async with anyio.create_task_group() as tasks:
        for receiver in range(len(traffic.got)):
            tasks.start_soon(traffic.read, receiver)
    require_faultless(trial, traffic)


@rule(
    "SF-04",
    "Once a channel has ended it stays so: closing again is nothing, sending is an error, and nothing comes.",
    holds="2.2",
    subject="channel",
)
async def the_end_is_for_ever(trial: Trial[Maker]) -> None:
    trial.given("closed twice by the sender, then used")
    channel = opened(trial)
    for end in channel.senders:
        end.close()
        end.close()
    for end in channel.senders:
        await require_error(
            trial, end.send(channel.make("late")), anyio.ClosedResourceError, "sending behind its own end"
        )
    for _ in range(2):
        for reader in channel.receivers:
            await require_error(trial, reader.receive(), anyio.EndOfStream, "receiving behind the end")
    trial.given("closed by the sender, then by the receiver, then used by the sender")
    for reader in channel.receivers:
        reader.close()
        reader.close()
    for end in channel.senders:
        await require_error(
            trial, end.send(channel.make("late")), anyio.ClosedResourceError, "sending behind its own end"
        )
    for reader in channel.receivers:
        await require_error(trial, reader.receive(), anyio.ClosedResourceError, "receiving from an end that it closed")


@rule(
    "SF-11",
    "While nobody reads, a sender can send as many elements as the bound says, and then waits.",
    holds="2.1",
    subject="channel",
)
async def the_bound_is_kept(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    bound = channel.bound
    if bound is None:
        trial.skip("its senders never wait")
    trial.given(f"a bound of {bound}, nobody reads")
    sent = 0
    with anyio.move_on_after(LONG_S):
        while sent <= 2 * bound + 2:
            await channel.senders[0].send(channel.make(str(sent)))
            sent += 1
    trial.require(sent == bound, f"{sent} elements were let in")
    require_accounts(trial, channel)


@rule("SF-15", "None is no element, and is refused when it is sent.", holds="2.1", subject="channel")
async def none_is_refused(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    if not channel.refuses_none:
        trial.skip("it carries None")
    trial.given("send(None)")
    for end in channel.senders:
        await require_error(trial, end.send(cast("Parcel", None)), (TypeError, ElementError), "sending None")


@rule(
    "SF-17",
    "A second task that reads one end is refused at once, and disturbs nothing.",
    holds="2.1",
    subject="channel",
)
async def one_task_reads(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    if not channel.has_one_reader:
        trial.skip("several tasks may read it")
    trial.given("two tasks receive, then one element is sent by each sender")
    traffic = Traffic(channel, 1)
    async with anyio.create_task_group() as tasks:
        for receiver in range(len(traffic.got)):
            tasks.start_soon(traffic.read, receiver)
        await anyio.wait_all_tasks_blocked()
        for reader in channel.receivers:
            await require_error(trial, reader.receive(), anyio.BusyResourceError, "a second receive()")
        for sender in range(len(traffic.items)):
            await traffic.write(sender)
    require_faultless(trial, traffic)


@rule(
    "SF-18",
    "Others run while a sender and a reader are busy with each other: at least once in 64 elements.",
    holds="2.4",
    subject="channel",
)
async def others_run(trial: Trial[Maker]) -> None:
    capacities = [int(str(trial.variant["capacity"]))]
    if capacities[0] == 16:
        capacities.append(200)  # where the bound does not make them take turns
    for capacity in capacities:
        trial.given(f"300 elements, a capacity of {capacity}, and a task that counts its turns")
        traffic = Traffic(trial.subject(capacity), 300)
        longest = await _longest_gap(traffic)
        edges = max(len(traffic.items), len(traffic.got))
        trial.require(longest <= _FAIR * edges, f"a sender sent {longest} elements while nothing else ran")


async def _longest_gap(traffic: Traffic) -> int:
    longest = 0

    async def tick() -> None:
        nonlocal longest
        before = list(traffic.sent)
        while True:
            await anyio.lowlevel.checkpoint()
            longest = max(longest, *(now - then for now, then in zip(traffic.sent, before, strict=True)))
            before = list(traffic.sent)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await traffic.all()
        tasks.cancel_scope.cancel()
    return longest


@rule(
    "SF-30",
    "Closing is at once, from any task, never raises, and wakes whoever waits at the other end.",
    holds="2.2",
    subject="channel",
)
async def closing_wakes(trial: Trial[Maker]) -> None:
    trial.given("readers wait, another task closes the senders")
    traffic = Traffic(opened(trial), 0)
    async with anyio.create_task_group() as tasks:
        for receiver in range(len(traffic.got)):
            tasks.start_soon(traffic.read, receiver)
        await anyio.wait_all_tasks_blocked()
        for end in traffic.channel.senders:
            end.close()
    channel = opened(trial)
    if channel.bound is None:
        return
    trial.given("a sender waits for room, another task closes the receivers")
    refused: list[Exception] = []

    async def send() -> None:
        try:
            while True:
                await channel.senders[0].send(channel.make("one more"))
        except anyio.BrokenResourceError as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        for reader in channel.receivers:
            reader.close()
    trial.require(len(refused) == 1, "the sender that waited was not told")


@rule("SF-31", "A channel that has ended holds none of its elements.", holds="7.1", subject="channel")
async def nothing_is_held(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    if channel.holds_elements or channel.make is not Parcel:
        trial.skip("what comes out is not what was put in, or cannot be watched")
    trial.given("one element received and let go, one left inside and discarded")
    # What others do with elements that nobody will take is their own affair.
    count = min(2, channel.bound or 2) if channel.accounts is not None else 1
    alive: list[weakref.ref[Any]] = []
    for number in range(count):
        item = channel.make(str(number))
        alive.append(weakref.ref(item))
        await channel.senders[0].send(item)
        del item
    await channel.receivers[0].receive() if len(channel.senders) == 1 else None
    for reader in channel.receivers:
        reader.close()
    for end in channel.senders:
        end.close()
    await anyio.lowlevel.checkpoint()
    left = [repr(one()) for one in alive if one() is not None]
    trial.require(not left, f"elements {', '.join(left)} are still held")


@rule(
    "CH-03",
    "What was sent is received, inside, or counted as discarded, at every moment.",
    holds="2.5",
    subject="channel",
)
async def the_accounts_agree(trial: Trial[Maker]) -> None:
    if opened(trial).accounts is None:
        trial.skip("it keeps no accounts")
    for seed in range(4 * trial.effort):
        trial.given(f"random pauses, seed {seed}")
        traffic = _Pausing(opened(trial), 8, random.Random(seed), lambda channel: require_accounts(trial, channel))  # noqa: S311
        await traffic.all()
        require_faultless(trial, traffic)
        require_accounts(trial, traffic.channel)


@rule("CH-04", "Senders that wait are served in the order in which they came.", holds="2.1", subject="channel")
async def senders_queue(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    if channel.bound is None or channel.delivery not in ("all", "first") or channel.unpack(()) != ((),):
        trial.skip("its senders never wait, or what they send does not meet again")
    for waiting in (2, 4):
        channel = opened(trial)
        total = (channel.bound or 0) + waiting
        trial.given(f"{waiting} tasks wait to send, one behind the other")
        got: list[list[Any]] = [[] for _ in channel.receivers]

        async def read(
            receiver: int, channel: ChannelUnderTest = channel, got: list[list[Any]] = got, total: int = total
        ) -> None:
            while len(got[receiver]) < total:
                got[receiver].append(await channel.receivers[receiver].receive())
                await anyio.lowlevel.checkpoint()

        items = [channel.make(str(number)) for number in range(total)]
        async with anyio.create_task_group() as tasks:
            for item in items:
                tasks.start_soon(channel.senders[0].send, item)
                await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(LONG_S):
                async with anyio.create_task_group() as readers:
                    for end in channel.senders[1:]:
                        end.close()
                    for receiver in range(len(channel.receivers) if channel.delivery == "all" else 1):
                        readers.start_soon(read, receiver)
        order = got[0]
        trial.require(order == items, f"they came as {order}")


@rule(
    "CH-05",
    "Whoever pauses when, nobody is forgotten: all arrives and everybody is woken.",
    holds="2.1",
    subject="channel",
    level="stochastic",
)
async def nobody_is_forgotten(trial: Trial[Maker]) -> None:
    for seed in range(6 * trial.effort):
        trial.given(f"random pauses, seed {seed}")
        traffic = _Pausing(opened(trial), 10, random.Random(seed))  # noqa: S311
        await traffic.all()
        require_faultless(trial, traffic)


class _Pausing(Traffic):
    """Traffic in which everybody lets others run, at random."""

    def __init__(
        self,
        channel: ChannelUnderTest,
        count: int,
        chance: random.Random,
        look: Callable[[ChannelUnderTest], None] | None = None,
    ) -> None:
        super().__init__(channel, count)
        self._chance = chance
        self._look = look

    async def write(self, sender: int) -> None:
        while self.sent[sender] < len(self.items[sender]):
            await self._pause()
            if not await self.send_next(sender):
                return
        self.channel.senders[sender].close()

    async def read(self, receiver: int) -> None:
        while True:
            await self._pause()
            try:
                item = await self.channel.receivers[receiver].receive()
            except anyio.EndOfStream:
                return
            self.got[receiver] += self.channel.unpack(item)

    async def _pause(self) -> None:
        if self._look is not None:
            self._look(self.channel)
        for _ in range(self._chance.choice((0, 0, 1, 3))):
            await anyio.lowlevel.checkpoint()
