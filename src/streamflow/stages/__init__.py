"""What is done to elements: the stage contract, the forms in which a stage can be written, sources and sinks.

Above: `graph` joins stages, `runtime` runs them. Below: `channels`, `elements`.
"""

from typing import TYPE_CHECKING

from .. import _faces
from ._admission import ALL_DATA, EVERYTHING, Accepts, ElementTypes, admission, is_accepted
from ._annotations import value_types
from ._around import OnFailure
from ._checks import check_turn_size, checked_count
from ._concurrent import MapAsyncStage, MapUnorderedStage, ThreadStage
from ._context import CURRENT_RUN, Guard, RunContext, current_run, run_here
from ._contract import BaseStage, Bypass, Stage, StageBody, StageKind, StageSpec, checked_name, definition_error
from ._deadlines import checked_seconds
from ._failures import Failures
from ._flow import DedupeStage, SkipStage, TakeStage, TeeStage
from ._forms import FunctionStage, StageLike, as_stage, stage
from ._functional import CollectStage, FilterStage, FlatMapStage, MapStage, PassthroughStage, SinkStage
from ._resources import Resource
from ._routing import (
    Choose,
    any_in_turn,
    any_weighted,
    by_chance,
    first_that_applies,
    key_hash,
    name_given,
    nearest_among,
    nearest_type,
)
from ._sources import Source, as_element, close_source, feed, is_async, open_source, open_sources
from ._steps import Step
from ._supervision import NOTHING, Between, CallForm, Directive, InHand, Supervision
from ._tries import Resume
from ._turns import OnInterrupt, Turns, TurnScope, turn_scope, turns_of

if TYPE_CHECKING:
    from ._batching import BatchStage, UnbatchStage, WindowStage
    from ._breaker import CircuitBreaker, CircuitBreakerStage, CircuitCall, CircuitState
    from ._budget import (
        BudgetStrategy,
        Score,
        Summarize,
        TokenBudgetStage,
        TokenCounter,
        estimate_tokens,
        summary_message,
        word_overlap,
    )
    from ._cache import CacheStage
    from ._chunking import ChunkBy, ChunkTextStage
    from ._conversing import ConversationStage
    from ._debug import DebugStage
    from ._decoupling import BufferStage, CoalesceStage
    from ._extract import ExtractJsonStage, OncePer
    from ._fallback import FallbackStage
    from ._guard_checks import GUARD, OnGuardFailure
    from ._guard_messages import GuardInputStage, GuardMessageStage
    from ._guard_stages import GuardBy, GuardStreamStage
    from ._guardrails import (
        GuardAction,
        GuardAnswer,
        GuardDecision,
        GuardFunction,
        Guardrail,
        GuardView,
        LengthGuard,
        RegexGuard,
        WordGuard,
    )
    from ._histories import flat, turns_in, units_of
    from ._history import HistoryWindowStage
    from ._intent import RouteRule, RouteStage, as_message
    from ._json_guard import JsonSchemaGuard
    from ._line_origins import FileLinesSource, ProcessSource
    from ._memory_cache import Cache, MemoryCache
    from ._origins import AsyncQueue, BlockingQueue, IntervalSource, QueueSource
    from ._prompt import PromptPart, PromptStage
    from ._rate_limit import RateLimitMode, RateLimitStage
    from ._retry import RetryStage
    from ._template import Template, TemplateStage, VariablesOf, VariablesStage
    from ._time_limit import TimeoutStage
    from ._timing import DebounceStage, DelayStage, ThrottleMode, ThrottleStage
    from ._usage import ModelPrice, OnLimit, UsageStage

