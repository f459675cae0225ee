"""What users start from: whole pipelines for common work, and the objects that keep what outlives a run.

Above: `cli`, users. Below: everything else.
"""

from ..transports import ChatDone, ChatError, ChatEvent, ProcessStep, StepReset, StepShown
from ._chat import DEFAULT_RULES, DEFAULT_SYSTEM, chat_pipeline
from ._chat_records import ChatConversation, ChatConversationPage, ChatMessage, ChatSettings
from ._chat_service import ChatService, ProviderOf
from ._chat_stream import ChatStream
from ._session import ChatReply, ChatSession

__all__ = [
    "DEFAULT_RULES",
    "DEFAULT_SYSTEM",
    "ChatConversation",
    "ChatConversationPage",
    "ChatDone",
    "ChatError",
    "ChatEvent",
    "ChatMessage",
    "ChatReply",
    "ChatService",
    "ChatSession",
    "ChatSettings",
    "ChatStream",
    "ProcessStep",
    "ProviderOf",
    "StepReset",
    "StepShown",
    "chat_pipeline",
]
