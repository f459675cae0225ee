"""What is done to elements: the stage contract, the forms in which a stage can be written, sources and sinks.

Above: `graph` joins stages, `runtime` runs them. Below: `channels`, `elements`.
"""

from ._admission import ALL_DATA, EVERYTHING, Accepts, ElementTypes, admission, is_accepted
from ._annotations import value_types
from ._batching import BatchStage, UnbatchStage, WindowStage
from ._chunking import ChunkBy, ChunkTextStage
from ._concurrent import MapAsyncStage, MapUnorderedStage, ThreadStage
from ._context import CURRENT_RUN, RunContext, current_run
from ._contract import BaseStage, Bypass, Stage, StageBody, StageKind, StageSpec, checked_name, definition_error
from ._flow import DedupeStage, SkipStage, TakeStage, TeeStage
from ._forms import FunctionStage, StageLike, as_stage, stage
from ._functional import CollectStage, FilterStage, FlatMapStage, MapStage, PassthroughStage, SinkStage
from ._intent import RouteRule, RouteStage
from ._line_origins import FileLinesSource, ProcessSource
from ._origins import AsyncQueue, BlockingQueue, IntervalSource, QueueSource
from ._prompt import PromptStage
from ._resources import Resource
from ._sources import Source, close_source, feed, open_source, open_sources
from ._timing import DebounceStage, DelayStage, ThrottleMode, ThrottleStage

__all__ = [
    "ALL_DATA",
    "CURRENT_RUN",
    "EVERYTHING",
    "Accepts",
    "AsyncQueue",
    "BaseStage",
    "BatchStage",
    "BlockingQueue",
    "Bypass",
    "ChunkBy",
    "ChunkTextStage",
    "CollectStage",
    "DebounceStage",
    "DedupeStage",
    "DelayStage",
    "ElementTypes",
    "FileLinesSource",
    "FilterStage",
    "FlatMapStage",
    "FunctionStage",
    "IntervalSource",
    "MapAsyncStage",
    "MapStage",
    "MapUnorderedStage",
    "PassthroughStage",
    "ProcessSource",
    "PromptStage",
    "QueueSource",
    "Resource",
    "RouteRule",
    "RouteStage",
    "RunContext",
    "SinkStage",
    "SkipStage",
    "Source",
    "Stage",
    "StageBody",
    "StageKind",
    "StageLike",
    "StageSpec",
    "TakeStage",
    "TeeStage",
    "ThreadStage",
    "ThrottleMode",
    "ThrottleStage",
    "UnbatchStage",
    "WindowStage",
    "admission",
    "as_stage",
    "checked_name",
    "close_source",
    "current_run",
    "definition_error",
    "feed",
    "is_accepted",
    "open_source",
    "open_sources",
    "stage",
    "value_types",
]
