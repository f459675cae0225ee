"""What is done to elements: the stage contract, the forms in which a stage can be written, sources and sinks.

Above: `graph` joins stages, `runtime` runs them. Below: `channels`, `elements`.
"""

from ._admission import ALL_DATA, EVERYTHING, Accepts, ElementTypes, admission, is_accepted
from ._concurrent import MapAsyncStage, MapUnorderedStage, ThreadStage
from ._context import CURRENT_RUN, RunContext, current_run
from ._contract import BaseStage, Bypass, Stage, StageBody, StageKind, StageSpec, checked_name, definition_error
from ._flow import DedupeStage, SkipStage, TakeStage, TeeStage
from ._forms import FunctionStage, StageLike, as_stage, stage
from ._functional import CollectStage, FilterStage, FlatMapStage, MapStage, PassthroughStage, SinkStage
from ._intent import RouteRule, RouteStage
from ._prompt import PromptStage
from ._resources import Resource
from ._sources import Source, close_source, feed, open_source, open_sources

__all__ = [
    "ALL_DATA",
    "CURRENT_RUN",
    "EVERYTHING",
    "Accepts",
    "BaseStage",
    "Bypass",
    "CollectStage",
    "DedupeStage",
    "ElementTypes",
    "FilterStage",
    "FlatMapStage",
    "FunctionStage",
    "MapAsyncStage",
    "MapStage",
    "MapUnorderedStage",
    "PassthroughStage",
    "PromptStage",
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
]
