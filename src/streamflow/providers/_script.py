"""What a scripted model is told to do: turns of steps, and which request each turn is for. Data, so that a file can hold it.

Above: `_scripted`, `_script_file`, tests. Below: `_protocol`, `elements`.
Rules: a text of a script may have placeholders; what a user or a tool said is put in once, in one pass, and never read as a
placeholder itself. Braces that name nothing known stay as they are.
"""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from ..elements import AudioFormat, JsonValue, StopReason, Usage
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..elements import ToolResultPart
    from ._protocol import ModelRequest

__all__ = [
    "AudioStep",
    "CitationStep",
    "CutStep",
    "DelayStep",
    "ErrorStep",
    "ImageStep",
    "MalformedStep",
    "RefusalStep",
    "ScriptTurn",
    "Step",
    "StopStep",
    "TextStep",
    "ThinkingStep",
    "ToolCallStep",
    "UsageStep",
    "When",
    "fill",
    "last_text",
    "split_chars",
    "split_randomly",
    "split_words",
    "values_of",
]

_PLACEHOLDER = re.compile(r"\{(\w[\w.-]*)\}")


class _Step(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=True, omit_defaults=True):
    """Base of the steps: what the model does next."""


class TextStep(_Step, frozen=True, tag="text"):
    """Say something."""

    text: str
    """What to say; may have placeholders, see `ScriptTurn`."""


class ThinkingStep(_Step, frozen=True, tag="thinking"):
    """Think something."""

    text: str
    """What to think; may have placeholders."""
    signature: str | None = None
    """The proof that comes with the last fragment."""


class ToolCallStep(_Step, frozen=True, tag="tool_call"):
    """Ask for a tool to be called."""

    name: str
    """Name of the tool."""
    args: Mapping[str, JsonValue] = msgspec.field(default_factory=dict[str, JsonValue])
    """Its arguments; texts in them may have placeholders."""
    call_id: str = ""
    """Joins the call and its result; empty: `call-N-M` for the M-th call of the N-th answer."""
    raw: str | None = None
    """The arguments as the model writes them, instead of `args`: what is no JSON object makes a call with an error."""


class UsageStep(_Step, frozen=True, tag="usage"):
    """Report what has been used so far; the last of a turn is its total. Without one it is an estimate."""

    usage: Usage | None = None
    """The running total; None: this server never says."""


class ImageStep(_Step, frozen=True, tag="image"):
    """Show a picture: its bytes or its address."""

    data: bytes | None = None
    """The encoded picture; base64 in a file."""
    mime: str | None = None
    """Media type, as in `image/png`."""
    url: str | None = None
    """Address of the picture."""

    def __post_init__(self) -> None:
        if (self.data is None) == (self.url is None):
            raise ConfigError("ImageStep", "needs either data or url")


class AudioStep(_Step, frozen=True, tag="audio"):
    """Play a piece of sound."""

    data: bytes
    """The sound; base64 in a file."""
    format: AudioFormat = "pcm16"
    """Encoding of the bytes."""
    sample_rate: int = 24000
    """Samples per second."""
    text: str | None = None
    """What is said in it."""


class CitationStep(_Step, frozen=True, tag="citation"):
    """Name a source of what has been said."""

    value: JsonValue
    """The citation, as the server at hand words it."""


class RefusalStep(_Step, frozen=True, tag="refusal"):
    """Refuse to answer; the stop reason is then `refusal`."""

    text: str
    """How it is put."""


class StopStep(_Step, frozen=True, tag="stop"):
    """Stop for a reason: `length` is an answer that is cut at its limit. Nothing behind it is played."""

    reason: StopReason = "stop"
    """Why the model stops."""


class DelayStep(_Step, frozen=True, tag="delay"):
    """Fall silent for a while: as the first step of a turn a slow first token, without a duration a server that hangs."""

    seconds: float = math.inf
    """How long, on the clock of the event loop; infinite: for ever."""

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ConfigError("DelayStep.seconds", f"{self.seconds} is no pause; give 0 or more seconds")


class ErrorStep(_Step, frozen=True, tag="error"):
    """Fail as a server does: with a status before anything was said, inside the stream afterwards."""

    code: str = "overloaded"
    """What kind of failure, as in `ProviderError`."""
    message: str = "the model is busy"
    """One line for a person."""
    retryable: bool | None = None
    """Whether the same request may succeed later; None: as is usual for the code."""
    retry_after_s: float | None = None
    """How long the server asks to wait before that, in seconds."""


class CutStep(_Step, frozen=True, tag="cut"):
    """Break the connection: what was said is no whole answer."""


class MalformedStep(_Step, frozen=True, tag="malformed"):
    """Send what is none of the protocol."""


