"""How a graph runs: settings, the engine, and what the caller holds.

Above: `apps`, `testing`, users. Below: `graph`, `stages`, `channels`.
"""

from typing import TYPE_CHECKING

from .. import _faces
from ._config import PipelineConfig
from ._dump import live_runs
from ._interruption import Interruption
from ._kill_switch import KillSwitch, KillSwitchState
from ._pipeline import Pipeline, PipelineBuilder
from ._result import Result, Timings
from ._run import Run
from ._subscription import Subscription
from ._sync import BackendName, SyncSession, SyncStream, check_backend, forbid_inside_a_loop

if TYPE_CHECKING:
    from ._bottleneck import Bottleneck
    from ._lag import LoopLag, LoopMonitor
    from ._live_table import live_table
    from ._record_points import RecordingState
    from ._registry import MetricsRegistry
    from ._replay import Replay, replay, replay_sync
    from ._stats import EdgeStats, RunStats, StageStats, StageTimes, TurnStats

__all__ = [
    "BackendName",
    "Bottleneck",
    "EdgeStats",
    "Interruption",
    "KillSwitch",
    "KillSwitchState",
    "LoopLag",
    "LoopMonitor",
    "MetricsRegistry",
    "Pipeline",
    "PipelineBuilder",
    "PipelineConfig",
    "RecordingState",
    "Replay",
    "Result",
    "Run",
    "RunStats",
    "StageStats",
    "StageTimes",
    "Subscription",
    "SyncSession",
    "SyncStream",
    "Timings",
    "TurnStats",
    "check_backend",
    "forbid_inside_a_loop",
    "live_runs",
    "live_table",
    "replay",
    "replay_sync",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _faces.loading(
        __name__,
        {
            "._bottleneck": "Bottleneck",
            "._lag": "LoopLag LoopMonitor",
            "._live_table": "live_table",
            "._record_points": "RecordingState",
            "._registry": "MetricsRegistry",
            "._replay": "Replay replay replay_sync",
            "._stats": "EdgeStats RunStats StageStats StageTimes TurnStats",
        },
    )
