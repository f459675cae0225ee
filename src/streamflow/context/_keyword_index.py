"""The embedded search index: words, weighed as BM25 weighs them.

Above: users. Below: `_documents`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import anyio.lowlevel

from ..errors import ConfigError
from ._documents import Document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["KeywordIndex"]

_WORD = re.compile(r"\w+")
_K1, _B = 1.5, 0.75  # as in Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009
_MAX_QUERY_WORDS = 100


class KeywordIndex:
    """Find documents by the words of a question, in memory: a `Retriever` that needs no server and no model.

    ```python
    index = KeywordIndex([Document("Returns are free for 30 days.", id="returns")])
    ```

    Args:
        documents: What to find.
        max_documents: Most documents; one more is an error, because a memory that grows without end is none.
        max_chars: Longest document, in characters.

    Raises:
        ConfigError: If there are too many documents, or one is too long.

    Source: BM25 (Robertson and Zaragoza 2009).
    """

    def __init__(
        self, documents: Iterable[Document] = (), *, max_documents: int = 10_000, max_chars: int = 100_000
    ) -> None:
        self._max_documents = max_documents
        self._max_chars = max_chars
        self._documents: dict[str, Document] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._places: dict[str, set[str]] = {}
        self._words = 0
        self._made = 0
        for document in documents:
            self.add(document)

    def __len__(self) -> int:
        return len(self._documents)

    def add(self, document: Document) -> None:
        """Add a document; one of the same `id` is replaced. One without an `id` gets one.

        Raises:
            ConfigError: If there would be too many documents, or it is too long.
        """
        if len(document.text) > self._max_chars:
            raise ConfigError("max_chars", f"document {document.id!r:.80} is longer than {self._max_chars}; divide it")
        if not document.id:
            self._made += 1
            document = Document(document.text, f"document-{self._made}", metadata=document.metadata)
        if document.id not in self._documents and len(self) >= self._max_documents:
            raise ConfigError("max_documents", f"there are {self._max_documents} already; remove some, or raise it")
        self.remove(document.id)
        counts = Counter(_words(document.text))
        self._documents[document.id] = document
        self._counts[document.id] = counts
        self._words += counts.total()
        for word in counts:
            self._places.setdefault(word, set()).add(document.id)

    def remove(self, id: str) -> None:
        """Remove a document, if it is there."""
        if self._documents.pop(id, None) is None:
            return
        counts = self._counts.pop(id)
        self._words -= counts.total()
        for word in counts:
            self._places[word].discard(id)
            if not self._places[word]:
                del self._places[word]

    async def retrieve(self, query: str, k: int) -> Sequence[Document]:
        """Return at most `k` documents that have words of `query`, the best first; of two alike, the one that was added first.

        Cancellation: a checkpoint; nothing is changed.
        """
        await anyio.lowlevel.checkpoint()
        scores: dict[str, float] = {}
        mean = self._words / len(self) if self._documents else 0.0
        for word in dict.fromkeys(_words(query)[:_MAX_QUERY_WORDS]):
            found = self._places.get(word, ())
            rarity = math.log(1 + (len(self) - len(found) + 0.5) / (len(found) + 0.5))
            for id in found:
                times = self._counts[id][word]
                length = self._counts[id].total() / mean
                scores[id] = scores.get(id, 0.0) + rarity * times * (_K1 + 1) / (times + _K1 * (1 - _B + _B * length))
        order = {id: place for place, id in enumerate(self._documents)}
        best = sorted(scores, key=lambda id: (-scores[id], order[id]))[:k]
        return [Document(self._documents[id].text, id, scores[id], self._documents[id].metadata) for id in best]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
