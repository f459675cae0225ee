"""How elements flow: bounded channels, one per edge, and the ends where edges fork and join.

Above: stages read and write their ends, the runtime opens one per edge. Below: the event loop.
"""

from ._balance import BalanceEnd
from ._bounded import open_channel
from ._control import ControlJoin
from ._fork import ForkEnd
from ._hub import HubEnd
from ._merge import MergeEnd
from ._receive_end import WIDE, ReceiveEnd
from ._route import RouteEnd, Unroutable
from ._send_end import SendEnd
from ._wait import running_trio
from ._watching import EDGE_WATCH, ChannelState, ChannelStatistics, ChannelWatch
from ._whole import WholeEnd

__all__ = [
    "EDGE_WATCH",
    "WIDE",
    "BalanceEnd",
    "ChannelState",
    "ChannelStatistics",
    "ChannelWatch",
    "ControlJoin",
    "ForkEnd",
    "HubEnd",
    "MergeEnd",
    "ReceiveEnd",
    "RouteEnd",
    "SendEnd",
    "Unroutable",
    "WholeEnd",
    "open_channel",
    "running_trio",
]
