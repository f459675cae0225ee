"""What a model provider is: one method that streams elements.

Above: `_stage`, and every provider. Below: `elements`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

import msgspec

from ..elements import EMPTY_METADATA, JsonValue, Message
from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from ..elements import StreamElement

__all__ = [
    "CITATION",
    "Effort",
    "ModelRequest",
    "NamedTool",
    "OutputSchema",
    "Provider",
    "ToolChoice",
    "ToolSpec",
    "check_each",
    "checked_provider",
]

CITATION = "citation"
"""Name of the `DataElement` and the `DataPart` that say where a text is from; the value is as the server gave it."""

Effort = Literal["minimal", "low", "medium", "high"]
"""How long a model may think before it answers."""


class ToolSpec(msgspec.Struct, frozen=True):
    """What a model is told of a tool."""

    name: str
    """Name of the tool: letters, digits, `_` and `-`, at most 64."""
    description: str = ""
    """What it does and when to use it, for the model to read."""
    parameters: Mapping[str, JsonValue] = msgspec.field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON schema of its arguments, an object."""
    strict: bool = False
    """Whether the server is to hold the model to the schema, where it can."""


class NamedTool(msgspec.Struct, frozen=True):
    """The choice of one tool by its name."""

    name: str
    """Name of the tool that must be called."""


ToolChoice: TypeAlias = Literal["auto", "none", "required"] | NamedTool
"""Whether the model may, may not or must call tools, or which one it must call."""


class OutputSchema(msgspec.Struct, frozen=True):
    """The form that an answer must have."""

    schema: Mapping[str, JsonValue]
    """JSON schema of the answer."""
    name: str = "answer"
    """Name of the form, which some servers ask for."""
    strict: bool = True
    """Whether the server is to hold the model to the schema, where it can."""


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model.

    Raises:
        ConfigError: If `messages` are no messages, or `tools` no descriptions of tools.
    """

    messages: tuple[Message, ...]
    """The conversation, oldest first; system messages first of all."""
    model: str | None = None
    """Name of the model; None: the provider's default."""
    temperature: float | None = None
    """How freely it samples, from 0; None: the server's default."""
    max_tokens: int | None = None
    """Most tokens that it may answer with; None: the server's default."""
    tools: tuple[ToolSpec, ...] = ()
    """What it may call."""
    tool_choice: ToolChoice = "auto"
    """Whether it may, may not or must call a tool."""
    parallel_tools: bool | None = None
    """Whether it may call several tools in one answer; None: the server's default."""
    output: OutputSchema | None = None
    """The form that the answer must have; None: free text."""
    effort: Effort | None = None
    """How long it may think; None: the server's default."""
    thinking_tokens: int | None = None
    """Most tokens to think with, for servers that count them; None: the server's default, 0: do not think."""
    stop: tuple[str, ...] = ()
    """Texts at which it is to stop."""
    top_p: float | None = None
    """Share of the likeliest tokens to choose from, above 0 to 1; None: the server's default."""
    seed: int | None = None
    """Makes sampling repeatable where the server can; None: not asked for."""
    extra: Mapping[str, JsonValue] = EMPTY_METADATA
    """Further fields of the request's body, as the server at hand names them. None of them may be what another field says."""

    def __post_init__(self) -> None:
        check_each("messages", self.messages, Message, "Message('user', 'Hello')")
        check_each("tools", self.tools, ToolSpec, "ToolSpec('weather')")


class Provider(Protocol):
    """A source of model answers. One object serves any number of concurrent calls."""

    @property
    def name(self) -> str:
        """What it is called in errors and usage."""
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Call the model and give its answer as it arrives.

        Out: fragments (`TextElement`, `ThinkingElement`, `ToolCallDelta`, `AudioElement`) and what comes whole (`ToolCallElement`
        after its fragments, `ImageElement`, a `DataElement` for a citation), which share one `id`; running `UsageElement`s and a
        final one if usage is known; last, exactly once, the `MessageElement` with that `id`, which equals its fragments and
        carries the stop reason. What proves thoughts comes with their last fragment; what hides them, and what the server's own
        tools said, is in the message too, to be sent back. Whether calls may be executed is for the stop reason to say, not for
        the call's being there.

        Cancellation: closing the generator, or cancelling the task that iterates it, ends the request at the server's socket.

        Raises:
            ProviderError: If the call fails, also in the middle; a stream that ends before it is complete is `truncated`.
        """
        ...


def checked_provider(given: Provider, field: str = "provider") -> Provider:
    """Return what can answer requests. What was given is not repeated: it may be a key that was put into the wrong place.

    Raises:
        ConfigError: If it cannot.
    """
    if isinstance(given, type) or not callable(getattr(given, "stream", None)):
        what = f"the class {given.__name__}" if isinstance(given, type) else f"a value of type {type(given).__name__}"
        raise ConfigError(
            field, f"{what} is no Provider; give one, or as_provider(…), which makes one of a name or a client"
        )
    return given


def check_each(field: str, given: object, kind: type, example: str) -> None:
    """Check that a field is a sequence of one type; what is told of it is its types alone.

    Raises:
        ConfigError: If it is not.
    """
    if not isinstance(given, tuple | list):
        raise ConfigError(field, f"of type {type(given).__name__} are given; give a tuple, as in ({example},)")
    wrong = next((one for one in cast("Sequence[object]", given) if not isinstance(one, kind)), None)
    if wrong is not None:
        raise ConfigError(field, f"one is a {type(wrong).__name__}; give each as a {kind.__name__}, as in {example}")
