"""Element types out of annotations: what a stage accepts and emits, read from its own signature.

Above: `_forms`, `_functional`. Below: `_contract`, `elements`.

An annotation that leaves the types open (`Any`, `object`, a type variable, a bare `AsyncIterator`, a class of the user's own that
does not tell) is as none. One that can only be a mistake is an error at once.
"""

from __future__ import annotations

import collections.abc
import contextlib
import functools
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any, cast

from anyio.abc import ObjectReceiveStream, ObjectSendStream

from .. import elements
from ..channels import ReceiveEnd, SendEnd
from ..elements import StreamElement
from ._contract import as_written, definition_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._admission import ElementTypes

__all__ = ["called", "declared_types", "parameters", "stream_types", "value_types"]

_STREAMS = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.Sequence,
    list,
    tuple,
    ReceiveEnd,
    SendEnd,
    ObjectReceiveStream,
    ObjectSendStream,
)

# Nobody means one element by these: who takes them has written another form of a stage than it is.
_WHOLE_STREAMS = (collections.abc.AsyncIterable, collections.abc.Iterator)

# Other classes may be a protocol of the user's own, of which we know nothing.
_MISTAKES = (StreamElement, str, bytes, int, float, collections.abc.Mapping, types.NoneType)

# Names that linters like to move under TYPE_CHECKING: an annotation that uses them is understood all the same.
_KNOWN = {one.__name__: one for one in _STREAMS} | {name: getattr(elements, name) for name in elements.__all__}


def called(func: Callable[..., object]) -> Callable[..., object]:
    """Return the function that runs when `func` is called: behind a partial, or the `__call__` of an object."""
    while isinstance(func, functools.partial):
        func = func.func
    if inspect.isroutine(func) or inspect.isclass(func):
        return func
    call: Callable[..., object] = type(func).__call__
    return call


def parameters(func: Callable[..., object], stage: str | None, *, of_element: bool = False) -> list[str]:
    """Return the names of the parameters that the runtime fills, by position: those without a default, and one called `run`.

    Args:
        func: The stage's function; a bound `self` does not count.
        stage: Name of the stage, for errors.
        of_element: Whether it is known to take one element, so that `*args` leaves nothing open.

    Raises:
        StageDefinitionError: If it cannot be called by position, or hides what it takes behind `*args`.
    """
    try:
        given = inspect.signature(func).parameters.values()
    except ValueError:
        return ["element"]  # a built-in that does not tell, such as `deque.append`: taken for a function of one element
    where = f"stage {stage!r}" if stage else "a stage"
    positional = [one for one in given if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}]
    names = [one.name for one in positional if one.default is one.empty or one.name == "run"]
    if of_element and not names:
        names = [one.name for one in positional[:1]]  # such as `bool`, which has a default for what it is given
    for one in given:
        if one.kind is one.KEYWORD_ONLY and one.default is one.empty:
            message = f"{where}: its function needs the keyword {one.name!r}, which the runtime does not give"
            raise definition_error(stage, message, "give it a default, or bind it with functools.partial")
        if one.kind is one.VAR_POSITIONAL and not names and of_element:
            return [one.name]
        if one.kind is one.VAR_POSITIONAL and not names:
            message = f"{where}: its function takes *{one.name}, which does not tell the form of the stage"
            raise definition_error(stage, message, "name its parameters; in a decorator use functools.wraps")
    return names


def declared_types(given: object, stage: str, field: str) -> ElementTypes:
    """Return the element types that were given by keyword or attribute.

    Raises:
        StageDefinitionError: If one of them is no element type.
    """
    several = cast("tuple[object, ...]", given) if isinstance(given, tuple) else (given,)
    found = [one for one in several if isinstance(one, type) and issubclass(one, StreamElement)]
    if not several or len(found) != len(several):
        message = f"stage {stage!r}: {field}={given!r:.80} is no element type"
        raise definition_error(stage, message, f"give {field}=TextElement, or a tuple of such types")
    return tuple(found)


def stream_types(func: Callable[..., object], which: str, stage: str) -> ElementTypes | None:
    """Return the element types of a stream-like annotation (`AsyncIterator[TextElement]`), None where there is none.

    Args:
        func: The stage's function.
        which: Name of a parameter, or `return`.
        stage: Name of the stage, for errors.

    Raises:
        StageDefinitionError: If the annotation cannot be resolved, or says something else than elements.
    """
    annotation = _resolve(func, which, stage)
    return None if annotation is inspect.Parameter.empty else _streamed(annotation, which, stage)


