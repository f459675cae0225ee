"""How a graph runs: settings, the engine, and what the caller holds.

Above: `apps`, `testing`, users. Below: `graph`, `stages`, `channels`.
"""

from ._bottleneck import Bottleneck
from ._config import PipelineConfig
from ._engine import live_runs
from ._interruption import Interruption
from ._kill_switch import KillSwitch, KillSwitchState
from ._pipeline import Pipeline, PipelineBuilder
from ._result import Result, Timings
from ._run import Run
from ._stats import EdgeStats, RunStats, StageStats, StageTimes, TurnStats
from ._subscription import Subscription
from ._sync import BackendName, SyncStream

__all__ = [
    "BackendName",
    "Bottleneck",
    "EdgeStats",
    "Interruption",
    "KillSwitch",
    "KillSwitchState",
    "Pipeline",
    "PipelineBuilder",
    "PipelineConfig",
    "Result",
    "Run",
    "RunStats",
    "StageStats",
    "StageTimes",
    "Subscription",
    "SyncStream",
    "Timings",
    "TurnStats",
    "live_runs",
]
