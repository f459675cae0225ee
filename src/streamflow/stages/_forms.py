"""The forms in which a stage may be given, and the one form that everything else knows: `StageSpec`.

Above: `graph`, which asks for `as_stage()`. Below: `_contract`, `_annotations`, `_loops`.

| given | runs as |
|---|---|
| async generator function `(stream[, run])`, with `@stage` or bare | one generator per run |
| async generator function `([run])` | the same, at the head of a graph: it generates |
| async function `(input, output[, run])` | that function; with named ports it gets `inputs`, `outputs` or both as mappings |
| function of one element, sync or async | a loop that sends what it returns; a generator function sends what it yields |
| object with `process`, of one of the first three forms | that method; if it has `open(run)`, that of what this returns |
| class with `process` | one instance per run |

Parameters with a default keep it, except one called `run`.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar, cast, overload

from ..elements import TurnEnd
from ._admission import ALL_DATA, Accepts, ElementTypes
from ._annotations import called, declared_types, parameters, stream_types, value_types
from ._contract import NO_PORTS, BaseStage, StageKind, StageSpec, as_written, checked_name, class_name, definition_error
from ._declared import (
    declared_above_0,
    declared_bypass,
    declared_helpers,
    declared_kind,
    declared_on_interrupt,
    declared_ports,
    declared_resources,
)
from ._loops import flat_map_loop, map_loop, sink_loop
from ._mistaken import HINT, no_function, no_stage, no_stage_function
from ._steps import flat_map_step, is_synchronous, map_step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from ..channels import ReceiveEnd, SendEnd
    from ._context import RunContext
    from ._contract import Bypass, Stage, StageBody
    from ._declared import Ports
    from ._resources import Resource
    from ._steps import Step
    from ._supervision import CallForm
    from ._turns import OnInterrupt

__all__ = ["FunctionStage", "StageLike", "as_stage", "function_name", "stage"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

StageLike: TypeAlias = "Stage | StageSpec | type | Callable[..., object]"
"""What can be given as a stage: a function, an object or class with `process`, a `StageSpec`."""

_Declared: TypeAlias = "Callable[[], ElementTypes | None]"  # read only where no keyword or attribute says more

_PORTED = "'async def process(inputs, outputs)', with 'input' or 'output' on a side without named ports"


class _PlainBody:
    """A body that asks nothing of the run."""

    def __init__(self, of_ends: Callable[[Any, Any], Awaitable[None]]) -> None:
        self.of_ends = of_ends

    def __call__(self, input: ReceiveEnd[Any], output: SendEnd[Any], _run: RunContext[Any]) -> Awaitable[None]:
        return self.of_ends(input, output)


class FunctionStage(BaseStage, Generic[P, R_co]):
    """A stage made from a function; calling it calls the function, so that it can be tested alone.

    Made by `@stage`. See there for the forms.
    """

    def __init__(
        self,
        func: Callable[P, R_co],
        *,
        name: str | None = None,
        kind: StageKind | None = None,
        accepts: Accepts | None = None,
        emits: Accepts | None = None,
        max_held: int | None = None,
        timeout_s: float | None = None,
        bypass: Bypass = "late",
        on_interrupt: OnInterrupt | None = None,
        inputs: Mapping[str, Accepts] = NO_PORTS,
        outputs: Mapping[str, Accepts | None] = NO_PORTS,
        resources: tuple[Resource[object], ...] = (),
        helpers: bool | None = None,
    ) -> None:
        super().__init__(name if name is not None else function_name(func))
        self.func: Callable[P, R_co] = func
        """The function as it was written."""
        self.__doc__: str | None = func.__doc__
        count = len(parameters(func, self.name))
        is_generator = inspect.isasyncgenfunction(called(func))
        if kind is None:
            kind = StageKind.GENERATE if is_generator and count == 0 else StageKind.TRANSFORM
        self.kind: StageKind = kind
        self.accepts: Accepts | None = accepts
        self.emits: Accepts | None = emits
        self.timeout_s: float | None = timeout_s
        self.bypass: Bypass = bypass
        self.on_interrupt: OnInterrupt | None = on_interrupt
        self.inputs: Mapping[str, Accepts] = inputs
        self.outputs: Mapping[str, Accepts | None] = outputs
        self.resources: tuple[Resource[object], ...] = resources
        self.helpers: bool | None = helpers
        if max_held is not None:
            self.max_held: int | None = max_held
        self.is_per_element: bool = not is_generator and count == 1 and not inputs and not outputs
        """Whether the function takes one element, not a stream."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.func(*args, **kwargs)