__all__ = [
    "ALL_DATA",
    "CURRENT_RUN",
    "EVERYTHING",
    "GUARD",
    "NOTHING",
    "Accepts",
    "AsyncQueue",
    "BaseStage",
    "BatchStage",
    "Between",
    "BlockingQueue",
    "BudgetStrategy",
    "BufferStage",
    "Bypass",
    "Cache",
    "CacheStage",
    "CallForm",
    "Choose",
    "ChunkBy",
    "ChunkTextStage",
    "CircuitBreaker",
    "CircuitBreakerStage",
    "CircuitCall",
    "CircuitState",
    "CoalesceStage",
    "CollectStage",
    "ConversationStage",
    "DebounceStage",
    "DebugStage",
    "DedupeStage",
    "DelayStage",
    "Directive",
    "ElementTypes",
    "ExtractJsonStage",
    "Failures",
    "FallbackStage",
    "FileLinesSource",
    "FilterStage",
    "FlatMapStage",
    "FunctionStage",
    "Guard",
    "GuardAction",
    "GuardAnswer",
    "GuardBy",
    "GuardDecision",
    "GuardFunction",
    "GuardInputStage",
    "GuardMessageStage",
    "GuardStreamStage",
    "GuardView",
    "Guardrail",
    "HistoryWindowStage",
    "InHand",
    "IntervalSource",
    "JsonSchemaGuard",
    "LengthGuard",
    "MapAsyncStage",
    "MapStage",
    "MapUnorderedStage",
    "MemoryCache",
    "ModelPrice",
    "OnFailure",
    "OnGuardFailure",
    "OnInterrupt",
    "OnLimit",
    "OncePer",
    "PassthroughStage",
    "ProcessSource",
    "PromptPart",
    "PromptStage",
    "QueueSource",
    "RateLimitMode",
    "RateLimitStage",
    "RegexGuard",
    "Resource",
    "Resume",
    "RetryStage",
    "RouteRule",
    "RouteStage",
    "RunContext",
    "Score",
    "SinkStage",
    "SkipStage",
    "Source",
    "Stage",
    "StageBody",
    "StageKind",
    "StageLike",
    "StageSpec",
    "Step",
    "Summarize",
    "Supervision",
    "TakeStage",
    "TeeStage",
    "Template",
    "TemplateStage",
    "ThreadStage",
    "ThrottleMode",
    "ThrottleStage",
    "TimeoutStage",
    "TokenBudgetStage",
    "TokenCounter",
    "TurnScope",
    "Turns",
    "UnbatchStage",
    "UsageStage",
    "VariablesOf",
    "VariablesStage",
    "WindowStage",
    "WordGuard",
    "admission",
    "any_in_turn",
    "any_weighted",
    "as_element",
    "as_message",
    "as_stage",
    "by_chance",
    "check_turn_size",
    "checked_count",
    "checked_name",
    "checked_seconds",
    "close_source",
    "current_run",
    "definition_error",
    "estimate_tokens",
    "feed",
    "first_that_applies",
    "flat",
    "is_accepted",
    "is_async",
    "key_hash",
    "name_given",
    "nearest_among",
    "nearest_type",
    "open_source",
    "open_sources",
    "run_here",
    "stage",
    "summary_message",
    "turn_scope",
    "turns_in",
    "turns_of",
    "units_of",
    "value_types",
    "word_overlap",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _faces.loading(
        __name__,
        {
            "._batching": "BatchStage UnbatchStage WindowStage",
            "._breaker": "CircuitBreaker CircuitBreakerStage CircuitCall CircuitState",
            "._budget": (
                "BudgetStrategy Score Summarize TokenBudgetStage TokenCounter estimate_tokens summary_message "
                "word_overlap"
            ),
            "._cache": "CacheStage",
            "._chunking": "ChunkBy ChunkTextStage",
            "._conversing": "ConversationStage",
            "._debug": "DebugStage",
            "._decoupling": "BufferStage CoalesceStage",
            "._extract": "ExtractJsonStage OncePer",
            "._fallback": "FallbackStage",
            "._guard_checks": "GUARD OnGuardFailure",
            "._guard_messages": "GuardInputStage GuardMessageStage",
            "._guard_stages": "GuardBy GuardStreamStage",
            "._guardrails": (
                "GuardAction GuardAnswer GuardDecision GuardFunction Guardrail GuardView LengthGuard RegexGuard "
                "WordGuard"
            ),
            "._histories": "flat turns_in units_of",
            "._history": "HistoryWindowStage",
            "._intent": "RouteRule RouteStage as_message",
            "._json_guard": "JsonSchemaGuard",
            "._line_origins": "FileLinesSource ProcessSource",
            "._memory_cache": "Cache MemoryCache",
            "._origins": "AsyncQueue BlockingQueue IntervalSource QueueSource",
            "._prompt": "PromptPart PromptStage",
            "._rate_limit": "RateLimitMode RateLimitStage",
            "._retry": "RetryStage",
            "._template": "Template TemplateStage VariablesOf VariablesStage",
            "._time_limit": "TimeoutStage",
            "._timing": "DebounceStage DelayStage ThrottleMode ThrottleStage",
            "._usage": "ModelPrice OnLimit UsageStage",
        },
    )
