"""What events say, and what becomes of them outside Python."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import inspect
import json
import math
import pickle
from pathlib import Path
from types import MappingProxyType

import pytest

from streamflow import Metadata, TextElement, observe
from streamflow.errors import RunTimeoutError, StageError, Wait, WaitGraph
from streamflow.observe import (
    EdgeGrown,
    EdgeStalled,
    ElementDeadLettered,
    ElementDropped,
    ElementFailed,
    ElementMoved,
    ElementRetried,
    Event,
    EventGap,
    LoopBlocked,
    PipelineCancelled,
    PipelineCompleted,
    PipelineEnded,
    PipelineEvent,
    PipelineFailed,
    PipelineStarted,
    RunInterrupted,
    RunStalled,
    StageCancelled,
    StageCompleted,
    StageEnded,
    StageEvent,
    StageFailed,
    StageRestarted,
    StageStarted,
)


def caused(stage: str, cause: BaseException) -> StageError:
    error = StageError(stage, 3)
    error.__cause__ = cause
    return error


RUN = {"run_id": "run-1", "at_s": 2.0}
ENDED = {**RUN, "duration_s": 1.5, "elements": 3}
WORKED = {**RUN, "stage": "ears", "kind": "transform", "duration_s": 1.5, "received": 4, "sent": 3}
FAILED = {**RUN, "stage": "ears", "index": 3, "attempts": 2, "error": ZeroDivisionError("secret")}

EVENTS: list[Event] = [
    PipelineStarted(**RUN, stages=("ears", "mouth")),
    PipelineCompleted(**ENDED, reason="done"),
    PipelineFailed(**ENDED, reason="error", error=caused("ears", ZeroDivisionError("secret")), zombies=("mouth",)),
    PipelineCancelled(**ENDED, zombies=("mouth",)),
    StageStarted(**RUN, stage="ears", kind="transform"),
    StageRestarted(
        **RUN, stage="ears", kind="transform", failed="nose", attempt=2, delay_s=0.5, error=OSError("secret")
    ),
    StageCompleted(**WORKED),
    StageFailed(**WORKED, error=caused("ears", ZeroDivisionError("secret"))),
    StageCancelled(**WORKED),
    RunStalled(**RUN, stalled_s=2.5, graph=WaitGraph((Wait("ears", "outside", place="app.py:3"),))),
    EdgeStalled(
        **RUN,
        edge="a → b",
        state="full",
        stalled_s=2.5,
        chain=("a", "b"),
        graph=WaitGraph((Wait("b", "outside", place="app.py:3"),)),
    ),
    LoopBlocked(**RUN, blocked_s=0.5, place="app.py:3", stack=("app.py:3 in work",)),
    EdgeGrown(**RUN, edge="a → b", before=1, capacity=2),
    ElementMoved(**RUN, edge="'a' → 'b'", ordinal=7, element="TextElement", waited_s=0.25),
    ElementRetried(**FAILED, delay_s=0.5),
    ElementDropped(**FAILED),
    ElementDeadLettered(**FAILED),
    EventGap(**RUN, missed=12),
    RunInterrupted(**RUN, epoch=1, reason="barge-in", dropped={"ears → mouth": 3}, cancelled=("mouth",)),
    Event(**RUN, name="chat.token", stage="ears", data={"text": "a"}),
]
"""One event of each kind that is told."""


def of(name: str) -> Event:
    return next(one for one in EVENTS if one.name == name)


def test_every_kind_of_event_is_among_those_of_these_tests() -> None:
    """A new event is tested below from its first day; what is only a base is not told by itself."""
    kinds = {one for one in vars(observe).values() if inspect.isclass(one) and issubclass(one, Event)}

    assert kinds - {type(one) for one in EVENTS} == {
        PipelineEvent,
        PipelineEnded,
        StageEvent,
        StageEnded,
        ElementFailed,
    }


def test_an_event_says_what_happened_where() -> None:
    """semantics 5.12: an immutable value; the stage is None for the run itself."""
    event = Event(name="run.started", run_id="run-1")

    assert (event.name, event.run_id, event.stage, event.at_s, dict(event.data)) == (
        "run.started",
        "run-1",
        None,
        0,
        {},
    )
    with pytest.raises(AttributeError):
        event.name = "other"


def test_events_that_say_nothing_share_no_data() -> None:
    """`Event`: a listener that keeps something in one event's data does not write into all others."""
    assert Event(name="a", run_id="run-1").data is not Event(name="b", run_id="run-1").data


def test_events_are_equal_when_they_say_the_same_at_whatever_time() -> None:
    """`Event`: a test can say what it expects without knowing the clock."""
    event = Event(name="a", run_id="run-1", stage="s", data={"x": 1}, at_s=1)

    assert event == dataclasses.replace(event, at_s=2)
    assert event != dataclasses.replace(event, data={"x": 2})
    assert StageStarted(run_id="r", stage="s", kind="sink") != Event(name="stage.started", run_id="r", stage="s")


