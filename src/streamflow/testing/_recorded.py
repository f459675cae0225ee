"""A recorded run as a test: played again, with models and tools that say what they said then.

Above: tests. Below: `runtime` (replay), `observe` (reading), `providers`, `agents`.

Rules: an answer of a model is what its stage sent until the whole message, element for element. A request is answered by the
next answer, whatever it asks: what is asked is seen at the stage's input. A call of a tool has the result that its call id had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from ..agents import Tool
from ..elements import (
    MessageElement,
    ToolResultElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    UsageElement,
)
from ..errors import ProviderError, RecordingError, ToolError
from ..observe import DEFAULT_IGNORED, OUTPUT, RecordedRun, read_recording
from ..runtime import Pipeline, replay_sync

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence

    from ..agents import ToolContext
    from ..elements import JsonValue, StreamElement
    from ..observe import Ignored
    from ..providers import ModelRequest
    from ..runtime import Replay
    from ._clock import BackendName

__all__ = ["RecordedProvider", "check_replay", "recorded_provider", "recorded_tool"]


def check_replay(
    recording: RecordedRun | str | os.PathLike[str],
    pipeline: Pipeline | Callable[[RecordedRun], Pipeline],
    *,
    ignore: Iterable[Ignored] = DEFAULT_IGNORED,
    coalesce: bool = False,
    deps: object = None,
    backend: BackendName = "asyncio",
) -> list[Replay]:
    """Play all runs of a recording again, and check that nothing has become different. Blocks until done.

    ```python
    def test_a_conversation():
        check_replay("refund.rec", pipeline)
    ```

    Args:
        recording: The file, or one run.
        pipeline: What is fed with the recorded input; or a function that returns it, given the recorded run, from which it can take
            what models and tools have said: `lambda run: build(recorded_provider(run, "model"))`.
        ignore: What does not count as a difference, see `replay()`.
        coalesce: Whether fragments of one text are compared as one, however it was cut.
        deps: What stages find as `run.deps`.
        backend: The event loop.

    Raises:
        AssertionError: If something differs: where, what was expected, what has come.
        RecordingError: If the recording cannot be read, is cut inside its only run, or lacks input.
    """
    runs = (recording,) if isinstance(recording, RecordedRun) else read_recording(recording).runs
    if not runs:
        raise RecordingError(str(recording), "there is no run in it")

    rules = tuple(ignore)
    found = [
        replay_sync(
            run,
            pipeline if isinstance(pipeline, Pipeline) else pipeline(run),
            ignore=rules,
            coalesce=coalesce,
            deps=deps,
            backend=backend,
        )
        for run in runs
    ]
    different = next((one for one in found if not one), None)
    if different is not None:
        raise AssertionError(str(different))
    return found


class RecordedProvider:
    """A model that says again what it has said in a recorded run. Made by `recorded_provider()`."""

    def __init__(self, name: str, answers: Sequence[Sequence[StreamElement]]) -> None:
        self.name: str = name
        """What it is called in errors."""
        self._answers = answers
        self._next = 0

    @property
    def left(self) -> int:
        """How many answers have not been given."""
        return len(self._answers) - self._next

    def assert_consumed(self) -> None:
        """Check that every answer was asked for.

        Raises:
            AssertionError: If some are left; says how many.
        """
        if self.left:
            raise AssertionError(f"{self.name!r}: {self.left} of {len(self._answers)} answers were not asked for")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Give the next answer, whatever is asked; of one that was interrupted, what had come, and then nothing for ever.

        Cancellation: a checkpoint before the first element; nothing is left behind.

        Raises:
            ProviderError: `bad_request` if there is no answer left; `truncated` where the recording ends inside one.
        """
        await anyio.lowlevel.checkpoint()
        if not self.left:
            raise ProviderError(
                "bad_request", f"{self.name!r} has {len(self._answers)} recorded answers, and one more was asked for"
            )
        answer = self._answers[self._next]
        self._next += 1
        for element in answer:
            if isinstance(element, MessageElement) and element.cut:
                await anyio.sleep_forever()
            yield element
        if not (answer and isinstance(answer[-1], MessageElement)):
            raise ProviderError("truncated", f"the recording of {self.name!r} ends inside this answer", retryable=True)

    def __repr__(self) -> str:
        return f"<RecordedProvider {self.name!r}, {self.left} answers left>"


