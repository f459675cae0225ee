"""The answers of OpenAI's chat completions, and of its many imitators: chunks to elements. Waits for nothing.

Above: `_wires`. Below: `_assembly`, `wire`.
What servers get wrong and is put up with: no `[DONE]`, no usage, null where a list should be, `reasoning` or `reasoning_content` or
both, a `message` in place of a `delta`, the reason `stop` for an answer that calls tools, and what `ChatToolCalls` repairs. What is
not: an answer without `finish_reason`, because then nobody knows whether it is whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from ..elements import Usage
from ..errors import DecodeError
from ..wire import ChatToolCalls
from ._json import decoded, object_of, objects_of, text_of
from ._protocol import CITATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import AudioFormat, JsonValue, StopReason, StreamElement
    from ._assembly import Assembly

__all__ = ["ChatAnswer"]

_STOP_REASONS: Final[dict[str, StopReason]] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "refusal",
    "error": "error",
}  # all others, such as `eos_token`, are a plain stop
_SOUND_RATE = 24000  # of the samples that OpenAI's models speak in


class _Audio(msgspec.Struct):
    data: str | None = None
    transcript: str | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: object = None  # a text, or for some servers an object that says the same again
    tool_calls: object = None
    function_call: object = None
    audio: _Audio | None = None
    images: object = None
    annotations: object = None


class _Choice(msgspec.Struct):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    cost: float | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: object = None


_decoder = msgspec.json.Decoder(_Chunk)


class ChatAnswer:
    """Makes the elements of one answer out of its chunks.

    Args:
        assembly: Keeps what is said.
        sound: Encoding of the sound that was asked for.
    """

    def __init__(self, assembly: Assembly, *, sound: AudioFormat = "pcm16") -> None:
        self.done = False
        """Whether the server has said that nothing follows."""
        self._assembly = assembly
        self._sound: AudioFormat = sound
        self._calls = ChatToolCalls(id=assembly.id, max_args_chars=assembly.max_answer_chars)
        self._has_calls = False
        self._stop_reason: StopReason | None = None
        self._refused = False

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, whatever becomes of the connection."""
        return self._stop_reason is not None

    def take(self, data: str) -> Sequence[StreamElement]:
        """Take the data of one event, and return the elements in it.

        Raises:
            ProviderError: If it is an error object, malformed, or makes the answer too long.
        """
        if data == "[DONE]":
            self.done = True
            return ()
        if not data:
            return ()
        assembly = self._assembly
        try:
            chunk = decoded(_decoder, data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise assembly.failures.malformed(f"a chunk is no chat completion ({error})") from error
        if chunk.error:
            raise assembly.failures.of_error(chunk.error)
        if chunk.usage is not None:
            assembly.used(_usage(chunk.usage))
        assembly.model = chunk.model or assembly.model
        elements: list[StreamElement] = []
        for choice in chunk.choices or ():
            if choice.index:  # another answer to the same request, which was not asked for
                continue
            delta = choice.delta or choice.message
            if delta is not None:
                self._take_delta(delta, elements)
            if choice.finish_reason and self._stop_reason is None:
                self._end(_STOP_REASONS.get(choice.finish_reason, "stop"), elements)
        return elements

    def finish(self) -> Sequence[StreamElement]:
        """Return the usage, where the server said it, and the whole answer.

        Raises:
            ProviderError: If the answer is not whole; `truncated`.
        """
        if self._stop_reason is None:
            raise self._assembly.failures.truncated("the stream ended without a finish reason")
        return self._assembly.finish("refusal" if self._refused else self._stop_reason)

    def _end(self, reason: StopReason, elements: list[StreamElement]) -> None:
        # A server that was told which tool to call says `stop`: that the call is complete is what counts.
        self._stop_reason = "tool_calls" if self._has_calls and reason == "stop" else reason
        if self._has_calls:
            elements += self._assembly.calls(self._calls.finish(truncated=reason not in {"stop", "tool_calls"}))

    def _take_delta(self, delta: _Delta, elements: list[StreamElement]) -> None:
        assembly = self._assembly
        thought = delta.reasoning_content or delta.reasoning  # servers that send both send the same twice
        if isinstance(thought, str) and thought:
            elements.append(assembly.thinking(thought))
        if delta.content:
            elements.append(assembly.text(delta.content))
        if delta.refusal:
            self._refused = True
            elements.append(assembly.text(delta.refusal))
        if delta.tool_calls or delta.function_call:
            self._take_calls(delta, elements)
        if delta.audio is not None:
            if delta.audio.transcript:
                assembly.transcript(delta.audio.transcript, self._sound, _SOUND_RATE)
            if delta.audio.data:
                elements.append(assembly.sound(delta.audio.data, self._sound, _SOUND_RATE))
        if delta.images or delta.annotations:
            self._take_things(delta, elements)

    def _take_calls(self, delta: _Delta, elements: list[StreamElement]) -> None:
        if self._stop_reason is not None:  # calls are whole by now, and may already be on their way to be executed
            raise self._assembly.failures.malformed("a tool call goes on after the finish reason")
        given = delta.tool_calls or [{"function": delta.function_call}]
        self._has_calls = self._has_calls or bool(objects_of(given))
        try:
            elements += self._assembly.calls(self._calls.take(given))
        except DecodeError as error:
            raise self._assembly.failures.too_large(str(error), "max_answer_chars") from error

    def _take_things(self, delta: _Delta, elements: list[StreamElement]) -> None:
        """Take pictures, and where a text is from."""
        for image in objects_of(delta.images):
            if url := text_of(object_of(image.get("image_url")).get("url")):
                head, comma, encoded = url.partition(",")
                is_inline = comma and head.startswith("data:") and head.endswith(";base64")
                mime = head.removeprefix("data:").partition(";")[0] or None
                elements.append(self._assembly.image(encoded, mime) if is_inline else self._assembly.image_at(url))
        for annotation in objects_of(delta.annotations):
            size = len(msgspec.json.encode(annotation))
            elements.append(self._assembly.data(CITATION, cast("JsonValue", annotation), size))


def _usage(told: _Usage) -> Usage:
    read, written = told.prompt_tokens_details or _Details(), told.completion_tokens_details or _Details()
    return Usage(
        input_tokens=told.prompt_tokens,
        output_tokens=told.completion_tokens,
        cached_tokens=read.cached_tokens,
        cache_write_tokens=read.cache_write_tokens,
        reasoning_tokens=written.reasoning_tokens,
        cost_usd=told.cost,
    )
