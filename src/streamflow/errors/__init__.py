"""The one exception tree: catch `StreamflowError` and be done.

```
StreamflowError
├── ElementError                   a value that is no element, or an element that breaks a rule
│   └── DecodeError                bytes or JSON that are no element; names the path
│       └── JsonStreamError        JSON, read as it arrives: malformed, or cut off; names the character
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
├── RoundLimitError                an element would go around a loop too often
├── RoutingError                   a route cannot send an element where its rule says
├── RunTimeoutError                a run, a stage or an edge took too long   (also TimeoutError)
├── RunAbortedError                a kill switch has aborted the run; what it was given is the cause
├── PipelineDeadlockError          everything in a run waits for each other; draws who for whom
├── RunStateError                  a run used after its end, twice, or from another event loop
├── PipelineBusyError              as many runs are going as may be
├── ShutdownTimeoutError           stages did not end though they were cancelled (also TimeoutError)
├── SyncInAsyncError               `execute_sync()` called inside a running event loop
├── ChannelClosedError             you closed this end                       (also anyio.ClosedResourceError)
├── OutputClosedError              the reader has gone; stop, do not retry   (also anyio.BrokenResourceError)
├── ChannelFailedError             the writer failed; the cause is chained   (also anyio.BrokenResourceError)
├── ChannelBusyError               a second task reads one edge              (also anyio.BusyResourceError)
├── EdgeOverflowError              no room on an edge whose policy is `error`
├── StageTimeLimitError            a stage in a `TimeoutStage` was too slow  (also TimeoutError)
├── CircuitOpenError               a circuit breaker does not let its stage be asked
├── FallbackExhaustedError         a stage failed, and all that were to stand in for it
├── ProviderError                  a model provider failed; says whether a retry may help
├── RecordingError                 a recording that cannot be written, read or played
├── ToolError                      a tool failed; the model is told the message
├── StateError                     a store of conversations failed; says whether a retry may help
│   ├── StateConflictError         someone else was first; says who
│   └── StateLimitError            larger than the store allows
├── ContextLimitError              a conversation does not fit into its budget of tokens
├── TemplateError                  a template was not given exactly its variables; names them
├── UsageLimitError                a run has used more tokens, money or calls than it may
├── HistoryError                   messages that no strict provider accepts; says which
├── MiddlewareError                wrapped middleware failed, or broke its contract
├── LineError                      a line is too long, or cannot be decoded
├── ProcessError                   a program that is a source ended with a failure
├── ProgramError                   another program, such as `dot`, failed or took too long
│   └── MissingProgramError        it is not installed
└── MissingExtraError              an optional dependency is not installed; names the extra
```

Beside the tree, a Python warning: `BuildWarning` (a `UserWarning`), a graph that can run and probably not as it was meant.

Above: everything. Below: nothing but anyio's exception classes.
Constructor arguments are kept in `args` and the text is made by `__str__`, so every error survives `pickle`.
"""

from ._base import (
    ConfigError,
    DecodeError,
    ElementError,
    JsonStreamError,
    StreamflowError,
)
from ._build import (
    BuildError,
    BuildWarning,
    CycleError,
    DuplicateStageError,
    Finding,
    StageDefinitionError,
    StagePlacementError,
    TypeMismatchError,
    UnknownStageError,
)
from ._channels import (
    ChannelBusyError,
    ChannelClosedError,
    ChannelFailedError,
    CloseReason,
    EdgeOverflowError,
    OutputClosedError,
)
from ._deadlock import (
    PipelineDeadlockError,
    Wait,
    WaitGraph,
    WaitKind,
)
from ._others import (
    LineError,
    MiddlewareError,
    MissingExtraError,
    MissingProgramError,
    ProcessError,
    ProgramError,
    ProviderError,
    RecordingError,
    ToolError,
)
from ._prompts import ContextLimitError, TemplateError, UsageLimitError
from ._resilience import CircuitOpenError, FallbackExhaustedError, StageTimeLimitError, TimeLimitKind
from ._routing import RoutingError
from ._runs import (
    PipelineBusyError,
    RoundLimitError,
    RunAbortedError,
    RunStateError,
    RunTimeoutError,
    ShutdownTimeoutError,
    SourceError,
    StageError,
    SyncInAsyncError,
    TimeoutKind,
)
from ._state import HistoryError, StateConflictError, StateError, StateLimitError

__all__ = [
    "BuildError",
    "BuildWarning",
    "ChannelBusyError",
    "ChannelClosedError",
    "ChannelFailedError",
    "CircuitOpenError",
    "CloseReason",
    "ConfigError",
    "ContextLimitError",
    "CycleError",
    "DecodeError",
    "DuplicateStageError",
    "EdgeOverflowError",
    "ElementError",
    "FallbackExhaustedError",
    "Finding",
    "HistoryError",
    "JsonStreamError",
    "LineError",
    "MiddlewareError",
    "MissingExtraError",
    "MissingProgramError",
    "OutputClosedError",
    "PipelineBusyError",
    "PipelineDeadlockError",
    "ProcessError",
    "ProgramError",
    "ProviderError",
    "RecordingError",
    "RoundLimitError",
    "RoutingError",
    "RunAbortedError",
    "RunStateError",
    "RunTimeoutError",
    "ShutdownTimeoutError",
    "SourceError",
    "StageDefinitionError",
    "StageError",
    "StagePlacementError",
    "StageTimeLimitError",
    "StateConflictError",
    "StateError",
    "StateLimitError",
    "StreamflowError",
    "SyncInAsyncError",
    "TemplateError",
    "TimeLimitKind",
    "TimeoutKind",
    "ToolError",
    "TypeMismatchError",
    "UnknownStageError",
    "UsageLimitError",
    "Wait",
    "WaitGraph",
    "WaitKind",
]
