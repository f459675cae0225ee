"""How elements flow: bounded channels, one per edge, and the ends where edges fork and join.

Above: stages read and write their ends, the runtime opens one per edge. Below: the event loop.
"""

from ._bell import Bell
from ._bounded import open_channel
from ._control import ControlJoin
from ._feedback import FeedbackMergeEnd, Rounds, end_loop, keep_rounds_inside, open_feedback
from ._fork import ForkEnd
from ._merge import MergeEnd
from ._pulse import Pulse
from ._receive_end import WIDE, ReceiveEnd
from ._send_end import SendEnd
from ._wait import running_trio
from ._waits import EdgeWait, has_waiting_sender, is_awaited, oversee, tell_waits, waits_on, widen
from ._watching import EDGE_WATCH, ChannelState, ChannelStatistics, ChannelWatch

__all__ = [
    "EDGE_WATCH",
    "WIDE",
    "Bell",
    "ChannelState",
    "ChannelStatistics",
    "ChannelWatch",
    "ControlJoin",
    "EdgeWait",
    "FeedbackMergeEnd",
    "ForkEnd",
    "MergeEnd",
    "Pulse",
    "ReceiveEnd",
    "Rounds",
    "SendEnd",
    "end_loop",
    "has_waiting_sender",
    "is_awaited",
    "keep_rounds_inside",
    "open_channel",
    "open_feedback",
    "oversee",
    "running_trio",
    "tell_waits",
    "waits_on",
    "widen",
]
