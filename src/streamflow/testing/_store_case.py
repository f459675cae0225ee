"""What the rules of stores are tried on, and what their checks share.

Above: `_check_store`, the modules with the rules. Below: `_conformance`, `state`.
"""

from __future__ import annotations

import dataclasses
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..elements import Message, TextPart, ToolCallPart, ToolResultPart
from ..state import StoreLimits, Turn
from ._conformance import Trial

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..elements import Role
    from ..state import StateStore, TurnStatus

__all__ = ["RICH", "StoreCase", "StoreFactory", "StoreTrial", "fresh", "opened", "said", "turn_of"]


class StoreFactory(Protocol):
    """Makes a store over one and the same data, not opened yet; `lambda **given: MyStore(PATH, **given)` is one."""

    def __call__(self, *, limits: StoreLimits = ..., ttl_s: float | None = ...) -> StateStore:
        """Return the store.

        Args:
            limits: How large things may be; not given where it does not matter.
            ttl_s: How long after its last commit something is forgotten; not given where it does not matter.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class StoreCase:
    """A store on trial."""

    factory: StoreFactory
    """Makes it."""
    durable: bool
    """Whether what it was given is there when another object opens the same data."""
    expiry_s: float
    """A time to live to try, on its clock."""


StoreTrial: TypeAlias = Trial[StoreCase]
"""A trial of a store."""


def fresh(what: str = "talk") -> str:
    """Return an id that nobody has used."""
    return f"{what}-{uuid.uuid4().hex}"


def said(text: str, answer: str | None = None) -> tuple[Message, ...]:
    """Return the messages of a turn."""
    asked = Message("user", text)
    return (asked,) if answer is None else (asked, Message("assistant", answer, stop_reason="stop"))


def turn_of(id: str, *texts: str, status: TurnStatus = "whole") -> Turn:
    """Return a turn of messages, the user's first and then by turns; without a text, one that says its id."""
    roles: tuple[Role, Role] = ("user", "assistant")
    given = texts or (id,)
    return Turn(id, tuple(Message(roles[place % 2], text) for place, text in enumerate(given)), status)


RICH = (
    Message("user", [TextPart("größe ✓ 🌍 \x00 \u202e \u2028"), TextPart("")], id="m-1", name="Ann"),
    Message(
        "assistant",
        [TextPart("looking"), ToolCallPart("call-1", "find", {"n": 1, "deep": [None, {"a": 0.5}]}, raw='{"n": 1}')],
        stop_reason="tool_calls",
    ),
    Message("tool", [ToolResultPart("call-1", "", name="find", status="error")]),
    Message("assistant", "", stop_reason="length"),
)
"""Messages with all that encodings stumble over."""


@asynccontextmanager
async def opened(trial: StoreTrial) -> AsyncGenerator[StateStore]:
    """Open the store on trial."""
    async with trial.subject.factory() as store:
        yield store
