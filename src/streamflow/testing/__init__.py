"""What you need to test your own stages: virtual time, cancellation at every point, a ledger of edges, strategies.

Above: tests. Below: the whole package. Nothing here is imported by it. The Hypothesis strategies need the extra `testing`, and
Hypothesis is imported when the first of them is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import misbehaving
from ._chaos import Chaos, chaos
from ._check_stage import StageConformance, check_stage
from ._clock import BackendName, run_virtual, virtual_time
from ._conformance import Level, Rule, Subject, Trial, Variant, rule, rules_of
from ._conformance_report import ConformanceError, Report, Verdict
from ._conformance_runner import Clock, conform, run_checks
from ._fake_llm import FakeLLM
from ._fake_reply import FakeCall, FakeReply
from ._graphs import DrawnGraph, DrawnStage, Fan
from ._harness import assert_all_stages_stopped, run_stage
from ._ledger import EdgeLedger, EdgeRecord
from ._on_demand import strategy as _strategy
from ._probes import CancelReason, ProbeError, SinkProbe, SourceProbe, probed
from ._sweep import CancelMode, Outcome, SweepReport, cancel_sweep
from ._tasks import assert_no_tasks_left, tasks_alive

if TYPE_CHECKING:
    from ._fake_transport import fake_client
    from ._graph_strategies import graphs
    from ._strategies import (
        control_elements,
        data_elements,
        elements,
        json_objects,
        json_values,
        messages,
        metadata,
        parts,
        text_elements,
        usages,
    )

__all__ = [
    "BackendName",
    "CancelMode",
    "CancelReason",
    "Chaos",
    "Clock",
    "ConformanceError",
    "DrawnGraph",
    "DrawnStage",
    "EdgeLedger",
    "EdgeRecord",
    "FakeCall",
    "FakeLLM",
    "FakeReply",
    "Fan",
    "Level",
    "Outcome",
    "ProbeError",
    "Report",
    "Rule",
    "SinkProbe",
    "SourceProbe",
    "StageConformance",
    "Subject",
    "SweepReport",
    "Trial",
    "Variant",
    "Verdict",
    "assert_all_stages_stopped",
    "assert_no_tasks_left",
    "cancel_sweep",
    "chaos",
    "check_stage",
    "conform",
    "control_elements",
    "data_elements",
    "elements",
    "fake_client",
    "graphs",
    "json_objects",
    "json_values",
    "messages",
    "metadata",
    "misbehaving",
    "parts",
    "probed",
    "rule",
    "rules_of",
    "run_checks",
    "run_stage",
    "run_virtual",
    "tasks_alive",
    "text_elements",
    "usages",
    "virtual_time",
]


def __getattr__(name: str) -> object:
    return _strategy(name)
