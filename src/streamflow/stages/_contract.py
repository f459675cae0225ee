"""The stage contract: what a stage is, what it may declare, and how the runtime calls it.

Above: `_forms` (the shorter forms), `graph`, `runtime`. Below: `_annotations`, `_context`, `channels`.

A stage behaves as one long-lived task. It reads its input with `async for`, writes with `await output.send(…)` and returns when
done; the runtime closes its channels. A stage object is a blueprint: it holds parameters only, and is frozen once it is part
of a pipeline. The state of a run lives in locals of `process`, or in what `open(run)` returns, or in an instance made per run when
a class was given instead of an object.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Protocol

import msgspec

from .._records import Record
from ..errors import Finding, RunStateError, StageDefinitionError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import StreamElement
    from ._admission import Accepts, ElementTypes
    from ._context import RunContext
    from ._resources import Resource
    from ._steps import Step
    from ._supervision import CallForm
    from ._turns import OnInterrupt

__all__ = [
    "NO_PORTS",
    "BaseStage",
    "Bypass",
    "Stage",
    "StageBody",
    "StageKind",
    "StageSpec",
    "as_written",
    "checked_name",
    "class_name",
    "definition_error",
    "snake_case",
]

StageBody = Callable[["ReceiveEnd[Any]", "SendEnd[Any]", "RunContext[Any]"], Awaitable[None]]
"""What the runtime awaits once per run: reads the first, writes the second, may ask the third."""


NO_PORTS: Final[Mapping[str, Any]] = MappingProxyType({})
"""A side of a stage that has the one end without a name."""

Bypass = Literal["late", "early"]
"""When elements that a stage does not accept pass it by; see `BaseStage.bypass`."""


class StageKind(enum.Enum):
    """What a stage does to the number of elements; shown in events and pictures, and checked by `build()`."""

    TRANSFORM = "transform"
    """One in, any number out; holds nothing between pulls."""
    ACCUMULATE = "accumulate"
    """Holds elements between pulls; accepts `TurnEnd`, flushes on it and passes it on."""
    GENERATE = "generate"
    """No input; stands at the head."""
    SINK = "sink"
    """No output; stands at the end."""
    BIDIRECTIONAL = "bidirectional"
    """A live peer: input and output move on their own."""


class Stage(Protocol):
    """What a class needs to be a stage. `BaseStage` is the convenient way, not the only one.

    `process` may take the `RunContext` as one more parameter. A class may also have the attributes of `BaseStage`, and a method
    `open(run)`, not async: called once per run, it returns the object whose `process` is run, and which may keep the run's state.
    """

    @property
    def name(self) -> str:
        """Name of the stage, unique in its graph."""
        ...

    @property
    def process(self) -> Callable[..., Awaitable[None] | AsyncIterator[StreamElement]]:
        """The stage's work in one run: an async function of `input, output`, or an async generator of one stream.

        A sink may take its input alone; an async generator that generates takes nothing. On a side with named ports an async
        function gets the mapping `inputs` or `outputs` of ends by port instead of the one end.
        """
        ...


class BaseStage:
    """Convenient base of stages written as classes: a name, declarations, and the freezing of parameters.

    ```python
    class Shout(BaseStage):
        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for element in input:
                await output.send(TextElement(element.text.upper()))
    ```

    Args:
        name: Name in the graph; default the class's name in snake case, without `Stage`.
    """

    kind: StageKind = StageKind.TRANSFORM
    """What the stage does to the number of elements."""
    accepts: Accepts | None = None
    """Element types that `process` gets; None: what its input is annotated with, else all data. Others pass it by in order."""
    emits: Accepts | None = None
    """Element types that it sends; None: what its output is annotated with, else unknown."""
    max_held: int | None
    """Most elements that it holds at a time; None when it cannot say. Left unset: 1, and None for the kinds `ACCUMULATE` and
    `BIDIRECTIONAL`, which keep elements between pulls, and for several named inputs."""
    timeout_s: float | None = None
    """Longest time, in seconds, that it may neither send nor ask for an element nor wait for either; None: no limit."""
    bypass: Bypass = "late"
    """When elements that an accumulating stage does not accept leave: `late`, behind the results of all that it took before them,
    so with the next `TurnEnd` that it sends; `early`, as they come. Other stages hold nothing, and are passed by as they come."""
    on_interrupt: OnInterrupt | None = None
    """What an interruption does to `process` when it has work in hand. `reenter`: it is cancelled, and called again in the same
    task on the same channels; one that accumulates also while it waits. `fence`: it goes on, and what it sends is dropped until
    it takes its next element, wholes, control and what is not interruptible excepted. None: `reenter`; for a stage that generates,
    which takes no elements, `fence`, and it has no fence either. See also `turn_scope()`."""
    inputs: Mapping[str, Accepts] = NO_PORTS
    """Named inputs, with the types that each accepts; empty: the one input. Given to `process` as a mapping of ends."""
    outputs: Mapping[str, Accepts | None] = NO_PORTS
    """Named outputs, with the types that each emits, None for unknown; empty: the one output. Given as a mapping, too."""
    resources: tuple[Resource[object], ...] = ()
    """What it shares with other stages and runs; opened before the first run, see `Resource`."""
    holds_back: bool = False
    """Whether it may take elements and send nothing for them until more come, or for ever; always so for the kind `ACCUMULATE`."""
    helpers: bool | None = None
    """Whether something may use its edges, or cancel its waits, that the runtime cannot see: threads, callbacks, timers. A run with
    such a stage is never said to be deadlocked while the stage is at work. None: True for the kind `BIDIRECTIONAL`, and for
    `GENERATE` where `process` writes its output itself, else False."""

    _frozen = False
    _calls: CallForm = "none"  # whether its process() makes one call of each element, and keeps nothing between them

    def __init__(self, name: str | None = None) -> None:
        self.name: str = checked_name(type(self), name if name is not None else class_name(type(self)))

    def _as_step(self) -> Step | None:
        """Return what `process` of this very class does with one element, if that is all it does and needs no waiting."""
        return None

    def freeze(self) -> None:
        """Forbid changes from now on; called when the stage becomes part of a pipeline. Idempotent."""
        object.__setattr__(self, "_frozen", True)

    def __setattr__(self, attribute: str, value: object) -> None:
        if self._frozen:
            self._refuse_change(attribute)
        object.__setattr__(self, attribute, value)

    def __delattr__(self, attribute: str) -> None:
        if self._frozen:
            self._refuse_change(attribute)
        object.__delattr__(self, attribute)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', None)!r}>"

    def _refuse_change(self, attribute: str) -> NoReturn:
        message = (
            f"stage {self.name!r} is part of a pipeline and cannot change {attribute!r}: its runs would share it; "
            "keep the state of a run in locals of process(), or give the class instead of an object"
        )
        raise RunStateError(message)


class StageSpec(Record, frozen=True):
    """A stage in the one form that graph and runtime know, whatever form its author chose."""

    name: str
    """Name in the graph."""
    kind: StageKind
    """What it does to the number of elements."""
    accepts: ElementTypes
    """Types that its body gets."""
    emits: ElementTypes | None
    """Types that it sends; None when unknown."""
    start: Callable[[RunContext[Any]], StageBody]
    """Called once per run, in the stage's task; returns what to await."""
    plain: Callable[[Any, Any], Awaitable[None]] | None = None
    """What is awaited, of its input and output, where that is the same for all runs and asks nothing of them; None: see `start`."""
    max_held: int | None = 1
    """Most elements that it holds at a time; None when it cannot say."""
    timeout_s: float | None = None
    """Longest time, in seconds, that its own code may take between two dealings with its edges."""
    bypass: Bypass = "late"
    """Whether what an accumulating stage does not accept waits for its results."""
    on_interrupt: OnInterrupt = "reenter"
    """What an interruption does to its body when it has work in hand."""
    input_ports: Mapping[str, ElementTypes] = msgspec.field(default_factory=dict[str, "ElementTypes"])
    """What each named input accepts; empty when it has the one input without a name."""
    output_ports: Mapping[str, ElementTypes | None] = msgspec.field(default_factory=dict[str, "ElementTypes | None"])
    """What each named output emits, None when unknown; empty when it has the one output without a name."""
    resources: tuple[Resource[Any], ...] = ()
    """What it shares with other stages and runs."""
    freeze: Callable[[], None] | None = None
    """Called when the stage becomes part of a pipeline."""
    helpers: bool = False
    """Whether something may use its edges, or cancel its waits, that the runtime cannot see."""
    holds_back: bool = False
    """Whether it may take elements and send nothing for them."""
    step: Step | None = None
    """What its body does with one element, if that is all it does and needs no waiting: then it needs no task of its own."""
    calls: CallForm = "none"
    """Whether one element is one call, with nothing kept between; a stage of several calls at a time asks for `run.guard`."""

    @property
    def inputs(self) -> Mapping[str, ElementTypes]:
        """What each input accepts, by port; the one without a name is `""`. None for a stage that generates."""
        if self.input_ports or self.kind is StageKind.GENERATE:
            return self.input_ports
        return {"": self.accepts}

    @property
    def outputs(self) -> Mapping[str, ElementTypes | None]:
        """What each output emits, by port; the one without a name is `""`. None for a sink."""
        if self.output_ports or self.kind is StageKind.SINK:
            return self.output_ports
        return {"": self.emits}


