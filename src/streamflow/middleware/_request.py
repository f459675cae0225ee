"""One turn's input as a request: its messages and metadata, and how it goes on when nobody has answered it.

Above: `_adapter`, `_context`. Below: `_messages`, `_outcome`.
Elements keep their identity: what legacy code leaves alone goes on as the element that came, its parts and header included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from ..elements import Message, MessageElement, Metadata, StreamElement, TextElement, thaw
from ._messages import LegacyMessage, as_message, read
from ._outcome import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import JsonValue

__all__ = ["OUTPUTS", "PASSING", "Request"]

OUTPUTS = "stage_outputs"
"""Key of the metadata under which the outcomes of earlier adapters travel, by stage."""

PASSING = ("skipped", "reason")
"""Keys of the metadata that tell of one adapter only, and are not handed on by the next."""


class _Entry:
    """One message, and the elements that it came in."""

    def __init__(self) -> None:
        self.elements: list[StreamElement] = []
        self.message: LegacyMessage


class Request:
    """What came in during one turn.

    Args:
        elements: Text and messages, in order. Fragments with a common `id` are one message, and their whole, if it came, is that
            message. A text without an `id` is a whole message of the user.
        response_key: Under which the answer of an earlier adapter is found among its outputs.
    """

    def __init__(self, elements: Sequence[TextElement | MessageElement], response_key: str) -> None:
        self.elements: tuple[StreamElement, ...] = tuple(elements)
        """What came, in order."""
        self.metadata: dict[str, object] = {}
        """The metadata of all elements, later ones laid over earlier ones, without what is named below."""
        self.outputs: dict[str, Outcome] = {}
        """What earlier adapters gave, by stage."""
        self._entries = _entries_of(elements)
        for element in elements:
            if element.metadata:
                self._merge(element.metadata)
        self.system_prompt: str = _text(self.metadata.pop("system_prompt", None))
        """The system prompt, empty when none came."""
        self.variables: dict[str, object] = _mapping(self.metadata.pop("variables", None))
        """Variables of the prompt."""
        self.allowed_tools: list[str] = _texts(self.metadata.pop("allowed_tools", None))
        """Names of the tools that may be called."""
        last = self._entries[-1].message if self._entries else None
        if self.outputs and last is not None and last.role == "assistant":
            next(reversed(self.outputs.values())).data.setdefault(response_key, last.content)

    @property
    def messages(self) -> list[LegacyMessage]:
        """The messages, oldest first."""
        return [entry.message for entry in self._entries]

    @property
    def has_content(self) -> bool:
        """Whether there is anything to ask about."""
        return any(entry.message.source.content for entry in self._entries)

    def matched(self, left: Iterable[object]) -> list[tuple[object, _Entry | None]]:
        """Return the messages that legacy code has left, each with what it came in; None for a new one.

        A copy that says the same is the same message.
        """
        left = list(left)
        by_identity = {id(entry.message): entry for entry in self._entries}
        kept = {id(one) for one in left}
        untaken = [entry for entry in self._entries if id(entry.message) not in kept]
        by_content: defaultdict[tuple[object, object], list[_Entry]] = defaultdict(list)
        for entry in reversed(untaken):
            by_content[entry.message.source.role, entry.message.content].append(entry)
        pairs: list[tuple[object, _Entry | None]] = []
        for one in left:
            same = by_content[read(one, "role"), _hashable(read(one, "content"))] if id(one) not in by_identity else []
            pairs.append((one, by_identity.get(id(one)) or (same.pop() if same else None)))
        return pairs

    def passed(self, left: Iterable[object], stamp: Mapping[str, JsonValue]) -> list[StreamElement]:
        """Return the elements with which the request goes on: as it came, but for what legacy code has changed.

        Args:
            left: The messages that legacy code has left.
            stamp: What is laid over the metadata of the newest element.
        """
        pairs = self.matched(left)
        untouched = [entry for one, entry in pairs if entry is not None and _is_untouched(one, entry)]
        if len(untouched) == len(pairs) and untouched == self._entries:
            passed = list(self.elements)
        else:
            passed = [element for one, entry in pairs for element in _rebuilt(one, entry)]
        if stamp and passed:
            passed[-1] = passed[-1].with_metadata(**stamp)
        return passed

    def _merge(self, metadata: Metadata) -> None:
        for key, value in metadata.items():
            if key == OUTPUTS and isinstance(value, Mapping):
                self.outputs.update({stage: _restored(one) for stage, one in value.items()})
            elif key not in PASSING:
                self.metadata[key] = thaw(value)


def _entries_of(elements: Iterable[TextElement | MessageElement]) -> list[_Entry]:
    entries: list[_Entry] = []
    by_id: dict[str, _Entry] = {}
    for element in elements:
        entry = by_id.get(element.id) if element.id else None
        if entry is None:
            entry = _Entry()
            entries.append(entry)
            if element.id:
                by_id[element.id] = entry
        entry.elements.append(element)
        if isinstance(element, MessageElement):
            by_id.pop(element.id, None)
    for entry in entries:
        entry.message = _message_of(entry.elements)
    return entries


def _message_of(elements: Sequence[StreamElement]) -> LegacyMessage:
    last = elements[-1]
    if isinstance(last, MessageElement):
        return LegacyMessage(last.message, {**last.message.metadata.to_dict(), **last.metadata.to_dict()})
    text = "".join(element.text for element in elements if isinstance(element, TextElement))
    return LegacyMessage(Message("user", text), last.metadata.to_dict())


def _is_untouched(one: object, entry: _Entry) -> bool:
    return one is not entry.message or entry.message.is_untouched


def _rebuilt(one: object, entry: _Entry | None) -> list[StreamElement]:
    if entry is not None and _is_untouched(one, entry):
        return entry.elements
    message = as_message(one)
    if message is None:
        return []
    if entry is None:
        return [MessageElement(message)]
    whole = entry.elements[-1]
    return [MessageElement(message, id=whole.id, metadata=whole.metadata)]


def _restored(given: JsonValue) -> Outcome:
    """Return an outcome that came as metadata."""
    data = _mapping(read(given, "data"))
    status = read(given, "status")
    return Outcome(Status(status) if status in set(Status) else Status.OK, data)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        return {}
    return {key: thaw(one) for key, one in cast("Mapping[str, JsonValue]", value).items()}


def _texts(value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        return []
    return [one for one in cast("Sequence[object]", value) if isinstance(one, str)]


def _hashable(value: object) -> object:
    return value if isinstance(value, str) else None
