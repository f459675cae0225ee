"""The forms in which a stage may be given, and the one form that everything else knows: `StageSpec`.

Above: `graph`, which asks for `as_stage()`. Below: `_contract`, `_annotations`, `_loops`.

| given | runs as |
|---|---|
| async generator function of a stream (`@stage` or bare) | one generator per run |
| async function `(input, output[, run])` | that function |
| function of one element, sync or async | a loop that sends what it returns; a generator function sends what it yields |
| object with `process` | that method; for each run what `open(run)` returns, if it has that |
| class with `process` | one instance per run |
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar, overload

from ..elements import TurnEnd
from ._admission import ALL_DATA, ElementTypes
from ._annotations import declared_types, parameters, stream_types, value_types
from ._contract import BaseStage, StageKind, StageSpec, definition_error, snake_case
from ._loops import drive_generator, flat_map_loop, map_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..channels import ReceiveEnd, SendEnd
    from ._context import RunContext
    from ._contract import Stage, StageBody

__all__ = ["FunctionStage", "StageLike", "as_stage", "function_name", "stage"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

StageLike: TypeAlias = "Stage | StageSpec | type | Callable[..., object]"
"""What can be given as a stage; see the table of this module."""

_HINT = "give an async generator function, a function of one element, an object or class with process(), or @stage"


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
        accepts: type | tuple[type, ...] | None = None,
        emits: type | tuple[type, ...] | None = None,
        max_held: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(name if name is not None else function_name(func))
        self.func = func
        """The function as it was written."""
        count = len(parameters(func))
        is_generator = inspect.isasyncgenfunction(func)
        if kind is None:
            kind = StageKind.GENERATE if is_generator and count == 0 else StageKind.TRANSFORM
        self.kind = kind
        self.accepts, self.emits, self.timeout_s = accepts, emits, timeout_s
        if max_held is not None:
            self.max_held = max_held
        self.is_per_element = not is_generator and count == 1
        """Whether the function takes one element, not a stream."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.func(*args, **kwargs)


