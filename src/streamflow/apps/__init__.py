"""What users start from: whole pipelines for common work, and the objects that keep what outlives a run.

Above: `cli`, users. Below: everything else.
"""

from ._chat import DEFAULT_RULES, DEFAULT_SYSTEM, ChatEvents, chat_pipeline
from ._enrich import Enricher, EnrichFunction, EnrichStage
from ._enriched_chat import EnrichedSystem, enriched_chat_pipeline, enriched_system
from ._response import LLMResponse
from ._session import ChatReply, ChatSession
from ._tokens import ChatTokenStage

__all__ = [
    "DEFAULT_RULES",
    "DEFAULT_SYSTEM",
    "ChatEvents",
    "ChatReply",
    "ChatSession",
    "ChatTokenStage",
    "EnrichFunction",
    "EnrichStage",
    "EnrichedSystem",
    "Enricher",
    "LLMResponse",
    "chat_pipeline",
    "enriched_chat_pipeline",
    "enriched_system",
]
