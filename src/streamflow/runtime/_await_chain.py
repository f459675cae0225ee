"""What a task waits in: the chain of coroutines and generators from its own down to the wait.

Above: `_deadlock`, which must know whether a wait may end by itself. Below: CPython's own view of suspended frames.

A stage may wait on an edge under a time limit (`with move_on_after(1): await input.receive()`); such a wait ends without anybody's
doing. What a suspended frame holds, the context managers that it is inside of among it, is what the garbage collector can see.
Timers that no frame holds (`loop.call_later(…, task.cancel)`) cannot be seen: a stage that has such declares `helpers=True`.
"""

from __future__ import annotations

import gc
import inspect
import math
import os
import types
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..channels import drive, in_bursts
from ._task_meter import metered

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["chain_of", "has_time_limit", "place_of"]

_Frames: TypeAlias = (
    "types.CoroutineType[Any, Any, Any] | types.AsyncGeneratorType[Any, Any] | types.GeneratorType[Any, Any, Any]"
)

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_OURS: Final = __name__.partition(".")[0]
_LIMITERS: Final = frozenset({"anyio", "asyncio", "async_timeout", "trio"})
_LONGEST: Final = 1000  # links of one chain that are followed
_DEEPEST: Final = 5  # how far inside a context manager a time limit is looked for
_DRIVERS: Final = frozenset({metered.__code__, drive.__code__, in_bursts.__code__})  # they drive their variable `work`
_MOST: Final = 2000  # objects that are looked at there; what has more is taken to have a limit
_OPAQUE: Final = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.CodeType,
    types.BuiltinFunctionType,
    str,
    bytes,
    int,
    float,
)


def chain_of(awaited: object) -> Iterator[_Frames]:
    """Yield what a coroutine waits in, from itself down to what is suspended innermost."""
    for _ in range(_LONGEST):
        following: object
        if inspect.iscoroutine(awaited):
            following = awaited.cr_await
        elif inspect.isasyncgen(awaited):
            following = awaited.ag_await
        elif inspect.isgenerator(awaited):
            frame = awaited.gi_frame if awaited.gi_code in _DRIVERS else None
            following = awaited.gi_yieldfrom if frame is None else frame.f_locals["work"]  # which it drives by hand
        else:
            # A step of an async generator, or another thin thing that holds what it drives and does not show it.
            awaited = next((one for one in gc.get_referents(awaited) if _has_frames(one)), None)
            if awaited is None:
                return
            continue
        yield awaited
        awaited = following
        if awaited is None:
            return


def place_of(coroutine: object) -> str | None:
    """Return `file:line` of the innermost code that is neither this package's nor a library's; of a library's, if there is none."""
    told: str | None = None
    for one in chain_of(coroutine):
        code, line = _position(one)
        if code.co_filename.startswith(_PACKAGE) or line is None:
            continue
        is_library = "site-packages" in code.co_filename or code.co_filename.startswith(os.path.dirname(os.__file__))
        if not is_library or told is None:
            told = f"{code.co_filename}:{line}"
    return told


def has_time_limit(coroutine: object) -> bool:
    """Say whether a suspended coroutine is inside of something that will cancel its wait when time is up, or may be."""
    return any(_limits(held) for one in chain_of(coroutine) for held in gc.get_referents(one))


def _has_frames(one: object) -> bool:
    return inspect.iscoroutine(one) or inspect.isasyncgen(one) or inspect.isgenerator(one)


def _position(one: _Frames) -> tuple[types.CodeType, int | None]:
    if inspect.iscoroutine(one):
        return one.cr_code, None if one.cr_frame is None else one.cr_frame.f_lineno
    if inspect.isasyncgen(one):
        return one.ag_code, None if one.ag_frame is None else one.ag_frame.f_lineno
    assert inspect.isgenerator(one)
    return one.gi_code, None if one.gi_frame is None else one.gi_frame.f_lineno


def _limits(held: object) -> bool:
    """Say whether what a frame holds is a context manager with a time limit in it."""
    if isinstance(held, types.MethodType):
        held = held.__self__
    if not hasattr(type(held), "__exit__") and not hasattr(type(held), "__aexit__"):
        return False
    level, seen = [held], {id(held)}
    for _ in range(_DEEPEST):
        following: list[object] = []
        for one in level:
            if _is_limit(one):
                return True
            following += [] if isinstance(one, _OPAQUE) or _is_ours(one) else gc.get_referents(one)
        level = [one for one in following if id(one) not in seen and not isinstance(one, _OPAQUE)]
        seen.update(map(id, level))
        if len(seen) > _MOST:
            return True
    return False


def _is_ours(one: object) -> bool:
    return type(one).__module__.partition(".")[0] == _OURS


def _is_limit(one: object) -> bool:
    kind = type(one)
    if kind.__module__.partition(".")[0] not in _LIMITERS:
        return False
    deadline: object = getattr(one, "deadline", math.inf)  # of a cancel scope
    if isinstance(deadline, (int, float)) and deadline < math.inf:
        return True
    when: object = getattr(one, "when", None)  # of asyncio.timeout()
    return hasattr(kind, "reschedule") and callable(when) and when() is not None
