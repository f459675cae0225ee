"""The format of a classification: named strings of a form that a model fills in, while it does; then the form; then the end.

Above: `apps`, users. Below: `_encoder`, `wire`, `elements`.

| element | event | data |
|---|---|---|
| (the response begins) | `ack`, `status` | `request_id` and `session_id`; `stage`: `classification` |
| `TurnStart` | `classification_start` | |
| `TextElement` with a path | as `events` says | `text` |
| `DataElement` `classification_progress` | `classification_progress` | `percent`, `chars` |
| `DataElement` `classification` | `classification_complete` | |
| one with `fallback` in its metadata | `status` | `stage`: `fallback` |
| (the end) | `final_answer.complete`, `end` | the form; `ok`: true |
| (a failure) | `error`, `end` | `message`; `ok`: false |
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from ..elements import DataElement, JsonValue, TextElement, TurnReset, TurnStart, thaw
from ..errors import ConfigError
from ..wire import is_selected, show_path
from ._encoder import EventEncoder, ServerEvent, delta_event, json_event, snapshot_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..elements import StreamElement
    from ._encoder import StreamEnd

__all__ = ["CLASSIFICATION", "CLASSIFICATION_EVENTS", "CLASSIFICATION_PROGRESS", "ClassificationEncoder"]

CLASSIFICATION = "classification"
"""Name of the `DataElement` that has the form."""

CLASSIFICATION_PROGRESS = "classification_progress"
"""Name of the `DataElement` that says how far the form is."""

CLASSIFICATION_EVENTS: Mapping[str, str] = MappingProxyType(
    {"ask_message_delta": "ask_slots[*].message", "simple_response_delta": "simple_response.message"}
)
"""Which strings are told, and as which event: those of seed 003."""

_RESERVED = frozenset(
    {"ack", "status", "classification_start", "classification_complete", "final_answer.complete", "error", "end"}
)
_NO_ANSWER = "There is no answer. Please try again."


class ClassificationEncoder(EventEncoder):
    """The events of seed 003 out of the elements of a `ClassificationStream`, or of any stream with such elements.

    `classification_start` comes before the model is asked, each string when its element does, `classification_complete` behind all
    of them and only for a form that is whole. `end` is the last event, exactly once, however the stream ends.

    Args:
        request_id: Told in `ack`.
        session_id: Told in `ack`.
        events: By event: the path of its strings, as in `ask_slots[*].message`.
        deltas: Whether strings come in pieces: each event then has its `path` too, and pieces may be joined for a slow reader.

    Raises:
        ConfigError: If a path cannot be read, or an event is one of the format's own.

    Source: seed 003 (chat_stream route).
    """

    def __init__(
        self,
        *,
        request_id: str = "",
        session_id: str = "",
        events: Mapping[str, str] = CLASSIFICATION_EVENTS,
        deltas: bool = False,
    ) -> None:
        for name, path in events.items():
            if name in _RESERVED:
                raise ConfigError("events", f"{name!r} is an event of the format itself; give another name")
            is_selected((), path)
        self._ack = {"request_id": request_id, "session_id": session_id}
        self._events = dict(events)
        self._deltas = deltas
        self._answer: JsonValue = None
        self._has_answer = False

    def start(self) -> Sequence[ServerEvent]:
        """Return `ack` and the first `status`."""
        return [json_event(self._ack, event="ack"), _status("classification")]

    def encode(self, element: StreamElement) -> Sequence[ServerEvent]:
        """Return what one element says in this format."""
        match element:
            case TextElement():
                return self._text(element)
            case TurnStart():
                return [json_event({}, event="classification_start")]
            case TurnReset():
                return [_status("restart")]
            case DataElement() if element.name == CLASSIFICATION:
                self._answer, self._has_answer = element.value, True
                if element.metadata.get("fallback"):
                    return [_status("fallback")]
                return [json_event({}, event="classification_complete")]
            case DataElement() if element.name == CLASSIFICATION_PROGRESS:
                return [snapshot_event("progress", element.value, event=CLASSIFICATION_PROGRESS)]
            case _:
                return []

    def finish(self, end: StreamEnd) -> Sequence[ServerEvent]:
        """Return the form and `end`; of a stream that failed `error` and `end`."""
        if end.reason == "done" and self._has_answer:
            answer = json_event(thaw(self._answer), event="final_answer.complete")
            return [answer, json_event({"ok": True}, event="end")]
        message = _NO_ANSWER if end.error is None else end.error.message
        return [json_event({"message": message}, event="error"), json_event({"ok": False}, event="end")]

    def _text(self, element: TextElement) -> Sequence[ServerEvent]:
        name = next((name for name, path in self._events.items() if is_selected(element.path, path)), None)
        if name is None:
            return []
        if not self._deltas:
            return [json_event({"text": element.text}, event=name)]
        before = json_event({"path": show_path(element.path)}).data.removesuffix("}")
        return [delta_event(f'{before},"text":"', element.text, '"}', event=name)]


def _status(stage: str) -> ServerEvent:
    return json_event(cast("JsonValue", {"stage": stage}), event="status")