def value_types(func: Callable[..., object], which: str, stage: str) -> ElementTypes | None:
    """Return the element types of a plain annotation (`TextElement | None`), None where there is none.

    Raises:
        StageDefinitionError: If the annotation cannot be resolved, or says something else than elements.
    """
    annotation = _resolve(func, which, stage)
    return None if annotation is inspect.Parameter.empty else _elements(annotation, which, stage)


def _resolve(func: Callable[..., object], which: str, stage: str) -> Any:
    """Return an annotation as an object, what `Awaitable` and type aliases hold; `Parameter.empty` where there is none."""
    target: Any = inspect.unwrap(called(func))
    target = getattr(target, "__func__", target)
    annotation = getattr(target, "__annotations__", {}).get(which, inspect.Parameter.empty)
    if annotation is inspect.Parameter.empty or inspect.isclass(target):
        return inspect.Parameter.empty
    holder = types.SimpleNamespace(__annotations__={which: annotation})
    names: dict[str, object] = {**_KNOWN, **getattr(target, "__globals__", {})}
    try:
        found: Any = typing.get_type_hints(holder, globalns=names, localns=_nonlocals(target))[which]
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        message = f"stage {stage!r}: the annotation {annotation!r} of {which!r} cannot be resolved ({error})"
        hint = "import its types at run time, not under TYPE_CHECKING, or say accepts= / emits="
        raise definition_error(stage, message, hint) from error
    if typing.get_origin(found) in {collections.abc.Awaitable, collections.abc.Coroutine}:
        found = typing.get_args(found)[-1]
    return found


def _nonlocals(function: Any) -> dict[str, object]:
    """Return what a nested function sees of the functions around it, for annotations that name a local class."""
    values: dict[str, object] = {}
    names: tuple[str, ...] = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        # An empty one raises: a function that names itself is not bound yet while it is being decorated.
        with contextlib.suppress(ValueError):
            values[name] = cell.cell_contents
    return values


def _streamed(annotation: Any, which: str, stage: str) -> ElementTypes | None:
    annotation = _behind_alias(annotation)
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin in {typing.Union, types.UnionType}:
        return _united([_streamed(one, which, stage) for one in arguments if one is not types.NoneType])
    if not isinstance(origin, type) or origin is object:
        return None
    if issubclass(origin, _MISTAKES):
        message = f"stage {stage!r}: {which!r} is annotated with {_shown(annotation)}, which is no stream of elements"
        raise definition_error(stage, message, f"a stage of this form has a stream there, as in {_example(which)}")
    if origin is tuple:
        return _united([_elements(one, which, stage) for one in arguments if one is not Ellipsis])
    # Of a generic class that we do not know, more than one argument may mean anything.
    known = origin in _STREAMS or (issubclass(origin, _STREAMS) and len(arguments) == 1)
    return _elements(arguments[0], which, stage) if known and arguments else None


def _elements(annotation: Any, which: str, stage: str) -> ElementTypes | None:
    """Return the element types that `annotation` names; None where it leaves them open."""
    annotation = _behind_alias(annotation)
    if isinstance(annotation, typing.TypeVar) or annotation in {Any, object}:
        return None
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        several = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        return _united([_elements(one, which, stage) for one in several])
    kind = typing.get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, StreamElement):
        return (kind,)
    message = f"stage {stage!r}: {which!r} is annotated with {_shown(annotation)}, which is no element type"
    hint = "stages carry StreamElement types, such as TextElement or DataElement"
    if isinstance(kind, type) and issubclass(kind, _WHOLE_STREAMS) and which != "return":
        message = (
            f"stage {stage!r}: {which!r} is annotated with {_shown(annotation)}, a stream, in a function of one element"
        )
        hint = "to see the stream, write an async generator ('async def' with 'yield'), or 'async def process(input, output)'"
    if which == "return":
        hint += "; several come from a generator or a FlatMapStage, none from a FilterStage or a SinkStage"
    raise definition_error(stage, message, hint)


def _united(several: list[ElementTypes | None]) -> ElementTypes | None:
    known = [one for one in several if one is not None]
    return tuple(kind for one in known for kind in one) or None if len(known) == len(several) else None


def _behind_alias(annotation: Any) -> Any:
    """Return what a `type X = …` alias stands for."""
    while hasattr(annotation, "__value__"):  # a TypeAliasType, which Python 3.11 does not have by that name
        annotation = annotation.__value__
    return annotation


def _shown(annotation: Any) -> str:
    is_plain = isinstance(annotation, type) and not typing.get_args(annotation)
    return annotation.__name__ if is_plain else as_written(annotation)


def _example(which: str) -> str:
    return "SendEnd[TextElement]" if which == "output" else "AsyncIterator[TextElement]"
