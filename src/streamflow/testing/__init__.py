"""What you need to test your own stages: virtual time, cancellation at every point, a ledger of edges, strategies.

Above: tests. Below: the whole package. Nothing here is imported by it. The Hypothesis strategies need the extra `testing`, and
Hypothesis is imported when the first of them is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import misbehaving
from ._call_faults import CallFault, faulty
from ._channel_case import ChannelReceiver, ChannelSender, ChannelUnderTest, Delivery, Parcel, ends_under_test
from ._chaos import Chaos, chaos
from ._check_channel import check_channel
from ._check_pipeline import check_pipeline
from ._check_provider import PROVIDER_VARIANTS, check_provider
from ._check_runtime import check_runtime
from ._check_stage import StageConformance, check_stage
from ._check_store import check_store
from ._clock import BackendName, run_virtual, virtual_time
from ._conformance import Level, Rule, Subject, Trial, Variant, rule, rules_of
from ._conformance_report import ConformanceError, Report, Verdict
from ._conformance_runner import Clock, conform, run_checks
from ._connection_faults import BadLine, LinePlan, bad_line
from ._cuts import all_cuts
from ._doubles import Called, Heard, ScriptedSTT, ScriptedTool, ScriptedTTS, ScriptError, Spoken, StrictProvider
from ._edge_faults import EdgeFault, edge_faults
from ._fake_llm import FakeLLM
from ._fake_reply import FakeCall, FakeReply
from ._graphs import DrawnGraph, DrawnStage, Fan
from ._harness import assert_all_stages_stopped, run_stage
from ._ledger import EdgeLedger, EdgeRecord
from ._on_demand import strategy as _strategy
from ._probes import CancelReason, ProbeError, SinkProbe, SourceProbe, probed
from ._provider_case import Feature
from ._recorded import RecordedProvider, check_replay, recorded_provider, recorded_tool
from ._store_case import StoreFactory
from ._sweep import CancelMode, Outcome, SweepReport, cancel_sweep
from ._tasks import assert_no_tasks_left, tasks_alive

if TYPE_CHECKING:
    from ._cassette import Cassette, load_cassette, record_cassette
    from ._fake_transport import fake_client, fake_transport
    from ._graph_strategies import graphs
    from ._json_cuts import json_byte_cuts, json_cuts
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
    "PROVIDER_VARIANTS",
    "BackendName",
    "BadLine",
    "CallFault",
    "Called",
    "CancelMode",
    "CancelReason",
    "Cassette",
    "ChannelReceiver",
    "ChannelSender",
    "ChannelUnderTest",
    "Chaos",
    "Clock",
    "ConformanceError",
    "Delivery",
    "DrawnGraph",
    "DrawnStage",
    "EdgeFault",
    "EdgeLedger",
    "EdgeRecord",
    "FakeCall",
    "FakeLLM",
    "FakeReply",
    "Fan",
    "Feature",
    "Heard",
    "Level",
    "LinePlan",
    "Outcome",
    "Parcel",
    "ProbeError",
    "RecordedProvider",
    "Report",
    "Rule",
    "ScriptError",
    "ScriptedSTT",
    "ScriptedTTS",
    "ScriptedTool",
    "SinkProbe",
    "SourceProbe",
    "Spoken",
    "StageConformance",
    "StoreFactory",
    "StrictProvider",
    "Subject",
    "SweepReport",
    "Trial",
    "Variant",
    "Verdict",
    "all_cuts",
    "assert_all_stages_stopped",
    "assert_no_tasks_left",
    "bad_line",
    "cancel_sweep",
    "chaos",
    "check_channel",
    "check_pipeline",
    "check_provider",
    "check_replay",
    "check_runtime",
    "check_stage",
    "check_store",
    "conform",
    "control_elements",
    "data_elements",
    "edge_faults",
    "elements",
    "ends_under_test",
    "fake_client",
    "fake_transport",
    "faulty",
    "graphs",
    "json_byte_cuts",
    "json_cuts",
    "json_objects",
    "json_values",
    "load_cassette",
    "messages",
    "metadata",
    "misbehaving",
    "parts",
    "probed",
    "record_cassette",
    "recorded_provider",
    "recorded_tool",
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
