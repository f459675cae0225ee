"""The classification stream: a model that fills in a form by a tool that it is forced to, and is read while it does.

Above: users. Below: `_classify_stages`, `runtime`, `providers`, `stages`, `transports`.
There is one path: who wants the whole form gets it from the same run as who watches it come.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from ..elements import DataElement, JsonValue, Message, MessageElement, thaw
from ..errors import ConfigError, ElementError, RunStateError
from ..providers import NamedTool, ProviderStage, TimeoutProvider, ToolSpec, as_provider
from ..runtime import PipelineBuilder
from ..stages import ExtractJsonStage, PromptStage, checked_count
from ..transports import CLASSIFICATION, CLASSIFICATION_EVENTS, ClassificationEncoder
from ._classify_stages import ClassificationProgressStage, ClassifyStage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..elements import StreamElement
    from ..graph import SubGraph
    from ..providers import ProviderLike
    from ..runtime import Pipeline, PipelineConfig, Run
    from ..stages import OncePer, RunContext, StageLike
    from ..state import StateStore
    from ._classify_stages import SaveFunction, ValidateFunction

__all__ = ["Classification", "ClassificationListener", "ClassificationStream", "save_to"]

_log = logging.getLogger("streamflow.apps")

ClassificationListener: TypeAlias = Callable[[str, dict[str, object]], "object | Awaitable[object]"]
"""Called with the name and the data of each event while the form is filled in; it may be async."""


class Classification(msgspec.Struct, frozen=True):
    """What came of a classification."""

    form: dict[str, JsonValue]
    """The form, or the fallback."""
    fallback: bool = False
    """Whether it is the fallback."""
    reason: str | None = None
    """Why it is the fallback, as the code of the error: `transport`, `truncated`, `protocol`, …"""
    listener_errors: int = 0
    """How often the listener has failed."""


class ClassificationStream:
    """A model that is forced to call one tool, whose arguments are a form; its strings are seen while it is filled in.

    ```python
    classify = ClassificationStream("anthropic:claude-sonnet-5", tool, fallback={"route": "general"}, save=save_to(store))

    async with classify.stream("I want chips for a party", session="s-1") as run:
        async for element in run:
            if isinstance(element, TextElement):
                print(element.path, element.text)

    form = (await classify.classify("I want chips for a party", session="s-1")).form
    ```

    Out, for each message: `TurnStart` before the model is asked; a `TextElement` with its `path` for each string of `events`;
    with `expected_chars`, `DataElement`s `classification_progress`; the model's `MessageElement` and usage; a `DataElement`
    `classification` with the form, after it was saved; `TurnEnd`. `ClassificationEncoder` makes server events of them.

    A form counts only if the model has ended well, all of it was parsed, and `validate` has let it pass. Else nothing is saved, an
    `ErrorElement` says why, and `fallback` stands in its place; without a fallback the run fails.

    Args:
        provider: The model; see `as_provider()`.
        tool: What it is forced to call. Members that its schema requires are required here.
        events: By event: the path of the strings that are seen early. A string that is no text is no string.
        system: The system message.
        fallback: The form where the stream cannot open, breaks, or gives no form; None: the run fails.
        validate: Checks a form, and may return another one.
        save: Stores a form, once; see `save_to()`.
        min_chars: Shortest string that is seen early, in characters; shorter ones are in the form alone.
        once_per: `path`: what stands at a path is seen once. `value`: also the same text only once in a form, as in the seed.
        complete: Whether a string is seen when it closes; False: as its characters arrive.
        expected_chars: How long a form is expected to be; None: no progress is told.
        history_limit: Most messages of the history that the model reads.
        model: Name of the model; None: the provider's default.
        temperature: How freely it samples, from 0; None: the server's default.
        max_tokens: Most tokens of a form; None: the server's default.
        timeout_s: Longest time of the model's answer, in seconds, after which the fallback stands in; None: no limit.
        config: Sizes and limits of the run.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
        MissingExtraError: If a package that the provider needs is not installed.

    Source: seed 003.
    """

    def __init__(
        self,
        provider: ProviderLike,
        tool: ToolSpec,
        *,
        events: Mapping[str, str] = CLASSIFICATION_EVENTS,
        system: str = "",
        fallback: Mapping[str, JsonValue] | None = None,
        validate: ValidateFunction | None = None,
        save: SaveFunction | None = None,
        min_chars: int = 10,
        once_per: OncePer = "path",
        complete: bool = True,
        expected_chars: int | None = None,
        history_limit: int = 10,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout_s: float | None = None,
        config: PipelineConfig | None = None,
    ) -> None:
        _check(tool, fallback, {"validate": validate, "save": save})
        chosen = as_provider(provider)
        self._events = dict(events)
        self._deltas = not complete
        self.encoder()  # a wrong path is an error here
        stages: list[StageLike] = [
            PromptStage(system, history_limit=history_limit),
            ProviderStage(
                chosen if timeout_s is None else TimeoutProvider(chosen, timeout_s=timeout_s),
                tools=[tool],
                tool_choice=NamedTool(tool.name),
                model=model,
                temperature=temperature,
                max_tokens=max_tokens,
                on_failure="error" if fallback is None else "end_turn",
            ),
        ]
        if expected_chars is not None:
            expected = checked_count(expected_chars, "expected_chars", "ClassificationStream")
            stages.append(ClassificationProgressStage(tool.name, expected))
        if events:
            stages.append(
                ExtractJsonStage(
                    dict.fromkeys(events.values()),
                    tool=tool.name,
                    complete=complete,
                    min_chars=min_chars,
                    once_per=once_per,
                    name="extract",
                )
            )
        required = cast("object", tool.parameters.get("required", ()))
        members = tuple(map(str, cast("Iterable[object]", required))) if isinstance(required, list | tuple) else ()
        stages.append(ClassifyStage(tool.name, required=members, fallback=fallback, validate=validate, save=save))
        self._pipeline = PipelineBuilder(config).chain(*stages).build()

    @property
    def pipeline(self) -> Pipeline:
        """Takes the history and what the user says, gives the elements that the class describes."""
        return self._pipeline

    def stream(self, message: str, *, history: Iterable[Message] = (), session: object = None) -> Run:
        """Return the run that classifies a message, as it comes; it starts when its `async with` or `async for` is entered.

        Args:
            message: What the user says.
            history: What was said before.
            session: Whose form it is, for `save`: `run.deps`.

        Raises:
            ElementError: If the message is empty.
        """
        if not message.strip():
            raise ElementError("the message is empty; say something")
        said = [*history, Message("user", message)]
        return self._pipeline.execute([MessageElement(one) for one in said], deps=session)

    async def classify(
        self,
        message: str,
        *,
        history: Iterable[Message] = (),
        session: object = None,
        emit: ClassificationListener | None = None,
    ) -> Classification:
        """Return the form of a message.

        Args:
            message: What the user says.
            history: What was said before.
            session: Whose form it is, for `save`: `run.deps`.
            emit: Called with each event in order: `classification_start`, those of `events`, `classification_complete`.
                What it raises is logged once, by its class, and changes nothing.

        Cancellation: ends the model's call; nothing is saved of a form that was not whole.

        Raises:
            ElementError: If the message is empty.
            StageError: If there is no form and no fallback, or saving failed.
            RunTimeoutError: If the run took too long.
        """
        telling = _Telling(self.encoder(), emit)
        found: DataElement | None = None
        async with self.stream(message, history=history, session=session) as run:
            async for element in run:
                await telling.tell(element)
                if isinstance(element, DataElement) and element.name == CLASSIFICATION:
                    found = element
        if found is None:
            raise RunStateError("the model's answer was interrupted; there is no form")
        form = cast("dict[str, JsonValue]", thaw(found.value))
        reason = found.metadata.get("reason")
        is_fallback = bool(found.metadata.get("fallback"))
        return Classification(form, is_fallback, reason if isinstance(reason, str) else None, telling.errors)

    def encoder(self, *, request_id: str = "", session_id: str = "") -> ClassificationEncoder:
        """Return an encoder for one response with this stream's events."""
        return ClassificationEncoder(
            request_id=request_id, session_id=session_id, events=self._events, deltas=self._deltas
        )

    def as_stage(self, name: str = "classification") -> SubGraph:
        """Return the stream as a stage of another pipeline."""
        return self._pipeline.as_stage(name)


