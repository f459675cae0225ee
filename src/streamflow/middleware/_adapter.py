"""The stage that wraps legacy request/response code: a turn in, one call, what is new out.

Above: users. Below: `_chain` (the call), `_request` (what came in), `_reply` (what goes out), `_shapes` (what can be wrapped).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ..elements import DataElement, Message, MessageElement, StreamElement, TextElement, TurnEnd
from ..errors import ConfigError, ElementError, MiddlewareError
from ..stages import BaseStage, StageKind, turn_scope
from ._chain import Call, Settings
from ._context import MiddlewareContext
from ._messages import as_message, read, to_json
from ._outcome import Status
from ._reply import Reply
from ._request import OUTPUTS, Request
from ._shapes import links_of, name_of
from ._threads import Home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import JsonValue, StopReason
    from ..stages import Accepts, OnInterrupt, RunContext

__all__ = ["MiddlewareAdapter", "wrap_middleware"]


class MiddlewareAdapter(BaseStage):
    """Run legacy request/response middleware as a stage, unchanged.

    What can be wrapped, known by its methods and not by its class:

    - a call: an object or class with `execute(ctx)`, `run(ctx)` or `invoke(text)`, or a function of the context; sync, async, or
      an async generator, whose fragments go on as they come;
    - middleware around the rest: an object or class with `process(ctx, next)`, or such a function; the rest of the chain runs
      inside `next()`, and what is written after it runs after the rest;
    - an interceptor: an object with any of `before(stage, ctx)`, `after(stage, result, ctx)` and `on_error(stage, error, ctx)`;
    - a list of these: a chain, the first one outermost. A call in it is followed by what stands behind it.

    Any of them may have a hook for streamed fragments: `on_chunk(ctx, text)`, which returns the text that goes on, or None to drop
    it; or `stream_chunk(ctx, fragment)`, which changes `fragment.delta` in place. Either may call `ctx.interrupt_stream(reason)`.
    Blocking code runs in a worker thread.

    In: `TextElement` and `MessageElement`, one turn; `TurnEnd`, on which the chain is called. Fragments with a common `id` are one
    message. The metadata of all of them is the request's. Other elements pass through in order.
    Out: the answer, if there is one: fragments as they are streamed, else the text as one fragment; each message of the assistant
    and its tools, exactly once; nothing of what came in. Without an answer the request goes on as the middleware left it: unchanged
    elements as they came, the newest with what was found out in its metadata. A request that middleware kept back, by not calling
    `next` or by `ctx.short_circuit`, ends here. Data without an answer is a `DataElement` with the name of who gave it; an artifact
    is one with its type. `TurnReset`, where an answer is streamed anew. Then the `TurnEnd`.

    Flow:
        emits: after each `TurnEnd`, and for the rest when the input ends; fragments while they are streamed.
        backpressures: while the output is full, down to the handler's stream; holds at most `max_held` elements.
        completes: when the input ends; early, when middleware cancels the request, which listeners hear as `middleware.cancelled`.
        fails: with what middleware raises; `MiddlewareError` if it reports a failure or breaks its contract; `ElementError` if a
            turn has more than `max_held` elements. Fragments that were sent before stay sent.
        cancels: cancels async middleware; waits for blocking middleware, which nothing stops. Sends nothing while unwinding.
        interrupts: cancels the middleware that answers a turn in the same way, and sends the turn's `TurnEnd`.

    Args:
        legacy: What is wrapped.
        name: Name in the graph; default the name of what is wrapped.
        handler: What the innermost `next` calls: a call, as above.
        response_key: Where the answer stands in data that a call returns.
        config: Arguments of a class, of which an object is made for each call.
        max_attempts: Most tries of a call that returns the status `retry`, or for which an interceptor answers so.
        backoff_s: Wait before the second try that a status asks for, in seconds; doubled for each one after.
        max_held: Most elements of one turn.

    Raises:
        StageDefinitionError: If it has none of these shapes.
        ConfigError: If an option is wrong; the field is named.

    Source: seeds 000 and 001.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (TextElement, MessageElement, TurnEnd)

    def __init__(
        self,
        legacy: object,
        *,
        name: str | None = None,
        handler: object = None,
        response_key: str = "response",
        config: Mapping[str, object] | None = None,
        max_attempts: int = 3,
        backoff_s: float = 1.0,
        max_held: int = 10_000,
    ) -> None:
        super().__init__(name if name is not None else name_of(legacy) or "middleware")
        _check_count("max_attempts", max_attempts)
        _check_count("max_held", max_held)
        _check_text("response_key", response_key)
        _check_delay("backoff_s", backoff_s)
        self.max_held: int | None = max_held
        self._links = links_of(legacy, handler, config, self.name)
        self._settings = Settings(self.name, response_key, max_attempts, backoff_s)

    async def process(
        self,
        input: ReceiveEnd[TextElement | MessageElement | TurnEnd],
        output: SendEnd[StreamElement],
        run: RunContext[object],
    ) -> None:
        """Run the stage."""
        held: list[TextElement | MessageElement] = []
        home = Home()
        turn = 0
        async for element in input:
            if not isinstance(element, TurnEnd):
                self._hold(held, element)
                continue
            goes_on = True
            async with turn_scope():
                goes_on = not held or await self._answer(held, turn, output, run, home)
            if not goes_on:
                return
            turn += bool(held)
            held.clear()
            await output.send(element)
        async with turn_scope():
            if held:
                await self._answer(held, turn, output, run, home)

    def _hold(self, held: list[TextElement | MessageElement], element: TextElement | MessageElement) -> None:
        if len(held) == self.max_held:
            told = f"stage {self.name!r}: more than {self.max_held} elements in one turn"
            raise ElementError(f"{told}; send TurnEnd in time, or raise max_held")
        held.append(element)

    async def _answer(
        self,
        held: list[TextElement | MessageElement],
        turn: int,
        output: SendEnd[StreamElement],
        run: RunContext[object],
        home: Home,
    ) -> bool:
        """Answer one turn. Returns whether more are wanted."""
        request = Request(held, self._settings.response_key)
        if not request.has_content:
            await output.send_each(request.elements)
            return True
        ctx = MiddlewareContext(request, run, self.name, home)
        scope = anyio.CancelScope()
        reply = Reply(output, scope, self.name, turn)
        call = Call(self._links, ctx, reply, self._settings, home)
        try:
            with scope:
                await call.run()
                answer = _Answer(request, call)
                await (answer.send() if call.cancelled is None else answer.send_cut())
            if reply.gone is not None:
                raise reply.gone
        finally:
            # An exception knows the frames that it went through, and they the context: it must not be known in turn.
            reply.gone = None
            ctx.close()
        if call.cancelled is not None:
            run.emit("middleware.cancelled", {"reason": call.cancelled})
        return call.cancelled is None


