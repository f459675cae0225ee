"""What a stage of the legacy kind reads beside its request: who asks, what was said, what earlier stages gave, what time it is.

Above: `_context`, which makes each of these when it is first asked for. Below: `_messages`, `_outcome`.
"""

from __future__ import annotations

import datetime
import functools
import time
import types
import uuid
from typing import TYPE_CHECKING, Any, cast

from ._messages import LegacyMessage, as_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence

    from ._outcome import Outcome

__all__ = ["IDENTITY", "Inputs", "Sink", "Snapshot", "Timer", "identity_of"]

IDENTITY = ("pipeline_run_id", "request_id", "session_id", "user_id", "org_id", "interaction_id")
"""What names a run and who asks, as keys of the metadata."""


def identity_of(metadata: Mapping[str, object], key: str) -> Any:
    """Return an id that came as metadata: a UUID if it is the text of one, else as it came; None if it did not come."""
    given = metadata.get(key)
    if not isinstance(given, str):
        return given
    try:
        return uuid.UUID(given)
    except ValueError:
        return given


class Timer:
    """The time of one request, by a clock that never goes back.

    Args:
        clock: Returns seconds on any scale; called from any thread.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_s = clock()
        self.pipeline_start_ms: int = int(time.time() * 1000)
        """When the request came, in milliseconds since 1970."""

    def now_ms(self) -> int:
        """Return the time in milliseconds since 1970."""
        return self.pipeline_start_ms + self.elapsed_ms()

    def elapsed_ms(self) -> int:
        """Return the milliseconds since the request came."""
        return int((self._clock() - self._started_s) * 1000)

    @property
    def started_at(self) -> datetime.datetime:
        """When the request came."""
        return datetime.datetime.fromtimestamp(self.pipeline_start_ms / 1000, datetime.UTC)

    def now(self) -> datetime.datetime:
        """Return the time as a date."""
        return self.started_at + datetime.timedelta(seconds=self._clock() - self._started_s)


class _Done:
    """Awaited, it gives nothing, and needs not be awaited."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class Sink:
    """Where legacy code sends events: to the listeners of the run.

    Args:
        tell: Called with the name and the data of each event.
    """

    def __init__(self, tell: Callable[[str, Mapping[str, object]], None]) -> None:
        self._tell = tell

    def try_emit(self, type: str, data: Mapping[str, object] | None = None) -> None:
        """Tell the run's listeners. Never waits, never raises what a listener raises."""
        self._tell(type, data or {})

    def emit(self, type: str, data: Mapping[str, object] | None = None) -> Awaitable[None]:
        """Do as `try_emit()`, at once; what it returns may be awaited."""
        self._tell(type, data or {})
        return _Done()


class Snapshot:
    """The request as it was when it was asked for.

    Args:
        messages: All messages, oldest first.
        metadata: What came with them.
        pipeline_run_id: Id of the run.
        created_at: When the request came.
    """

    def __init__(
        self,
        messages: Sequence[object],
        metadata: Mapping[str, object],
        pipeline_run_id: object,
        created_at: datetime.datetime,
    ) -> None:
        known = [one for one in map(_known, messages) if one is not None]
        self.input_text: str | None = known[-1].content if known else None
        """Text of the newest message."""
        self.messages: list[LegacyMessage] = known[:-1]
        """The history: all messages before the newest."""
        self.metadata: dict[str, object] = dict(metadata)
        """What came with the messages."""
        self.pipeline_run_id: Any = pipeline_run_id
        """Id of the run."""
        self.created_at = created_at
        """When the request came."""
        for key in IDENTITY[1:]:
            setattr(self, key, identity_of(metadata, key))
        for key in ("topology", "execution_mode", "input_audio_duration_ms", "enrichments", "extensions"):
            setattr(self, key, metadata.get(key))
        for key in ("profile", "memory", "routing_decision"):
            setattr(self, key, metadata.get(key))
        self.documents: list[object] = _list(metadata.get("documents"))
        """Documents that came as metadata."""
        self.web_results: list[object] = _list(metadata.get("web_results"))
        """Search results that came as metadata."""

    @functools.cached_property
    def run_id(self) -> Any:
        """The ids of the run and of who asks, as one object."""
        ids = {key: getattr(self, key) for key in IDENTITY}
        told = {key: None if value is None else str(value) for key, value in ids.items()}
        told["created_at"] = self.created_at.isoformat()
        return types.SimpleNamespace(**ids, created_at=self.created_at, to_dict=lambda: dict(told))

    @functools.cached_property
    def conversation(self) -> Any:
        """The history as one object."""
        return types.SimpleNamespace(messages=self.messages, routing_decision=self.metadata.get("routing_decision"))

    def to_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            **self.run_id.to_dict(),
            "run_id": self.run_id.to_dict(),
            "messages": [one.to_dict() for one in self.messages],
            "input_text": self.input_text,
            "topology": self.metadata.get("topology"),
            "execution_mode": self.metadata.get("execution_mode"),
            "created_at": self.created_at.isoformat(),
            "metadata": dict(self.metadata),
        }