@overload
def stage(func: Callable[P, R_co], /) -> FunctionStage[P, R_co]: ...
@overload
def stage(
    *,
    name: str | None = None,
    kind: StageKind | None = None,
    accepts: type | tuple[type, ...] | None = None,
    emits: type | tuple[type, ...] | None = None,
    max_held: int | None = None,
    timeout_s: float | None = None,
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
    parameters generates: it stands at the head of a graph.

    Args:
        func: The function, when used as `@stage` without parentheses.
        options: `name` in the graph, default the function's; `kind`; `accepts` and `emits`, default what the annotations say;
            `max_held`, most elements that it holds; `timeout_s`, longest time in seconds between two dealings with its edges.

    Raises:
        StageDefinitionError: If it is no such function.

    Source: semantics 3.1–3.3.
    """
    if func is None:
        return lambda decorated: stage_of(decorated, **options)
    return stage_of(func)


def stage_of(func: Callable[P, R_co], **options: Any) -> FunctionStage[P, R_co]:
    """Return `func` as a stage, and check at once that it is one."""
    if not callable(func) or isinstance(func, type):
        message = f"@stage was given {func!r:.80}, which is no function"
        raise definition_error(None, message, "a class is a stage as it is: give the class, or an object of it, to chain()")
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
    if isinstance(given, StageSpec):
        return given
    if inspect.iscoroutine(given) or inspect.isasyncgen(given) or inspect.isgenerator(given):
        if inspect.iscoroutine(given):
            given.close()  # else Python warns that it was never awaited, besides our own error
        message = f"a stage was expected, got the {type(given).__name__} {getattr(given, '__name__', '?')!r}"
        raise definition_error(None, message, "pass the function itself, without calling it")
    if isinstance(given, type):
        return _from_class(given)
    if isinstance(given, FunctionStage):
        return _from_function(given)
    if callable(getattr(given, "process", None)):
        return _from_object(given)
    if callable(given):
        return _from_function(FunctionStage(given))
    message = f"a stage was expected, got {given!r:.80}, a {type(given).__name__}"
    raise definition_error(None, message, _HINT)


def _from_class(given: type) -> StageSpec:
    name = snake_case(given.__name__.removesuffix("Stage"))
    if not callable(getattr(given, "process", None)):
        raise definition_error(name, f"the class {given.__name__} has no process() method", _HINT)
    try:
        probe = given()
    except TypeError as error:
        message = f"the class {given.__name__} cannot be made without arguments ({error})"
        raise definition_error(name, message, "give an object of it instead, or a class that needs no arguments") from error
    if not isinstance(getattr(probe, "name", None), str):
        probe.name = name
    spec = _from_object(probe)

    def start(run: RunContext[Any]) -> StageBody:
        return _from_object(given(), fallback_name=spec.name).start(run)

    return _replace(spec, start)


def _replace(spec: StageSpec, start: Callable[[RunContext[Any]], StageBody]) -> StageSpec:
    return StageSpec(
        name=spec.name,
        kind=spec.kind,
        accepts=spec.accepts,
        emits=spec.emits,
        start=start,
        max_held=spec.max_held,
        timeout_s=spec.timeout_s,
    )


def _from_object(given: Any, fallback_name: str | None = None) -> StageSpec:
    name = _checked_name(given, getattr(given, "name", fallback_name) or fallback_name)
    process = given.process
    body = _process_body(process, name)
    opener = getattr(given, "open", None)

    def start(run: RunContext[Any]) -> StageBody:
        return body if opener is None else _process_body(opener(run).process, name)

    is_generator = inspect.isasyncgenfunction(process)
    names = [one.name for one in parameters(process)]
    kind = getattr(given, "kind", StageKind.TRANSFORM)
    found = stream_types(process, names[0], name) if names else None
    sent = stream_types(process, "return" if is_generator else names[1], name) if is_generator or len(names) > 1 else None
    return _spec(given, name, kind, (found, sent), start)


def _from_function(given: FunctionStage[..., Any]) -> StageSpec:
    func, name = given.func, _checked_name(given, given.name)
    names = [one.name for one in parameters(func)]
    if given.is_per_element:
        loop = flat_map_loop if inspect.isgeneratorfunction(func) else map_loop
        found = value_types(func, names[0], name)
        sent = stream_types(func, "return", name) if loop is flat_map_loop else value_types(func, "return", name)

        async def body(input: ReceiveEnd[Any], output: SendEnd[Any], _run: RunContext[Any]) -> None:
            await loop(func, input, output)

    elif inspect.isasyncgenfunction(func):
        body = _generator_body(func, len(names), given.kind, name)
        has_input = given.kind is not StageKind.GENERATE
        found = stream_types(func, names[0], name) if names and has_input else None
        sent = stream_types(func, "return", name)
    else:
        body = _process_body(func, name)
        found = stream_types(func, names[0], name)
        sent = stream_types(func, names[1], name) if len(names) > 1 else None
    return _spec(given, name, given.kind, (found, sent), lambda _run: body)


def _spec(
    given: Any,
    name: str,
    kind: StageKind,
    annotated: tuple[ElementTypes | None, ElementTypes | None],
    start: Callable[[RunContext[Any]], StageBody],
) -> StageSpec:
    accepts, emits = getattr(given, "accepts", None), getattr(given, "emits", None)
    accepted = annotated[0] if accepts is None else declared_types(accepts, name, "accepts")
    default = (*ALL_DATA, TurnEnd) if kind is StageKind.ACCUMULATE else ALL_DATA
    # A stage that keeps elements between pulls, or lives on its own, cannot be trusted to hold just one unless it says so.
    holds = None if kind in (StageKind.ACCUMULATE, StageKind.BIDIRECTIONAL) else 1
    return StageSpec(
        name=name,
        kind=kind,
        accepts=accepted or default,
        emits=annotated[1] if emits is None else declared_types(emits, name, "emits"),
        start=start,
        max_held=getattr(given, "max_held", holds),
        timeout_s=getattr(given, "timeout_s", None),
        freeze=given.freeze if isinstance(given, BaseStage) else None,
    )


def _checked_name(given: object, name: object) -> str:
    if isinstance(name, str) and name.strip():
        return name
    message = f"the stage {given!r:.80} has no name"
    raise definition_error(None, message, "give it a non-empty string as name")


def _process_body(process: Callable[..., Any], name: str) -> StageBody:
    count = len(parameters(process))
    if inspect.isasyncgenfunction(process):
        return _generator_body(process, count, StageKind.TRANSFORM, name)
    if not inspect.iscoroutinefunction(process) or not 1 <= count <= 3:
        message = f"stage {name!r}: process{inspect.signature(process)} is no stage function"
        hint = "write 'async def process(self, input, output)', with 'run' as a third parameter if you need it"
        raise definition_error(name, message, hint)

    async def body(input: ReceiveEnd[Any], output: SendEnd[Any], run: RunContext[Any]) -> None:
        await process(*(input, output, run)[:count])

    return body


def _generator_body(func: Callable[..., Any], count: int, kind: StageKind, name: str) -> StageBody:
    has_input = kind is not StageKind.GENERATE
    if not has_input <= count <= has_input + 1:
        message = f"stage {name!r}: {name}{inspect.signature(func)} takes {count} parameters"
        hint = "an async generator stage takes the stream, or the stream and the run; one that generates takes none, or the run"
        raise definition_error(name, message, hint)

    async def body(input: ReceiveEnd[Any], output: SendEnd[Any], run: RunContext[Any]) -> None:
        arguments = (input, run) if has_input else (run,)
        await drive_generator(func(*arguments[:count]), output)

    return body
