"""What survives a run: conversations and documents in stores, and the stages that load and save turns.

Above: users, `apps`. Below: `stages`, `elements`, `errors`.
"""

from __future__ import annotations

from ._memory import MemoryStore
from ._postgres import PostgresStore
from ._protocol import Conversation, ConversationPage, Document, History, StateStore, StoreLimits, Turn, TurnStatus
from ._redis import RedisStore
from ._sqlite import SQLiteStore

__all__ = [
    "Conversation",
    "ConversationPage",
    "Document",
    "History",
    "MemoryStore",
    "PostgresStore",
    "RedisStore",
    "SQLiteStore",
    "StateStore",
    "StoreLimits",
    "Turn",
    "TurnStatus",
]
