"""An answer in the making: what a wire says becomes fragments, and in the end the whole that equals them.

Above: `_chat_answer`, `_responses_answer`, `_anthropic_answer`. Below: `_failures`, `elements`.
Rules: parts stand in the order in which they began. Text goes on where text was last; thoughts go on while their key is the same; a
sealed thought is never gone on with. The size of an answer is counted in one number, whatever it consists of.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, NoReturn

import msgspec

from ..elements import (
    AudioElement,
    AudioPart,
    DataElement,
    DataPart,
    ImageElement,
    ImagePart,
    Message,
    MessageElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallElement,
    ToolCallPart,
    Usage,
    UsageElement,
)
from ..errors import ElementError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..elements import AudioFormat, JsonValue, Part, StopReason, StreamElement
    from ..wire import ToolCallPiece
    from ._failures import Failures

__all__ = ["Assembly"]


class _Thought:
    """Thoughts that may go on."""

    __slots__ = ("encrypted", "key", "sealed", "signature", "texts")

    def __init__(self, key: object) -> None:
        self.key = key
        self.texts: list[str] = []
        self.signature: str | None = None
        self.encrypted: str | None = None
        self.sealed = False


class _Sound:
    """Sound that may go on."""

    __slots__ = ("data", "format", "sample_rate", "texts", "untold")

    def __init__(self, format: AudioFormat, sample_rate: int) -> None:
        self.format: AudioFormat = format
        self.sample_rate = sample_rate
        self.data: list[bytes] = []
        self.texts: list[str] = []
        self.untold: list[str] = []


class Assembly:
    """Keeps what an answer says, and makes its elements.

    Args:
        id: Of all fragments and of the whole.
        provider: Named in the usage.
        model: Named in the usage, where the server does not say.
        max_answer_chars: Longest answer: text, thoughts, arguments of tools, encoded media.
        failures: Makes the errors.
    """

    def __init__(self, *, id: str, provider: str, model: str | None, max_answer_chars: int, failures: Failures) -> None:
        self.id = id
        """Of all fragments and of the whole."""
        self.model = model
        """The model that answers, as the server calls it."""
        self.failures = failures
        """Makes the errors."""
        self.max_answer_chars: int = max_answer_chars
        """Longest answer."""
        self._provider = provider
        self._left = max_answer_chars
        self._parts: list[Part | list[str] | _Thought | _Sound] = []
        self._text: list[str] | None = None
        self._thought: _Thought | None = None
        self._sound: _Sound | None = None
        self._usage: Usage | None = None

    def text(self, text: str) -> TextElement:
        """Keep a fragment of text, and return it as an element."""
        self._left -= len(text)
        if self._left < 0:
            self._refuse_more()
        if self._text is None:
            self._text = []
            self._open(self._text)
        self._text.append(text)
        return TextElement(text, id=self.id)

    def thinking(self, text: str, key: object = None) -> ThinkingElement:
        """Keep a fragment of the thoughts with this key, and return it as an element."""
        self.count(len(text))
        self._thought_of(key).texts.append(text)
        return ThinkingElement(text, id=self.id)

    def seal(self, key: object, *, signature: str | None, encrypted: str | None = None) -> list[StreamElement]:
        """End the thoughts with this key with what proves or hides them."""
        self.count(len(signature or "") + len(encrypted or ""))
        thought = self._thought_of(key)
        thought.signature, thought.encrypted, thought.sealed = signature, encrypted, True
        return [ThinkingElement("", signature=signature, id=self.id)] if signature and thought.texts else []

    def calls(self, pieces: Iterable[ToolCallPiece]) -> Sequence[ToolCallPiece]:
        """Keep what is whole of tool calls, and return all of it."""
        told = list(pieces)
        for piece in told:
            if isinstance(piece, ToolCallElement):
                self._close(ToolCallPart(piece.call_id, piece.name, piece.args, piece.raw))
            else:
                self.count(len(piece.args) or 1)
        return told

    def data(self, name: str, value: JsonValue, size: int) -> DataElement:
        """Keep a named value that took `size` characters, and return it as an element."""
        self.count(size)
        try:
            element = DataElement(name, value, id=self.id)
        except ElementError as error:  # such as a number beyond all limits
            raise self.failures.malformed(f"it sent a {name} that is no value ({error})") from error
        self._close(DataPart(name, element.value))
        return element

    def image(self, encoded: str, mime: str | None) -> ImageElement:
        """Keep a picture in base64, and return it as an element."""
        data = self._decoded(encoded, "picture")
        self._close(ImagePart(data, mime))
        return ImageElement(data, mime, id=self.id)

    def image_at(self, url: str) -> ImageElement:
        """Keep the address of a picture, and return it as an element."""
        self.count(len(url))
        self._close(ImagePart(url=url))
        return ImageElement(url=url, id=self.id)

    def sound(self, encoded: str, format: AudioFormat, sample_rate: int) -> AudioElement:
        """Keep a piece of sound in base64, and return it as an element, with what is said in it as far as it is known."""
        data = self._decoded(encoded, "sound")
        sound = self._sound_of(format, sample_rate)
        sound.data.append(data)
        return self._sound_element(sound, data)

    def transcript(self, text: str, format: AudioFormat, sample_rate: int) -> None:
        """Keep what is said in the sound; it goes with the next piece of it."""
        self.count(len(text))
        sound = self._sound_of(format, sample_rate)
        sound.texts.append(text)
        sound.untold.append(text)

    def used(self, usage: Usage | None, *, told: bool = False) -> list[StreamElement]:
        """Keep what was used so far, and return it as an element if `told`."""
        if usage is None:
            return []
        self._usage = usage
        return [UsageElement(self._named(usage))] if told else []

    def count(self, size: int) -> None:
        """Count what is kept of the answer.

        Raises:
            ProviderError: If the answer is longer than `max_answer_chars`; `protocol`.
        """
        self._left -= size
        if self._left < 0:
            self._refuse_more()

    @property
    def usage(self) -> Usage:
        """What was used so far, as the server has said."""
        return self._usage or Usage()

    def finish(self, stop_reason: StopReason) -> list[StreamElement]:
        """Return the last elements of the answer: what is left of the sound, the usage if known, the whole."""
        elements: list[StreamElement] = []
        if self._sound is not None and self._sound.untold:
            elements.append(self._sound_element(self._sound, b""))
        if self._usage is not None:
            elements.append(UsageElement(self._named(self._usage), final=True))
        parts = [part for kept in self._parts if (part := _part_of(kept)) is not None]
        is_text = all(isinstance(part, TextPart) for part in parts)
        content = "".join(part.text for part in parts if isinstance(part, TextPart)) if is_text else parts
        message = Message("assistant", content, id=self.id, stop_reason=stop_reason)
        elements.append(MessageElement(message, id=self.id))
        return elements

    def _named(self, usage: Usage) -> Usage:
        return msgspec.structs.replace(usage, model=self.model, provider=self._provider)

    def _thought_of(self, key: object) -> _Thought:
        thought = self._thought
        if thought is not None and not thought.sealed and thought.key == key:
            return thought
        for kept in reversed(self._parts):  # fragments of another one may have come between
            if isinstance(kept, _Thought) and not kept.sealed and kept.key == key and key is not None:
                return kept
        thought = _Thought(key)
        self._open(thought)
        self._thought = thought
        return thought

    def _sound_of(self, format: AudioFormat, sample_rate: int) -> _Sound:
        if self._sound is None:
            self._sound = _Sound(format, sample_rate)
            self._parts.append(self._sound)
        return self._sound

    def _sound_element(self, sound: _Sound, data: bytes) -> AudioElement:
        text = "".join(sound.untold) or None
        sound.untold.clear()
        return AudioElement(data, sample_rate=sound.sample_rate, format=sound.format, text=text, id=self.id)

    def _open(self, part: list[str] | _Thought) -> None:
        self._parts.append(part)
        self._thought = None
        if isinstance(part, _Thought):
            self._text = None

    def _close(self, part: Part) -> None:
        """Keep a part that comes whole; what follows begins anew."""
        self.count(1)
        self._parts.append(part)
        self._text = self._thought = None

    def _decoded(self, encoded: str, what: str) -> bytes:
        self.count(len(encoded))
        try:
            return binascii.a2b_base64(encoded)
        except (binascii.Error, ValueError) as error:
            raise self.failures.malformed(f"it sent a {what} that is no base64") from error

    def _refuse_more(self) -> NoReturn:
        what = f"more than {self.max_answer_chars} characters in one answer"
        raise self.failures.too_large(what, "max_answer_chars")


def _part_of(kept: Part | list[str] | _Thought | _Sound) -> Part | None:
    if isinstance(kept, list):
        return TextPart("".join(kept))
    if isinstance(kept, _Thought):
        return ThinkingPart("".join(kept.texts), kept.signature, kept.encrypted)
    if isinstance(kept, _Sound):
        transcript = "".join(kept.texts) or None
        data, rate = b"".join(kept.data), kept.sample_rate
        raw = kept.format in {"pcm16", "float32", "mulaw", "alaw"}
        return AudioPart(data, kept.format, sample_rate=rate, channels=1 if raw else None, transcript=transcript)
    return kept
