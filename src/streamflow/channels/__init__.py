"""How elements flow: bounded channels, one per edge, and the ends where edges fork and join.

Above: stages read and write their ends, the runtime opens one per edge. Below: the event loop.
"""

from ._bounded import open_channel
from ._bounds import EdgeBound, Overflow, Weight, checked_overflow, checked_weight
from ._control import ControlJoin
from ._fork import ForkEnd
from ._merge import MergeEnd
from ._receive_end import WIDE, ReceiveEnd
from ._send_end import SendEnd
from ._wait import running_trio
from ._watching import EDGE_WATCH, ChannelState, ChannelStatistics, ChannelWatch

__all__ = [
    "EDGE_WATCH",
    "WIDE",
    "ChannelState",
    "ChannelStatistics",
    "ChannelWatch",
    "ControlJoin",
    "EdgeBound",
    "ForkEnd",
    "MergeEnd",
    "Overflow",
    "ReceiveEnd",
    "SendEnd",
    "Weight",
    "checked_overflow",
    "checked_weight",
    "open_channel",
    "running_trio",
]
