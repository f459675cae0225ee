"""What the chats of the command line were asked to do.

Above: `_main`, which parses it, and the commands. Below: nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..runtime import BackendName

__all__ = ["ChatOptions", "ModelOptions"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Options of the model, as they were given; None: not given."""

    provider: Literal["openai", "anthropic", "scripted"] | None = None
    """Whose wire the server speaks; `scripted` is offline. None: what the other options and the environment say."""
    base_url: str | None
    """Address of the server."""
    model: str | None
    """Name of the model."""
    api_key_env: str | None
    """Environment variable that holds the key."""
    offline: bool
    """Whether to stay offline, whatever the environment says."""
    timeout_s: float
    """Longest time of one answer, in seconds."""
    delay_s: float | None
    """Pause between the words of the offline provider, in seconds."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions(ModelOptions):
    """Options of the chat in the terminal."""

    system: str | None
    """What the model is told first."""
    tools: tuple[str, ...]
    """Names of the tools that it may call; none: the bundled ones offline, else no tools."""
    history: str | None
    """The SQLite file that keeps the conversations; None: they are forgotten at the end."""
    resume: str | None
    """Which conversation goes on: its id, or the beginning of it; empty: the last one."""
    list: bool
    """Whether to list the conversations instead of a chat."""
    wait_s: float
    """Longest time to wait for a first message on standard input that is no terminal, in seconds."""
    backend: BackendName
    """The event loop."""
    quiet: bool
    """Whether to print the answers alone."""
