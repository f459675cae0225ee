"""Whether a channel keeps the rules: one function that runs them all.

Above: tests. Below: `_channel_rules` and its siblings, `_conformance_runner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _channel_cancellation, _channel_ends, _channel_kinds, _channel_rules
from ._conformance import BACKENDS, Variant
from ._conformance_runner import conform, run_checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._channel_case import ChannelUnderTest
    from ._channel_court import Maker
    from ._conformance_report import Report

__all__ = ["check_channel"]

_ = _channel_cancellation, _channel_ends, _channel_kinds, _channel_rules  # imported for the rules that they register


def check_channel(
    maker: Maker,
    *,
    name: str = "channel",
    capacities: Sequence[int] = (1, 2, 16),
    rules: Iterable[str] | None = None,
    skip: Mapping[str, str] | None = None,
    effort: int = 1,
) -> Report:
    """Check that a channel keeps the rules, on asyncio and trio, at each capacity. Blocks until done.

    ```python
    def plain(capacity: int) -> ChannelUnderTest:
        send, receive = open_channel(capacity)
        return ends_under_test([send], [receive], bound=capacity)


    print(check_channel(plain))
    ```

    Args:
        maker: Opens a new channel of a capacity, and says what its kind promises.
        name: What the report calls it.
        capacities: What to open it with. Costly rules are tried with the first two only.
        rules: Ids of the rules to check; None: all.
        skip: Reasons for leaving out rules, by id.
        effort: How many times the usual number of random examples to try.

    Raises:
        ConformanceError: If it breaks a rule; says which, and what shows it.
        ConfigError: If an id is unknown.
    """
    variants = [Variant(backend, (("capacity", size),)) for backend in BACKENDS for size in capacities]
    small = set(capacities[:2])
    opener = _Opener(maker)
    try:
        report = run_checks(
            "channel",
            opener,
            variants,
            name=name,
            rules=rules,
            skip=skip,
            effort=effort,
            heavy_variants=[one for one in variants if one["capacity"] in small],
        )
    finally:
        opener.close()
    return conform(report)


class _Opener:
    """Opens channels, and closes each when the next one is opened: some warn when they are forgotten."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._last: ChannelUnderTest | None = None

    def __call__(self, capacity: int) -> ChannelUnderTest:
        self.close()
        self._last = self._maker(capacity)
        return self._last

    def close(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            for sender in last.senders:
                sender.close()
            for receiver in last.receivers:
                receiver.close()