Step: TypeAlias = (
    TextStep
    | ThinkingStep
    | ToolCallStep
    | UsageStep
    | ImageStep
    | AudioStep
    | CitationStep
    | RefusalStep
    | StopStep
    | DelayStep
    | ErrorStep
    | CutStep
    | MalformedStep
)
"""One thing that a scripted model does."""


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests a turn is for: those that fulfil all that is given."""

    text: str | None = None
    """A regular expression, looked for in the last text of the user; case is ignored."""
    tool_result: str | bool | None = None
    """Whether results of tools wait for an answer; a text: of the tool with that name."""
    call: int | None = None
    """The n-th call of this provider, from 1."""
    model: str | None = None
    """Name of the model that is asked for."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.text or "")
        except re.error as error:
            raise ConfigError("When.text", f"{self.text!r:.80} is no regular expression: {error}") from error
        if self.call is not None and self.call < 1:
            raise ConfigError("When.call", f"{self.call} is no number of a call; they are counted from 1")

    def matches(self, request: ModelRequest, call: int) -> bool:
        """Return whether the `call`-th request is meant."""
        waiting = _results_in_hand(request)
        if isinstance(self.tool_result, str):
            right_tools = any(result.name == self.tool_result for result in waiting)
        else:
            right_tools = self.tool_result is None or self.tool_result == bool(waiting)
        return (
            right_tools
            and self.call in {None, call}
            and self.model in {None, request.model}
            and (self.text is None or re.search(self.text, last_text(request), re.IGNORECASE) is not None)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ScriptTurn:
    r"""One answer of a scripted model, and the request that it is for.

    In its texts, and in the arguments of its calls, `{text}` is what the user said last, `{1}` and `{name}` are groups of `when`'s
    expression, `{result}` is the text of the latest tool result and `{result.NAME}` the latest of the tool NAME.

    ```python
    ScriptTurn([ToolCallStep("weather", {"city": "{1}"})], when=r"weather in (\w+)")
    ScriptTurn([TextStep("It is {result}.")], when=When(tool_result="weather"))
    ScriptTurn([ErrorStep("rate_limited", "slow down", retry_after_s=2)], times=2)
    ```

    Raises:
        ConfigError: If `when` is no regular expression, or `times` is no number.
    """

    steps: tuple[Step, ...] | list[Step]
    """What the model does, in order. A list that is given is kept as a tuple."""
    when: str | When | Callable[[ModelRequest], bool] | None = None
    """Which request it is for: a regular expression for the last text of the user, a `When`, a predicate; None: any."""
    times: int | None = 1
    """How often it is played; None: any number of times."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if isinstance(self.when, str):
            object.__setattr__(self, "when", When(text=self.when))
        if self.times is not None and self.times < 1:
            raise ConfigError("ScriptTurn.times", f"{self.times} is no number of times; give 1 or more, or None")

    def matches(self, request: ModelRequest, call: int) -> bool:
        """Return whether the `call`-th request is meant."""
        if isinstance(self.when, When):
            return self.when.matches(request, call)
        return self.when is None or cast("Callable[[ModelRequest], bool]", self.when)(request)


def last_text(request: ModelRequest) -> str:
    """Return the last text of the user, empty if there is none."""
    return next((message.text for message in reversed(request.messages) if message.role == "user" and message.text), "")


def _results_in_hand(request: ModelRequest) -> list[ToolResultPart]:
    """Return the tool results that came after the last message of the model."""
    found: list[ToolResultPart] = []
    for message in reversed(request.messages):
        if message.role == "assistant":
            break
        found[:0] = message.tool_results
    return found


def values_of(request: ModelRequest, expression: str | re.Pattern[str] | None = None) -> dict[str, str]:
    """Return what placeholders stand for.

    Args:
        request: Whose texts and tool results they are.
        expression: Whose groups they are, looked for in the last text of the user; a text ignores case.
    """
    text = last_text(request)
    values = {"text": text}
    for message in request.messages:
        for result in message.tool_results:
            values |= {"result": result.text, f"result.{result.name}": result.text}
    if expression is not None:
        found = re.search(expression, text, re.IGNORECASE if isinstance(expression, str) else 0)
        if found is not None:
            values |= {str(number): group or "" for number, group in enumerate(found.groups(), 1)}
            values |= found.groupdict("")
    return values


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace the known placeholders of a text, in one pass."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def split_words(text: str) -> list[str]:
    """Return the words of `text`, each with the white space before it, so that they join to `text`."""
    return re.findall(r"\s*\S+|\s+", text)


def split_chars(size: int = 1) -> Callable[[str], list[str]]:
    """Return a splitter that makes pieces of `size` characters.

    Raises:
        ConfigError: If `size` is not positive.
    """
    if size < 1:
        raise ConfigError("size", f"{size} is no number of characters; give 1 or more")
    return lambda text: [text[at : at + size] for at in range(0, len(text), size)]


def split_randomly(seed: int, longest: int = 8) -> Callable[[str], list[str]]:
    """Return a splitter that makes pieces of random length, the same for the same text.

    Args:
        seed: Other seeds make other pieces.
        longest: Most characters of a piece.

    Raises:
        ConfigError: If `longest` is not positive.
    """
    if longest < 1:
        raise ConfigError("longest", f"{longest} is no number of characters; give 1 or more")

    def split(text: str) -> list[str]:
        draw = random.Random(f"{seed}/{text}")  # noqa: S311 - nothing secret hangs on it
        pieces: list[str] = []
        at = 0
        while at < len(text):
            size = draw.randint(1, longest)
            pieces.append(text[at : at + size])
            at += size
        return pieces

    return split
