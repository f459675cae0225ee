"""What a loading stage tells the saving stage behind it, whose turn it is; and how it learns that the turn is stored.

Above: `_load`, `_save`. Below: `elements`.

Between the two a model reads the messages and does not pass them on. So what a turn was asked goes beside them, as a control
element of its own, which every stage passes on in its place. Back to the loading stage leads no edge: a run's desk tells it when a
turn has been dealt with, so that the next one reads what this one has stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio

from ..elements import ControlElement, Message, register_element
from ..errors import ConfigError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..elements import StreamElement
    from ..stages import RunContext

__all__ = ["ConversationOf", "Desk", "TurnInput", "checked_conversation", "conversation_of"]

ConversationOf: TypeAlias = "str | Callable[[RunContext[object], StreamElement], str] | None"
"""Whose turn it is: an id, or a function of the run and the first message of a turn; None: `metadata["conversation"]` of that
message, else `conversation` of the run's `deps`, as a key or an attribute."""


@register_element
class TurnInput(ControlElement, frozen=True, tag="state.turn_input"):
    """What a turn was asked, and on which state of its conversation. From a loading stage for the saving stage, which keeps it."""

    conversation: str
    """Whose turn it is."""
    turn: str
    """Id of the turn."""
    revision: int = 0
    """Revision that was loaded."""
    messages: tuple[Message, ...] = ()
    """The new messages of the turn."""


class Desk:
    """Tells the loading stages of one run which turns its saving stages have dealt with."""

    def __init__(self) -> None:
        self._savers = 0
        self._settled: set[str] = set()  # what nobody has waited for yet: the last turn of each loading stage at most
        self._bell = anyio.Event()

    @staticmethod
    def of_run(run_id: str) -> Desk | None:
        """Return the desk of a run, None if it has no saving stage at work."""
        return _DESKS.get(run_id)

    @staticmethod
    def for_saver(run_id: str) -> Desk:
        """Return the desk of a run, for a saving stage, which enters and leaves it."""
        return _DESKS.setdefault(run_id, Desk())

    def enter(self) -> None:
        """Know that a saving stage is at work."""
        self._savers += 1

    def leave(self, run_id: str) -> None:
        """Know that a saving stage has ended, and deals with no turn any more."""
        self._savers -= 1
        if not self._savers:
            _DESKS.pop(run_id, None)
        self._ring()

    def settle(self, turn: str) -> None:
        """Know that a turn is stored, or will not be."""
        self._settled.add(turn)
        self._ring()

    async def wait_for(self, turn: str) -> None:
        """Return once a turn has been dealt with, or nobody is there any more to do it."""
        while self._savers and turn not in self._settled:
            await self._bell.wait()
        self._settled.discard(turn)

    def _ring(self) -> None:
        self._bell.set()
        self._bell = anyio.Event()


_DESKS: dict[str, Desk] = {}
"""By run: of those that have a saving stage at work."""


def checked_conversation(given: object, stage: str) -> None:
    """Do nothing if this says whose turn it is.

    Raises:
        ConfigError: If it does not.
    """
    if given is None or callable(given) or (isinstance(given, str) and given):
        return
    raise ConfigError("conversation", f"stage {stage!r}: give an id, or a function that returns one, got {given!r:.80}")


def conversation_of(given: ConversationOf, run: RunContext[object], first: StreamElement) -> str:
    """Return the id of the conversation that a turn belongs to.

    Raises:
        StateError: `no_conversation`, if nobody says it.
    """
    if isinstance(given, str):
        return given
    found: object
    if given is not None:
        found = given(run, first)
    else:
        found = first.metadata.get("conversation")
        if found is None:
            deps = run.deps
            if isinstance(deps, Mapping):
                found = cast("Mapping[object, object]", deps).get("conversation")
            else:
                found = getattr(deps, "conversation", None)
    if isinstance(found, str) and found:
        return found
    raise StateError(
        "no_conversation",
        f"stage {run.stage!r}: nobody says which conversation the turn belongs to; give conversation= to the stage, "
        "metadata['conversation'] to the message, or conversation in deps",
    )
