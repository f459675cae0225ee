"""The rules of channels that fork, balance, merge, or have lanes.

Above: `_check_channel`. Below: `_channel_court`, `_channel_case`, `_conformance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from ..elements import Priority
from ._channel_case import Parcel, Traffic
from ._channel_court import LONG_S, Maker, opened, require_error, require_faultless
from ._conformance import Trial, rule

if TYPE_CHECKING:
    from ._channel_case import ChannelReceiver

__all__: list[str] = []


@rule(
    "SF-50",
    "A fork gives every branch the same; the slowest branch bounds it; one that goes is left out.",
    holds="4.6",
    subject="channel",
)
async def a_fork_copies(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    if len(channel.receivers) < 2 or channel.delivery != "all":
        trial.skip("it does not copy to several receivers")
    trial.given("one branch is not read")
    bound, sent = channel.bound or 0, 0

    async def read() -> None:
        while True:
            await channel.receivers[0].receive()

    with anyio.move_on_after(LONG_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            while sent <= 2 * bound + 2:
                await channel.senders[0].send(channel.make(str(sent)))
                sent += 1
    trial.require(sent == bound, f"{sent} elements were sent while a branch with room for {bound} was not read")
    trial.given("that branch goes, and the others go on")
    channel.receivers[-1].close()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        with anyio.fail_after(LONG_S):
            for number in range(bound + 3):
                await channel.senders[0].send(channel.make(str(number)))
        tasks.cancel_scope.cancel()
    trial.given("all branches go")
    for reader in channel.receivers:
        reader.close()
    await require_error(
        trial, channel.senders[0].send(channel.make("late")), anyio.BrokenResourceError, "sending to nobody"
    )


@rule(
    "SF-52",
    "Where each element goes to one receiver, one that goes leaves the others all that comes later.",
    holds="4.15",
    subject="channel",
)
async def one_of_several_goes(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    if channel.delivery != "one":
        trial.skip("it does not choose among several receivers")
    trial.given("one receiver goes, then 10 elements are sent")
    first, *others = channel.receivers
    first.close()
    got: list[object] = []

    async def read(receiver: ChannelReceiver) -> None:
        while True:
            got.append(await receiver.receive())

    items = [channel.make(str(number)) for number in range(10)]
    async with anyio.create_task_group() as tasks:
        for receiver in others:
            tasks.start_soon(read, receiver)
        with anyio.fail_after(LONG_S):
            for item in items:
                await channel.senders[0].send(item)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    missing = [item for item in items if not any(item is one for one in got)]
    trial.require(not missing and len(got) == len(items), f"{missing} never came to those that are left")


@rule(
    "SF-53",
    "A balance leaves no receiver idle while another one has two elements waiting, and none stuck with one that goes.",
    holds="4.16",
    subject="channel",
)
async def a_balance_keeps_all_busy(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    if not channel.is_balanced:
        trial.skip("it does not balance")
    trial.given("one receiver never comes back for more, the others take what they get")
    first, *others = channel.receivers
    got: list[Any] = []

    async def work(reader: Any) -> None:
        while True:
            got.append(await reader.receive())

    bound, count = channel.bound or 1, 30
    async with anyio.create_task_group() as tasks:
        for reader in others:
            tasks.start_soon(work, reader)
        with anyio.fail_after(LONG_S):
            for number in range(count):
                await channel.senders[0].send(channel.make(str(number)))
                await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    stuck = count - len(got)
    trial.require(
        stuck <= min(2, bound), f"{stuck} elements wait for a receiver that does not come, while another is idle"
    )
    first.close()


@rule(
    "SF-58",
    "A receiver that joins gets everything from then on, and takes nothing from the others.",
    holds="4.19",
    subject="channel",
)
async def one_joins(trial: Trial[Maker]) -> None:
    if opened(trial).attach is None:
        trial.skip("nobody can join it")
    for before in (0, 1, 4):
        channel = opened(trial)
        assert channel.attach is not None
        trial.given(f"{before} elements, then one joins, then 4 elements")
        traffic = Traffic(channel, before + 4)
        late: list[object] = []

        async def read_late(receiver: ChannelReceiver, late: list[object] = late) -> None:
            while True:
                try:
                    late.append(await receiver.receive())
                except anyio.EndOfStream:
                    return

        async with anyio.create_task_group() as tasks:
            for number in range(len(traffic.got)):
                tasks.start_soon(traffic.read, number)
            for _ in range(before):
                await traffic.send_next(0)
            joined = channel.attach()
            tasks.start_soon(read_late, joined)
            await traffic.write(0)
        require_faultless(trial, traffic)
        wanted = traffic.items[0][before:]
        trial.require(late == wanted, f"it got {late}, not {wanted}")


@rule(
    "SF-54",
    "A merge ends when all its inputs have ended, and one that ends takes nothing with it.",
    holds="4.8",
    subject="channel",
)
async def a_merge_ends_last(trial: Trial[Maker]) -> None:
    if len(opened(trial).senders) < 2:
        trial.skip("it has one sender")
    if opened(trial).delivery != "all":
        trial.skip("its inputs do not all arrive")
    for ending in range(len(opened(trial).senders)):
        channel = opened(trial)
        trial.given(f"input {ending} ends at once, the others later")
        traffic = Traffic(channel, 2)
        if channel.unpack(()) == ((),):
            traffic.items[ending] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(traffic.read, 0)
            tasks.start_soon(traffic.write, ending)
            await anyio.wait_all_tasks_blocked()
            for sender in range(len(channel.senders)):
                if sender != ending:
                    tasks.start_soon(traffic.write, sender)
        require_faultless(trial, traffic)


@rule(
    "SF-55",
    "What is urgent goes first, and what waits is overtaken a bounded number of times.",
    holds="2.6",
    subject="channel",
)
async def urgent_goes_first(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    if not channel.has_lanes:
        trial.skip("it has no lanes")
    trial.given("one element that can wait, then an urgent one")
    low, urgent = Parcel("low", Priority.LOW), Parcel("urgent", Priority.CRITICAL)
    for item in (low, urgent):
        await channel.senders[0].send(item)
    got = [await channel.receivers[0].receive() for _ in range(2)]
    trial.require(got == [urgent, low], f"they came as {got}")
    trial.given("one element that can wait, then urgent ones for ever")
    await channel.senders[0].send(low)
    for passed in range(200):
        await channel.senders[0].send(Parcel(f"urgent {passed}", Priority.CRITICAL))
        if await channel.receivers[0].receive() is low:
            return
    trial.require(holds=False, otherwise="it was overtaken 200 times")
