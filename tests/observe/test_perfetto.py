"""The file for Perfetto, against the documented format: what begins ends, arrows meet visits, threads do not overlap."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from streamflow import MapAsyncStage, MapStage, PipelineBuilder, PipelineConfig, TextElement, TurnEnd
from streamflow.errors import ConfigError
from streamflow.observe import PerfettoFile, Tracing
from streamflow.observe._trace_outbox import Outbox
from streamflow.stages import BatchStage


async def slowly(element: TextElement) -> TextElement:
    await anyio.sleep(0.001 * (len(element.text) % 3))
    return TextElement(element.text + "!")


def record(path: Path, count: int = 20, **options: object) -> PerfettoFile:
    """Run a pipeline with a fork, a merge, calls side by side and a collecting stage, and write it down."""
    with PerfettoFile(path, **options) as file:
        config = PipelineConfig(tracing=Tracing(sinks=(file,)))
        builder = PipelineBuilder(config).add(
            MapStage(lambda one: one, name="in"),
            MapAsyncStage(slowly, concurrency=4, name="calls"),
            MapStage(lambda one: one, name="plain"),
            BatchStage(3, name="batch"),
        )
        builder.branch("in", "calls", "plain").merge("batch", "calls", "plain")
        builder.build().execute_sync([*("x" * (one % 5) for one in range(count)), TurnEnd()])
    return file


def test_a_file_is_what_the_format_says(tmp_path: Path) -> None:
    """semantics 24.19: valid JSON, each `b` with its `e`, each flow from visit to visit, one name for each thread."""
    record(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())

    named = {(one["pid"], one["tid"]): one["args"]["name"] for one in events if one["name"] == "thread_name"}
    assert {"spans", "edges", "in", "calls", "plain", "batch"} == set(named.values())
    assert all(isinstance(one["ts"], int | float) and one["ts"] >= 0 for one in events if one["ph"] != "M")
    assert {one["ph"] for one in events} == {"M", "X", "b", "e", "s", "t", "f", "C"}
    assert all((one["pid"], one["tid"]) in named for one in events if one["ph"] != "M")

    open_at: dict[tuple[object, ...], float] = {}
    for one in events:
        key = one.get("cat"), one.get("id"), one["name"]
        if one["ph"] == "b":
            assert key not in open_at
            open_at[key] = one["ts"]
        elif one["ph"] == "e":
            assert open_at.pop(key) <= one["ts"]
    assert not open_at

    visits = defaultdict(list)
    for one in events:
        if one["ph"] == "X":
            visits[one["pid"], one["tid"]].append((one["ts"], one["ts"] + one["dur"]))
    for taken in visits.values():
        taken.sort()
        assert all(before[1] <= after[0] + 0.001 for before, after in pairwise(taken))
    assert sum(named[key] == "calls" for key in visits) > 1  # calls side by side

    flows = defaultdict(list)
    for one in events:
        if one["ph"] in "stf":
            flows[one["id"]].append(one["ph"])
            assert any(began <= one["ts"] <= ended for began, ended in visits[one["pid"], one["tid"]])
    assert flows
    for phases in flows.values():
        assert phases == ["s", *"t" * (len(phases) - 2), "f"]
    assert max(one["args"]["elements"] for one in events if one["ph"] == "C") <= 16


def test_a_file_that_was_cut_off_can_be_read_to_the_cut(tmp_path: Path) -> None:
    """semantics 24.19: the format needs no end; so a crash costs the last line."""
    record(tmp_path / "trace.json", 5)
    whole = (tmp_path / "trace.json").read_bytes()

    cut = whole[: len(whole) // 2].rpartition(b",\n")[0]
    assert json.loads(cut + b"]")
    assert whole.count(b"\n") == len(json.loads(whole)) + 2


def test_a_full_file_stays_whole_and_says_what_is_missing(tmp_path: Path) -> None:
    """semantics 24.19: bounded."""
    file = record(tmp_path / "trace.json", 200, max_bytes=20_000, depths=False)

    content = (tmp_path / "trace.json").read_bytes()
    assert len(content) <= 20_000
    assert json.loads(content)[-1]["args"]["dropped"] == file.dropped > 0
    with pytest.raises(ConfigError, match="max_bytes"):
        PerfettoFile(tmp_path / "other.json", max_bytes=10)
    file.close()


def test_what_a_thread_cannot_keep_up_with_is_dropped_and_counted() -> None:
    """semantics 24.18: putting in never waits; a failure is counted too."""
    may_go_on, done = threading.Event(), []

    def work(items: list[int]) -> None:
        may_go_on.wait()
        done.extend(items)
        if 3 in items:
            raise ValueError(items)

    outbox = Outbox(work, most=4, batch=2, name="slow")
    for number in range(20):
        outbox.put(number)
    assert not outbox.close(0.001)
    may_go_on.set()
    assert outbox.close(10)

    assert outbox.dropped >= 14
    assert outbox.dropped + outbox.done + outbox.failed == 20
    assert outbox.failed > 0
    outbox.put(1)
    assert len(done) == outbox.done + outbox.failed
