"""The calls of one answer of a model: which of them run, when, and that each has exactly one result.

Above: `_turn`, `_tool_stage`. Below: `_tools`, `_tool`, `_content`, `stages`, whose context starts the tools' tasks.
Rules: a call runs only when the answer that it is part of has ended with the stop reason `tool_calls`; a tool that says `eager` may
begin before, and its result is kept back until then. Results leave in the order of the calls. Whatever a tool does, its siblings do
not notice; only a `BaseException` that is no cancellation passes. `settle()` gives a result to each call that has none.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.lowlevel
import msgspec

from ..elements import Message, MessageElement, ToolCallElement, ToolResultElement
from ..errors import RunStateError, ToolError
from ..observe import start_span
from ..stages import current_run
from ._arguments import ArgumentsError
from ._content import capped, content_of
from ._tool import ToolContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from types import TracebackType

    from ..elements import StopReason, StreamElement, ToolCallPart, ToolDecisionElement, ToolStatus
    from ._content import Content
    from ._tool import Tool
    from ._tools import Repeats, Tools

__all__ = ["Calls"]

_log = logging.getLogger("streamflow.tools")

CANCELLED: Final = "The call was cancelled before it gave a result."
CUT: Final = (
    "The call was not run: the answer was cut off at its limit of tokens before it was complete. "
    "Make the call again, with shorter arguments, or answer without it."
)
OVER_LIMIT: Final = "The call was not run: the limit of calls has been reached. Answer with what you have."


class _One:
    """A call, and what has become of it."""

    def __init__(self, call: ToolCallElement) -> None:
        self.call = call
        self.result: ToolResultElement | None = None
        self.is_pending = False
        self.is_started = False
        self.is_sent = False
        self.done = anyio.Event()
        self.helper: _Helper | None = None

    def finish(self, result: ToolResultElement | None) -> None:
        """Know the result, None: a person is to be asked. The first one stays."""
        if not self.done.is_set():
            self.result, self.is_pending = result, result is None
            self.done.set()

    def decide(self, result: ToolResultElement) -> None:
        """Give it this result, whatever its tool is doing, or has done."""
        self.cancel()
        self.result, self.is_pending = result, False
        self.done.set()

    def cancel(self) -> None:
        """End its tool, if it runs."""
        if self.helper is not None:
            self.helper.scope.cancel()


class _Helper:
    """A task of the stage, as far as is known of it here."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.has_begun = False
        self.ended = anyio.Event()


