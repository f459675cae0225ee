"""What survives a run: conversations and documents in stores, and the stages that load and save turns.

Above: users, `apps`. Below: `stages`, `elements`, `errors`.
"""

from __future__ import annotations

from ..elements import check_history, repair_history
from ._load import StateStoreLoadStage
from ._memory import MemoryStore
from ._postgres import PostgresStore
from ._protocol import Conversation, ConversationPage, Document, History, StateStore, StoreLimits, Turn, TurnStatus
from ._redis import RedisStore
from ._save import StateStoreSaveStage
from ._sqlite import SQLiteStore
from ._turn_input import ConversationOf, TurnInput

__all__ = [
    "Conversation",
    "ConversationOf",
    "ConversationPage",
    "Document",
    "History",
    "MemoryStore",
    "PostgresStore",
    "RedisStore",
    "SQLiteStore",
    "StateStore",
    "StateStoreLoadStage",
    "StateStoreSaveStage",
    "StoreLimits",
    "Turn",
    "TurnInput",
    "TurnStatus",
    "check_history",
    "repair_history",
]
