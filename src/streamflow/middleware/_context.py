"""The context that legacy code is given: one object that reads like those of both worlds it comes from.

Above: `_chain`, `_adapter`. Below: `_request`, `_snapshot`, `_threads`.
One is made per request. What costs anything to make is made when it is first asked for.
"""

from __future__ import annotations

import types
import uuid
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from ..errors import RunStateError
from ._outcome import Outcome, StageCancellationRequested
from ._snapshot import IDENTITY, Inputs, Sink, Snapshot, Timer, identity_of

if TYPE_CHECKING:
    import datetime
    from collections.abc import Awaitable, Callable, Mapping

    from ..stages import RunContext
    from ._request import Request
    from ._threads import Home

__all__ = ["MiddlewareContext"]


class MiddlewareContext:
    """What wrapped middleware is given for one request: to read, and, where it says so, to change.

    It reads like the execution context of a chain of `process(ctx, next)`, like the context of a stage with `execute(ctx)`
    (`snapshot`, `inputs`, `timer`, `emit_event()`), and like the one that interceptors share (`data`). Methods may be called from
    the worker thread in which blocking middleware runs.

    Made by `MiddlewareAdapter`.

    Source: seeds 000 and 001.
    """

    prompt: str = ""
    """The prompt, for who puts it together."""
    response: Any = None
    """The answer: a text, a message, or anything with a `content`. None: there is none yet."""
    raw_response: Any = None
    """What the model's client returned."""
    error: BaseException | None = None
    """The first exception that left the rest of the chain."""
    short_circuit: bool = False
    """Set it to true, and nothing further down the chain is called."""
    stream_mode: bool = False
    """Whether the answer is streamed."""
    stream_interrupted: bool = False
    """Whether the stream was interrupted; see `interrupt_stream()`."""
    interrupt_reason: str = ""
    """Why."""
    canceled: bool = False
    """Whether the request was cancelled; see `mark_canceled()`."""
    service: str = "pipeline"
    """Name of the service."""
    is_child_run: bool = False
    """Whether another run of the legacy kind has started this one."""
    _snapshot: Snapshot | None = None
    _inputs: Inputs | None = None
    _run_uuid: object = None
    _send_chunk: Callable[[object], Awaitable[bool]] | None = None
    _cancel_reason: str | None = None

    def __init__(self, request: Request, run: RunContext[object], stage_name: str, home: Home) -> None:
        self._request = request
        self._run = run
        self._home = home
        self.timer: Timer = Timer(lambda: home.call(run.clock))
        """The time of this request."""
        self.stage_name: str = stage_name
        """Who is being called."""
        self.outputs: dict[str, Outcome] = dict(request.outputs)
        """What has been given so far, by stage."""
        self.messages: list[Any] = list(request.messages)
        """The conversation, oldest first; append what is new, as a message of any kind."""
        self.system_prompt: str = request.system_prompt
        """The system prompt."""
        self.variables: dict[str, object] = dict(request.variables)
        """Variables of the prompt."""
        self.allowed_tools: list[str] = list(request.allowed_tools)
        """Names of the tools that may be called."""
        self.metadata: dict[str, Any] = dict(request.metadata)
        """What came with the messages, and goes on with the answer."""
        self.data: dict[str, Any] = {}
        """Notes of interceptors to themselves and each other; nothing of it goes on."""
        self.tools: list[Any] = []
        """Definitions of tools, for who calls a model."""
        self.tool_results: list[Any] = []
        """Results of tools, for who calls a model."""
        self.pending_tool_calls: list[Any] = []
        """Calls of tools that wait for somebody; go on with the answer as metadata."""
        self.cost_info: dict[str, Any] = {}
        """What the answer cost; goes on with it as metadata."""
        self.trace: Any = types.SimpleNamespace(llm_calls=[], events=[])
        """Notes on calls of models, in `llm_calls` and `events`."""
        self.artifacts: list[Any] = []
        """Things with a `type` and a `payload`, each of which becomes an element of its own."""
        self.configuration: dict[str, Any] = {}
        """Settings of the legacy pipeline; none are known here."""

    # Who asks, and what

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self._run.run_id

    @property
    def deps(self) -> object:
        """What the caller of the run gave as `deps=`."""
        return self._run.deps

    @property
    def pipeline_run_id(self) -> Any:
        """Identity of the run as a UUID: the one that came as metadata, else a new one."""
        if self._run_uuid is None:
            self._run_uuid = identity_of(self._request.metadata, IDENTITY[0]) or uuid.uuid4()
        return self._run_uuid

    def __getattr__(self, name: str) -> Any:
        # Only for what is not set: ids and labels, which travel as metadata; None where they did not come.
        if name in _LABELS:
            return identity_of(self._request.metadata, name)
        message = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(message)

    @property
    def input_text(self) -> str | None:
        """Text of the newest message."""
        text: str | None = self.snapshot.input_text
        return text

    @property
    def snapshot(self) -> Any:
        """The request as it is now: who asks, the text, the history."""
        if self._snapshot is None:
            self._snapshot = Snapshot(self.messages, self.metadata, self.pipeline_run_id, self.started_at)
        return self._snapshot

    @property
    def inputs(self) -> Any:
        """What earlier stages gave."""
        if self._inputs is None:
            self._inputs = Inputs(self.snapshot, self.outputs, self.metadata, self.deps, self.stage_name)
        return self._inputs

    def enter(self, stage_name: str) -> None:
        """Begin a call: from now on `snapshot` and `inputs` show what is so now."""
        self.stage_name = stage_name
        self._snapshot = self._inputs = None

    # Events

    @property
    def event_sink(self) -> Any:
        """Where events go: to the listeners of the run."""
        return Sink(self.emit_event)

    @property
    def event_emitter(self) -> Any:
        """As `event_sink`."""
        return self.event_sink

    def emit_event(self, type: str, data: Mapping[str, object] | None = None) -> None:
        """Tell the listeners of the run. Never waits; ids of the request that came as metadata are added to the data."""
        known = {key: str(value) for key in _CORRELATION if (value := self._request.metadata.get(key)) is not None}
        self._home.call(self._run.emit, type, {**known, **(data or {})})

    try_emit_event = emit_event

    def record_stage_event(self, stage: str, status: str, **data: object) -> None:
        """Tell the listeners of the run what a stage did."""
        self.emit_event(f"stage.{stage}.{status}", {"stage": stage, "status": status, **data})

    # Time

    @property
    def started_at(self) -> datetime.datetime:
        """When the request came."""
        return self.timer.started_at

    def now(self) -> datetime.datetime:
        """Return the time."""
        return self.timer.now()

    # An early end

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody needs this any more: ask it in blocking middleware, which cannot be stopped from outside."""
        return self.canceled or self._home.is_stopped

    @property
    def is_canceled(self) -> bool:
        """As `is_cancelled`."""
        return self.is_cancelled

    @property
    def cancellation_reason(self) -> str | None:
        """Why the request was cancelled, None when it was not."""
        return self._cancel_reason

    def mark_canceled(self, reason: str = "cancellation requested") -> None:
        """Cancel the request: who asks by `raise_if_cancelled()` ends it early."""
        self.canceled = True
        self._cancel_reason = self._cancel_reason or reason

    def raise_if_cancelled(self) -> None:
        """End the request early if it was cancelled."""
        if self.is_cancelled:
            raise StageCancellationRequested(self._cancel_reason or f"stage {self.stage_name!r} was cancelled")

    async def cancellation_checkpoint(self) -> None:
        """Let others run, then do as `raise_if_cancelled()`."""
        await anyio.lowlevel.checkpoint()
        self.raise_if_cancelled()

    # Streaming

    def is_streaming(self) -> bool:
        """Say whether the answer is streamed."""
        return self.stream_mode

    def emit_stream_chunk(self, chunk: object) -> Awaitable[bool] | bool:
        """Send a fragment of the answer through the chunk hooks of all middleware, and on.

        Returns:
            Whether more is wanted; to be awaited, except in a worker thread, where this waits itself.

        Cancellation: the fragment was sent or not, never twice.
        """
        send = self._send_chunk
        if send is None:
            message = f"the call of stage {self.stage_name!r} has ended; send fragments while it runs, and await that"
            raise RunStateError(message)
        return self._home.run(lambda: send(chunk))

    def on_chunk_sent_by(self, send: Callable[[object], Awaitable[bool]]) -> None:
        """Say who sends fragments."""
        self._send_chunk = send

    def close(self) -> None:
        """Let go of what only the call needs."""
        self._send_chunk = None
        self.error = None

    def interrupt_stream(self, reason: str = "") -> None:
        """Stop the stream: the fragment in hand is not sent, nor is any more."""
        self.stream_interrupted = True
        self.interrupt_reason = reason

    # As the context of a whole pipeline

    def as_pipeline_context(self, **settings: Any) -> MiddlewareContext:
        """Return it as the context of a whole pipeline of the legacy kind, which it is too."""
        self.data.update(settings.get("data") or {})
        self.configuration.update(settings.get("configuration") or {})
        return self

    async def run_before_stage_start_hooks(self, **_about: Any) -> None:
        """Do nothing: there are no such hooks here."""

    def to_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        return {**self.snapshot.to_dict(), "stage_name": self.stage_name, "started_at": self.started_at.isoformat()}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.stage_name!r}, {len(self.messages)} messages>"


_LABELS = {
    *IDENTITY,
    *("conversation_id", "topology", "execution_mode", "input_audio_duration_ms", "enrichments", "extensions"),
    *("conversation", "parent_run_id", "parent_stage_id", "correlation_id", "db", "ports"),
}

_CORRELATION = ("pipeline_run_id", "request_id", "execution_mode")