class Calls:
    """The calls of one answer. Entered before the answer is asked for, left when each call has its result.

    Args:
        tools: What may be called.
        send: Sends an element on.
        deps: What tools find in their context.
        repeats: Counts equal calls of the turn.
        decisions: What persons have decided about calls, by call id.
    """

    def __init__(
        self,
        tools: Tools,
        send: Callable[[StreamElement], Awaitable[None]],
        *,
        deps: object,
        repeats: Repeats,
        decisions: Mapping[str, ToolDecisionElement],
    ) -> None:
        self._tools = tools
        self._send = send
        self._deps = deps
        self._repeats = repeats
        self._decisions = decisions
        self._id = ""
        self._calls: dict[str, _One] = {}
        self._limiter = anyio.CapacityLimiter(tools.max_parallel)
        self._threads = anyio.CapacityLimiter(tools.max_parallel)
        self._run = current_run()
        self._helpers: list[_Helper] = []
        self._told = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for helper in self._helpers:
            helper.scope.cancel()
        with anyio.CancelScope(shield=True):
            for helper in self._helpers:
                if helper.has_begun:  # one that has not is cancelled before it does anything
                    await helper.ended.wait()

    def know(self, call: ToolCallElement) -> None:
        """Know a call that is complete."""
        self._calls.setdefault(call.call_id, _One(call))

    def note(self, call: ToolCallElement) -> None:
        """Know a call that is complete; one that may start early does."""
        if call.call_id in self._calls:
            return
        one = self._calls[call.call_id] = _One(call)
        tool = self._tools.find(call.name)
        if tool is not None and tool.eager and call.error is None:
            self._start(one)

    def forget(self) -> None:
        """Know that the answer begins anew: calls of it never were."""
        for one in self._calls.values():
            one.cancel()
        self._calls.clear()

    def adopt(self, message: Message, *, answered: Iterable[str] = ()) -> None:
        """Know the message of the answer: its calls are those that count, in its order, but for those that have been answered."""
        known, done = self._calls, frozenset(answered)
        if message.id:
            self._id = f"{message.id}-results" + (f"-{len(done)}" if done else "")
        self._calls = {}
        for part in message.tool_calls:
            if part.call_id in done:
                continue
            one = known.get(part.call_id)
            if one is None:
                call = ToolCallElement(
                    part.call_id, part.name, part.args, part.raw, _mistake(part), len(self._calls), id=message.id
                )
                one = _One(call)
            self._calls[part.call_id] = one
        for call_id, one in known.items():
            if call_id not in self._calls:
                one.cancel()

    @property
    def calls(self) -> tuple[ToolCallElement, ...]:
        """The calls that are known."""
        return tuple(one.call for one in self._calls.values())

    @property
    def pending(self) -> tuple[str, ...]:
        """Ids of the calls that a person is to decide about."""
        return tuple(one.call.call_id for one in self._calls.values() if one.is_pending)

    async def run(self, *, at_most: int | None = None) -> None:
        """Run the calls, and send their results in order, then the message that holds them.

        Args:
            at_most: How many may run; the others are answered as beyond the limit.

        Cancellation: ends the tools that run. `settle()` then sends what is missing; results that were ready stay as they are.
        """
        for place, one in enumerate(self._calls.values()):
            if at_most is not None and place >= at_most and not one.is_started:
                one.is_started = True
                one.finish(_result(one.call, "denied", OVER_LIMIT))
        self._spawn(self._start_all, "tools")
        for one in self._calls.values():
            await one.done.wait()
            await self._tell(one)
        await self._tell_message()

    async def refuse(self, stop_reason: StopReason) -> None:
        """Answer each call as one that was not run, because of how the answer has ended."""
        for one in self._calls.values():
            text = CUT if stop_reason == "length" else _not_run(stop_reason)
            one.decide(_result(one.call, "error" if stop_reason == "length" else "cancelled", text))
        await self.settle()

    async def settle(self) -> None:
        """Send a result for each call that has none, and the message that holds all. Idempotent."""
        for one in self._calls.values():
            if one.result is None:
                one.decide(_result(one.call, "cancelled", CANCELLED))
            await self._tell(one)
        await self._tell_message()

    def message(self) -> Message | None:
        """Return the message that holds the results, None if there are none."""
        parts = [one.result.part for one in self._calls.values() if one.result is not None]
        return Message("tool", parts, id=self._id) if parts else None

    async def _tell(self, one: _One) -> None:
        if one.result is not None and not one.is_sent:
            await self._send(one.result)
            one.is_sent = True

    async def _tell_message(self) -> None:
        message = self.message()
        if message is not None and not self._told:
            await self._send(MessageElement(message, id=self._id))
            self._told = True

    async def _start_all(self) -> None:
        """Start what has not been started: side by side, but one that is sequential alone."""
        for one in list(self._calls.values()):
            if one.is_started:
                continue
            tool = self._tools.find(one.call.name)
            if tool is not None and tool.sequential:
                await _all_done(other for other in self._calls.values() if other.is_started)
                self._start(one)
                await one.done.wait()
            else:
                self._start(one)

    def _start(self, one: _One) -> None:
        one.is_started = True
        # Counted here, in the order of the calls: tasks begin in any order.
        if self._repeats.is_too_many(one.call):
            text = f"The call was not run: it has been made {self._tools.max_repeats} times already, with the same arguments."
            one.finish(_result(one.call, "error", f"{text} Do something else, or answer with what you have."))
        else:
            one.helper = self._spawn(functools.partial(self._work, one), f"tool {one.call.name}")

    async def _work(self, one: _One) -> None:
        try:
            async with self._limiter:
                result = await self._judged(one.call)
        except anyio.get_cancelled_exc_class():
            # Ours goes on its way; one that the tool itself has raised ends here, or it would look like ours to whoever waits.
            await anyio.lowlevel.checkpoint_if_cancelled()
            result = _result(one.call, "cancelled", CANCELLED)
        one.finish(result)

    def _spawn(self, work: Callable[[], Awaitable[None]], name: str) -> _Helper:
        """Start a helper of the stage, which ends at the latest when this object is left."""
        helper = _Helper()

        async def body() -> None:
            helper.has_begun = True
            try:
                with helper.scope:
                    await work()
            finally:
                helper.ended.set()

        with contextlib.suppress(RunStateError):  # the stage is being cancelled, and so is whoever waits for this
            self._run.start_soon(body, name=name)
            self._helpers.append(helper)
        return helper

    async def _judged(self, call: ToolCallElement) -> ToolResultElement | None:
        """Return what a call comes to; None: a person is to be asked."""
        tool = self._tools.find(call.name)
        if tool is None:
            known = ", ".join(one.name for one in self._tools) or "none"
            return _result(call, "error", f"There is no tool {call.name!r:.80}. The tools are: {known}.")
        if call.error is not None:
            text = f"The call was not run: its arguments are no complete JSON object ({call.error:.300})."
            return _result(call, "error", f"{text} Make the call again.")
        decision = self._decisions.get(call.call_id)
        if decision is None:
            approval = await self._tools.approval_of(tool, call)
            if approval == "ask":
                return None
            if approval == "deny":
                return _result(call, "denied", "The call was not allowed. Do not make it again.")
        elif not decision.allow:
            return _result(call, "denied", f"A person has not allowed the call. {decision.reason}".strip())
        return await self._ran(tool, call)

    async def _ran(self, tool: Tool, call: ToolCallElement) -> ToolResultElement:
        """Run a tool as a span of its own, and return what came of it."""
        facts = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool.name,
            "gen_ai.tool.call.id": call.call_id,
        }
        with start_span(f"execute_tool {tool.name}", attributes=facts) as span:
            result = await self._tried(tool, call)
            if span is not None:
                span.set("streamflow.tool.status", result.status)
                span.set_content("gen_ai.tool.call.arguments", lambda: call.raw)
                span.set_content("gen_ai.tool.call.result", lambda: str(result.content))
                if result.status != "ok":
                    span.fail_as(f"tool_{result.status}")
        return result

    async def _tried(self, tool: Tool, call: ToolCallElement) -> ToolResultElement:
        """Run a tool, and return what came of it."""
        context = ToolContext(call, self._deps, self._send, self._threads)
        timeout_s = self._tools.timeout_of(tool)
        status: ToolStatus = "ok"
        content: Content = ""
        try:
            with anyio.move_on_after(timeout_s) as scope:
                content = content_of(await tool.run(call.args, context))
            if scope.cancelled_caught:
                status, content = "timeout", f"The tool took longer than {timeout_s:g} s, and was ended."
        except ArgumentsError as error:
            status, content = "error", f"The call was not run: its arguments do not fit: {error}. Make the call again."
        except ToolError as error:
            status, content = "error", error.message or "The tool failed."
        except Exception as error:  # noqa: BLE001 - what a tool does is its own matter
            _log.warning("tool %r failed: %s", tool.name, type(error).__name__)
            told = str(error) if tool.show_errors else ""
            status, content = "error", f"The tool failed: {told}" if told else "The tool failed."
        finally:
            context.end()
        return _result(call, status, capped(content, self._tools.max_result_bytes_of(tool)))


async def _all_done(ones: Iterable[_One]) -> None:
    for one in list(ones):
        await one.done.wait()


def _result(call: ToolCallElement, status: ToolStatus, content: Content) -> ToolResultElement:
    return ToolResultElement(call.call_id, call.name, content, status, id=call.call_id)


def _mistake(part: ToolCallPart) -> str | None:
    """Return what is wrong with the arguments of a call of which only the message is known."""
    if not part.raw.strip():
        return None
    try:
        value: object = msgspec.json.decode(part.raw)
    except msgspec.DecodeError as error:
        return str(error)
    return None if isinstance(value, dict) else "they are no object"


def _not_run(stop_reason: StopReason) -> str:
    return f"The call was not run: the answer ended with the stop reason {stop_reason!r}."
