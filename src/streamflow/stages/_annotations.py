"""Element types out of annotations: what a stage accepts and emits, read from its own signature.

Above: `_forms`. Below: `elements`.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any

from anyio.abc import ObjectReceiveStream, ObjectSendStream

from ..channels import ReceiveEnd, SendEnd
from ..elements import StreamElement
from ._contract import definition_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._admission import ElementTypes

__all__ = ["declared_types", "parameters", "stream_types", "value_types"]

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

# Names that linters like to move under TYPE_CHECKING: an annotation that uses them is understood all the same.
_KNOWN = {one.__name__: one for one in _STREAMS}


def parameters(func: Callable[..., object]) -> list[inspect.Parameter]:
    """Return the positional parameters of `func`, without a bound `self`."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one for one in inspect.signature(func).parameters.values() if one.kind in kinds]


def declared_types(given: object, stage: str, field: str) -> ElementTypes:
    """Return the element types that were given by keyword or attribute.

    Raises:
        StageDefinitionError: If one of them is no element type.
    """
    several = given if isinstance(given, tuple) else (given,)
    found = [one for one in several if isinstance(one, type) and issubclass(one, StreamElement)]
    if not several or len(found) != len(several):
        message = f"stage {stage!r}: {field}={given!r} is no element type"
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
    if annotation is None or annotation is inspect.Parameter.empty:
        return None
    if typing.get_origin(annotation) in _STREAMS:
        return _elements(typing.get_args(annotation)[0], which, stage)
    return None


def value_types(func: Callable[..., object], which: str, stage: str) -> ElementTypes | None:
    """Return the element types of a plain annotation (`TextElement | None`), None where there is none.

    Raises:
        StageDefinitionError: If the annotation cannot be resolved, or says something else than elements.
    """
    annotation = _resolve(func, which, stage)
    if annotation is None or annotation is inspect.Parameter.empty:
        return None
    return _elements(annotation, which, stage)


def _resolve(func: Callable[..., object], which: str, stage: str) -> Any:
    target = inspect.unwrap(func)
    while hasattr(target, "func"):  # functools.partial
        target = target.func
    target = getattr(target, "__func__", target)
    if not inspect.isfunction(target):
        target = getattr(type(target), "__call__", target)
    annotation = getattr(target, "__annotations__", {}).get(which)
    if annotation is None:
        return None
    closure = inspect.getclosurevars(target).nonlocals if inspect.isfunction(target) else {}
    holder = types.SimpleNamespace(__annotations__={which: annotation})
    names = {**_KNOWN, **getattr(target, "__globals__", {})}
    try:
        return typing.get_type_hints(holder, globalns=names, localns=dict(closure))[which]
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        message = f"stage {stage!r}: the annotation {annotation!r} of {which!r} cannot be resolved ({error})"
        hint = "import its types at run time, not under TYPE_CHECKING, or say accepts= / emits="
        raise definition_error(stage, message, hint) from error


def _elements(annotation: Any, which: str, stage: str) -> ElementTypes | None:
    """Return the element types that `annotation` names; None where it leaves them open (a type variable, Any, object)."""
    if isinstance(annotation, typing.TypeVar) or annotation in (Any, object):
        return None
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        several = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        found = [_elements(one, which, stage) for one in several]
        known = [one for one in found if one is not None]
        return tuple(kind for one in known for kind in one) if len(known) == len(found) else None
    kind = typing.get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, StreamElement):
        return (kind,)
    message = f"stage {stage!r}: {which!r} is annotated with {annotation!r}, which is no element type"
    raise definition_error(stage, message, "stages carry StreamElement types, such as TextElement or DataElement")
