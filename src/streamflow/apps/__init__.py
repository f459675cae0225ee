"""What users start from: whole pipelines for common work, and the objects that keep what outlives a run.

Above: `cli`, users. Below: everything else.
"""

from ._chat import DEFAULT_RULES, DEFAULT_SYSTEM, chat_pipeline
from ._session import ChatReply, ChatSession

__all__ = ["DEFAULT_RULES", "DEFAULT_SYSTEM", "ChatReply", "ChatSession", "chat_pipeline"]
