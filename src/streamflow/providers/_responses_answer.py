"""The answers of OpenAI's Responses: events to elements. Waits for nothing.

Above: `_wires`. Below: `_assembly`, `wire`.
Each thing is said three times on this wire: as deltas, at its end, and in the whole response. The deltas are taken; what is said at
the end only where there were none. The answer is whole at `response.completed` or `response.incomplete`, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from ..elements import Usage
from ..errors import DecodeError
from ..wire import ResponsesToolCalls
from ._json import JsonObject, count_of, decoded, object_decoder, object_of, objects_of, scalar_of, text_of
from ._protocol import CITATION
from ._responses_request import OPENAI_ITEM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..elements import JsonValue, StopReason, StreamElement
    from ._assembly import Assembly

__all__ = ["ResponsesAnswer"]

_INCOMPLETE: Final[dict[str, StopReason]] = {
    "content_filter": "content_filter",
    "steered": "interrupted",
}  # all others, such as `max_output_tokens`, are a limit of length
_SOUND_RATE = 24000  # of the samples that OpenAI's models speak in
_CALLS = frozenset({"function_call", "custom_tool_call"})


class ResponsesAnswer:
    """Makes the elements of one answer out of its events.

    Args:
        assembly: Keeps what is said.
    """

    def __init__(self, assembly: Assembly) -> None:
        self.done = False
        """Whether the server has said that nothing follows."""
        self._assembly = assembly
        self._calls = ResponsesToolCalls(id=assembly.id, max_args_chars=assembly.max_answer_chars)
        self._has_calls = False
        self._refused = False
        self._begun: set[object] = set()  # texts of which deltas have come, so that their ends say nothing new
        self._thoughts: dict[object, object] = {}  # by item: which of its two kinds of thoughts is taken
        self._sealed: set[object] = set()
        self._stop_reason: StopReason = "stop"
        self._takers: dict[str, Callable[[JsonObject], Sequence[StreamElement]]] = {
            "response.output_text.delta": self._take_text,
            "response.output_text.done": self._take_text,
            "response.refusal.delta": self._take_refusal,
            "response.refusal.done": self._take_refusal,
            "response.reasoning_text.delta": self._take_thought,
            "response.reasoning_summary_text.delta": self._take_thought,
            "response.reasoning_summary_part.added": self._take_paragraph,
            "response.output_text.annotation.added": self._take_annotation,
            "response.audio.delta": self._take_sound,
            "response.audio.transcript.delta": self._take_transcript,
            "response.output_item.added": self._take_calls,
            "response.output_item.done": self._take_item,
            "response.function_call_arguments.delta": self._take_calls,
            "response.function_call_arguments.done": self._take_calls,
            "response.custom_tool_call_input.delta": self._take_calls,
            "response.custom_tool_call_input.done": self._take_calls,
            "response.created": self._take_head,
            "response.completed": self._end,
            "response.incomplete": self._end,
            "response.failed": self._fail,
            "response.cancelled": self._fail,
            "error": self._fail,
        }

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, whatever becomes of the connection."""
        return self.done

    def take(self, data: str) -> Sequence[StreamElement]:
        """Take the data of one event, and return the elements in it.

        Raises:
            ProviderError: If it is an error, malformed, or makes the answer too long.
        """
        if data == "[DONE]" or not data:
            return ()
        try:
            event = decoded(object_decoder, data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._assembly.failures.malformed(f"an event is no response event ({error})") from error
        kind = event.get("type")
        take = self._takers.get(kind) if isinstance(kind, str) else None
        if take is not None:
            return take(event)
        if kind is None and event.get("error"):
            self._fail(event)
        return ()  # progress of the server's own tools, and what is to come

    def finish(self) -> Sequence[StreamElement]:
        """Return the usage and the whole answer.

        Raises:
            ProviderError: If the answer is not whole; `truncated`.
        """
        if not self.done:
            raise self._assembly.failures.truncated("the stream ended without response.completed")
        reason = self._stop_reason
        if reason == "stop" and self._refused:
            reason = "refusal"
        elif reason == "stop" and self._has_calls:
            reason = "tool_calls"
        return self._assembly.finish(reason)

    def _take_text(self, event: JsonObject) -> Sequence[StreamElement]:
        text = self._text_of(event, "text")
        return (self._assembly.text(text),) if text else ()

    def _take_refusal(self, event: JsonObject) -> Sequence[StreamElement]:
        self._refused = True
        text = self._text_of(event, "refusal")
        return (self._assembly.text(text),) if text else ()

    def _text_of(self, event: JsonObject, whole: str) -> str:
        """Return the text of a delta, or of an end that had no deltas before it."""
        place = (whole, *_place(event), scalar_of(event.get("content_index")))
        is_begun = place in self._begun
        text = event.get("delta")
        if text is None:
            text = "" if is_begun else event.get(whole)
        if not is_begun:
            self._assembly.count(1)
            self._begun.add(place)
        return text_of(text)

    def _take_thought(self, event: JsonObject) -> Sequence[StreamElement]:
        item, kind, text = _place(event), event.get("type"), text_of(event.get("delta"))
        # A server that gives both gives the thoughts and a summary of them; one of them is enough.
        if not text or self._thoughts.setdefault(item, kind) != kind:
            return ()
        return (self._assembly.thinking(text, item),)

    def _take_paragraph(self, event: JsonObject) -> Sequence[StreamElement]:
        item = _place(event)
        return (self._assembly.thinking("\n\n", item),) if event.get("summary_index") and item in self._thoughts else ()

    def _take_annotation(self, event: JsonObject) -> Sequence[StreamElement]:
        annotation = object_of(event.get("annotation"))
        return (self._data(CITATION, annotation),) if annotation else ()

    def _take_sound(self, event: JsonObject) -> Sequence[StreamElement]:
        data = text_of(event.get("delta"))
        return (self._assembly.sound(data, "pcm16", _SOUND_RATE),) if data else ()

    def _take_transcript(self, event: JsonObject) -> Sequence[StreamElement]:
        if text := text_of(event.get("delta")):
            self._assembly.transcript(text, "pcm16", _SOUND_RATE)
        return ()

    def _take_item(self, event: JsonObject) -> Sequence[StreamElement]:
        """Take an item that is whole."""
        item = object_of(event.get("item"))
        kind = text_of(item.get("type"))
        if kind in _CALLS:
            return self._take_calls(event)
        if kind == "reasoning":
            return self._seal(item, event)
        if kind == "image_generation_call" and (picture := text_of(item.get("result"))):
            return (self._assembly.image(picture, f"image/{text_of(item.get('output_format')) or 'png'}"),)
        if kind in {"message", ""}:
            return ()
        return (self._data(f"{OPENAI_ITEM}{kind}", item),)

    def _seal(self, item: JsonObject, event: JsonObject) -> Sequence[StreamElement]:
        """End thoughts with what the server wants back; said only now, if no delta has said them."""
        id, encrypted = text_of(item.get("id")), text_of(item.get("encrypted_content"))
        place = _place({"item_id": id, "output_index": event.get("output_index")})
        if place in self._sealed:
            return ()
        self._assembly.count(1)
        self._sealed.add(place)
        elements: list[StreamElement] = []
        if place not in self._thoughts and (
            text := "\n\n".join(_texts(item.get("summary")) or _texts(item.get("content")))
        ):
            elements.append(self._assembly.thinking(text, place))
        if id and encrypted:
            elements += self._assembly.seal(place, signature=id, encrypted=encrypted)
        return elements

    def _take_calls(self, event: JsonObject) -> Sequence[StreamElement]:
        try:
            pieces = self._assembly.calls(self._calls.take(event))
        except DecodeError as error:
            raise self._assembly.failures.too_large(str(error), "max_answer_chars") from error
        self._has_calls = self._has_calls or bool(pieces)
        return pieces

    def _take_head(self, event: JsonObject) -> Sequence[StreamElement]:
        self._assembly.model = text_of(object_of(event.get("response")).get("model")) or self._assembly.model
        return ()

    def _end(self, event: JsonObject) -> Sequence[StreamElement]:
        self.done = True
        self._take_head(event)
        response = object_of(event.get("response"))
        self._assembly.used(_usage(object_of(response.get("usage"))))
        is_cut = event.get("type") == "response.incomplete"
        if is_cut:
            reason = text_of(object_of(response.get("incomplete_details")).get("reason"))
            self._stop_reason = _INCOMPLETE.get(reason, "length")
        left = self._take_calls(event)
        rest = self._assembly.calls(self._calls.finish(truncated=is_cut))
        self._has_calls = self._has_calls or bool(rest)
        return [*left, *rest]

    def _fail(self, event: JsonObject) -> Sequence[StreamElement]:
        inner = object_of(event.get("response")).get("error") or event.get("error")
        if event.get("type") == "response.cancelled":
            raise self._assembly.failures.truncated("the response was cancelled at the server")
        raise self._assembly.failures.of_error(inner or {**event, "type": None})

    def _data(self, name: str, value: object) -> StreamElement:
        return self._assembly.data(name, cast("JsonValue", value), len(msgspec.json.encode(value)))


def _place(event: JsonObject) -> tuple[object, ...]:
    """Return what says which item an event is about."""
    index = scalar_of(event.get("output_index"))
    return (scalar_of(event.get("item_id")),) if index is None else (index,)


def _texts(parts: object) -> list[str]:
    return [text for part in objects_of(parts) if (text := text_of(part.get("text")))]


def _usage(told: JsonObject) -> Usage | None:
    if not told:
        return None
    read, written = object_of(told.get("input_tokens_details")), object_of(told.get("output_tokens_details"))
    return Usage(
        input_tokens=count_of(told, "input_tokens"),
        output_tokens=count_of(told, "output_tokens"),
        cached_tokens=count_of(read, "cached_tokens"),
        cache_write_tokens=count_of(read, "cache_write_tokens"),
        reasoning_tokens=count_of(written, "reasoning_tokens"),
    )
