"""What users start from: whole pipelines for common work, and the objects that keep what outlives a run.

Above: `cli`, users. Below: everything else.
"""

from ..transports import ChatDone, ChatError, ChatServiceEvent, ProcessStep, StepReset, StepShown
from ._agent import StreamChatAgent
from ._chat import DEFAULT_RULES, DEFAULT_SYSTEM, ChatEvents, chat_pipeline
from ._chat_config import ChatConfig
from ._chat_records import ChatConversation, ChatConversationPage, ChatMessage, ChatSettings
from ._chat_service import ChatService, ProviderOf
from ._chat_stream import ChatStream
from ._classification import Classification, ClassificationListener, ClassificationStream, save_to
from ._classify_stages import ClassificationProgressStage, ClassifyStage, SaveFunction, ValidateFunction
from ._enrich import Enricher, EnrichFunction, EnrichStage
from ._enriched_chat import EnrichedSystem, enriched_chat_pipeline, enriched_system
from ._response import LLMResponse
from ._session import ChatReply, ChatSession
from ._strategies import ChatStrategy, HasPipeline, StreamingStrategy, WholeStrategy
from ._token_stream import TokenStream
from ._tokens import ChatTokenStage
from ._web_chat import ChatApp, ChatFormat, chat_app
from ._web_guard import LOOPBACK_HOSTS

__all__ = [
    "DEFAULT_RULES",
    "DEFAULT_SYSTEM",
    "LOOPBACK_HOSTS",
    "ChatApp",
    "ChatConfig",
    "ChatConversation",
    "ChatConversationPage",
    "ChatDone",
    "ChatError",
    "ChatEvents",
    "ChatFormat",
    "ChatMessage",
    "ChatReply",
    "ChatService",
    "ChatServiceEvent",
    "ChatSession",
    "ChatSettings",
    "ChatStrategy",
    "ChatStream",
    "ChatTokenStage",
    "Classification",
    "ClassificationListener",
    "ClassificationProgressStage",
    "ClassificationStream",
    "ClassifyStage",
    "EnrichFunction",
    "EnrichStage",
    "EnrichedSystem",
    "Enricher",
    "HasPipeline",
    "LLMResponse",
    "ProcessStep",
    "ProviderOf",
    "SaveFunction",
    "StepReset",
    "StepShown",
    "StreamChatAgent",
    "StreamingStrategy",
    "TokenStream",
    "ValidateFunction",
    "WholeStrategy",
    "chat_app",
    "chat_pipeline",
    "enriched_chat_pipeline",
    "enriched_system",
    "save_to",
]
