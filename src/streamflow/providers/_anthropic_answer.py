"""The answers of Anthropic's Messages: events to elements. Waits for nothing.

Above: `_wires`. Below: `_assembly`, `wire`.
An `error` may come in the middle of a response that began as a success. Usage is cumulative: a later number replaces the earlier one,
and one that is not said again still holds. The answer is whole at `message_stop`, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from ..errors import DecodeError
from ..wire import AnthropicToolCalls
from ._anthropic_request import ANTHROPIC_BLOCK
from ._protocol import CITATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import JsonValue, StopReason, StreamElement, Usage
    from ._assembly import Assembly

__all__ = ["AnthropicAnswer"]

_STOP_REASONS: Final[dict[str, StopReason]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}  # all others, such as `end_turn` and `stop_sequence`, are a plain stop
_STREAMED = frozenset({"text", "thinking", "tool_use"})
_Event = dict[str, object]

_decoder = msgspec.json.Decoder(_Event)


class AnthropicAnswer:
    """Makes the elements of one answer out of its events.

    Args:
        assembly: Keeps what is said.
    """

    def __init__(self, assembly: Assembly) -> None:
        self.done = False
        """Whether the server has said that nothing follows."""
        self._assembly = assembly
        self._calls = AnthropicToolCalls(id=assembly.id, max_args_chars=assembly.max_answer_chars)
        self._blocks: dict[object, _Event] = {}
        self._inputs: dict[object, list[str]] = {}
        self._signatures: dict[object, str] = {}
        self._stop_reason: StopReason = "stop"

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, whatever becomes of the connection."""
        return self.done

    def take(self, data: str) -> Sequence[StreamElement]:
        """Take the data of one event, and return the elements in it.

        Raises:
            ProviderError: If it is an error object, malformed, or makes the answer too long.
        """
        try:
            event = _decoder.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            if not data:
                return ()
            raise self._assembly.failures.malformed(f"an event is no message event ({error})") from error
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._take_delta(event)
        if kind == "content_block_start":
            self._assembly.count(len(data))
            return self._start(event)
        if kind == "content_block_stop":
            return self._stop(event)
        if kind == "message_start":
            return self._take_head(_object(event.get("message")))
        if kind == "message_delta":
            return self._take_tail(event)
        if kind == "message_stop":
            self.done = True
            return self._take_calls_left()
        if kind == "error" or (kind is None and event.get("error")):
            raise self._assembly.failures.of_error(event.get("error"))
        return ()  # `ping`, and what is to come

    def finish(self) -> Sequence[StreamElement]:
        """Return the usage and the whole answer.

        Raises:
            ProviderError: If the answer is not whole; `truncated`.
        """
        if not self.done:
            raise self._assembly.failures.truncated("the stream ended without message_stop")
        return self._assembly.finish(self._stop_reason)

    def _take_head(self, message: _Event) -> Sequence[StreamElement]:
        model = message.get("model")
        self._assembly.model = model if isinstance(model, str) and model else self._assembly.model
        return self._assembly.used(self._usage(_object(message.get("usage"))), told=True)

    def _take_tail(self, event: _Event) -> Sequence[StreamElement]:
        reason = _object(event.get("delta")).get("stop_reason")
        if isinstance(reason, str):
            self._stop_reason = _STOP_REASONS.get(reason, "stop")
        return self._assembly.used(self._usage(_object(event.get("usage"))))

    def _take_delta(self, event: _Event) -> Sequence[StreamElement]:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return ()
        kind, index = delta.get("type"), event.get("index")
        if kind == "text_delta":
            text = delta.get("text")
            return (self._assembly.text(text),) if isinstance(text, str) and text else ()
        if kind == "thinking_delta":
            text = delta.get("thinking")
            return (self._assembly.thinking(text, index),) if isinstance(text, str) and text else ()
        if kind == "input_json_delta":
            return self._take_input(event, index, delta.get("partial_json"))
        if kind == "signature_delta":
            signature = delta.get("signature")
            if isinstance(signature, str):
                self._assembly.count(len(signature) or 1)
                self._signatures[_key(index)] = signature  # it replaces an earlier one
            return ()
        citation = delta.get("citation") if kind == "citations_delta" else None
        return () if citation is None else (self._data(CITATION, citation),)

    def _take_input(self, event: _Event, index: object, piece: object) -> Sequence[StreamElement]:
        pieces = self._inputs.get(_key(index))
        if pieces is None:
            return self._take_calls(event)
        if isinstance(piece, str):  # of a tool that the server runs by itself
            self._assembly.count(len(piece) or 1)
            pieces.append(piece)
        return ()

    def _start(self, event: _Event) -> Sequence[StreamElement]:
        block, index = _object(event.get("content_block")), _key(event.get("index"))
        kind = block.get("type")
        if kind == "tool_use":
            return self._take_calls(event)
        text = block.get(kind) if kind in {"text", "thinking"} else None
        if isinstance(text, str):
            self._blocks[index] = block
            if not text:
                return ()
            return (self._assembly.text(text) if kind == "text" else self._assembly.thinking(text, index),)
        if kind == "redacted_thinking":
            hidden = block.get("data")
            return self._assembly.seal(("hidden", index), signature=None, encrypted=hidden if isinstance(hidden, str) else None)
        if isinstance(kind, str):
            self._blocks[index] = block
            self._inputs[index] = []
        return ()

    def _stop(self, event: _Event) -> Sequence[StreamElement]:
        index = _key(event.get("index"))
        block = self._blocks.pop(index, None)
        if block is None:
            return self._take_calls(event)
        kind = block.get("type")
        if kind == "thinking":
            given = block.get("signature")
            signature = self._signatures.pop(index, given if isinstance(given, str) else "")
            return self._assembly.seal(index, signature=signature or None)
        pieces = self._inputs.pop(index, None)
        if kind == "text" or pieces is None:
            return ()
        if pieces:
            try:
                block = {**block, "input": msgspec.json.decode("".join(pieces))}
            except (msgspec.DecodeError, RecursionError) as error:
                raise self._assembly.failures.malformed(f"the input of a {kind} is no JSON ({error})") from error
        return (self._data(f"{ANTHROPIC_BLOCK}{kind}", block),)

    def _take_calls(self, event: _Event) -> Sequence[StreamElement]:
        try:
            return self._assembly.calls(self._calls.take(event))
        except DecodeError as error:
            raise self._assembly.failures.too_large(str(error), "max_answer_chars") from error

    def _take_calls_left(self) -> Sequence[StreamElement]:
        is_cut = self._stop_reason not in {"stop", "tool_calls"}
        return self._assembly.calls(self._calls.finish(truncated=is_cut))

    def _data(self, name: str, value: object) -> StreamElement:
        return self._assembly.data(name, cast("JsonValue", value), len(msgspec.json.encode(value)))

    def _usage(self, told: _Event) -> Usage | None:
        """Return what was used so far: what is said now, else what was said before."""
        if not told:
            return None
        read, written = _count(told, "cache_read_input_tokens"), _count(told, "cache_creation_input_tokens")
        fresh = _count(told, "input_tokens")
        before = self._assembly.usage
        cached = before.cached_tokens if read is None else read
        stored = before.cache_write_tokens if written is None else written
        # The server counts what it has read from its cache, or written to it, apart; our total includes both.
        total = before.input_tokens if fresh is None else fresh + (cached or 0) + (stored or 0)
        output = _count(told, "output_tokens")
        details = _count(_object(told.get("output_tokens_details")), "thinking_tokens")
        return msgspec.structs.replace(
            before,
            input_tokens=total,
            output_tokens=before.output_tokens if output is None else output,
            cached_tokens=cached,
            cache_write_tokens=stored,
            reasoning_tokens=before.reasoning_tokens if details is None else details,
        )


def _key(index: object) -> object:
    return index if isinstance(index, int) else None


def _count(told: _Event, name: str) -> int | None:
    count = told.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _object(value: object) -> _Event:
    return cast("_Event", value) if isinstance(value, dict) else {}
