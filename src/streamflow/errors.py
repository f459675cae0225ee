"""The one exception tree: catch `StreamflowError` and be done.

```
StreamflowError
├── ElementError                   a value that is no element, or an element that breaks a rule
│   └── DecodeError                bytes or JSON that are no element; names the path
├── ConfigError                    a setting with a wrong value; names the field
├── BuildError                     a graph that cannot run; lists every finding
│   ├── StageDefinitionError       what was given is no stage, or a stage without a name
│   ├── CycleError                 edges that lead back to where they began
│   ├── UnknownStageError          a name that was not added, or a port that is not there
│   ├── DuplicateStageError        two stages of one name
│   ├── StagePlacementError        a stage where it cannot stand (a sink in the middle, …)
│   └── TypeMismatchError          nothing that arrives at a stage is accepted by it
├── SourceError                    what was given to `execute()` is no source
├── StageError                     a stage raised; its own exception is the cause
├── RunTimeoutError                a run, a stage or an edge took too long   (also TimeoutError)
├── RunStateError                  a run used after its end, twice, or from another event loop
├── PipelineBusyError              as many runs are going as may be
├── ShutdownTimeoutError           stages did not end though they were cancelled (also TimeoutError)
├── SyncInAsyncError               `execute_sync()` called inside a running event loop
├── ChannelClosedError             you closed this end                       (also anyio.ClosedResourceError)
├── OutputClosedError              the reader has gone; stop, do not retry   (also anyio.BrokenResourceError)
├── ChannelFailedError             the writer failed; the cause is chained   (also anyio.BrokenResourceError)
├── ChannelBusyError               a second task reads one edge              (also anyio.BusyResourceError)
├── ProviderError                  a model provider failed; says whether a retry may help
├── MiddlewareError                wrapped middleware failed, or broke its contract
├── ProgramError                   another program, such as `dot`, failed or took too long
│   └── MissingProgramError        it is not installed
└── MissingExtraError              an optional dependency is not installed; names the extra
```

Beside the tree, a Python warning: `BuildWarning` (a `UserWarning`), a graph that can run and probably not as it was meant.

Above: everything. Below: nothing but anyio's exception classes.
Constructor arguments are kept in `args` and the text is made by `__str__`, so every error survives `pickle`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import anyio

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BuildError",
    "BuildWarning",
    "ChannelBusyError",
    "ChannelClosedError",
    "ChannelFailedError",
    "CloseReason",
    "ConfigError",
    "CycleError",
    "DecodeError",
    "DuplicateStageError",
    "ElementError",
    "Finding",
    "MiddlewareError",
    "MissingExtraError",
    "MissingProgramError",
    "OutputClosedError",
    "PipelineBusyError",
    "ProgramError",
    "ProviderError",
    "RunStateError",
    "RunTimeoutError",
    "ShutdownTimeoutError",
    "SourceError",
    "StageDefinitionError",
    "StageError",
    "StagePlacementError",
    "StreamflowError",
    "SyncInAsyncError",
    "TimeoutKind",
    "TypeMismatchError",
    "UnknownStageError",
]

CloseReason = Literal["no_more_needed", "failure"]
"""Why a reader closed its edge: it has all it wants, or the run is failing."""

TimeoutKind = Literal["run", "first_element", "idle", "stage", "backpressure"]
"""Which clock ran out: the whole run, its first element, all edges, one stage, one full edge."""


class StreamflowError(Exception):
    """Base of every error that streamflow raises on purpose.

    ```python
    try:
        result = pipeline.execute_sync("hello")
    except StreamflowError as error:
        print(error)
    ```
    """


class ElementError(StreamflowError, ValueError):
    """A value is no `StreamElement`, or an element breaks a rule of its type.

    Args:
        message: What was wrong, and the way out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """What was wrong, and the way out."""

    def __str__(self) -> str:
        return self.message


class DecodeError(ElementError):
    """Input that was to be decoded is malformed.

    Args:
        message: What was wrong.
        path: Where, as in `$.message.parts[0]`; `$` is the whole value.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.args: tuple[str, str] = (message, path)
        self.path = path
        """Where the value was wrong, as in `$.message.parts[0]`."""

    def __str__(self) -> str:
        return f"{self.message} (at {self.path})"


class ConfigError(StreamflowError, ValueError):
    """A setting has a wrong value.

    Args:
        field: Name of the setting.
        message: What was wrong, and what is allowed.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.field = field
        """Name of the setting."""
        self.message = message
        """What was wrong, and what is allowed."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a graph."""

    kind: str
    """Short name of the rule, as in `duplicate-name`."""
    stage: str | None
    """The stage it is about, None when it is about the whole graph."""
    message: str
    """What is wrong."""
    hint: str
    """A way out."""
    where: str | None = None
    """`file:line` of the call that added the stage, or the connection that is wrong."""

    def __str__(self) -> str:
        place = f" (added at {self.where})" if self.where else ""
        return f"{self.message}{place}; {self.hint}"


