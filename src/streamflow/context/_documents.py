"""What is looked up for a question: documents, and who finds them.

Above: `_keyword_index`, `_lookup`, `_memory`. Below: `elements`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ..elements import EMPTY_METADATA, JsonValue

__all__ = ["Document", "Retriever", "documents_as_text"]


class Document(msgspec.Struct, frozen=True):
    """A text that was looked up."""

    text: str
    """What it says."""
    id: str = ""
    """What it is called."""
    score: float = 0.0
    """How well it fits the question; higher is better, and only scores of one answer compare."""
    metadata: Mapping[str, JsonValue] = EMPTY_METADATA
    """What else is known of it."""


class Retriever(Protocol):
    """Who finds documents: a search index, a vector store, a memory. One object serves any number of concurrent calls."""

    async def retrieve(self, query: str, k: int) -> Sequence[Document]:
        """Return at most `k` documents that fit `query`, the best first.

        Cancellation: nothing is changed.
        """
        ...


def documents_as_text(documents: Sequence[Document], heading: str, max_chars: int) -> tuple[str, int]:
    """Return documents as a text for a model, one JSON object a line, so that none can pass for something else; and how many.

    Args:
        documents: The best first.
        heading: What they are.
        max_chars: Longest text; documents that do not fit are left out.
    """
    lines = [heading]
    size = len(heading)
    for document in documents:
        line = json.dumps({"id": document.id, "text": document.text}, ensure_ascii=False)
        size += len(line) + 1
        if size > max_chars:
            break
        lines.append(line)
    return "\n".join(lines), len(lines) - 1
