"""The chat completions wire of OpenAI and its many imitators: a request to JSON, chunks to elements. Waits for nothing.

Above: `_openai`. Below: `_failures`, `elements`.
What servers get wrong and is put up with: no `[DONE]`, no usage, null where a list should be, `reasoning` or `reasoning_content` or
both. What is not: an answer without `finish_reason`, because then nobody knows whether it is whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ..elements import (
    Message,
    MessageElement,
    StopReason,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    Usage,
    UsageElement,
)
from ..errors import ProviderError

if TYPE_CHECKING:
    from ..elements import Part
    from ._failures import Failures
    from ._protocol import ModelRequest

__all__ = ["ChatAssembler", "encode_request"]

_STOP_REASONS: Final[dict[str, StopReason]] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}  # all others, such as `eos_token`, are a plain stop


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: object = None  # a text, or for some servers an object that says the same again


class _Choice(msgspec.Struct):
    index: int | None = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: object = None


_decoder = msgspec.json.Decoder(_Chunk)


def encode_request(request: ModelRequest, model: str | None) -> bytes:
    """Return the body of a request.

    Raises:
        ProviderError: If a message holds something else than text; `bad_request`.
    """
    body: dict[str, object] = {
        "messages": [_encode_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    options = {"model": model, "temperature": request.temperature, "max_tokens": request.max_tokens}
    body |= {name: value for name, value in options.items() if value is not None}
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:  # `from None`: the error would quote the prompt
        message = "a message holds a lone surrogate, which is no Unicode text; clean the text before the model"
        raise ProviderError("bad_request", message) from None


def _encode_message(message: Message) -> dict[str, str]:
    for part in message.parts:
        if not isinstance(part, (TextPart, ThinkingPart)):
            what = f"a message of role {message.role!r} holds a {type(part).__name__}"
            raise ProviderError("bad_request", f"{what}, which this provider cannot send; it sends text")
    encoded = {"role": message.role, "content": message.text}
    return encoded if message.name is None else {**encoded, "name": message.name}


class ChatAssembler:
    """Makes the elements of one answer out of its chunks.

    Args:
        id: Of all fragments and of the whole.
        provider: Named in the usage.
        model: Named in the usage, where the server does not say.
        max_answer_chars: Longest answer, its thoughts included.
        failures: Makes the errors.
    """

    def __init__(self, *, id: str, provider: str, model: str | None, max_answer_chars: int, failures: Failures) -> None:
        self.done = False
        """Whether the server has said that nothing follows."""
        self._id = id
        self._provider = provider
        self._model = model
        self._max_chars = max_answer_chars
        self._failures = failures
        self._runs: list[tuple[bool, list[str]]] = []
        self._chars = 0
        self._stop_reason: StopReason | None = None
        self._refused = False
        self._usage: _Usage | None = None

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, whatever becomes of the connection."""
        return self._stop_reason is not None

    def take(self, data: str) -> list[TextElement | ThinkingElement]:
        """Take the data of one event, and return the fragments in it.

        Raises:
            ProviderError: If it is an error object, malformed, or makes the answer too long.
        """
        if data == "[DONE]":
            self.done = True
            return []
        if not data:
            return []
        try:
            chunk = _decoder.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._failures.malformed(f"a chunk is no chat completion ({error})") from error
        if chunk.error:
            raise self._failures.of_error(chunk.error)
        self._usage = chunk.usage or self._usage
        self._model = chunk.model or self._model
        fragments: list[TextElement | ThinkingElement] = []
        for choice in chunk.choices or ():
            if choice.index:  # another answer to the same request, which was not asked for
                continue
            if choice.delta is not None:
                self._take_delta(choice.delta, fragments)
            if choice.finish_reason:
                self._stop_reason = _STOP_REASONS.get(choice.finish_reason, "stop")
        return fragments

    def finish(self) -> tuple[UsageElement | None, MessageElement]:
        """Return the usage, None where the server did not say, and the whole answer.

        Raises:
            ProviderError: If the answer is not whole; `truncated`.
        """
        if self._stop_reason is None:
            raise self._failures.truncated("the stream ended without a finish reason")
        parts: list[Part] = [
            ThinkingPart("".join(run)) if is_thinking else TextPart("".join(run)) for is_thinking, run in self._runs
        ]
        texts_only = not any(is_thinking for is_thinking, _ in self._runs)
        message = Message(
            "assistant",
            "".join(part.text for part in parts if isinstance(part, TextPart)) if texts_only else parts,
            id=self._id,
            stop_reason="refusal" if self._refused else self._stop_reason,
        )
        return self._usage_element(), MessageElement(message, id=self._id)

    def _take_delta(self, delta: _Delta, fragments: list[TextElement | ThinkingElement]) -> None:
        thought = delta.reasoning_content or delta.reasoning  # servers that send both send the same twice
        if isinstance(thought, str) and thought:
            self._keep(thought, is_thinking=True)
            fragments.append(ThinkingElement(thought, id=self._id))
        if delta.content:
            self._keep(delta.content, is_thinking=False)
            fragments.append(TextElement(delta.content, id=self._id))
        if delta.refusal:
            self._refused = True
            self._keep(delta.refusal, is_thinking=False)
            fragments.append(TextElement(delta.refusal, id=self._id))

    def _keep(self, text: str, *, is_thinking: bool) -> None:
        self._chars += len(text)
        if self._chars > self._max_chars:
            raise self._failures.too_large(f"more than {self._max_chars} characters in one answer", "max_answer_chars")
        if not self._runs or self._runs[-1][0] is not is_thinking:
            self._runs.append((is_thinking, []))
        self._runs[-1][1].append(text)

    def _usage_element(self) -> UsageElement | None:
        told = self._usage
        if told is None:
            return None
        read, written = told.prompt_tokens_details, told.completion_tokens_details
        usage = Usage(
            input_tokens=told.prompt_tokens,
            output_tokens=told.completion_tokens,
            cached_tokens=read.cached_tokens if read is not None else None,
            reasoning_tokens=written.reasoning_tokens if written is not None else None,
            model=self._model,
            provider=self._provider,
        )
        return UsageElement(usage, final=True)