def snake_case(name: str) -> str:
    """Return `CamelCase` as `camel_case`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def class_name(cls: type) -> str:
    """Return the name that a stage has from its class: `ShoutStage` is `shout`."""
    return snake_case(cls.__name__.removesuffix("Stage") or cls.__name__)


def as_written(annotated: object) -> str:
    """Return an annotation or a signature as people write it: without the modules of its names."""
    return re.sub(r"(?<![\w.])(?:[a-z_]\w*\.)+(?=\w)", "", f"{annotated!s}")


def checked_name(owner: object, name: object, what: str | None = None) -> str:
    """Return `name`, if it can be the name of a stage, or of what is named instead.

    Raises:
        StageDefinitionError: If it is no string, an empty or a padded one, or has a colon, behind which a port is named.
    """
    if isinstance(name, str) and name.strip() == name != "" and ":" not in name:
        return name
    owned = what if what is not None else f"{owner!r:.80}"
    message = f"the stage {owned} has no name" if name is None else f"{name!r:.80} cannot be the name of {owned}"
    hint = "a name is a non-empty string, without a colon and without spaces around it"
    if not isinstance(name, str):
        hint += "; a BaseStage gets it in super().__init__()"
    raise definition_error(None, message, hint)


def definition_error(stage: str | None, message: str, hint: str) -> StageDefinitionError:
    """Return the error for something that is no stage."""
    return StageDefinitionError([Finding(kind="not-a-stage", stage=stage, message=message, hint=hint)])
