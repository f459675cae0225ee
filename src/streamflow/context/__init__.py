"""What a model is told beyond what was said: documents, memories, summaries.

Above: `apps`. Below: `providers` (a summary is made by a model), `stages`.
"""

from ._compaction import CompactionStage
from ._documents import Document, Retriever, documents_as_text
from ._keyword_index import KeywordIndex
from ._lookup import MemoryRetrieveStage, OnRetrievalFailure, RetrieveStage
from ._memory import MemoryExtractStage, MemoryWriter
from ._summarizer import ProviderSummarizer

__all__ = [
    "CompactionStage",
    "Document",
    "KeywordIndex",
    "MemoryExtractStage",
    "MemoryRetrieveStage",
    "MemoryWriter",
    "OnRetrievalFailure",
    "ProviderSummarizer",
    "RetrieveStage",
    "Retriever",
    "documents_as_text",
]
