"""What the zoo is made of: a stage from a function, and what it is told of itself.

Above: `_beasts`, `_unusual`. Below: `stages`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ...channels import ReceiveEnd, SendEnd
from ...stages import BaseStage, StageKind

if TYPE_CHECKING:
    from ...elements import StreamElement
    from ...stages import Accepts, Stage

__all__ = ["Body", "Memory", "Misbehaviour", "Unusual", "beast", "unusual"]

Memory: TypeAlias = dict[str, Any]
"""What a stage object remembers from run to run, which no stage should."""

Body: TypeAlias = Callable[[ReceiveEnd[Any], SendEnd[Any], Memory], Awaitable[None]]
"""What a stage of the zoo does: reads the first, writes the second."""

Model: TypeAlias = "Callable[[Sequence[StreamElement]], list[StreamElement]]"
"""What a stage makes of all data elements of its input."""


class _Caged(BaseStage):
    """A stage that runs a function of the zoo.

    Flow:
        emits: what its function sends.
        backpressures: as its function does.
        completes: when its function returns, if it does.
        fails: with what its function raises.
    """

    def __init__(
        self, name: str, body: Body, *, accepts: Accepts | None, kind: StageKind, max_held: int | None
    ) -> None:
        self.accepts: Accepts | None = accepts
        self.kind: StageKind = kind
        self.max_held: int | None = max_held
        self._body = body
        self._memory: Memory = {}
        super().__init__(name)

    async def process(self, input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
        """Do what the function does."""
        await self._body(input, output, self._memory)


@dataclasses.dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One way to break the rules; calling it makes a new stage that does."""

    name: str
    """What it does, as a name of its stage."""
    rule: str
    """The rule that it breaks, by its id in the conformance kit."""
    breaks: str
    """What it does wrong, in one sentence."""
    is_borne: bool
    """Whether the runtime bears it: the rest of the run is as it would be, though the stage is not."""
    _body: Body = dataclasses.field(repr=False)
    _accepts: Accepts | None = None

    def __call__(self, name: str | None = None) -> Stage:
        """Return a new stage that misbehaves.

        Args:
            name: What it is called in its graph; None: as the misbehaviour.
        """
        return _Caged(name or self.name, self._body, accepts=self._accepts, kind=StageKind.TRANSFORM, max_held=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Unusual:
    """One unusual way to keep all rules; calling it makes a new stage that does."""

    name: str
    """What it does, as a name of its stage."""
    does: str
    """What is unusual about it, in one sentence."""
    model: Model
    """What it makes of all data elements of its input."""
    _body: Body = dataclasses.field(repr=False)
    _options: tuple[StageKind, Accepts | None, int | None] = (StageKind.TRANSFORM, None, 1)

    def __call__(self, name: str | None = None) -> Stage:
        """Return a new stage.

        Args:
            name: What it is called in its graph; None: as this.
        """
        kind, accepts, max_held = self._options
        return _Caged(name or self.name, self._body, accepts=accepts, kind=kind, max_held=max_held)


def beast(rule: str, *, borne: bool = False, accepts: Accepts | None = None) -> Callable[[Body], Misbehaviour]:
    """Make a misbehaviour of a function; its docstring says what it does wrong."""

    def made(body: Body) -> Misbehaviour:
        return Misbehaviour(_name(body), rule, _said(body), borne, body, accepts)

    return made


def as_it_is(elements: Sequence[StreamElement]) -> list[StreamElement]:
    """Return what a stage that passes everything on makes of its input."""
    return list(elements)


def unusual(
    model: Model = as_it_is,
    *,
    kind: StageKind = StageKind.TRANSFORM,
    accepts: Accepts | None = None,
    max_held: int | None = 1,
) -> Callable[[Body], Unusual]:
    """Make an unusual stage of a function; its docstring says what is unusual."""

    def made(body: Body) -> Unusual:
        return Unusual(_name(body), _said(body), model, body, (kind, accepts, max_held))

    return made


def _name(body: Body) -> str:
    return str(getattr(body, "__name__", ""))


def _said(body: Body) -> str:
    return (body.__doc__ or "").strip()


PAUSE_S: Final = 1.0
"""How long those pause that do, in seconds of the event loop's clock."""