class Inputs:
    """What earlier stages gave, and what the caller of the run gave to its stages.

    Args:
        snapshot: The request.
        outputs: What was given, by stage, in the order in which the stages ended.
        metadata: Where a key is looked for that no stage gave.
        ports: What the caller gave as `deps=`.
        stage_name: Who asks.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        outputs: Mapping[str, Outcome],
        metadata: Mapping[str, object],
        ports: object,
        stage_name: str,
    ) -> None:
        self.snapshot: Snapshot = snapshot
        """The request."""
        self.prior_outputs: dict[str, Outcome] = dict(outputs)
        """What was given, by stage."""
        self.ports: Any = ports
        """What the caller gave as `deps=`."""
        self.stage_name: str = stage_name
        """Who asks."""
        self.declared_deps: frozenset[str] = frozenset()
        """Nobody declares here whom it reads."""
        self.strict: bool = False
        """Whether only declared stages may be read."""
        self._metadata = metadata

    def get(self, key: str, default: object = None) -> Any:
        """Return what the latest stage that gave `key` gave; else the metadata of the request; else `default`."""
        key = _checked(key)
        for outcome in reversed(self.prior_outputs.values()):
            if key in outcome.data:
                return outcome.data[key]
        return self._metadata.get(key, default)

    def get_from(self, stage_name: str, key: str, default: object = None) -> Any:
        """Return what one stage gave."""
        key = _checked(key)
        outcome = self.prior_outputs.get(stage_name)
        return default if outcome is None else outcome.data.get(key, default)

    def require_from(self, stage_name: str, key: str) -> Any:
        """Return what one stage gave.

        Raises:
            KeyError: If the stage gave no such thing, or has not run.
        """
        key = _checked(key)
        outcome = self.prior_outputs.get(stage_name)
        if outcome is None:
            message = (
                f"{stage_name!r} has given nothing here; there are {', '.join(self.prior_outputs) or 'no outputs'}"
            )
            raise KeyError(message)
        if key not in outcome.data:
            message = f"{stage_name!r} gave no {key!r}; it gave {', '.join(outcome.data) or 'nothing'}"
            raise KeyError(message)
        return outcome.data[key]

    def has_output(self, stage_name: str) -> bool:
        """Say whether a stage has run."""
        return stage_name in self.prior_outputs

    def get_output(self, stage_name: str) -> Any:
        """Return the whole outcome of a stage, None if it has not run."""
        return self.prior_outputs.get(stage_name)


def _known(given: object) -> LegacyMessage | None:
    """Return a message that middleware has put among the others, in the form of the others."""
    if isinstance(given, LegacyMessage):
        return given
    message = as_message(given)
    return None if message is None else LegacyMessage(message, {})


def _checked(key: object) -> str:
    if not isinstance(key, str):
        message = f"a key is a string, got {key!r:.80}"
        raise TypeError(message)
    if not key:
        message = "a key is not empty"
        raise ValueError(message)
    return key


def _list(value: object) -> list[object]:
    return list(cast("list[object]", value)) if isinstance(value, list | tuple) else []