class _Answer:
    """What goes out after a call."""

    def __init__(self, request: Request, call: Call) -> None:
        self._request = request
        self._call = call
        self._ctx = call.ctx
        self._lost: list[str] = []

    async def send(self) -> None:
        """Send it."""
        call, ctx, reply = self._call, self._ctx, self._call.reply
        messages = self._messages()
        is_answered = bool(messages or call.elements)
        for name, artifact in [*call.artifacts, *((ctx.stage_name, one) for one in ctx.artifacts)]:
            kind = read(artifact, "type")
            payload = read(artifact, "payload")
            thing = self._data(str(kind or "artifact"), payload if payload is not None else artifact)
            await reply.send(thing.with_metadata(stage=name))
        for name, data in self._unanswering():
            await reply.send(self._data(name, data))
        for element in call.elements:
            await reply.send(element)
        if is_answered:
            await reply.finish(messages, self._json({**ctx.metadata, **self._found_out()}), cut=self._cut())
        elif call.ended:
            found = self._found_out() if call.given else {}
            for element in self._request.passed(ctx.messages, self._json({**self._changed(), **found})):
                await reply.send(element)
        else:
            ctx.emit_event("middleware.stopped", {})
        if ctx.stream_interrupted:
            ctx.emit_event("middleware.interrupted", {"reason": ctx.interrupt_reason})
        if self._lost:
            ctx.emit_event("middleware.not_json", {"keys": list(dict.fromkeys(self._lost))})

    async def send_cut(self) -> None:
        """Send the whole of what was streamed until the request was cancelled."""
        reply = self._call.reply
        if reply.fragments:
            await reply.finish([Message("assistant", reply.text)], {}, cut="interrupted")

    def _messages(self) -> list[Message]:
        """Return what the assistant and its tools have said, the answer last."""
        ctx = self._ctx
        said: list[Message] = []
        for one, entry in self._request.matched(ctx.messages):
            message = self._message(one)
            if message.role == "user":
                said.clear()  # what is new before a question is history that was written anew
            elif entry is None and message.role != "system":
                said.append(message)
        response = ctx.response
        if response is None and not said and self._call.reply.fragments:
            response = self._call.reply.text
        if response is not None:
            answer = self._message(response)
            if not said or (said[-1].role, said[-1].text) != (answer.role, answer.text):
                said.append(answer)
        return said

    def _message(self, given: object) -> Message:
        message = as_message(given)
        if message is None:
            told = f"stage {self._call.settings.stage!r}: its middleware left a {type(given).__name__}, which is no message; "
            raise MiddlewareError("bad_result", f"{told}give a text, or something with a role and content")
        return message

    def _cut(self) -> StopReason | None:
        """Return why the streamed text is not all, None if it is, or if another answer stands in its place."""
        if self._ctx.stream_interrupted:
            return "interrupted"
        return "error" if self._ctx.response is None and self._call.reply.fragments else None

    def _unanswering(self) -> list[tuple[str, Mapping[str, object]]]:
        """Return the data of all that gave no answer, by who gave it."""
        answers = [name for name in self._call.given if self._ctx.outputs[name].response is not None][-1:]
        return [
            (name, self._ctx.outputs[name].data)
            for name in dict.fromkeys(self._call.given)
            if name not in answers and self._ctx.outputs[name].status is Status.OK
        ]

    def _found_out(self) -> dict[str, object]:
        """Return what was found out, as metadata: the data by key, and again by who gave it."""
        ctx, key = self._ctx, self._call.settings.response_key
        found: dict[str, object] = {}
        by_stage: dict[str, object] = {}
        for name, outcome in ctx.outputs.items():
            data = {one: value for one, value in outcome.data.items() if one != key}
            by_stage[name] = {"status": str(outcome.status), "data": self._json(data)}
            if name in self._call.given and outcome.status is Status.SKIP:
                found.update(skipped=True, reason=outcome.reason)
            elif name in self._call.given:
                found.update(data)
        if by_stage:
            found[OUTPUTS] = by_stage
        notes = {"cost_info": ctx.cost_info, "pending_tool_calls": ctx.pending_tool_calls, "trace": ctx.trace.llm_calls}
        found.update({name: value for name, value in notes.items() if value})
        return found

    def _changed(self) -> dict[str, object]:
        """Return what middleware has changed of the request, as metadata."""
        ctx, request = self._ctx, self._request
        now: dict[str, object] = {**ctx.metadata}
        was: dict[str, object] = {**request.metadata}
        for name in ("system_prompt", "variables", "allowed_tools"):
            now[name], was[name] = getattr(ctx, name), getattr(request, name)
        return {key: value for key, value in now.items() if key not in was or was[key] != value}

    def _data(self, name: str, value: object) -> DataElement:
        return DataElement(name, self._json({name: value}).get(name))

    def _json(self, values: Mapping[str, object]) -> dict[str, JsonValue]:
        kept, lost = to_json(values)
        self._lost += lost
        return kept