@overload
def stage(
    func: Callable[P, R_co],
    /,
    *,
    name: str | None = None,
    kind: StageKind | None = None,
    accepts: Accepts | None = None,
    emits: Accepts | None = None,
    max_held: int | None = None,
    timeout_s: float | None = None,
    bypass: Bypass = "late",
    on_interrupt: OnInterrupt | None = None,
    inputs: Mapping[str, Accepts] = NO_PORTS,
    outputs: Mapping[str, Accepts | None] = NO_PORTS,
    resources: tuple[Resource[object], ...] = (),
    helpers: bool | None = None,
) -> FunctionStage[P, R_co]: ...
@overload
def stage(
    *,
    name: str | None = None,
    kind: StageKind | None = None,
    accepts: Accepts | None = None,
    emits: Accepts | None = None,
    max_held: int | None = None,
    timeout_s: float | None = None,
    bypass: Bypass = "late",
    on_interrupt: OnInterrupt | None = None,
    inputs: Mapping[str, Accepts] = NO_PORTS,
    outputs: Mapping[str, Accepts | None] = NO_PORTS,
    resources: tuple[Resource[object], ...] = (),
    helpers: bool | None = None,
) -> Callable[[Callable[P, R_co]], FunctionStage[P, R_co]]: ...
def stage(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a stage out of a function.

    ```python
    @stage
    async def shout(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield TextElement(element.text.upper())
    ```

    The function is one of: an async generator of one stream (`stream`, or `stream, run`); an async function `(input, output)` or
    `(input, output, run)`; a function of one element, sync or async, or a generator of several. An async generator without
    parameters, or with `kind=StageKind.GENERATE` and `run` alone, generates: it stands at the head of a graph. Parameters with a
    default keep it, except one called `run`.

    Args:
        func: The function, when used as `@stage` without parentheses, or called as `stage(func, name="…")`.
        options: `name` in the graph, default the function's; `kind`; `accepts` and `emits`, default what the annotations say;
            `max_held`, most elements that it holds; `timeout_s`, longest time in seconds between two dealings with its edges;
            `bypass`, when what an accumulating one does not accept leaves; `on_interrupt`, `"reenter"` or `"fence"`, what an
            interruption does to it (see `BaseStage.on_interrupt`); `inputs` and `outputs`, named ports with what each
            accepts or emits, which an async function gets as mappings of ends, `(inputs, outputs)`, `(input, outputs)` or
            `(inputs, output)`; `resources`, what it shares with other runs; `helpers`, whether threads, callbacks or timers of its
            own use its edges.

    Raises:
        StageDefinitionError: If it is no such function.

    Source: semantics 3.1–3.3, 3.5.
    """
    if func is None:
        return functools.partial(_stage_of, **options)
    return _stage_of(func, **options)


def _stage_of(func: object, **options: Any) -> FunctionStage[..., object]:
    """Return `func` as a stage, and check at once that it is one."""
    if not callable(func) or isinstance(func, (type, BaseStage)):
        raise no_function(func)
    made = FunctionStage(func, **options)
    as_stage(made)
    return made


def function_name(func: Callable[..., object]) -> str:
    """Return the name that a stage made from `func` has.

    Raises:
        StageDefinitionError: If it has none of its own: a lambda, a partial.
    """
    name = getattr(func, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        message = f"a stage needs a name, and {func!r:.80} has none"
        raise definition_error(None, message, "use def, or pass name= (MapStage(fn, name='…'), stage(name='…')(fn))")
    return name


def as_stage(given: StageLike) -> StageSpec:
    """Return what was given as a stage in the one form that graph and runtime know.

    Raises:
        StageDefinitionError: If it is no stage, or a stage without a name.
    """
    return _spec_of(given)


def _spec_of(given: object) -> StageSpec:
    if isinstance(given, StageSpec):
        checked_name(given, given.name)
        return given
    if isinstance(given, type):
        return _from_class(given)
    if isinstance(given, FunctionStage):
        return _from_function(cast("FunctionStage[..., object]", given))
    if callable(getattr(given, "process", None)):
        return _from_object(given)
    if callable(given):
        return _from_function(FunctionStage(given))
    raise no_stage(given)


def _from_class(given: type) -> StageSpec:
    name = class_name(given)
    if not callable(getattr(given, "process", None)):
        raise definition_error(name, f"the class {given.__name__} has no process() method", HINT)
    try:
        probe = given()
    except TypeError as error:
        message = f"the class {given.__name__} cannot be made without arguments ({error})"
        raise definition_error(
            name, message, "give an object of it instead, or a class that needs no arguments"
        ) from error
    return _from_object(probe, name, make=given)


def _from_object(given: Any, default_name: str | None = None, make: type | None = None) -> StageSpec:
    """Return the stage that an object is, or one that makes an object for each run."""
    name = getattr(given, "name", None)
    name = checked_name(given, default_name if name is None else name)
    kind = declared_kind(given, name)
    ports = declared_ports(given, kind, name)
    body, reads, writes = _process_form(given.process, kind, name, ports)
    opens = hasattr(given, "open")
    if opens:
        _check_opener(given.open, name)

    def start(run: RunContext[Any]) -> StageBody:
        if make is None and not opens:
            return body
        one: Any = given if make is None else make()
        if opens:
            one = one.open(run)
            if not callable(getattr(one, "process", None)):
                message = f"stage {name!r}: open(run) returned {one!r:.80}, which has no process() method"
                raise definition_error(name, message, "return an object with process(), which may be self")
        return _process_form(one.process, kind, name, ports)[0]

    is_process = not inspect.isasyncgenfunction(called(given.process))
    plain = None if opens or make is not None or not isinstance(body, _PlainBody) else body.of_ends
    made = _spec(given, name, kind, ports, (reads, writes), start=start, plain=plain, is_process=is_process)
    # A step would be that of one object for all runs.
    return made if make is None else made.replace(step=None)


def _from_function(given: FunctionStage[..., object]) -> StageSpec:
    name = checked_name(given, given.name)
    kind = declared_kind(given, name)
    ports = declared_ports(given, kind, name)
    if given.is_per_element:
        body, reads, writes = _element_form(given.func, kind, name)
    else:
        body, reads, writes = _process_form(given.func, kind, name, ports)
    is_process = not given.is_per_element and not inspect.isasyncgenfunction(called(given.func))
    plain = body.of_ends if isinstance(body, _PlainBody) else None
    return _spec(given, name, kind, ports, (reads, writes), start=lambda _run: body, plain=plain, is_process=is_process)


def _spec(
    given: Any,
    name: str,
    kind: StageKind,
    ports: Ports,
    annotated: tuple[_Declared, _Declared],
    *,
    start: Callable[[RunContext[Any]], StageBody],
    plain: Callable[[Any, Any], Awaitable[None]] | None,
    is_process: bool,
) -> StageSpec:
    # A stage that keeps elements between pulls, lives on its own or reads several edges cannot be trusted to hold just one
    # unless it says so.
    several = kind in {StageKind.ACCUMULATE, StageKind.BIDIRECTIONAL} or len(ports.inputs) > 1
    held = getattr(given, "max_held", None if several else 1)
    return StageSpec(
        name=name,
        kind=kind,
        accepts=_accepts_of(given, name, kind, ports, annotated[0]),
        emits=_emits_of(given, name, ports, annotated[1]),
        start=start,
        plain=plain,
        max_held=declared_above_0(held, name, "max_held", int),
        timeout_s=declared_above_0(getattr(given, "timeout_s", None), name, "timeout_s", float),
        bypass=declared_bypass(given, name),
        on_interrupt=declared_on_interrupt(given, kind, name),
        input_ports=ports.inputs,
        output_ports=ports.outputs,
        resources=declared_resources(given, name),
        freeze=given.freeze if isinstance(given, BaseStage) else None,
        helpers=declared_helpers(given, kind, name, is_process=is_process),
        holds_back=bool(getattr(given, "holds_back", False)),
        calls=_calls_of(given),
        step=_step_of(given, kind),
    )


def _step_of(given: Any, kind: StageKind) -> Step | None:
    """Return what a stage does with one element, if the library wrote its body, and knows that this is all."""
    if kind is not StageKind.TRANSFORM or not isinstance(given, BaseStage) or given.helpers:
        return None
    if isinstance(given, FunctionStage):
        func = cast("FunctionStage[..., object]", given).func
        if not given.is_per_element or not is_synchronous(func):
            return None
        return flat_map_step(func) if inspect.isgeneratorfunction(called(func)) else map_step(func)
    if "process" in vars(given) or hasattr(given, "open"):
        return None
    # A class that has a process() of its own, or inherits another one, has another body than its base's step tells of.
    says = next(one for one in type(given).__mro__ if "_as_step" in vars(one))
    return given._as_step() if "process" in vars(says) and _runs(type(given)) is says else None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _runs(kind: type) -> type:
    """Return the class whose `process` a class runs."""
    return next(one for one in kind.__mro__ if "process" in vars(one))


def _calls_of(given: Any) -> CallForm:
    """Return whether one element is one call; what is not our own stage of a function does as it likes."""
    if isinstance(given, FunctionStage):
        return "one" if given.is_per_element else "none"
    return given._calls if isinstance(given, BaseStage) else "none"  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _accepts_of(given: Any, name: str, kind: StageKind, ports: Ports, annotated: _Declared) -> ElementTypes:
    """Return what a stage accepts, at any of its inputs."""
    if ports.inputs:
        return _united(ports.inputs.values())
    accepts = getattr(given, "accepts", None)
    default: ElementTypes = (*ALL_DATA, TurnEnd) if kind is StageKind.ACCUMULATE else ALL_DATA
    return (annotated() if accepts is None else declared_types(accepts, name, "accepts")) or default


def _emits_of(given: Any, name: str, ports: Ports, annotated: _Declared) -> ElementTypes | None:
    """Return what a stage emits, at any of its outputs; None when unknown."""
    if ports.outputs:
        known = [one for one in ports.outputs.values() if one is not None]
        return _united(known) if len(known) == len(ports.outputs) else None
    emits = getattr(given, "emits", None)
    return annotated() if emits is None else declared_types(emits, name, "emits")


def _united(several: Iterable[ElementTypes]) -> ElementTypes:
    return tuple(dict.fromkeys(kind for types in several for kind in types))


def _check_opener(opener: Any, name: str) -> None:
    if callable(opener) and not inspect.iscoroutinefunction(opener) and len(parameters(opener, name)) == 1:
        return
    message = f"stage {name!r}: its open is not what the runtime calls for each run"
    hint = "write 'def open(self, run)', not async, which returns an object with process(); or call it something else"
    raise definition_error(name, message, hint)


def _element_form(func: Callable[..., Any], kind: StageKind, name: str) -> tuple[StageBody, _Declared, _Declared]:
    """Return the body of a function of one element, and what tells its types."""
    taken = parameters(func, name)[0]
    reads = functools.partial(value_types, func, taken, name)
    if kind is StageKind.GENERATE:
        message = f"stage {name!r}: {name}{as_written(inspect.signature(func))} generates, but is no async generator"
        raise definition_error(name, message, "write 'async def' with 'yield'; it takes nothing, or the run")
    if kind is StageKind.SINK:
        return _PlainBody(lambda input, _output: sink_loop(func, input)), reads, _nothing
    is_generator = inspect.isgeneratorfunction(called(func))
    loop = flat_map_loop if is_generator else map_loop

    body = _PlainBody(functools.partial(loop, func))
    return body, reads, functools.partial(stream_types if is_generator else value_types, func, "return", name)


def _process_form(
    process: Callable[..., Any], kind: StageKind, name: str, ports: Ports
) -> tuple[StageBody, _Declared, _Declared]:
    """Return the body of a function of whole streams, and what tells its types."""
    names = parameters(process, name)
    called_as = getattr(process, "__name__", "process")
    if inspect.isasyncgenfunction(called(process)):
        if ports:
            message = f"stage {name!r} has named ports, but {called_as}() is an async generator, which has one stream"
            raise definition_error(name, message, f"write {_PORTED}")
        return _generator_form(process, names, kind, name)
    fewest = 1 if kind is StageKind.SINK else 2
    if not inspect.iscoroutinefunction(called(process)) or not fewest <= len(names) <= 3 or "run" in names[:2]:
        wanted = _PORTED if ports else "'async def process(input, output)'"
        raise no_stage_function(process, called_as, wanted, name)
    ports.check_parameters(names, called_as, name)

    if len(names) == 1:
        body: StageBody = _PlainBody(lambda input, _output: process(input))
    else:
        body = _PlainBody(process) if len(names) == 2 else cast("StageBody", process)

    # What named ports accept and emit is declared; the annotation of a mapping says nothing more.
    reads = _nothing if ports.inputs else functools.partial(stream_types, process, names[0], name)
    has_output = len(names) > 1 and not ports.outputs
    return body, reads, functools.partial(stream_types, process, names[1], name) if has_output else _nothing


def _generator_form(
    func: Callable[..., Any], names: list[str], kind: StageKind, name: str
) -> tuple[StageBody, _Declared, _Declared]:
    has_input = kind is not StageKind.GENERATE
    misplaced = has_input and names[:1] == ["run"]
    if kind is StageKind.SINK or misplaced or not has_input <= len(names) <= has_input + 1:
        message = f"stage {name!r}: {name}{as_written(inspect.signature(func))} is no async generator of the kind {kind.value!r}"
        hint = "one takes the stream, or the stream and the run; one that generates takes nothing, or the run; a sink is none"
        raise definition_error(name, message, hint)

    def body(input: ReceiveEnd[Any], output: SendEnd[Any], run: RunContext[Any]) -> Awaitable[None]:
        arguments = (input, run) if has_input else (run,)
        return output.send_all(func(*arguments[: len(names)]), closes=True)

    def usual(input: ReceiveEnd[Any], output: SendEnd[Any]) -> Awaitable[None]:
        return output.send_all(func(input), closes=True)

    reads = functools.partial(stream_types, func, names[0], name) if has_input else _nothing
    return (
        _PlainBody(usual) if has_input and len(names) == 1 else body,
        reads,
        functools.partial(stream_types, func, "return", name),
    )


def _nothing() -> None:
    """Stand in for an annotation where there is no parameter."""
