"""streamflow: a runtime for streaming LLM, voice and multimodal pipelines.

Describe a graph of stages; streamflow runs it. Each stage is a long-lived task, stages are connected by bounded channels, and the
channels carry typed elements.

```python
def shout(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


print(PipelineBuilder().chain(shout).build().execute_sync("hello").text)  # HELLO
```

This module holds the kernel's names; features live in the sub-packages: `stages` (what is there already), `providers` (models),
`agents` (tools), `state` (conversations), `apps` (whole chats), `transports` (to clients), `observe` (events, traces), `testing`
and others.
"""

from typing import TYPE_CHECKING

from . import _faces
from .channels import ReceiveEnd, SendEnd, Weight, open_channel
from .elements import (
    AudioElement,
    BatchElement,
    ControlElement,
    DataElement,
    DeadLetterElement,
    EndOfStream,
    ErrorElement,
    ImageElement,
    Interrupt,
    Message,
    MessageElement,
    Metadata,
    OpaqueElement,
    Priority,
    StreamElement,
    TextElement,
    ThinkingElement,
    ToolCallDelta,
    ToolCallElement,
    ToolResultElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    Usage,
    UsageElement,
    VideoElement,
    decode,
    encode,
    register_element,
)
from .errors import (
    BuildError,
    BuildWarning,
    ConfigError,
    ElementError,
    PipelineBusyError,
    PipelineDeadlockError,
    RunTimeoutError,
    SourceError,
    StageError,
    StreamflowError,
)
from .graph import CONSUMER, DROP, SOURCE, Router
from .observe import EventBus
from .runtime import Interruption, KillSwitch, Pipeline, PipelineBuilder, PipelineConfig, Result, Run, Subscription
from .stages import (
    BaseStage,
    CollectStage,
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
    MapUnorderedStage,
    PassthroughStage,
    Resource,
    RunContext,
    SinkStage,
    Stage,
    StageKind,
    Supervision,
    ThreadStage,
    current_run,
    stage,
    turn_scope,
)

if TYPE_CHECKING:
    from .middleware import MiddlewareAdapter, wrap_middleware
    from .observe import Event

__version__ = "0.1.0.dev0"

__all__ = [
    "CONSUMER",
    "DROP",
    "SOURCE",
    "AudioElement",
    "BaseStage",
    "BatchElement",
    "BuildError",
    "BuildWarning",
    "CollectStage",
    "ConfigError",
    "ControlElement",
    "DataElement",
    "DeadLetterElement",
    "ElementError",
    "EndOfStream",
    "ErrorElement",
    "Event",
    "EventBus",
    "FilterStage",
    "FlatMapStage",
    "ImageElement",
    "Interrupt",
    "Interruption",
    "KillSwitch",
    "MapAsyncStage",
    "MapStage",
    "MapUnorderedStage",
    "Message",
    "MessageElement",
    "Metadata",
    "MiddlewareAdapter",
    "OpaqueElement",
    "PassthroughStage",
    "Pipeline",
    "PipelineBuilder",
    "PipelineBusyError",
    "PipelineConfig",
    "PipelineDeadlockError",
    "Priority",
    "ReceiveEnd",
    "Resource",
    "Result",
    "Router",
    "Run",
    "RunContext",
    "RunTimeoutError",
    "SendEnd",
    "SinkStage",
    "SourceError",
    "Stage",
    "StageError",
    "StageKind",
    "StreamElement",
    "StreamflowError",
    "Subscription",
    "Supervision",
    "TextElement",
    "ThinkingElement",
    "ThreadStage",
    "ToolCallDelta",
    "ToolCallElement",
    "ToolResultElement",
    "TurnEnd",
    "TurnReset",
    "TurnStart",
    "Usage",
    "UsageElement",
    "VideoElement",
    "Weight",
    "current_run",
    "decode",
    "encode",
    "open_channel",
    "register_element",
    "stage",
    "turn_scope",
    "wrap_middleware",
]

if not TYPE_CHECKING:
    # A feature that is asked for by name here, and loaded when it is.
    __getattr__, __dir__ = _faces.loading(
        __name__, {".middleware": "MiddlewareAdapter wrap_middleware", ".observe": "Event"}
    )