def test_the_runtimes_own_events_have_their_names() -> None:
    """semantics 5.12: the names are part of the contract, and cannot be given by mistake."""
    assert [one.name for one in EVENTS] == [
        *("pipeline.started", "pipeline.completed", "pipeline.failed", "pipeline.cancelled"),
        *("stage.started", "stage.restarted", "stage.completed", "stage.failed", "stage.cancelled"),
        *(
            "run.stalled",
            "edge.stalled",
            "loop.blocked",
            "edge.grown",
            "element.moved",
            "element.retried",
            "element.dropped",
            "element.dead_lettered",
        ),
        *("events.gap", "run.interrupted", "chat.token"),
    ]
    with pytest.raises(TypeError):
        StageStarted(name="other", run_id="r", stage="s", kind="sink")  # type: ignore[call-arg]


def test_an_event_of_a_stage_names_the_stage() -> None:
    """semantics 5.12: nobody has to ask whether it is None."""
    with pytest.raises(TypeError, match="stage"):
        StageStarted(run_id="r", kind="sink")  # type: ignore[call-arg]


def test_events_can_be_told_apart_by_their_families() -> None:
    """`observe`: one look says whether something began or ended, of the run or of a stage."""
    told: list[str] = []
    for event in EVENTS:
        match event:
            case PipelineFailed(reason=reason, error=StageError(stage=stage)):
                told.append(f"the run failed at {stage} ({reason})")
            case PipelineEnded(duration_s=duration_s, elements=elements, reason=reason):
                told.append(f"the run gave {elements} in {duration_s} s ({reason})")
            case StageEnded(stage=stage, received=received, sent=sent):
                told.append(f"{stage}: {received} in, {sent} out")
            case PipelineEvent() | StageEvent():
                told.append("began")  # or goes on
            case _:
                told.append(event.name)

    assert told == [
        *("began", "the run gave 3 in 1.5 s (done)", "the run failed at ears (error)"),
        *("the run gave 3 in 1.5 s (cancelled)", "began", "began", *["ears: 4 in, 3 out"] * 3),
        *(*["began"] * 4, "element.moved", "element.retried", "element.dropped", "element.dead_lettered"),
        *("events.gap", "run.interrupted", "chat.token"),
    ]


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.name)
def test_an_event_is_small_and_survives_pickle(event: Event) -> None:
    """semantics 5.12: one may be kept by the thousand, and sent to another process."""
    assert not hasattr(event, "__dict__")
    copy = pickle.loads(pickle.dumps(event))
    assert type(copy) is type(event)
    is_wrapped = isinstance(getattr(event, "error", None), StageError)
    assert copy.to_dict() == {**event.to_dict(), **({"error": "StageError"} if is_wrapped else {})}


# As JSON --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.name)
def test_an_event_can_be_written_as_json(event: Event) -> None:
    """`Event.to_dict`: every field, by its name, in values that JSON holds."""
    told = event.to_dict()

    assert set(told) == {field.name for field in dataclasses.fields(event)}
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["name"], told["run_id"], told["at_s"]) == (event.name, "run-1", 2.0)


def test_an_error_is_written_without_its_text_unless_that_is_asked_for() -> None:
    """`Event.to_dict`: the text of an exception may repeat what users wrote; the class of a stage's own one says enough."""
    for name in ("pipeline.failed", "stage.failed"):
        event = of(name)

        assert event.to_dict()["error"] == event.error_type == "ZeroDivisionError"
        assert "secret" not in json.dumps(event.to_dict())
        told = event.to_dict(with_messages=True)
        assert told["error"] == "ZeroDivisionError"
        assert told["error_message"] == "stage 'ears' failed on element #3: ZeroDivisionError: secret"
    late = PipelineFailed(**ENDED, reason="timeout", error=RunTimeoutError("run", 5, "run-1"))
    assert late.error_type == "RunTimeoutError"
    assert PipelineFailed(**ENDED, reason="error", error=StageError("ears")).error_type == "StageError"


class Colour(enum.Enum):
    RED = "red"


class Strange:
    def __repr__(self) -> str:
        return "secret"


def test_data_of_all_kinds_can_be_written_as_json() -> None:
    """`Event.to_dict`: whatever a stage says beside the stream, an exporter does not stumble over it."""
    cycle: list[object] = []
    cycle.append(cycle)
    data: dict[object, object] = {
        "text": "a",
        "none": None,
        "flag": True,
        "huge": 10**30,
        "nan": math.nan,
        "far": [math.inf, 1.5],
        "tuple": (1, {2}),
        "mapping": MappingProxyType({1: Metadata({"x": (1,)})}),
        "bytes": b"\0\1",
        "time": datetime.date(2020, 1, 2),
        "enum": Colour.RED,
        "element": TextElement("a"),
        "error": ValueError("secret"),
        "strange": Strange(),
        "path": Path("a"),
        "inside": [Strange(), {"deep": Strange}],
    }

    told = Event(name="a", run_id="r", data=data).to_dict()["data"]  # type: ignore[arg-type]

    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told == {
        "text": "a",
        "none": None,
        "flag": True,
        "huge": 10**30,
        "nan": None,
        "far": [None, 1.5],
        "tuple": [1, [2]],
        "mapping": {"1": {"x": [1]}},
        "bytes": "AAE=",
        "time": "2020-01-02",
        "enum": "red",
        "element": told["element"],
        "error": "ValueError",
        "strange": "Strange",
        "path": "PosixPath",
        "inside": ["Strange", {"deep": "type"}],
    }
    assert told["element"]["text"] == "a"
    assert json.dumps(Event(name="a", run_id="r", data={"cycle": cycle}).to_dict())
