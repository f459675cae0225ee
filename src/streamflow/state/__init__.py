"""What survives a run: conversations and documents in stores, and the stages that load and save turns.

Above: users, `apps`. Below: `stages`, `elements`, `errors`.
"""

from __future__ import annotations

from ._protocol import Conversation, ConversationPage, Document, History, StateStore, StoreLimits, Turn, TurnStatus

__all__ = [
    "Conversation",
    "ConversationPage",
    "Document",
    "History",
    "StateStore",
    "StoreLimits",
    "Turn",
    "TurnStatus",
]
