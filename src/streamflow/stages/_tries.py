"""What leaves when a unit is tried more than once: nothing twice, and nothing of a try that has failed.

Above: `_fallback`, `_retry`. Below: `channels`.

Control that comes before the first element of data, as the `TurnStart` of a model stage, is held back until that comes: so a
try that fails before it leaves no trace. Once data has left, another try begins with a `TurnReset`, which tells consumers to
forget it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..elements import ControlElement, TurnReset, TurnStart
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..channels import SendEnd
    from ..elements import StreamElement

__all__ = ["Resume", "Tries", "may_resume_always"]

Resume = Literal["before_first", "always"]
"""Until when a unit may be done again: before the first element of data has left, or at any time, behind a `TurnReset`."""

_MOST_HELD = 64
"""Most control elements that are held back; with one more they leave, and count as something that has left."""


def may_resume_always(given: object, stage: str) -> bool:
    """Say whether a unit may be done again after data has left.

    Raises:
        ConfigError: If `given` is no `Resume`.
    """
    if given in {"before_first", "always"}:
        return given == "always"
    raise ConfigError("resume", f"stage {stage!r}: give 'before_first' or 'always', got {given!r:.80}")


class Tries:
    """The output of one unit, however often it is tried."""

    def __init__(self, output: SendEnd[StreamElement]) -> None:
        self.has_left: bool = False
        """Whether something of the unit has left that another try would repeat."""
        self._output = output
        self._held: list[StreamElement] = []
        self._start: TurnStart | None = None
        self._is_again = False

    async def send(self, element: StreamElement) -> None:
        """Send a result, or hold it back."""
        if self.has_left:
            await self._pass(element)
            return
        self._held.append(element)
        if not isinstance(element, ControlElement) or len(self._held) > _MOST_HELD:
            await self.finish()

    async def finish(self) -> None:
        """Send what is held back: the try has succeeded, or its first data has come."""
        self.has_left = True
        held, self._held = self._held, []
        for element in held:
            await self._pass(element)

    async def begin_again(self, reason: str) -> None:
        """Drop what is held back; if something has left, say that it is to be forgotten."""
        self._held.clear()
        if self.has_left:
            index = 0 if self._start is None else self._start.index
            await self._output.send(TurnReset(reason, index=index))
            self._is_again = True

    async def _pass(self, element: StreamElement) -> None:
        if isinstance(element, TurnStart):
            if self._is_again and self._start is not None:
                return  # the turn has begun, and is done again
            self._start = element
        await self._output.send(element)
