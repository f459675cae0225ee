"""How a graph runs: settings, the engine, and what the caller holds.

Above: `apps`, `testing`, users. Below: `graph`, `stages`, `channels`.
"""

from ._config import PipelineConfig
from ._engine import live_runs
from ._interruption import Interruption
from ._kill_switch import KillSwitch, KillSwitchState
from ._pipeline import Pipeline, PipelineBuilder
from ._record_points import RecordingState
from ._replay import Replay, replay, replay_sync
from ._result import Result, Timings
from ._run import Run
from ._subscription import Subscription
from ._sync import BackendName, SyncStream, check_backend, forbid_inside_a_loop

__all__ = [
    "BackendName",
    "Interruption",
    "KillSwitch",
    "KillSwitchState",
    "Pipeline",
    "PipelineBuilder",
    "PipelineConfig",
    "RecordingState",
    "Replay",
    "Result",
    "Run",
    "Subscription",
    "SyncStream",
    "Timings",
    "check_backend",
    "forbid_inside_a_loop",
    "live_runs",
    "replay",
    "replay_sync",
]
