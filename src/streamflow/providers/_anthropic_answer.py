"""The answers of Anthropic's Messages: events to elements. Waits for nothing.

Above: `_wires`. Below: `_assembly`, `wire`.
An `error` may come in the middle of a response that began as a success. Usage is cumulative: a later number replaces the earlier,
and one that is not said again still holds. The answer is whole at `message_stop`, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from ..errors import DecodeError
from ..wire import AnthropicToolCalls
from ._anthropic_request import ANTHROPIC_BLOCK
from ._json import JsonObject, count_of, decoded, object_decoder, object_of, scalar_of, text_of
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
_STREAMED = frozenset({"text", "thinking"})


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
        self._blocks: dict[object, JsonObject] = {}
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
            event = decoded(object_decoder, data)
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
            return self._take_head(object_of(event.get("message")))
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

    def _take_head(self, message: JsonObject) -> Sequence[StreamElement]:
        self._assembly.model = text_of(message.get("model")) or self._assembly.model
        return self._assembly.used(self._usage(object_of(message.get("usage"))), told=True)

    def _take_tail(self, event: JsonObject) -> Sequence[StreamElement]:
        reason = object_of(event.get("delta")).get("stop_reason")
        if isinstance(reason, str):
            self._stop_reason = _STOP_REASONS.get(reason, "stop")
        return self._assembly.used(self._usage(object_of(event.get("usage"))))

    def _take_delta(self, event: JsonObject) -> Sequence[StreamElement]:
        delta, index = object_of(event.get("delta")), scalar_of(event.get("index"))
        kind = delta.get("type")
        if kind == "text_delta":
            text = text_of(delta.get("text"))
            return (self._assembly.text(text),) if text else ()
        if kind == "thinking_delta":
            text = text_of(delta.get("thinking"))
            return (self._assembly.thinking(text, index),) if text else ()
        if kind == "input_json_delta":
            return self._take_input(event, index, text_of(delta.get("partial_json")))
        if kind == "signature_delta":
            signature = text_of(delta.get("signature"))
            self._assembly.count(len(signature) or 1)
            self._signatures[index] = signature  # it replaces an earlier one
            return ()
        citation = delta.get("citation") if kind == "citations_delta" else None
        return () if citation is None else (self._data(CITATION, citation),)

    def _take_input(self, event: JsonObject, index: object, piece: str) -> Sequence[StreamElement]:
        pieces = self._inputs.get(index)
        if pieces is None:
            return self._take_calls(event)
        self._assembly.count(len(piece) or 1)  # of a tool that the server runs by itself
        pieces.append(piece)
        return ()

    def _start(self, event: JsonObject) -> Sequence[StreamElement]:
        block, index = object_of(event.get("content_block")), scalar_of(event.get("index"))
        kind = text_of(block.get("type"))
        if kind == "tool_use":
            return self._take_calls(event)
        if kind == "redacted_thinking":
            hidden = text_of(block.get("data")) or None
            return self._assembly.seal(("hidden", index), signature=None, encrypted=hidden)
        self._blocks[index] = block
        if kind in _STREAMED:
            text = text_of(block.get(kind))  # as a rule empty: the deltas say it
            if not text:
                return ()
            return (self._assembly.text(text) if kind == "text" else self._assembly.thinking(text, index),)
        self._inputs[index] = []
        return ()

    def _stop(self, event: JsonObject) -> Sequence[StreamElement]:
        index = scalar_of(event.get("index"))
        block = self._blocks.pop(index, None)
        if block is None:
            return self._take_calls(event)
        kind = text_of(block.get("type"))
        if kind == "thinking":
            signature = self._signatures.pop(index, text_of(block.get("signature")))
            return self._assembly.seal(index, signature=signature or None)
        pieces = self._inputs.pop(index, None)
        if pieces is None or not kind:
            return ()
        if pieces:
            try:
                block = {**block, "input": msgspec.json.decode("".join(pieces))}
            except (msgspec.DecodeError, RecursionError) as error:
                raise self._assembly.failures.malformed(f"the input of a {kind} is no JSON ({error})") from error
        return (self._data(f"{ANTHROPIC_BLOCK}{kind}", block),)

    def _take_calls(self, event: JsonObject) -> Sequence[StreamElement]:
        try:
            return self._assembly.calls(self._calls.take(event))
        except DecodeError as error:
            raise self._assembly.failures.too_large(str(error), "max_answer_chars") from error

    def _take_calls_left(self) -> Sequence[StreamElement]:
        is_cut = self._stop_reason not in {"stop", "tool_calls"}
        return self._assembly.calls(self._calls.finish(truncated=is_cut))

    def _data(self, name: str, value: object) -> StreamElement:
        return self._assembly.data(name, cast("JsonValue", value), len(msgspec.json.encode(value)))

    def _usage(self, told: JsonObject) -> Usage | None:
        """Return what was used so far: what is said now, else what was said before."""
        if not told:
            return None
        read, written = count_of(told, "cache_read_input_tokens"), count_of(told, "cache_creation_input_tokens")
        fresh = count_of(told, "input_tokens")
        before = self._assembly.usage
        cached = before.cached_tokens if read is None else read
        stored = before.cache_write_tokens if written is None else written
        # The server counts what it has read from its cache, or written to it, apart; our total includes both.
        total = before.input_tokens if fresh is None else fresh + (cached or 0) + (stored or 0)
        output = count_of(told, "output_tokens")
        details = count_of(object_of(told.get("output_tokens_details")), "thinking_tokens")
        return msgspec.structs.replace(
            before,
            input_tokens=total,
            output_tokens=before.output_tokens if output is None else output,
            cached_tokens=cached,
            cache_write_tokens=stored,
            reasoning_tokens=before.reasoning_tokens if details is None else details,
        )