class BuildError(StreamflowError, ValueError):
    """A graph cannot run. Every finding is listed, not just the first.

    Args:
        findings: What is wrong, in the order of the stages; at least one.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(findings)
        self.findings: tuple[Finding, ...] = tuple(findings)
        """All that is wrong, each with its stage, its place in your code and a way out."""

    def __str__(self) -> str:
        if len(self.findings) == 1:
            return str(self.findings[0])
        lines = "\n".join(f"  {number}. {finding}" for number, finding in enumerate(self.findings, 1))
        return f"{len(self.findings)} findings:\n{lines}"


class BuildWarning(UserWarning):
    """A graph can run, but some of what flows in it is lost. Shown at your line that said so; hide it with `warnings`."""


class StageDefinitionError(BuildError, TypeError):
    """What was given is no stage, or a stage that lacks a name or a method."""


class CycleError(BuildError):
    """Edges lead from a stage back to itself; the message shows the way."""


class UnknownStageError(BuildError):
    """A stage was named that was not added, or a port that the stage does not have."""


class DuplicateStageError(BuildError):
    """Two stages have one name."""


class StagePlacementError(BuildError):
    """A stage stands where it cannot, or its edges do not fit: a sink before other stages, a fork that was not declared, …"""


class TypeMismatchError(BuildError):
    """None of the element types that can arrive at a stage is accepted by it."""


class SourceError(StreamflowError, TypeError):
    """What was given to `execute()` is no source of elements.

    Args:
        message: What was given, and what is allowed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """What was given, and what is allowed."""

    def __str__(self) -> str:
        return self.message


class StageError(StreamflowError):
    """A stage raised; says where. The stage's own exception is `__cause__`, its traceback ends in your code.

    Args:
        stage: Name of the stage in the graph.
        index: Ordinal of the element in hand on the stage's input edge, None when it held none.
        where: `file:line` of the call that added the stage.
    """

    def __init__(self, stage: str, index: int | None = None, where: str | None = None) -> None:
        super().__init__(stage, index, where)
        self.stage = stage
        """Name of the stage in the graph; `source` for the source."""
        self.index = index
        """Ordinal (from 0) of the element in hand on the stage's input edge, None when it held none."""
        self.where = where
        """`file:line` of the call that added the stage, None when unknown."""
        self.suppressed: tuple[StageError, ...] = ()
        """Failures of other stages, or of clean-up, after this one."""

    def __str__(self) -> str:
        text = f"stage {self.stage!r} failed"
        if self.index is not None:
            text += f" on element #{self.index}"
        if self.__cause__ is not None:
            text += f": {type(self.__cause__).__name__}" + (f": {self.__cause__}" if str(self.__cause__) else "")
        if self.where is not None:
            text += f" (stage added at {self.where})"
        return text


class RunTimeoutError(StreamflowError, TimeoutError):
    """Something took longer than it was allowed to.

    Args:
        kind: Which clock ran out.
        limit_s: The limit, in seconds.
        where: The stage or edge (`a → b`) that was waited for; the run itself for `run`, `first_element`, `idle`.
    """

    def __init__(self, kind: TimeoutKind, limit_s: float, where: str) -> None:
        super().__init__(kind, limit_s, where)
        self.kind: TimeoutKind = kind
        """Which clock ran out."""
        self.limit_s = limit_s
        """The limit, in seconds."""
        self.where = where
        """The stage or edge that was waited for."""
        self.suppressed: tuple[StageError, ...] = ()
        """Failures of stages while the run was being stopped."""

    def __str__(self) -> str:
        told = {
            "run": "{w} did not finish within {s:g} s; raise timeout_s or find the slow stage",
            "first_element": "{w} gave no element within {s:g} s; raise first_element_timeout_s or find the slow stage",
            "idle": "{w}: no element moved on any edge for {s:g} s; raise idle_timeout_s or find the stalled stage",
            "stage": "{w} neither sent nor asked for an element for {s:g} s; raise its timeout_s or make it faster",
            "backpressure": "{w} stayed full for {s:g} s; raise backpressure_timeout_s or speed up the reader",
        }
        return told[self.kind].format(w=self.where, s=self.limit_s)


class RunStateError(StreamflowError, RuntimeError):
    """A run was used in a way that its state forbids.

    Args:
        message: What was tried, and what to do instead.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """What was tried, and what to do instead."""

    def __str__(self) -> str:
        return self.message


class PipelineBusyError(StreamflowError, RuntimeError):
    """As many runs of a pipeline are going as its configuration allows.

    Args:
        limit: How many that is.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit
        """Most runs at a time."""

    def __str__(self) -> str:
        count = "1 run is" if self.limit == 1 else f"{self.limit} runs are"
        return f"{count} going, the most that max_concurrent_runs allows; wait for one to end, or raise the limit"


