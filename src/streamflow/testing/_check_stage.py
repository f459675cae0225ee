"""Prove a stage: `check_stage()` runs the checks of all rules about stages, `StageConformance` is the same as a class.

Above: users, the pytest plugin. Below: the modules with the rules of stages, `_conformance_runner`.
"""

from __future__ import annotations

import abc
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, cast

from ..elements import StreamElement, TextElement
from ..errors import ConfigError, StreamflowError
from ..stages import StageKind, as_stage
from . import _stage_cancel, _stage_control, _stage_demand, _stage_errors, _stage_life
from ._conformance_runner import conform, run_checks
from ._stage_case import STAGE_VARIANTS, StageCase, heavy_variants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..stages import StageLike
    from ._conformance import Variant
    from ._conformance_report import Report
    from ._conformance_runner import Clock

__all__ = ["StageConformance", "check_stage"]

_RULES: Final = (_stage_life, _stage_demand, _stage_cancel, _stage_errors, _stage_control)
"""Where the rules about stages are: importing these modules has registered them."""


def check_stage(
    factory: Callable[[], StageLike],
    *,
    items: Sequence[StreamElement | str] = (),
    model: Callable[[list[StreamElement]], Iterable[StreamElement | str]] | None = None,
    emits: type[StreamElement] | tuple[type[StreamElement], ...] | None = None,
    key: Callable[[StreamElement], object] | None = None,
    deterministic: bool = True,
    ordered: bool = True,
    timed: bool = False,
    max_elements: int = 50,
    poison: StreamElement | str | None = None,
    deps: object = None,
    rules: Iterable[str] | None = None,
    skip: Mapping[str, str] | None = None,
    examples: int = 5,
    effort: int = 1,
    clock: Clock = "virtual",
    variants: Sequence[Variant] | None = None,
) -> Report:
    """Run a stage through all rules about stages, on asyncio and trio, at several capacities, and return what was found.

    Blocks until done, in event loops of its own: not for use inside one. Time is virtual.

    ```python
    check_stage(lambda: shout, items=["a", "b"], model=lambda items: [one.text.upper() for one in items])
    ```

    Args:
        factory: Called without arguments, returns the stage, in any form that `chain()` takes; called for each pipeline.
        items: An input that it has something to say to; repeated where more is needed. Strings become `TextElement`. Nothing for a
            stage that generates.
        model: Returns what it must send for an input, a list of elements; None: the same in all circumstances, whatever it is.
        emits: The types that it may send; None: what it declares.
        key: What of an element must be the same in every run; None: all of it.
        deterministic: Whether the same input gives the same output. If not, its content is not looked at.
        ordered: Whether it does so in the same order.
        timed: Whether what it sends depends on when elements come, as with a debouncer.
        max_elements: Longest input to try.
        poison: An element on which it fails, for the rules about failures of its own; None: they are skipped.
        deps: What it finds as `run.deps`.
        rules: Ids of the rules to check; None: all.
        skip: Reasons for leaving out rules, by id; they are part of the report.
        examples: How many random inputs to try.
        effort: How many times that many.
        clock: `real` for a stage that waits for sockets, files or programs, which know nothing of virtual time.
        variants: The circumstances; None: all.

    Raises:
        ConformanceError: If a rule is broken; says which, and shows the shortest input or schedule.
        ConfigError: If an argument cannot be; names it.
        StageDefinitionError: If what the factory returns is no stage.
    """
    case = case_of(
        factory,
        items,
        model=model,
        emits=emits if emits is None or isinstance(emits, tuple) else (emits,),
        key=key,
        deterministic=deterministic,
        ordered=ordered,
        timed=timed,
        max_elements=max_elements,
        poison=TextElement(poison) if isinstance(poison, str) else poison,
        deps=deps,
        examples=examples,
    )
    return conform(trial_of(case, rules=rules, skip=skip, effort=effort, clock=clock, variants=variants))


