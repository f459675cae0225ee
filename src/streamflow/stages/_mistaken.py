"""What is wrong with something that was given as a stage and is none: the message, and the way out of the mistake.

Above: `_forms`. Below: `_contract`.

Rule: each hint is for one mistake that people make; who makes another one is told all that can be given.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from ._contract import BaseStage, as_written, definition_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..errors import StageDefinitionError

__all__ = ["HINT", "no_function", "no_stage", "no_stage_function"]

HINT = "give an async generator function, a function of one element, an object or class with process(), or @stage"
"""What can be given as a stage."""


def no_stage(given: object) -> StageDefinitionError:
    """Return the error for a value that has no form of a stage."""
    if inspect.iscoroutine(given) or inspect.isasyncgen(given) or inspect.isgenerator(given):
        if inspect.iscoroutine(given):
            given.close()  # else Python warns that it was never awaited, besides our own error
        message = f"a stage was expected, got the {type(given).__name__} {getattr(given, '__name__', '?')!r}"
        return definition_error(None, message, "pass the function itself, without calling it")
    message = f"a stage was expected, got {given!r:.80} ({type(given).__name__})"
    if isinstance(given, BaseStage):
        message = f"{message}, which has no process() method"
        return definition_error(given.name, message, "write 'async def process(self, input, output)' in its class")
    return definition_error(None, message, _way_out(given))


def _way_out(given: object) -> str:
    if isinstance(given, (list, tuple)):
        return "unpack it: chain(*stages)"
    if callable(getattr(given, "build", None)):
        return "build it first: chain(builder.build().as_stage('name'))"
    if callable(getattr(given, "stream", None)):
        return "what answers requests of a model becomes a stage as ProviderStage(provider)"
    return HINT


def no_function(given: object) -> StageDefinitionError:
    """Return the error for what was given to `@stage` and is no function."""
    message = f"@stage was given {given!r:.80}, which is no function"
    hint = "a class or an object with process() is a stage as it is: give it to chain()"
    return definition_error(
        None, message, f"a name is said so: @stage(name={given!r:.80})" if isinstance(given, str) else hint
    )


def no_stage_function(process: Callable[..., object], called_as: str, wanted: str, name: str) -> StageDefinitionError:
    """Return the error for a function that is not called as the runtime calls one."""
    message = f"stage {name!r}: {called_as}{as_written(inspect.signature(process))} is no stage function"
    hint = f"write {wanted}, with 'run' as a third parameter if you need it"
    if inspect.isgeneratorfunction(process) and not inspect.signature(process).parameters:
        hint = f"what generates is an async generator, 'async def' with 'yield', or the source of a run: execute({called_as}())"
    return definition_error(name, message, f"{hint}; a sink may take 'input' alone")