class ShutdownTimeoutError(StreamflowError, TimeoutError):
    """Tasks did not end although they were cancelled, when their pipeline was shut down.

    Args:
        timeout_s: How long the shutdown waited before it cancelled, in seconds.
        stages: What did not end.
    """

    def __init__(self, timeout_s: float, stages: tuple[str, ...]) -> None:
        super().__init__(timeout_s, stages)
        self.timeout_s = timeout_s
        """How long the shutdown waited before it cancelled, in seconds."""
        self.stages = stages
        """What did not end."""

    def __str__(self) -> str:
        names = ", ".join(map(repr, self.stages))
        return f"{names} did not end within the shutdown ({self.timeout_s:g} s); a stage must let cancellation pass"


class SyncInAsyncError(StreamflowError, RuntimeError):
    """A blocking call was made inside a running event loop, which it would stop.

    Args:
        call: The method that was called.
    """

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call
        """The method that was called."""

    def __str__(self) -> str:
        return (
            f"{self.call}() was called inside a running event loop and would stop it; "
            "use 'await pipeline.run(…)' or 'async with pipeline.execute(…) as run' there"
        )


class ChannelClosedError(StreamflowError, anyio.ClosedResourceError):
    """You closed this end of the channel and then used it.

    Args:
        edge: The edge, as `a → b`.
    """

    def __init__(self, edge: str) -> None:
        super().__init__(edge)
        self.edge = edge
        """The edge, as `a → b`."""

    def __str__(self) -> str:
        return f"edge {self.edge}: this end was closed; do not use it after close()"


class OutputClosedError(StreamflowError, anyio.BrokenResourceError):
    """The reader of this edge has gone. Stop; do not retry.

    A stage that lets it pass has completed: nobody needs more of what it makes.

    Args:
        edge: The edge, as `a → b`.
        reason: `no_more_needed`: the reader has all it wants; `failure`: the run is failing.
    """

    def __init__(self, edge: str, reason: CloseReason) -> None:
        super().__init__(edge, reason)
        self.edge = edge
        """The edge, as `a → b`."""
        self.reason: CloseReason = reason
        """Why the reader has gone."""

    def __str__(self) -> str:
        why = "has all it needs" if self.reason == "no_more_needed" else "was stopped because the run is failing"
        return f"edge {self.edge}: the reader {why}; stop sending"


class ChannelFailedError(StreamflowError, anyio.BrokenResourceError):
    """The writer of this channel failed; all that it sent before has been received. Its exception is `__cause__`.

    Args:
        edge: The edge, as `a → b`.
    """

    def __init__(self, edge: str) -> None:
        super().__init__(edge)
        self.edge = edge
        """The edge, as `a → b`."""

    def __str__(self) -> str:
        return f"edge {self.edge}: the writer failed; its exception is the cause of this one"


class ChannelBusyError(StreamflowError, anyio.BusyResourceError):
    """A second task tried to receive on an edge that another task is waiting on.

    Args:
        edge: The edge, as `a → b`.
    """

    def __init__(self, edge: str) -> None:
        Exception.__init__(self, edge)  # anyio's own __init__ would replace the arguments by its text
        self.edge = edge
        """The edge, as `a → b`."""

    def __str__(self) -> str:
        return f"edge {self.edge}: another task is already receiving; one task reads an edge, several may write to it"


class ProviderError(StreamflowError):
    """A model provider failed. Carries nothing secret: no header, no key, no prompt.

    Args:
        code: What kind of failure: `transport`, `auth`, `rate_limited`, `overloaded`, `bad_request`, `truncated`,
            `protocol` or `refused`.
        message: One line for a person.
        retryable: Whether the same request may succeed later.
    """

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(code, message, retryable)
        self.code = code
        """What kind of failure."""
        self.message = message
        """One line for a person."""
        self.retryable = retryable
        """Whether the same request may succeed later."""

    def __str__(self) -> str:
        return self.message


class MiddlewareError(StreamflowError):
    """Wrapped middleware said that it failed, or broke its contract. Repeats no text of the middleware's: that is the cause.

    What middleware *raises* is not wrapped in this: it is the cause of the `StageError` itself.

    Args:
        code: What happened: `failed`, `refused`, `retries_exhausted`, `no_fallback`, `bad_result`, `next_twice` or `wrong_context`.
        message: One line for a person, safe to show.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        """What happened."""
        self.message = message
        """One line for a person, safe to show."""

    def __str__(self) -> str:
        return self.message


class ProgramError(StreamflowError):
    """Another program, such as `dot`, failed, took too long, or wrote something else than it should.

    Args:
        program: Its name.
        message: What happened, and the way out.
    """

    def __init__(self, program: str, message: str) -> None:
        super().__init__(program, message)
        self.program = program
        """Its name."""
        self.message = message
        """What happened, and the way out."""

    def __str__(self) -> str:
        return f"{self.program!r}: {self.message}"


class MissingProgramError(ProgramError):
    """Another program is not installed, or not on `PATH`."""


class MissingExtraError(StreamflowError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: What could not be imported.
        extra: The extra that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, extra)
        self.package = package
        """What could not be imported."""
        self.extra = extra
        """The extra that brings it."""

    def __str__(self) -> str:
        return f"{self.package!r} is not installed; install it with: pip install 'streamflow-runtime[{self.extra}]'"
