"""What legacy code returned, in one form: status, data, answer, artifacts, events.

Above: `_chain`, `_request`, `_context`. Below: `_messages`.
Nothing of the packages whose values are read here is imported: a value is known by what it has.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any, cast

from ..elements import StreamElement
from ..errors import MiddlewareError
from ._messages import as_message, read

__all__ = ["LegacyFailure", "Outcome", "StageCancellationRequested", "Status", "cancellation_in", "outcome_of"]


class Status(enum.StrEnum):
    """How a call ended."""

    OK = "ok"
    """It did its work."""
    SKIP = "skip"
    """It had nothing to do."""
    CANCEL = "cancel"
    """No more is wanted: an early end that is no failure."""
    FAIL = "fail"
    """It could not do its work."""
    RETRY = "retry"
    """It could not, and another try may."""


_WORDS = {
    **dict.fromkeys(("ok", "completed", "complete", "success", "succeeded", "done"), Status.OK),
    **dict.fromkeys(("skip", "skipped"), Status.SKIP),
    **dict.fromkeys(("cancel", "cancelled", "canceled"), Status.CANCEL),
    **dict.fromkeys(("fail", "failed", "failure", "error"), Status.FAIL),
    **dict.fromkeys(("retry",), Status.RETRY),
}

_CANCELLATIONS = {"StageCancellationRequested", "UnifiedPipelineCancelled"}
"""Exceptions that ask for an early end and report no failure, by name: whose they are is not imported."""


class StageCancellationRequested(Exception):  # noqa: N818 - the name that legacy code knows it by
    """Raised by a context whose request was cancelled, where legacy code asks for that."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """Why, for a person to read."""


class LegacyFailure(Exception):  # noqa: N818 - never raised by itself: the cause of a `MiddlewareError`
    """What legacy code said of its failure, in its own words."""


@dataclasses.dataclass(slots=True)
class Outcome:
    """What one call gave. Reads like the output of a stage in legacy code."""

    status: Status = Status.OK
    """How it ended."""
    data: dict[str, object] = dataclasses.field(default_factory=dict[str, object])
    """What it gave, by name."""
    response: object = None
    """The answer, in whatever form; None: it gave none."""
    messages: list[object] = dataclasses.field(default_factory=list[object])
    """Messages that it gave beside the answer."""
    elements: list[StreamElement] = dataclasses.field(default_factory=list[StreamElement])
    """Elements that it made itself."""
    artifacts: list[object] = dataclasses.field(default_factory=list[object])
    """Things with a `type` and a `payload`."""
    events: list[object] = dataclasses.field(default_factory=list[object])
    """Things with a `type` and `data`."""
    error: str | None = None
    """What it said of its failure."""
    duration_ms: int | None = None
    """How long it took, when it said so."""
    version: str | None = None
    """Version of the data, when it said so."""
    parts: dict[str, Outcome] = dataclasses.field(default_factory=dict[str, "Outcome"])
    """The outcomes of the stages of a graph, in the order in which they ended."""

    @property
    def reason(self) -> str:
        """Why it was skipped or cancelled; empty when nothing was said."""
        return str(read(self.data, "reason", "cancel_reason", "skip_reason") or self.error or "")


def cancellation_in(error: Exception) -> Outcome | None:
    """Return the early end that `error` asks for, None when it reports a failure."""
    if not _CANCELLATIONS.intersection(one.__name__ for one in type(error).__mro__):
        return None
    return Outcome(Status.CANCEL, {"cancel_reason": str(read(error, "reason") or error)})


def outcome_of(value: object, response_key: str, where: str) -> Outcome:
    """Return what a call that returned `value` gave.

    Args:
        value: What legacy code returned.
        response_key: Where the answer stands in returned data.
        where: Who returned it, for errors.

    Raises:
        MiddlewareError: If it is nothing that can be understood.
        Exception: `value` itself, if legacy code returns its errors.
    """
    if value is None:
        return Outcome()
    if isinstance(value, Exception):
        raise value
    if isinstance(value, StreamElement):
        return Outcome(elements=[value])
    if _has_status(value):
        return _of_output(value, response_key, where)
    if isinstance(value, Mapping):
        given = cast("Mapping[str, object]", value)
        if given and all(_has_status(one) for one in given.values()):
            return _of_graph(given, response_key, where)
        if "role" not in given or "content" not in given:
            return _of_data(dict(given), response_key)
    elif isinstance(value, list | tuple):
        return _of_list(cast("Iterable[object]", value), where)
    return _of_answer(value, where)  # pyright: ignore[reportUnknownArgumentType] - narrowed by what it is not


def _of_answer(value: object, where: str) -> Outcome:
    if as_message(value) is None:
        raise _strange(value, where)
    return Outcome(response=value, data=_described(value) if read(value, "role") is None else {})


def _has_status(value: object) -> bool:
    return read(value, "status") is not None and isinstance(read(value, "data"), Mapping)


def _status(value: object, where: str) -> Status:
    given = read(value, "status")
    for word in (given, read(given, "value"), read(given, "name")):
        if isinstance(word, str) and word.lower() in _WORDS:
            return _WORDS[word.lower()]
    message = (
        f"{where} returned the status {given!r:.80}, which is none of ok, skip, cancel, fail, retry; return one of them"
    )
    raise MiddlewareError("bad_result", message)


def _of_output(value: object, response_key: str, where: str) -> Outcome:
    outcome = _of_data(dict(read(value, "data")), response_key)
    outcome.status = _status(value, where)
    outcome.artifacts = list(read(value, "artifacts") or ())
    outcome.events = list(read(value, "events") or ())
    outcome.error = read(value, "error")
    outcome.duration_ms = read(value, "duration_ms")
    outcome.version = read(value, "version")
    return outcome


def _of_data(data: dict[str, object], response_key: str) -> Outcome:
    response = data.get(response_key)
    is_answer = response is not None and as_message(response) is not None
    return Outcome(data=data, response=response if is_answer else None)


def _of_graph(results: Mapping[str, object], response_key: str, where: str) -> Outcome:
    parts = {str(name): _of_output(one, response_key, f"{where}, its stage {name!r},") for name, one in results.items()}
    for status in (Status.FAIL, Status.CANCEL, Status.RETRY):
        for part in parts.values():
            if part.status is status:
                return dataclasses.replace(part, parts={})
    return Outcome(parts=parts)


def _of_list(values: Iterable[object], where: str) -> Outcome:
    outcome = Outcome()
    for value in values:
        if isinstance(value, StreamElement):
            outcome.elements.append(value)
        elif as_message(value) is not None:
            outcome.messages.append(value)
        else:
            raise _strange(value, where)
    return outcome


def _described(value: object) -> dict[str, object]:
    """Return what a record of a model's answer says of itself."""
    for method in ("to_dict", "model_dump"):
        convert: Any = getattr(value, method, None)
        if callable(convert):
            told = convert()
            return dict(cast("Mapping[str, object]", told)) if isinstance(told, Mapping) else {}
    return {}


def _strange(value: object, where: str) -> MiddlewareError:
    message = (
        f"{where} returned a {type(value).__name__}, which is no answer; return a text, a message, a dict of data, an output with "
        "a status, elements, or None"
    )
    return MiddlewareError("bad_result", message)
