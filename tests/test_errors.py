"""The exception tree: the drawing is the truth, every error survives `pickle`, and its message says a way out."""

from __future__ import annotations

import builtins
import pickle
import re

import anyio
import pytest

from streamflow import errors
from streamflow.errors import Finding, StreamflowError

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, StreamflowError)
}

FINDING = Finding("duplicate-name", "a", "two stages are called 'a'", "rename one with name=", "app.py:3")

SAMPLES: dict[str, tuple[StreamflowError, str]] = {
    "StreamflowError": (StreamflowError("it failed; look there"), "look there"),
    "ElementError": (errors.ElementError("None is no element; yield nothing instead"), "yield nothing instead"),
    "DecodeError": (errors.DecodeError("expected a string", "$.message.role"), "at $.message.role"),
    "JsonStreamError": (errors.JsonStreamError("the document is cut off", 7, True, "$.a"), "(at $.a, character 7)"),
    "ConfigError": (errors.ConfigError("buffer_size", "was 0; allowed: 1 and up"), "allowed: 1 and up"),
    "ContextLimitError": (errors.ContextLimitError("budget", 100, 120), "raise the budget"),
    "TemplateError": (errors.TemplateError("greeting", ("name",), ("city",)), "give exactly the variables"),
    "UsageLimitError": (errors.UsageLimitError("tokens", 100, 120), "raise the limit"),
    "BuildError": (errors.BuildError([FINDING]), "rename one with name="),
    "StageDefinitionError": (errors.StageDefinitionError([FINDING]), "rename one with name="),
    "UnknownStageError": (errors.UnknownStageError([FINDING]), "rename one with name="),
    "CycleError": (errors.CycleError([FINDING]), "rename one with name="),
    "DuplicateStageError": (errors.DuplicateStageError([FINDING]), "rename one with name="),
    "StagePlacementError": (errors.StagePlacementError([FINDING]), "rename one with name="),
    "TypeMismatchError": (errors.TypeMismatchError([FINDING]), "rename one with name="),
    "EdgeOverflowError": (
        errors.EdgeOverflowError("a → b", 16, 16, "1_200 of 1_000 bytes"),
        "it holds 16 of 16 elements, 1_200 of 1_000 bytes; let the sender wait (overflow='block')",
    ),
    "RoutingError": (errors.RoutingError("a → (b, c)", "'b' has gone; say unroutable='drop'"), "say unroutable='drop'"),
    "SourceError": (errors.SourceError("42 is no source; give an element"), "give an element"),
    "StageError": (errors.StageError("vad", 17, "app.py:3"), "stage added at app.py:3"),
    "RoundLimitError": (errors.RoundLimitError("b → a", 3), "on_limit='drop'"),
    "RunTimeoutError": (errors.RunTimeoutError("idle", 2.5, "the run"), "raise idle_timeout_s"),
    "PipelineDeadlockError": (
        errors.PipelineDeadlockError(errors.WaitGraph((errors.Wait("a", "send", "a → b", 1, 1, ("b",)),), ("a",))),
        "PipelineConfig(on_deadlock='grow')",
    ),
    "RunStateError": (errors.RunStateError("the run has ended; call execute() again"), "call execute() again"),
    "PipelineBusyError": (errors.PipelineBusyError(3), "3 runs are going, the most that max_concurrent_runs allows"),
    "ShutdownTimeoutError": (errors.ShutdownTimeoutError(2.5, ("a", "b")), "'a', 'b' did not end"),
    "RunAbortedError": (errors.RunAbortedError("run-7"), "run-7 was aborted by its kill switch"),
    "SyncInAsyncError": (errors.SyncInAsyncError("execute_sync"), "use 'await pipeline.run("),
    "ChannelClosedError": (errors.ChannelClosedError("a → b"), "do not use it after close()"),
    "OutputClosedError": (errors.OutputClosedError("a → b", "no_more_needed"), "stop sending"),
    "ChannelFailedError": (errors.ChannelFailedError("a → b"), "edge a → b"),
    "ChannelBusyError": (errors.ChannelBusyError("a → b"), "one task reads an edge"),
    "LineError": (errors.LineError("app.log", 3, "is longer than max_line_bytes=5; raise it"), "raise it"),
    "ProcessError": (errors.ProcessError("ls", 2, "no such file"), "exit status 2; it said: no such file"),
    "ProgramError": (errors.ProgramError("dot", "it took too long; raise timeout_s"), "raise timeout_s"),
    "MissingProgramError": (errors.MissingProgramError("dot", "not on PATH; install it"), "install it"),
    "StageTimeLimitError": (errors.StageTimeLimitError("timeout/model", "first", 2.5), "raise first_s"),
    "CircuitOpenError": (errors.CircuitOpenError("circuit_breaker/model", 12.5), "try again in 12.5 s"),
    "FallbackExhaustedError": (
        errors.FallbackExhaustedError("fallback", (("model", "ProviderError"), ("backup", "OSError"))),
        "'model' (ProviderError), 'backup' (OSError)",
    ),
    "ProviderError": (errors.ProviderError("auth", "the key was refused; set it", retryable=False), "set it"),
    "RecordingError": (errors.RecordingError("a.rec", "is no recording; give another file"), "give another file"),
    "ToolError": (errors.ToolError("no such city; ask for another one"), "ask for another one"),
    "StateError": (errors.StateError("closed", "the store is closed; open it in 'async with'"), "open it in"),
    "StateConflictError": (
        errors.StateConflictError("chat-7", 3, 4, "turn-a"),
        "after turn 'turn-a'; nothing was written",
    ),
    "StateLimitError": (errors.StateLimitError("max_turn_bytes", "9 of 8 bytes; raise max_turn_bytes"), "raise"),
    "HistoryError": (errors.HistoryError(3, "call 'c1' has no result; use repair_history()"), "use repair_history()"),
    "MiddlewareError": (errors.MiddlewareError("next_twice", "next() was called twice; call it once"), "call it once"),
    "MissingExtraError": (errors.MissingExtraError("httpx2", "http"), "pip install 'streamflow-runtime[http]'"),
}
"""One error of each class, and the words of its message that tell the place or the way out."""


