"""Events in the log: everything that an operator wants to know, and nothing that a user wrote."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

import pytest

from streamflow import ConfigError
from streamflow.errors import StageError
from streamflow.observe import (
    ElementDeadLettered,
    ElementMoved,
    ElementRetried,
    Event,
    EventGap,
    PipelineCancelled,
    PipelineCompleted,
    PipelineFailed,
    PipelineStarted,
    StageCancelled,
    StageCompleted,
    StageFailed,
    StageRestarted,
    StageStarted,
    log_events,
)

SECRET = "my card is 4242"


def failure() -> StageError:
    """Return an error that holds the secret in its text, its arguments, its notes, its context and its traceback."""
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as first:
            first.add_note(SECRET)
            raise ZeroDivisionError(SECRET, {"text": SECRET}) from first
    except ZeroDivisionError as cause:
        cause.add_note(SECRET)
        error = StageError("ears", 3)
        error.__cause__ = cause
        error.add_note(SECRET)
        return error


DATA = {"text": SECRET, SECRET: 1, "deep": [SECRET]}
RUN = {"run_id": "run-1", "at_s": 2.0, "data": DATA}
ENDED = {**RUN, "duration_s": 1.5, "elements": 3}
WORKED = {**RUN, "stage": "ears", "kind": "transform", "duration_s": 0.25, "received": 4, "sent": 3}

EVENTS: list[Event] = [
    PipelineStarted(**RUN, stages=("ears", "my mouth")),
    StageStarted(**RUN, stage="ears", kind="transform"),
    StageCompleted(**WORKED),
    StageCancelled(**WORKED),
    StageFailed(**WORKED, error=failure()),
    PipelineCompleted(**ENDED, reason="done"),
    PipelineCancelled(**ENDED, zombies=("ears",)),
    PipelineFailed(**ENDED, reason="error", error=failure()),
    EventGap(**RUN, missed=12),
    ElementMoved(**RUN, edge="'a' → 'b'", ordinal=7, element="TextElement", waited_s=0.25),
    Event(**RUN, name="chat.token", stage="ears"),
]


SUPERVISED: list[Event] = [
    StageRestarted(**RUN, stage="ears", kind="transform", failed="nose", attempt=2, delay_s=0.5, error=failure()),
    ElementRetried(**RUN, stage="ears", index=3, attempts=2, error=failure(), delay_s=0.5),
    ElementDeadLettered(**RUN, stage="ears", index=None, attempts=2, error=failure()),
]


class Kept(logging.Handler):
    """Keeps the records."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """What arrives at the logger `streamflow.events`, of whatever level."""
    logger, handler = logging.getLogger("streamflow.events"), Kept()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_run_is_told_in_lines_that_can_be_searched(kept: Kept) -> None:
    """semantics 5.12: names, identities, times and counts, in the form `key=value`."""
    listener = log_events(own=True)
    for event in EVENTS:
        listener(event)

    assert [one.getMessage() for one in kept.records] == [
        "pipeline.started run_id=run-1 stages=ears,'my mouth'",
        "stage.started run_id=run-1 stage=ears kind=transform",
        "stage.completed run_id=run-1 stage=ears kind=transform duration_s=0.250 received=4 sent=3",
        "stage.cancelled run_id=run-1 stage=ears kind=transform duration_s=0.250 received=4 sent=3",
        "stage.failed run_id=run-1 stage=ears kind=transform duration_s=0.250 received=4 sent=3"
        " error_type=ZeroDivisionError",
        "pipeline.completed run_id=run-1 duration_s=1.500 elements=3 reason=done",
        "pipeline.cancelled run_id=run-1 duration_s=1.500 elements=3 reason=cancelled zombies=ears",
        "pipeline.failed run_id=run-1 duration_s=1.500 elements=3 reason=error error_type=ZeroDivisionError",
        "events.gap run_id=run-1 missed=12",
        "chat.token run_id=run-1 stage=ears",
    ]


def test_what_supervision_does_is_told_like_a_failure_and_without_its_text(kept: Kept) -> None:
    """`log_events`: a stage that keeps failing is seen although the run goes on."""
    listener = log_events()
    for event in SUPERVISED:
        listener(event)

    assert [one.getMessage() for one in kept.records] == [
        "stage.restarted run_id=run-1 stage=ears kind=transform failed=nose attempt=2 delay_s=0.500"
        " error_type=ZeroDivisionError",
        "element.retried run_id=run-1 stage=ears index=3 attempts=2 delay_s=0.500 error_type=ZeroDivisionError",
        "element.dead_lettered run_id=run-1 stage=ears attempts=2 error_type=ZeroDivisionError",
    ]
    assert {one.levelno for one in kept.records} == {logging.ERROR}
    assert SECRET not in repr([vars(one) for one in kept.records])


def test_each_record_carries_its_facts_for_structured_logs(kept: Kept) -> None:
    """`log_events`: a formatter that writes JSON need not take the line apart."""
    listener = log_events()
    for event in EVENTS:
        listener(event)

    assert [(one.event, one.run_id, one.stage) for one in kept.records] == [
        (event.name, "run-1", event.stage) for event in EVENTS[:9]
    ]
    failed, gap = kept.records[4], kept.records[8]
    assert (failed.kind, failed.duration_s, failed.received, failed.sent) == ("transform", 0.25, 4, 3)
    assert failed.error_type == "ZeroDivisionError"
    assert gap.missed == 12


def test_no_payload_reaches_a_record(kept: Kept) -> None:
    """semantics 5.12, `log_events`: neither data, nor the text of an exception, nor a traceback, wherever a handler looks."""
    listener = log_events(own=True)
    for event in EVENTS:
        listener(event)

    assert len(kept.records) == 10
    verbose = logging.Formatter("%(message)s")
    for record in kept.records:
        assert SECRET not in verbose.format(record)
        assert SECRET not in repr(vars(record))
        assert record.exc_info is None
        assert record.stack_info is None
        simple = (str, int, float, tuple, dict, type(None))
        assert [key for key, value in vars(record).items() if not isinstance(value, simple)] == []


def test_the_test_above_would_see_a_payload() -> None:
    """The secret is where the events are, so its absence from the records says something."""
    error = EVENTS[4].error

    assert SECRET in "".join(traceback.format_exception(error))
    assert all(SECRET in repr(event) for event in EVENTS)


def test_what_a_stage_emits_is_logged_by_name_only_when_asked_for(kept: Kept) -> None:
    """`log_events(own=)`: there may be an event for every token; elements are never logged one by one."""
    for own in (False, True):
        listener = log_events(own=own)
        for event in EVENTS[9:]:
            listener(event)

    assert [one.getMessage() for one in kept.records] == ["chat.token run_id=run-1 stage=ears"]


def test_failures_have_a_level_of_their_own(kept: Kept) -> None:
    """`log_events(level=, failure_level=)`: an alert on errors sees failures, and a gap, but no cancellation."""
    listener = log_events(level=logging.DEBUG, failure_level=logging.CRITICAL)
    for event in EVENTS:
        listener(event)

    loud = [one.event for one in kept.records if one.levelno == logging.CRITICAL]
    assert loud == ["stage.failed", "pipeline.failed", "events.gap"]
    assert {one.levelno for one in kept.records} == {logging.DEBUG, logging.CRITICAL}


def test_what_the_logger_does_not_want_is_not_made(kept: Kept) -> None:
    """`log_events`: a level that is off costs next to nothing."""

    class Costly(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise AssertionError

    logging.getLogger("streamflow.events").setLevel(logging.ERROR)
    listener = log_events()
    for event in [StageStarted(run_id="run-1", stage="ears", kind=Costly()), *EVENTS]:
        listener(event)

    assert [one.event for one in kept.records] == ["stage.failed", "pipeline.failed", "events.gap"]


def test_a_logger_of_your_own_is_used(kept: Kept) -> None:
    """`log_events(logger)`: nothing is written elsewhere."""
    own = logging.getLogger("mine")
    handler = Kept()
    own.addHandler(handler)
    log_events(own)(EVENTS[7])
    own.removeHandler(handler)

    assert [one.name for one in handler.records] == ["mine"]
    assert kept.records == []


def test_a_name_cannot_look_like_another_line(kept: Kept) -> None:
    """`log_events`: a line break or a blank in a name is shown as what it is."""
    listener = log_events(own=True)
    listener(Event(name="a\nstage.failed", run_id="run-1", stage="x sent=9"))

    assert kept.records[0].getMessage() == r"'a\nstage.failed' run_id=run-1 stage='x sent=9'"


def test_wrong_arguments_are_refused_at_once() -> None:
    """Bad input: a logger's name in the place of a logger, a level's name in the place of its number."""
    for wrong, field in (
        (lambda: log_events("mine"), "logger"),  # type: ignore[arg-type]
        (lambda: log_events(level="INFO"), "level"),  # type: ignore[arg-type]
        (lambda: log_events(failure_level=True), "failure_level"),
    ):
        with pytest.raises(ConfigError) as caught:
            wrong()
        assert caught.value.field == field