class StageConformance(abc.ABC):
    """The same checks as a class: subclass it where a stage needs more than a list of elements to be described.

    With the pytest plugin each rule in each variant is a test of its own, with the rule's id in its name; without, call `check()`.

    ```python
    class TestShout(StageConformance):
        def make_stage(self) -> StageLike:
            return shout

        def make_element(self, index: int) -> StreamElement:
            return TextElement(f"text {index}")
    ```
    """

    emits: ClassVar[type[StreamElement] | tuple[type[StreamElement], ...] | None] = None
    """The types that it may send; None: what it declares."""
    deterministic: ClassVar[bool] = True
    """Whether the same input gives the same output."""
    ordered: ClassVar[bool] = True
    """Whether it does so in the same order."""
    timed: ClassVar[bool] = False
    """Whether what it sends depends on when elements come."""
    max_elements: ClassVar[int] = 50
    """Longest input to try."""
    examples: ClassVar[int] = 5
    """How many random inputs to try."""
    poison: ClassVar[StreamElement | None] = None
    """An element on which it fails, for the rules about failures of its own."""
    clock: ClassVar[Clock] = "virtual"
    """`real` for a stage that waits for sockets, files or programs."""
    rules: ClassVar[tuple[str, ...] | None] = None
    """Ids of the rules to check; None: all."""
    skip: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Reasons for leaving out rules, by id."""
    variants: ClassVar[tuple[Variant, ...]] = STAGE_VARIANTS
    """The circumstances."""

    @abc.abstractmethod
    def make_stage(self) -> StageLike:
        """Return the stage, in any form that `chain()` takes; called for each pipeline."""

    def make_element(self, index: int) -> StreamElement:
        """Return the element number `index` of an input, from 0. Not called for a stage that generates.

        Raises:
            ConfigError: If the subclass does not say.
        """
        raise ConfigError(
            "make_element", f"{type(self).__name__} has a stage with an input; say what element {index} is"
        )

    def model(self, items: list[StreamElement]) -> Iterable[StreamElement | str] | None:
        """Return what the stage must send for an input; None: the same in all circumstances, whatever it is."""
        return None

    def key(self, element: StreamElement) -> object:
        """Return what of an element must be the same in every run."""
        return element

    def case(self) -> StageCase:
        """Return what is known of the stage.

        Raises:
            ConfigError: If the subclass says what cannot be.
            StageDefinitionError: If it makes no stage.
        """
        reads = as_stage(self.make_stage()).kind is not StageKind.GENERATE
        has_model = type(self).model is not StageConformance.model
        return _checked(
            _made(
                self.make_stage,
                element=self.make_element if reads else None,
                model=self.model if has_model else None,
                emits=self.emits if self.emits is None or isinstance(self.emits, tuple) else (self.emits,),
                key=self.key,
                deterministic=self.deterministic,
                ordered=self.ordered,
                timed=self.timed,
                max_elements=self.max_elements,
                poison=self.poison,
                examples=self.examples,
            )
        )

    def check(
        self, rules: Iterable[str] | None = None, *, variants: Sequence[Variant] | None = None, effort: int = 1
    ) -> Report:
        """Run the checks, and return what they found.

        Args:
            rules: Ids of the rules to check; None: those of the class.
            variants: The circumstances; None: those of the class.
            effort: How many times the examples.

        Raises:
            ConformanceError: If a rule is broken.
            ConfigError: If the subclass or an argument says what cannot be.
        """
        return conform(
            trial_of(
                self.case(),
                rules=self.rules if rules is None else rules,
                skip=self.skip,
                effort=effort,
                clock=self.clock,
                variants=self.variants if variants is None else variants,
            )
        )


def case_of(factory: Callable[[], StageLike], items: Sequence[StreamElement | str], **known: object) -> StageCase:
    """Return the case of a stage whose input is a list, repeated.

    Raises:
        ConfigError: If an argument cannot be.
    """
    elements = [TextElement(one) if isinstance(one, str) else one for one in items]
    wrong = next((one for one in elements if not isinstance(cast("object", one), StreamElement)), None)
    if wrong is not None:
        raise ConfigError("items", f"elements or strings were expected, got {wrong!r:.80}")

    def element(index: int) -> StreamElement:
        return elements[index % len(elements)]

    return _checked(_made(factory, element=element if elements else None, **known))


def trial_of(
    case: StageCase,
    *,
    rules: Iterable[str] | None = None,
    skip: Mapping[str, str] | None = None,
    effort: int = 1,
    clock: Clock = "virtual",
    variants: Sequence[Variant] | None = None,
) -> Report:
    """Run the checks of a case and return what they found, whatever it is."""
    chosen = STAGE_VARIANTS if variants is None else variants
    return run_checks(
        "stage",
        case,
        chosen,
        name=f"stage {case.name!r}",
        rules=rules,
        skip=skip,
        clock=clock,
        effort=effort,
        heavy_variants=heavy_variants(chosen) if effort == 1 else None,
    )


def _made(factory: Callable[[], StageLike], **known: object) -> StageCase:
    if not callable(cast("object", factory)):
        raise ConfigError(
            "factory", f"a function without arguments was expected, got {factory!r:.80}; write lambda: stage"
        )
    try:
        return StageCase(make=factory, **known)  # type: ignore[arg-type]
    except StreamflowError:
        raise
    except TypeError as error:
        message = f"it could not be called without arguments, or returned no stage ({error}); write lambda: stage"
        raise ConfigError("factory", message) from error


def _checked(case: StageCase) -> StageCase:
    """Return a case in which nothing contradicts itself."""
    if case.reads and case.element is None:
        raise ConfigError("items", f"the stage {case.name!r} has an input; give at least one element that it takes")
    if not case.reads and case.element is not None:
        raise ConfigError("items", f"the stage {case.name!r} generates, so it has no input; leave them out")
    for field in ("max_elements", "examples"):
        value: object = getattr(case, field)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(field, f"a whole number from 1 up was expected, got {value!r:.80}")
    if case.poison is not None and case.kind is StageKind.GENERATE:
        raise ConfigError("poison", f"the stage {case.name!r} generates: it takes no element to fail on")
    return case
