"""The rules of a channel about its ends: a writer that fails, a reader that goes.

Above: `_check_channel`. Below: `_channel_court`, `_channel_case`, `_conformance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ..errors import OutputClosedError
from ._channel_case import Traffic
from ._channel_court import Maker, opened, require_accounts, require_error, require_faultless
from ._conformance import Trial, rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..errors import CloseReason

__all__: list[str] = []


@rule(
    "CH-01",
    "A writer that fails ends the channel behind what it has sent, and the reader is told its failure.",
    holds="2.2",
    subject="channel",
)
async def a_failure_comes_behind(trial: Trial[Maker]) -> None:
    channel = opened(trial)
    if channel.fail is None:
        trial.skip("its writer cannot tell that it has failed")
    cause = RuntimeError("the writer failed")
    trial.given("one element of each sender, then the failure")
    traffic = Traffic(channel, 1)
    for end, items in zip(channel.senders, traffic.items, strict=True):
        await end.send(items[0])
    channel.fail(cause)
    errors: list[Exception] = []

    async def read(receiver: int) -> None:
        try:
            await traffic.read(receiver)
        except anyio.BrokenResourceError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for receiver in range(len(traffic.got)):
            tasks.start_soon(read, receiver)
    trial.require(len(errors) == len(traffic.got), f"{len(errors)} of {len(traffic.got)} readers were told")
    trial.require(all(_causes(error, cause) for error in errors), f"the cause is not in {errors!r}")
    if len(channel.senders) == 1:
        require_faultless(trial, traffic)


@rule(
    "CH-02",
    "A reader that goes tells why, and what was inside is discarded and counted.",
    holds="2.2",
    subject="channel",
)
async def a_reader_says_why(trial: Trial[Maker]) -> None:
    reasons: Sequence[CloseReason] = ("no_more_needed", "failure")
    for reason in reasons:
        channel = opened(trial)
        if channel.leave is None:
            trial.skip("it does not tell reasons")
        trial.given(f"one element inside, closed by the reader with {reason!r}")
        await channel.senders[0].send(channel.make("inside"))
        channel.leave(reason)
        for end in channel.senders:
            error = await require_error(trial, end.send(channel.make("late")), OutputClosedError, "sending")
            told = getattr(error, "reason", None)
            trial.require(told == reason, f"the sender was told {told!r}")
        require_accounts(trial, channel)
        if channel.accounts is not None and channel.delivery == "all" and len(channel.senders) == 1:
            lost = [one.discarded for one in channel.accounts()]
            trial.require(any(sum(one.values()) >= 1 for one in lost), f"counted as discarded: {lost}")


def _causes(error: BaseException | None, cause: BaseException) -> bool:
    while error is not None:
        if error is cause:
            return True
        error = error.__cause__
    return False
