"""How a graph runs: settings, the engine, and what the caller holds.

Above: `apps`, `testing`, users. Below: `graph`, `stages`, `channels`.
"""

from ._config import PipelineConfig
from ._dump import live_runs
from ._interruption import Interruption
from ._kill_switch import KillSwitch, KillSwitchState
from ._pipeline import Pipeline, PipelineBuilder
from ._result import Result, Timings
from ._run import Run
from ._subscription import Subscription
from ._sync import BackendName, SyncSession, SyncStream

__all__ = [
    "BackendName",
    "Interruption",
    "KillSwitch",
    "KillSwitchState",
    "Pipeline",
    "PipelineBuilder",
    "PipelineConfig",
    "Result",
    "Run",
    "Subscription",
    "SyncSession",
    "SyncStream",
    "Timings",
    "live_runs",
]
