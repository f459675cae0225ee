"""What you need to test your own stages: virtual time, and cancellation at every point.

Above: tests. Below: the whole package. Nothing here is imported by it.
"""

from __future__ import annotations

from ._clock import BackendName, run_virtual, virtual_time
from ._harness import assert_all_stages_stopped, run_stage
from ._ledger import EdgeLedger, EdgeRecord
from ._sweep import CancelMode, Outcome, SweepReport, cancel_sweep
from ._tasks import assert_no_tasks_left, tasks_alive

__all__ = [
    "BackendName",
    "CancelMode",
    "EdgeLedger",
    "EdgeRecord",
    "Outcome",
    "SweepReport",
    "assert_all_stages_stopped",
    "assert_no_tasks_left",
    "cancel_sweep",
    "run_stage",
    "run_virtual",
    "tasks_alive",
    "virtual_time",
]
