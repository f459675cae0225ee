"""How a graph runs: settings, the engine, and what the caller holds.

Above: `apps`, `testing`, users. Below: `graph`, `stages`, `channels`.
"""

from ._bottleneck import Bottleneck
from ._config import PipelineConfig
from ._dump import live_runs
from ._interruption import Interruption
from ._kill_switch import KillSwitch, KillSwitchState
from ._lag import LoopLag, LoopMonitor
from ._live_table import live_table
from ._pipeline import Pipeline, PipelineBuilder
from ._record_points import RecordingState
from ._registry import MetricsRegistry
from ._replay import Replay, replay, replay_sync
from ._result import Result, Timings
from ._run import Run
from ._stats import EdgeStats, RunStats, StageStats, StageTimes, TurnStats
from ._subscription import Subscription
from ._sync import BackendName, SyncSession, SyncStream, check_backend, forbid_inside_a_loop

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
