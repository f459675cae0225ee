"""The stage that shows text out of JSON while the JSON is still arriving.

Above: users. Below: `_contract`, `wire`.
One reader per document: per tool call, or per message of text. What a reader says becomes elements at once; nothing of the
document is held but what the reader holds, and characters that `complete` or `min_chars` keep back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..elements import (
    DataElement,
    ErrorElement,
    MessageElement,
    StreamElement,
    TextElement,
    ToolCallDelta,
    ToolCallElement,
    TurnEnd,
    TurnReset,
    survives_interruption,
)
from ..errors import ConfigError, ElementError, JsonStreamError
from ._checks import checked_count
from ._contract import BaseStage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..channels import ReceiveEnd, SendEnd
    from ..wire import JsonField, JsonStream, JsonTree
    from ._admission import Accepts
    from ._context import RunContext
    from ._turns import OnInterrupt

__all__ = ["ExtractJsonStage", "OncePer"]

OncePer = Literal["path", "value"]
"""What is sent once in a document: what stands at a path, or also each text."""

_MAX_OPEN = 128  # documents that nothing ends: the oldest is ended


class ExtractJsonStage(BaseStage):
    """Send the strings at chosen paths of a JSON document, character by character as the document arrives.

    ```python
    ExtractJsonStage(["ask_slots[*].message", "simple_response.message"], tool="classify")
    ```

    In: with `tool`, the `ToolCallDelta`s and `ToolCallElement`s of that tool; without, `TextElement`s, all those with one `id`
    being one document, which its `MessageElement` ends. `TurnEnd` ends all documents, `TurnReset` forgets them, or those of
    its `answer`.
    Out: for strings, `TextElement`s with their `path`, and the `id` of the text or of the call; for other values that are
    selected, one `DataElement` each, named by the path, once they are complete. The fragments that were read end here; whole
    calls, messages and control go on, behind what was read before them. Fragments of other tools go on, too.

    A document that is malformed, cut off or beyond a limit makes one `ErrorElement`, `json_invalid` or `json_truncated`; what was
    sent before stays, and the rest of the document is passed over. A key that comes again in an object makes one,
    `json_duplicate_key`: what was sent of the first is void, and the second is not sent. An empty document is none, and an empty
    string makes no element.

    Flow:
        emits: as soon as a character is certain; with `complete`, when a string closes.
        backpressures: while the output is full; holds one element and what is left of its results, so it cannot say how many.
        completes: when the input ends, after an error for a document that is cut off.
        interrupts: forgets the documents whose elements may be dropped.

    Args:
        select: Paths: `a.b`, `a[2]`, `a[*].b`, `*`, `a["odd.key"]`; `$` is the document itself.
        tool: Name of the tool whose arguments are read, `*` for every tool; None: text is read.
        complete: Whether a string is sent whole, when it closes.
        min_chars: Shortest string that is sent, in decoded characters; a longer one is sent from this many on.
        once_per: `path`: what stands at a path is sent once. `value`: also the same text only once in a document; needs `complete`.
        max_chars: Longest document, in characters.
        max_depth: Most objects and arrays inside each other.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: seed 003 (tool stream accumulator).
    """

    holds_back: bool = True
    max_held: int | None = None
    on_interrupt: OnInterrupt | None = "fence"

    def __init__(
        self,
        select: Iterable[str],
        *,
        tool: str | None = None,
        complete: bool = False,
        min_chars: int = 0,
        once_per: OncePer = "path",
        max_chars: int = 1_000_000,
        max_depth: int = 100,
        name: str = "extract_json",
    ) -> None:
        super().__init__(name)
        self._select = (select,) if isinstance(select, str) else tuple(select)
        if not self._select:
            raise ConfigError("select", f"stage {self.name!r}: no path; give what is to be sent, as in ['message']")
        if once_per not in {"path", "value"}:
            raise ConfigError("once_per", f"stage {self.name!r}: give 'path' or 'value', got {once_per!r:.80}")
        if once_per == "value" and not complete:
            message = "'value' compares whole strings; add complete=True"
            raise ConfigError("once_per", f"stage {self.name!r}: {message}")
        self._tool = tool
        self._complete = complete
        self._min_chars = checked_count(min_chars, "min_chars", self.name, least=0)
        self._once_per_value = once_per == "value"
        self._max_chars = checked_count(max_chars, "max_chars", self.name)
        self._max_depth = checked_count(max_depth, "max_depth", self.name)
        self._reader()  # a wrong path is an error here
        whole = (TextElement, MessageElement) if tool is None else (ToolCallDelta, ToolCallElement)
        self.accepts: Accepts | None = (*whole, TurnEnd, TurnReset)
        self.emits: Accepts | None = (TextElement, DataElement, ErrorElement, *whole, TurnEnd, TurnReset)

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        documents: dict[str, _Document] = {}
        epoch = run.epoch
        async for element in input:
            if epoch != run.epoch:
                epoch = run.epoch
                documents = {key: one for key, one in documents.items() if survives_interruption(one.header)}
            for made in self._take(element, documents):
                await output.send(made)
        for made in self._end_all(documents):
            await output.send(made)

    def _take(self, element: StreamElement, documents: dict[str, _Document]) -> Iterator[StreamElement]:
        """Give what one element makes known, and the element itself if it goes on."""
        match element:
            case ToolCallDelta() if self._is_read(element.name):
                yield from self._feed(element.call_id, element.args, element, documents)
                return
            case TextElement() if self._tool is None and not element.path:
                yield from self._feed(element.id, element.text, element, documents)
                return
            case ToolCallElement() if self._is_read(element.name):
                if element.call_id not in documents:  # a call that came without fragments
                    yield from self._feed(element.call_id, element.raw, element, documents)
                yield from self._end(element.call_id, documents)
            case MessageElement() if self._tool is None:
                yield from self._end(element.id, documents)
            case TurnEnd():
                yield from self._end_all(documents)
            case TurnReset(answer=answer):
                for key in [key for key, one in documents.items() if not answer or one.header.id == answer]:
                    del documents[key]
            case _:
                pass
        yield element

    def _is_read(self, tool: str) -> bool:
        return self._tool in {tool, "*"}

    def _reader(self) -> JsonStream:
        from ..wire import JsonStream  # noqa: PLC0415 - not loaded by `import streamflow`

        return JsonStream(self._select, max_chars=self._max_chars, max_depth=self._max_depth)

    def _feed(
        self, key: str, text: str, header: StreamElement, documents: dict[str, _Document]
    ) -> Iterator[StreamElement]:
        document = documents.get(key)
        if document is None:
            if len(documents) >= _MAX_OPEN:
                yield from self._end(next(iter(documents)), documents)
            document = documents[key] = _Document(self._reader(), key, header)
        document.header = header
        if document.is_broken:
            return
        document.is_blank = document.is_blank and not text.strip(" \t\n\r")
        try:
            for field in document.reader.feed(text):
                yield from self._send(field, document)
        except ElementError as error:
            yield self._error(error, document)

    def _end(self, key: str, documents: dict[str, _Document]) -> Iterator[StreamElement]:
        document = documents.pop(key, None)
        if document is None or document.is_broken or document.is_blank:
            return
        try:
            document.reader.finish()
        except JsonStreamError as error:
            yield self._error(error, document)

    def _end_all(self, documents: dict[str, _Document]) -> Iterator[StreamElement]:
        for key in list(documents):
            yield from self._end(key, documents)

    def _error(self, error: ElementError, document: _Document) -> ErrorElement:
        document.is_broken = True
        is_truncated = isinstance(error, JsonStreamError) and error.truncated
        return ErrorElement("json_truncated" if is_truncated else "json_invalid", str(error), self.name)

    def _send(self, field: JsonField, document: _Document) -> Iterator[StreamElement]:
        if field.reset:
            document.void.append(field.path)
            message = f"a key came again in one object; what was sent at {_shown(field.path)} is void"
            yield ErrorElement("json_duplicate_key", message, self.name)
            return
        if any(field.path[: len(void)] == void for void in document.void):
            return
        if field.done and not isinstance(field.value, str):
            yield document.data(field.path, field.value)
            return
        text = self._text(field, document)
        if text:
            yield document.text(field.path, text)

    def _text(self, field: JsonField, document: _Document) -> str:
        """Return what of a string is to be sent now that `field` is known."""
        if self._complete:
            text = field.value if field.done and isinstance(field.value, str) else ""
            if len(text) < self._min_chars or (self._once_per_value and text in document.sent):
                return ""
            if self._once_per_value:
                document.sent.add(text)
            return text
        if field.offset >= self._min_chars:
            return field.text
        document.kept += field.text  # fewer than `min_chars` characters, and what came in one piece with the next ones
        if field.offset + len(field.text) < self._min_chars:
            if field.done:
                document.kept = ""
            return ""
        text, document.kept = document.kept, ""
        return text


class _Document:
    """A document that is being read.

    Args:
        reader: Reads it.
        key: The `id` of what is sent of it.
        header: The element that came last.
    """

    def __init__(self, reader: JsonStream, key: str, header: StreamElement) -> None:
        self.reader = reader
        """Reads it."""
        self.header = header
        """The element that came last: what is sent has its header."""
        self.is_blank = True
        """Whether it has been nothing but spaces."""
        self.is_broken = False
        """Whether an error has been sent, so that the rest of it is passed over."""
        self.void: list[tuple[str | int, ...]] = []
        """Paths that came twice."""
        self.sent: set[str] = set()
        """Texts that were sent, where each is sent once."""
        self.kept = ""
        """Beginning of the open string, which may be too short to be sent."""
        self._key = key

    def text(self, path: tuple[str | int, ...], text: str) -> TextElement:
        """Return characters of the document as an element with the header of what they came in."""
        one = self.header
        return TextElement(
            text,
            path,
            id=self._key,
            metadata=one.metadata,
            priority=one.priority,
            interruptible=one.interruptible,
            timestamp_s=one.timestamp_s,
        )

    def data(self, path: tuple[str | int, ...], value: JsonTree) -> DataElement:
        """Return a value of the document as an element with the header of what it came in."""
        one = self.header
        return DataElement(
            _shown(path),
            value,
            id=self._key,
            metadata=one.metadata,
            priority=one.priority,
            interruptible=one.interruptible,
            timestamp_s=one.timestamp_s,
        )


def _shown(path: tuple[str | int, ...]) -> str:
    from ..wire import show_path  # noqa: PLC0415 - as in `_reader`

    return show_path(path)
