"""How elements flow: bounded channels, one per edge, and the ends where edges fork and join.

Above: stages read and write their ends, the runtime opens one per edge. Below: the event loop.
"""

from ._arrival import ArrivalEnd
from ._balance import BalanceEnd
from ._barrier import BarrierEnd
from ._bell import Bell, count_waits_between
from ._bounded import open_channel, open_plain, open_row
from ._bounds import EdgeBound, Overflow, Weight, checked_overflow, checked_weight
from ._burst import OUTCOME
from ._chained import ChainedSendEnd, has_plain, is_plain_edge, open_chained, pass_head
from ._choosing import ConcatEnd, PriorityEnd, RaceEnd
from ._control import BOUNDARIES, REMEMBERED, TURNS, ControlJoin, TurnMarker
from ._driven import drive, driven
from ._feedback import FeedbackMergeEnd, Rounds, end_loop, keep_markers_inside, keep_rounds_inside, open_feedback
from ._fork import ForkEnd
from ._hand import Hand, drop_backlog
from ._holding import hold_edges
from ._hub import HubEnd
from ._lane_ends import has_lanes, is_quick_edge
from ._lane_line import pull_into_lanes
from ._level import Level, in_bursts
from ._line import Line, LineCall
from ._merge import MergeEnd
from ._ordering import OrderedEnd, Ordering, SortedEnd
from ._pairing import ZipEnd, ZipLatestEnd
from ._places import (
    CollectingPlace,
    EndPlace,
    Entry,
    Hop,
    MergePlace,
    Origin,
    Root,
    SeveralPlace,
    StagePlace,
    entry_of,
)
from ._plain_fork import PlainForkEnd, level_of, open_fork
from ._ports import join_ports
from ._pulse import Pulse
from ._pump import NOTHING, Unusual, can_pump, pump_each, pump_filter, pump_flat_map, pump_map, pump_pass, pump_tee
from ._receive_end import ASIDE, ReceiveEnd
from ._refilled import WIDE, pull_into, pull_when_asked
from ._route import RouteEnd, Unroutable
from ._send_end import SendEnd
from ._sweep import Fence, Herald, sweep_edge
from ._traced import DepthBuffer, TracedBuffer, trace_edge, trace_merge
from ._traced_line import line_of
from ._wait import Waiter, running_clock, running_trio, waiter_factory
from ._waits import (
    EdgeWait,
    has_waiting_sender,
    is_awaited,
    oversee,
    stand_in,
    stands_at,
    tell_loop,
    tell_waits,
    waits_on,
    wake_reader,
    widen,
    written_edges,
)
from ._watching import EDGE_WATCH, ChannelState, ChannelStatistics, ChannelWatch
from ._whole import WholeEnd

__all__ = [
    "ASIDE",
    "BOUNDARIES",
    "EDGE_WATCH",
    "NOTHING",
    "OUTCOME",
    "REMEMBERED",
    "TURNS",
    "WIDE",
    "ArrivalEnd",
    "BalanceEnd",
    "BarrierEnd",
    "Bell",
    "ChainedSendEnd",
    "ChannelState",
    "ChannelStatistics",
    "ChannelWatch",
    "CollectingPlace",
    "ConcatEnd",
    "ControlJoin",
    "DepthBuffer",
    "EdgeBound",
    "EdgeWait",
    "EndPlace",
    "Entry",
    "FeedbackMergeEnd",
    "Fence",
    "ForkEnd",
    "Hand",
    "Herald",
    "Hop",
    "HubEnd",
    "Level",
    "Line",
    "LineCall",
    "MergeEnd",
    "MergePlace",
    "OrderedEnd",
    "Ordering",
    "Origin",
    "Overflow",
    "PlainForkEnd",
    "PriorityEnd",
    "Pulse",
    "RaceEnd",
    "ReceiveEnd",
    "Root",
    "Rounds",
    "RouteEnd",
    "SendEnd",
    "SeveralPlace",
    "SortedEnd",
    "StagePlace",
    "TracedBuffer",
    "TurnMarker",
    "Unroutable",
    "Unusual",
    "Waiter",
    "Weight",
    "WholeEnd",
    "ZipEnd",
    "ZipLatestEnd",
    "can_pump",
    "checked_overflow",
    "checked_weight",
    "count_waits_between",
    "drive",
    "driven",
    "drop_backlog",
    "end_loop",
    "entry_of",
    "has_lanes",
    "has_plain",
    "has_waiting_sender",
    "hold_edges",
    "in_bursts",
    "is_awaited",
    "is_plain_edge",
    "is_quick_edge",
    "join_ports",
    "keep_markers_inside",
    "keep_rounds_inside",
    "level_of",
    "line_of",
    "open_chained",
    "open_channel",
    "open_feedback",
    "open_fork",
    "open_plain",
    "open_row",
    "oversee",
    "pass_head",
    "pull_into",
    "pull_into_lanes",
    "pull_when_asked",
    "pump_each",
    "pump_filter",
    "pump_flat_map",
    "pump_map",
    "pump_pass",
    "pump_tee",
    "running_clock",
    "running_trio",
    "stand_in",
    "stands_at",
    "sweep_edge",
    "tell_loop",
    "tell_waits",
    "trace_edge",
    "trace_merge",
    "waiter_factory",
    "waits_on",
    "wake_reader",
    "widen",
    "written_edges",
]
