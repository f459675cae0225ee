"""One answer of a scripted model: steps to elements, in the order of the protocol. Waits for nothing.

Above: `_scripted`. Below: `_script`, `elements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never, cast

import msgspec

from ..elements import (
    EMPTY_METADATA,
    AudioElement,
    AudioPart,
    DataElement,
    DataPart,
    ImageElement,
    ImagePart,
    Message,
    MessageElement,
    Metadata,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallDelta,
    ToolCallElement,
    ToolCallPart,
    Usage,
    UsageElement,
)
from ..errors import ProviderError
from ._protocol import CITATION
from ._script import (
    AudioStep,
    CitationStep,
    CutStep,
    DelayStep,
    ErrorStep,
    ImageStep,
    MalformedStep,
    RefusalStep,
    StopStep,
    TextStep,
    ThinkingStep,
    ToolCallStep,
    UsageStep,
    fill,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..elements import JsonValue, Part, StopReason, StreamElement
    from ._protocol import ModelRequest
    from ._script import Step

__all__ = ["Playing"]

_REFUSAL: Final = Metadata({"refusal": True})  # wires send the words of a refusal apart from those of an answer
_RETRYABLE: Final = frozenset({"rate_limited", "overloaded", "transport", "truncated"})


class Playing:
    """Makes the elements of one answer out of its steps.

    Args:
        id: Of all elements of the answer.
        request: What is answered.
        call: Number of the call, from 1.
        provider: Named in errors and usage.
        split: Cuts texts and arguments into tokens.
    """

    def __init__(
        self, id: str, request: ModelRequest, *, call: int, provider: str, split: Callable[[str], Iterable[str]]
    ) -> None:
        self.stopped: bool = False
        """Whether the answer is over, whatever steps are left."""
        self._id = id
        self._request = request
        self._call = call
        self._provider = provider
        self._split = split
        self._parts: list[Part] = []
        self._tokens = 0
        self._room = request.max_tokens
        self._tool_calls = 0
        self._stop_reason: StopReason | None = None
        self._usage: Usage | None = None
        self._says_usage = True

    def take(self, step: Step, values: Mapping[str, str]) -> Iterator[StreamElement]:
        """Yield the elements of a step.

        Args:
            step: A `DelayStep` gives nothing: waiting is for whoever knows a clock.
            values: What the placeholders of its texts stand for.

        Raises:
            ProviderError: If the step is a fault.
        """
        match step:
            case TextStep():
                yield from self._say(fill(step.text, values))
            case RefusalStep():
                self._stop_reason = "refusal"
                yield from self._say(fill(step.text, values), _REFUSAL)
            case ThinkingStep():
                yield from self._think(fill(step.text, values), step.signature)
            case ToolCallStep():
                yield from self._ask_for_tool(step, values)
            case UsageStep():
                self._usage = step.usage
                self._says_usage = step.usage is not None
                if step.usage is not None:
                    yield UsageElement(self._named(step.usage))
            case ImageStep() | AudioStep() | CitationStep():
                yield self._show(step)
            case StopStep():
                self._stop_reason = step.reason
                self.stopped = True
            case ErrorStep() | CutStep() | MalformedStep():
                raise self._failure(step)
            case DelayStep():
                pass
            case _:
                assert_never(step)

    def end(self) -> Iterator[StreamElement]:
        """Yield the final usage, unless the script says that there is none, and the whole."""
        if self._says_usage:
            yield UsageElement(self._named(self._usage or self._estimate()), final=True)
        parts = self._parts
        plain = not parts or (len(parts) == 1 and isinstance(parts[0], TextPart))
        message = Message(
            "assistant",
            "".join(part.text for part in parts if isinstance(part, TextPart)) if plain else parts,
            id=self._id,
            stop_reason=self._stop_reason or ("tool_calls" if self._tool_calls else "stop"),
        )
        yield MessageElement(message, id=self._id)

    def _say(self, text: str, metadata: Metadata = EMPTY_METADATA) -> Iterator[StreamElement]:
        tokens = list(self._split(text))
        if self._room is not None:
            if len(tokens) > self._room:
                tokens = tokens[: self._room]
                self._stop_reason = "length"
                self.stopped = True
            self._room -= len(tokens)
        said = "".join(tokens)
        self._tokens += len(tokens)
        if said:
            before = self._parts[-1] if self._parts else None
            if isinstance(before, TextPart):
                self._parts[-1] = TextPart(before.text + said)
            else:
                self._parts.append(TextPart(said))
        for token in tokens:
            yield TextElement(token, id=self._id, metadata=metadata)

    def _think(self, text: str, signature: str | None) -> Iterator[StreamElement]:
        tokens = list(self._split(text)) or ([""] if signature is not None else [])
        self._tokens += len(tokens)
        if tokens:
            self._parts.append(ThinkingPart(text, signature))
        for place, token in enumerate(tokens, 1):
            yield ThinkingElement(token, id=self._id, signature=signature if place == len(tokens) else None)

    def _ask_for_tool(self, step: ToolCallStep, values: Mapping[str, str]) -> Iterator[StreamElement]:
        index = self._tool_calls
        self._tool_calls += 1
        call_id = step.call_id or f"call-{self._call}-{self._tool_calls}"
        # A text that replaces a placeholder is encoded after it was put in, so no quote in it can break the JSON.
        raw = step.raw if step.raw is not None else msgspec.json.encode(_filled(step.args, values)).decode()
        tokens = list(self._split(raw)) or [""]
        self._tokens += len(tokens)
        for token in tokens:
            yield ToolCallDelta(call_id, step.name, token, index, id=self._id)
        args, error = _read(raw)
        self._parts.append(ToolCallPart(call_id, step.name, args, raw))
        yield ToolCallElement(call_id, step.name, args, raw, error, index, id=self._id)

    def _show(self, step: ImageStep | AudioStep | CitationStep) -> StreamElement:
        match step:
            case ImageStep():
                self._parts.append(ImagePart(step.data, step.mime, step.url))
                return ImageElement(step.data, step.mime, step.url, id=self._id)
            case AudioStep():
                rate, said = step.sample_rate, step.text
                part = AudioPart(step.data, step.format, sample_rate=rate, channels=1, transcript=said)
                self._parts.append(part)
                return AudioElement(step.data, rate, format=step.format, text=said, id=self._id)
            case CitationStep():
                self._parts.append(DataPart(CITATION, step.value))
                return DataElement(CITATION, step.value, id=self._id)
            case _:
                assert_never(step)

    def _failure(self, step: ErrorStep | CutStep | MalformedStep) -> ProviderError:
        match step:
            case CutStep():
                return ProviderError(
                    "truncated", f"the answer of {self._provider!r} was cut off: the connection broke", True
                )
            case MalformedStep():
                return ProviderError("protocol", f"{self._provider!r} sent what is no event of its protocol")
            case ErrorStep():
                retryable = step.code in _RETRYABLE if step.retryable is None else step.retryable
                return ProviderError(step.code, step.message, retryable, step.retry_after_s)
            case _:
                assert_never(step)

    def _estimate(self) -> Usage:
        read = sum(len(list(self._split(message.text))) for message in self._request.messages)
        return Usage(input_tokens=read, output_tokens=self._tokens, estimated=True)

    def _named(self, usage: Usage) -> Usage:
        return msgspec.structs.replace(
            usage, model=usage.model or self._request.model or self._provider, provider=usage.provider or self._provider
        )


def _filled(value: JsonValue, values: Mapping[str, str]) -> JsonValue:
    """Return a JSON value whose texts have their placeholders replaced."""
    if isinstance(value, str):
        return fill(value, values)
    if isinstance(value, dict | Metadata):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, values) for item in value]
    return value


def _read(raw: str) -> tuple[dict[str, JsonValue], str | None]:
    """Return the arguments that a model wrote, and what is wrong with them."""
    try:
        decoded: object = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        return {}, f"the arguments are no JSON: {error}"
    if not isinstance(decoded, dict):
        return {}, "the arguments are no JSON object"
    return cast("dict[str, JsonValue]", decoded), None