def wrap_middleware(
    name: str,
    legacy: object,
    *more: object,
    handler: object = None,
    response_key: str = "response",
    config: Mapping[str, object] | None = None,
    max_attempts: int = 3,
    backoff_s: float = 1.0,
    max_held: int = 10_000,
) -> MiddlewareAdapter:
    """Return legacy middleware as a stage; several of them nested, the first one outermost.

    ```python
    chat = PipelineBuilder().chain(wrap_middleware("chat", timing, validation, handler=ask_model)).build()
    ```

    Args:
        name: Name in the graph.
        legacy: What is wrapped; see `MiddlewareAdapter`.
        more: What stands inside it, in order.
        handler: What the innermost `next` calls.
        response_key: Where the answer stands in data that a call returns.
        config: Arguments of a class, of which an object is made for each call.
        max_attempts: Most tries of a call.
        backoff_s: Wait before the second try, in seconds.
        max_held: Most elements of one turn.

    Raises:
        StageDefinitionError: If one of them has no known shape.
        ConfigError: If an option is wrong; the field is named.

    Source: seed 001 (WrapMiddleware).
    """
    return MiddlewareAdapter(
        [legacy, *more],
        name=name,
        handler=handler,
        response_key=response_key,
        config=config,
        max_attempts=max_attempts,
        backoff_s=backoff_s,
        max_held=max_held,
    )


def _check_count(field: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(field, f"give a whole number from 1 up, got {value!r:.80}")


def _check_text(field: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(field, f"give a text that is not empty, got {value!r:.80}")


def _check_delay(field: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise ConfigError(field, f"give seconds, 0 or more, got {value!r:.80}")