def drawn_tree() -> dict[str, tuple[str | None, str | None]]:
    """Read the drawing: each class with its parent there, and what it says to be as well."""
    drawing = (errors.__doc__ or "").split("```")[1]
    tree: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    for line in drawing.strip().splitlines():
        match = re.match(r"(?P<lead>[│ ]*)(?:[├└]── )?(?P<name>\w+)", line)
        assert match is not None, line
        depth = len(match["lead"]) // 4 + ("── " in line)
        path[depth:] = [match["name"]]
        also = re.search(r"\(also ([\w.]+)\)", line)
        tree[match["name"]] = (path[depth - 1] if depth else None, also[1] if also else None)
    return tree


def full_name(cls: type) -> str:
    """Return a class's name as a user writes it: `TimeoutError`, `anyio.EndOfStream`."""
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__.partition('.')[0]}.{cls.__name__}"


def test_the_drawn_tree_is_the_real_one() -> None:
    """`errors.__doc__`: a user reads the drawing, not the classes; no class is missing from it and no branch is wrong."""
    real = {
        name: next((base.__name__ for base in value.__bases__ if issubclass(base, StreamflowError)), None)
        for name, value in CLASSES.items()
    }

    assert {name: parent for name, (parent, _) in drawn_tree().items()} == real


def test_the_drawing_tells_what_else_an_error_is() -> None:
    """Those who catch `TimeoutError` or anyio's errors can rely on the drawing; built-in bases of wrong arguments are not drawn."""
    for name, (_, also) in drawn_tree().items():
        real = {full_name(base) for base in CLASSES[name].__mro__}
        assert also is None or also in real, name
        foreign = {full_name(base) for base in CLASSES[name].__bases__ if base.__module__.startswith("anyio")}
        assert foreign <= {also}, name
    assert issubclass(errors.ChannelClosedError, anyio.ClosedResourceError)


def test_every_error_ends_in_error_and_is_exported() -> None:
    """The style: an error is known by its name, and can be imported."""
    assert [name for name in CLASSES if not name.endswith("Error") or name not in errors.__all__] == []
    assert not set(CLASSES) & set(vars(builtins)), "an error hides a built-in one"


def test_an_error_has_the_name_under_which_it_is_imported() -> None:
    """A traceback says `streamflow.errors.StageError`; those who derive errors of their own keep their own names."""

    class MineError(errors.ToolError): ...

    assert {f"{kind.__module__}.{name}" for name, kind in CLASSES.items()} == {
        f"streamflow.errors.{name}" for name in CLASSES
    }
    assert MineError.__module__ == __name__


