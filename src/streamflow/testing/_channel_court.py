"""What the checks of channels share: how one is opened, what is required of it, and for how long.

Above: `_channel_rules`, `_channel_ends`, `_channel_kinds`, `_channel_cancellation`. Below: `_channel_case`, `_conformance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._channel_case import ChannelUnderTest, Traffic
    from ._conformance import Trial

__all__ = ["LONG_S", "Maker", "opened", "require_accounts", "require_error", "require_faultless"]

Maker: TypeAlias = "Callable[[int], ChannelUnderTest]"
"""Opens a new channel of a capacity."""

LONG_S: Final = 1000.0
"""How long a check waits for what must come, in seconds of virtual time."""


def opened(trial: Trial[Maker]) -> ChannelUnderTest:
    """Open a channel of the variant's capacity."""
    return trial.subject(int(str(trial.variant["capacity"])))


def require_faultless(trial: Trial[Maker], traffic: Traffic) -> None:
    """Fail if something is lost, doubled or out of order."""
    found = traffic.faults()
    trial.require(not found, "; ".join(found[:3]))


async def require_error(
    trial: Trial[Maker], action: Awaitable[object], kind: type[Exception] | tuple[type[Exception], ...], what: str
) -> Exception | None:
    found = "waited for ever"
    with anyio.move_on_after(LONG_S):
        try:
            found = f"returned {await action!r}"
        except kind as error:
            return error
    trial.require(holds=False, otherwise=f"{what} {found} instead of raising")
    return None


def require_accounts(trial: Trial[Maker], channel: ChannelUnderTest) -> None:
    for one in channel.accounts() if channel.accounts is not None else ():
        accounted = one.received + one.buffered + sum(one.discarded.values())
        trial.require(
            one.sent == accounted,
            f"{one.name} sent {one.sent}, but received {one.received}, holds {one.buffered} and discarded {one.discarded}",
        )
