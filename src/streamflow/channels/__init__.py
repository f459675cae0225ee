"""How elements flow: bounded channels, one per edge, and the ends where edges fork and join.

Above: stages read and write their ends, the runtime opens one per edge. Below: the event loop.
"""

from ._balance import BalanceEnd
from ._barrier import BarrierEnd
from ._bounded import open_channel
from ._choosing import ConcatEnd, PriorityEnd, RaceEnd
from ._control import BOUNDARIES, REMEMBERED, TURNS, ControlJoin
from ._fork import ForkEnd
from ._hand import Hand, drop_backlog
from ._hub import HubEnd
from ._merge import MergeEnd
from ._ordering import OrderedEnd, Ordering, SortedEnd
from ._pairing import ZipEnd, ZipLatestEnd
from ._ports import join_ports
from ._receive_end import ASIDE, WIDE, ReceiveEnd
from ._route import RouteEnd, Unroutable
from ._send_end import SendEnd
from ._wait import running_trio
from ._watching import EDGE_WATCH, ChannelState, ChannelStatistics, ChannelWatch
from ._whole import WholeEnd
from ._widening import widen

__all__ = [
    "ASIDE",
    "BOUNDARIES",
    "EDGE_WATCH",
    "REMEMBERED",
    "TURNS",
    "WIDE",
    "BalanceEnd",
    "BarrierEnd",
    "ChannelState",
    "ChannelStatistics",
    "ChannelWatch",
    "ConcatEnd",
    "ControlJoin",
    "ForkEnd",
    "Hand",
    "HubEnd",
    "MergeEnd",
    "OrderedEnd",
    "Ordering",
    "PriorityEnd",
    "RaceEnd",
    "ReceiveEnd",
    "RouteEnd",
    "SendEnd",
    "SortedEnd",
    "Unroutable",
    "WholeEnd",
    "ZipEnd",
    "ZipLatestEnd",
    "drop_backlog",
    "join_ports",
    "open_channel",
    "running_trio",
    "widen",
]