def test_every_error_has_a_sample_here() -> None:
    """A new error is tested below from its first day."""
    assert set(SAMPLES) == set(CLASSES)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_error_survives_pickle(name: str) -> None:
    """Errors cross process borders (queues, pools, pytest-xdist): class, arguments, fields and text stay; the cause does not."""
    error, _ = SAMPLES[name]
    error.__cause__ = ValueError("the cause")
    try:
        text_without_cause = str(pickle.loads(pickle.dumps(error)))
        copy = pickle.loads(pickle.dumps(error))
    finally:
        error.__cause__ = None

    assert type(copy) is type(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    assert copy.__cause__ is None
    assert text_without_cause == str(error)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_is_one_line_that_tells_a_way_out(name: str) -> None:
    """Whoever reads only the last line of a log knows the place and what to do."""
    error, way_out = SAMPLES[name]

    assert way_out in str(error)
    if name == "PipelineDeadlockError":  # it draws who waits for whom; its last line tells the way out
        assert way_out in str(error).splitlines()[-1]
    else:
        assert "\n" not in str(error)
    assert "<" not in str(error), "an object's address is no help"


def test_a_graph_with_several_faults_lists_them_all() -> None:
    """`BuildError`: nobody repairs one fault to meet the next."""
    other = Finding("no-stage", None, "the graph is empty", "add a stage")

    told = str(errors.BuildError([FINDING, other]))

    assert told.splitlines() == ["2 findings:", f"  1. {FINDING}", f"  2. {other}"]
    assert "(added at app.py:3)" in told


@pytest.mark.parametrize("kind", errors.TimeoutKind.__args__)
def test_each_timeout_names_its_place_its_limit_and_its_setting(kind: errors.TimeoutKind) -> None:
    """`RunTimeoutError`: which clock, how long, where, and what to change."""
    told = str(errors.RunTimeoutError(kind, 0.25, "'a' → 'b'"))

    assert "'a' → 'b'" in told
    assert "0.25 s" in told
    assert "timeout_s" in told


def test_a_stage_error_tells_its_cause_and_leaves_out_what_it_does_not_know() -> None:
    """`StageError`: the line of a log names the user's own exception."""
    error = errors.StageError("vad", 17)
    error.__cause__ = ValueError("rate is 8000 Hz")

    assert str(error) == "stage 'vad' failed on element #17: ValueError: rate is 8000 Hz"
    assert str(errors.StageError("vad")) == "stage 'vad' failed"


def test_a_busy_pipeline_counts_its_runs_in_good_words() -> None:
    """`PipelineBusyError`: what to do is the same for one run and for many."""
    told = str(errors.PipelineBusyError(1))

    assert told == ("1 run is going, the most that max_concurrent_runs allows; wait for one to end, or raise the limit")


def test_a_shutdown_that_failed_names_what_is_left_and_how_long_it_waited() -> None:
    """`ShutdownTimeoutError`: the stage to mend is named; those who wait for `TimeoutError` get it."""
    error = errors.ShutdownTimeoutError(2.5, ("ears",))

    assert "'ears' did not end within the shutdown (2.5 s)" in str(error)
    assert isinstance(error, TimeoutError)


def test_a_shutdown_that_failed_says_what_was_not_delivered() -> None:
    """`ShutdownTimeoutError`: the account is in the words, and survives `pickle`."""
    error = errors.ShutdownTimeoutError(2.5, ("ears",), {"ears → mouth": 3})

    assert str(error).endswith("; not delivered: 3 of ears → mouth")
    assert pickle.loads(pickle.dumps(error)).undelivered == {"ears → mouth": 3}


def test_an_aborted_run_says_why() -> None:
    """`RunAbortedError`: what was given to the switch is the cause, and in the words."""
    error = errors.RunAbortedError("run-7")
    error.__cause__ = ValueError("disk full")

    assert str(error) == "run-7 was aborted by its kill switch: ValueError: disk full"


def test_an_output_closed_by_a_failing_run_says_so() -> None:
    """`OutputClosedError`: having had enough and having failed are told apart."""
    assert "the run is failing" in str(errors.OutputClosedError("a → b", "failure"))