class _Telling:
    """Tells a listener of the events of one run, and is not disturbed by what it raises."""

    def __init__(self, encoder: ClassificationEncoder, emit: ClassificationListener | None) -> None:
        self.errors = 0
        """How often it has raised."""
        self._encoder = encoder
        self._emit = emit

    async def tell(self, element: StreamElement) -> None:
        if self._emit is None:
            return
        for event in self._encoder.encode(element):
            try:
                told = self._emit(event.event or "", msgspec.json.decode(event.data))
                if inspect.isawaitable(told):
                    await told
            except Exception as error:  # noqa: BLE001 - a listener's, which the form does not depend on
                if not self.errors:
                    _log.warning("the listener of a classification failed: %s", type(error).__name__)
                self.errors += 1


def save_to(store: StateStore, *, prefix: str = "classification/") -> SaveFunction:
    """Return a function that saves a form as a document of a store, under `prefix` and the session.

    Args:
        store: An open store.
        prefix: What keys begin with.
    """

    async def save(form: Mapping[str, JsonValue], run: RunContext[object]) -> None:
        if not isinstance(run.deps, str) or not run.deps:
            raise ConfigError("session", "there is no session to save under; give stream(…, session='…')")
        await store.put(f"{prefix}{run.deps}", cast("JsonValue", form))

    return save


def _check(tool: object, fallback: object, functions: Mapping[str, object]) -> None:
    if not isinstance(tool, ToolSpec):
        raise ConfigError("tool", f"give a ToolSpec, got {tool!r:.80}")
    if fallback is not None:
        if not isinstance(fallback, Mapping):
            raise ConfigError("fallback", f"give a mapping, or None, got {fallback!r:.80}")
        DataElement(CLASSIFICATION, cast("JsonValue", fallback))
    for name, one in functions.items():
        if one is not None and not callable(one):
            raise ConfigError(name, f"give a function, or None, got {one!r:.80}")