def recorded_provider(recording: RecordedRun | str | os.PathLike[str], stage: str) -> RecordedProvider:
    """Return a model that says what the model of a stage has said in a recorded run. Reads the file, blocking.

    Args:
        recording: The run, or the file, whose newest run is meant. It was recorded at the stage (`at=["input", "output",
        "model"]`), or
            at the output, if the stage is the last one.
        stage: Name of a `ProviderStage` or an `AgentStage`.

    Raises:
        RecordingError: If the recording cannot be read, was not made there, or lacks elements.
    """
    return RecordedProvider(stage, list(_answers(_sent_by(_run_of(recording), stage))))


def recorded_tool(recording: RecordedRun | str | os.PathLike[str], stage: str, tool: Tool) -> Tool:
    """Return a tool that gives the results that it gave in a recorded run, by the ids of the calls.

    It runs nothing. Reads the file, blocking.

    Args:
        recording: The run, or the file, whose newest run is meant; recorded as for `recorded_provider()`.
        stage: Name of the `AgentStage` or `ToolStage` that ran it.
        tool: The tool, whose description and rules are kept.

    Raises:
        RecordingError: If the recording cannot be read, was not made there, or lacks elements.
    """
    results = {
        one.call_id: one
        for one in _sent_by(_run_of(recording), stage)
        if isinstance(one, ToolResultElement) and not one.preliminary and one.name == tool.name
    }

    async def call(_args: Mapping[str, JsonValue], context: ToolContext[object]) -> object:
        await anyio.lowlevel.checkpoint()
        result = results.get(context.call_id)
        if result is None:
            raise ToolError(f"no call {context.call_id!r} of this tool was recorded")
        if result.status != "ok":
            raise ToolError(result.text)
        return result.content

    return Tool.from_schema(
        tool.spec,
        call,
        timeout_s=tool.timeout_s,
        sequential=tool.sequential,
        approve=tool.approve,
        max_result_bytes=tool.max_result_bytes,
    )


def _run_of(recording: RecordedRun | str | os.PathLike[str]) -> RecordedRun:
    return recording if isinstance(recording, RecordedRun) else read_recording(recording).run()


def _sent_by(run: RecordedRun, stage: str) -> Iterator[StreamElement]:
    """Yield what a stage has sent.

    Raises:
        RecordingError: If that was not recorded, or is not all there.
    """
    starts = f"{stage} → ", f"{stage}:"
    point = next((one for one in run.points if one.startswith(starts) and " → " in one), OUTPUT)
    for one in run.seen_at(point):
        if one.element is None:
            raise RecordingError(run.file.path, f"element #{one.ordinal} of {point} is not in it: {one.missing}")
        yield one.element


def _answers(sent: Iterable[StreamElement]) -> Iterator[list[StreamElement]]:
    """Yield the answers of a model, each as a provider gives it: the final usage before the message."""
    said: list[StreamElement] = []
    whole: list[StreamElement] | None = None
    for element in sent:
        if isinstance(element, TurnStart | TurnEnd | ToolResultElement) or "agent" in element.metadata:
            continue
        if isinstance(element, MessageElement):
            if element.message.role == "assistant":
                if whole is not None:
                    yield whole
                whole, said = [*_of_the_model(said, element.id), element], []
        elif whole is not None and isinstance(element, UsageElement) and element.final:
            whole.insert(-1, element)
            yield whole
            whole = None
        else:
            said.append(element)
    if whole is not None:
        yield whole
    rest = list(_of_the_model(said, "?"))
    if rest:
        yield rest


def _of_the_model(said: Iterable[StreamElement], id: str) -> Iterator[StreamElement]:
    """Yield what a model has said; where its answer has an id, what has none has only passed its stage by."""
    return (one for one in said if one.id or not id or isinstance(one, UsageElement | TurnReset))
