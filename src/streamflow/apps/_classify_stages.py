"""What stands behind the model of a classification: how far the form is, and what becomes of it when it is whole.

Above: `_classification`. Below: `stages`, `transports` (the names of the data).

The rule of the second stage: a form counts only if its turn has ended well, it was parsed as a whole, and its check has passed.
Then it is saved, once; and when that is done, it is told. Nothing is ever saved of anything else.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio

from ..elements import (
    DataElement,
    ErrorElement,
    JsonValue,
    Metadata,
    StreamElement,
    ToolCallDelta,
    ToolCallElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    thaw,
)
from ..errors import ElementError, ProviderError, StateError
from ..stages import BaseStage, RunContext, StageKind
from ..transports import CLASSIFICATION, CLASSIFICATION_PROGRESS

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ..stages import Accepts, Bypass, OnInterrupt

__all__ = ["ClassificationProgressStage", "ClassifyStage", "SaveFunction", "ValidateFunction"]

SaveFunction: TypeAlias = Callable[[Mapping[str, JsonValue], RunContext[object]], Awaitable[object]]
"""Stores a form; given the run, whose `deps` say whose it is."""

ValidateFunction: TypeAlias = Callable[[dict[str, JsonValue]], "object | Awaitable[object]"]
"""Checks a form: returns None, or what is to stand in its place; raises what it likes where it is wrong. It may be async."""

_SAVE_S = 10.0


class ClassificationProgressStage(BaseStage):
    """Say how far a form is, as a `DataElement` `classification_progress` with `percent` and `chars`.

    In: `ToolCallDelta` and `ToolCallElement`; those of the tool are counted. `TurnStart` and `TurnReset` begin anew.
    Out: what came in. Behind the first fragment that passes a step: the progress, from below 100 to 100 for the whole.

    Flow:
        emits: each element at once.

    Args:
        tool: Name of the tool.
        expected_chars: How long a form is expected to be; a longer one stays at 99 % until it is whole.
        step_percent: How much it must have grown to be told again, from 1 to 100.
        name: Name in the graph.
    """

    accepts: Accepts | None = (ToolCallDelta, ToolCallElement, TurnStart, TurnReset)
    emits: Accepts | None = (ToolCallDelta, ToolCallElement, DataElement, TurnStart, TurnReset)

    def __init__(self, tool: str, expected_chars: int, *, step_percent: int = 25, name: str = "progress") -> None:
        super().__init__(name)
        self._tool = tool
        self._expected = expected_chars
        self._step = step_percent

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        chars = told = 0
        async for element in input:
            await output.send(element)
            match element:
                case TurnStart() | TurnReset():
                    chars = told = 0
                case ToolCallDelta() if element.name == self._tool:
                    chars += len(element.args)
                    percent = min(99, chars * 100 // self._expected)
                    if percent >= told + self._step:
                        told = percent - percent % self._step
                        await output.send(_progress(told, chars))
                case ToolCallElement() if element.name == self._tool and element.error is None:
                    told = 100
                    await output.send(_progress(100, max(chars, len(element.raw))))
                case _:
                    pass


def _progress(percent: int, chars: int) -> DataElement:
    return DataElement(CLASSIFICATION_PROGRESS, {"percent": percent, "chars": chars}, transient=True)


class ClassifyStage(BaseStage):
    """Make of the call that a model was forced to a form: checked, saved once, told as a `DataElement` `classification`.

    In: `ToolCallElement` of the tool, the first of a turn; `ErrorElement` of the model; `TurnReset`; `TurnEnd`.
    Out: the `DataElement` before the `TurnEnd`; the call itself ends here. Where there is no form (the call is missing, malformed
    or cut off, the check refuses it, the model failed), an `ErrorElement` says so, and the fallback stands in its place, with
    `fallback` and `reason` in its metadata. An interrupted turn has neither.

    Flow:
        emits: other elements as they come; the form on `TurnEnd`, after it was saved.
        backpressures: while the output is full, and while the form is saved.
        completes: when the input ends; a turn without its end gives nothing, and saves nothing.
        fails: `ProviderError` where there is no form and no fallback; with what `save` raises; `StateError` if saving takes longer
            than `save_timeout_s`.
        cancels: a saving that has begun is cancelled: it is done, or it is not, as the store promises; the form is not told.

    Args:
        tool: Name of the tool.
        required: Members that a form must have.
        fallback: What stands in the place of a form; None: the stage fails.
        validate: Checks a form.
        save: Stores a form.
        save_timeout_s: Longest time that this may take, in seconds.
        name: Name in the graph.
    """

    kind: StageKind = StageKind.ACCUMULATE
    bypass: Bypass = "early"  # the strings of the form are to be seen while it is filled in
    max_held: int | None = 1
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (ToolCallElement, ErrorElement, TurnReset, TurnEnd)
    emits: Accepts | None = (ToolCallElement, DataElement, ErrorElement, TurnReset, TurnEnd)

    def __init__(
        self,
        tool: str,
        *,
        required: tuple[str, ...] = (),
        fallback: Mapping[str, JsonValue] | None = None,
        validate: ValidateFunction | None = None,
        save: SaveFunction | None = None,
        save_timeout_s: float = _SAVE_S,
        name: str = "classify",
    ) -> None:
        super().__init__(name)
        self._tool = tool
        self._required = required
        self._fallback = fallback
        self._validate = validate
        self._save = save
        self._save_timeout_s = save_timeout_s

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        call: ToolCallElement | None = None
        failure: str | None = None
        async for element in input:
            match element:
                case ToolCallElement() if element.name == self._tool:
                    call = call or element
                    continue
                case ErrorElement() if element.metadata.get("error_type") is not None:  # the model's own
                    failure = element.code
                case TurnReset():
                    call = failure = None
                case TurnEnd():
                    if element.stop_reason != "interrupted":
                        await self._finish(call, failure, element, output, run)
                    call = failure = None
                case _:
                    pass
            await output.send(element)

    async def _finish(
        self,
        call: ToolCallElement | None,
        failure: str | None,
        end: TurnEnd,
        output: SendEnd[StreamElement],
        run: RunContext[object],
    ) -> None:
        """Send the form of a turn, saved, or what stands in its place."""
        try:
            if failure is not None:
                raise _NoFormError(failure, "", is_told=True)
            form = await self._form_of(call, end)
        except _NoFormError as error:
            if self._fallback is None:
                raise ProviderError(error.code, error.message) from error.__cause__
            if not error.is_told:
                await output.send(ErrorElement(error.code, error.message, self.name))
            metadata = Metadata({"fallback": True, "reason": error.code})
            await output.send(DataElement(CLASSIFICATION, self._fallback, metadata=metadata))
            return
        if self._save is not None:
            await self._stored(form.value, run)
        await output.send(form)

    async def _form_of(self, call: ToolCallElement | None, end: TurnEnd) -> DataElement:
        """Return the form, if it is one."""
        if end.stop_reason not in ("tool_calls", "stop"):
            code = "truncated" if end.stop_reason == "length" else "refused"
            raise _NoFormError(code, f"the model stopped before the form was whole: {end.stop_reason}")
        if call is None:
            raise _NoFormError("protocol", f"the model did not call {self._tool!r}")
        if call.error is not None:
            raise _NoFormError("protocol", f"the arguments of {self._tool!r} are no JSON object")
        form = cast("dict[str, JsonValue]", thaw(call.args))
        missing = [one for one in self._required if one not in form]
        if missing:
            raise _NoFormError("protocol", f"the form lacks {', '.join(map(repr, missing))}")
        try:
            if self._validate is not None:
                given = self._validate(form)
                given = await given if inspect.isawaitable(given) else given
                form = form if given is None else cast("dict[str, JsonValue]", given)
            if not isinstance(cast("object", form), Mapping):
                raise ElementError(f"validate() gave a {type(form).__name__}; give a mapping, or None")
            return DataElement(CLASSIFICATION, form)
        except Exception as error:
            # By its class: its text may repeat what was said.
            message = f"the check refused the form: {type(error).__name__}"
            raise _NoFormError("protocol", message) from error

    async def _stored(self, form: JsonValue, run: RunContext[object]) -> None:
        save = self._save
        assert save is not None
        scope = anyio.CancelScope(deadline=anyio.current_time() + self._save_timeout_s)
        with scope:
            await save(cast("dict[str, JsonValue]", thaw(form)), run)
        if scope.cancelled_caught:
            message = f"stage {self.name!r}: saving took longer than {self._save_timeout_s:g} s; raise save_timeout_s"
            raise StateError("timeout", message, retryable=True)


class _NoFormError(Exception):
    """There is no form."""

    def __init__(self, code: str, message: str, *, is_told: bool = False) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.is_told = is_told
