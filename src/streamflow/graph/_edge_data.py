"""What bounds an edge as JSON values, and back.

Above: `_dict`. Below: `_spec`, `channels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from ..channels import Weight, checked_overflow
from ..errors import ConfigError, DecodeError
from ._feedback import checked_feedback
from ._nesting import checked_priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..elements import StreamElement
    from ._spec import EdgeSpec, FeedbackSpec

__all__ = ["OPTIONS", "Weigh", "edge_to_data", "with_options"]

Weigh: TypeAlias = "Callable[[StreamElement], float]"
"""Returns what an element weighs."""

OPTIONS: Final = ("buffer", "overflow", "weight", "priority")
"""What may stand beside the ends of an edge."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def edge_to_data(edge: EdgeSpec) -> dict[str, object]:
    """Return what was said of an edge besides its ends; of a weight not its function."""
    weight = None if edge.weight is None else {"limit": edge.weight.limit, "unit": edge.weight.unit}
    overflow = None if edge.overflow == "block" else edge.overflow
    said: dict[str, object] = dict(zip(OPTIONS, (edge.buffer, overflow, weight, edge.priority), strict=True))
    if edge.feedback is not None:
        said["feedback"] = _feedback_to_data(edge.feedback)
    return {field: value for field, value in said.items() if value is not None}


def _feedback_to_data(spec: FeedbackSpec) -> dict[str, object]:
    told: dict[str, object] = {} if spec.max_rounds is None else {"max_rounds": spec.max_rounds}
    return told if spec.on_limit == "error" else {**told, "on_limit": spec.on_limit}


def with_options(edge: EdgeSpec, fields: Mapping[str, object], path: str, weights: Mapping[str, Weigh]) -> EdgeSpec:
    """Return an edge with what `edge_to_data()` wrote down.

    Args:
        edge: The edge.
        fields: What stands beside its ends.
        path: Where in the data.
        weights: The functions of weights, by unit.

    Raises:
        DecodeError: If something is wrong; `path` says where.
    """
    buffer = _buffer(fields.get("buffer"), f"{path}.buffer")
    return edge.replace(
        buffer=buffer,
        feedback=_feedback(fields.get("feedback"), buffer, f"{path}.feedback"),
        overflow=_checked(checked_overflow, fields.get("overflow", "block"), f"{path}.overflow"),
        weight=_weight(fields.get("weight"), f"{path}.weight", weights),
        priority=_checked(checked_priority, fields.get("priority"), f"{path}.priority"),
    )


def _buffer(value: object, path: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise DecodeError(f"an edge holds at least 1 element, got {_shown(value)}", path)


def _feedback(value: object, buffer: int | None, path: str) -> FeedbackSpec | None:
    if value is None:
        return None
    fields = cast("Mapping[str, object]", value)
    if not isinstance(value, Mapping) or not set(fields) <= {"max_rounds", "on_limit"}:
        raise DecodeError(f"an object with 'max_rounds' and 'on_limit' was expected, got {_shown(fields)}", path)
    try:
        return checked_feedback(buffer, fields.get("max_rounds"), fields.get("on_limit", "error"))[1]
    except ConfigError as wrong:
        raise DecodeError(str(wrong), path) from None


def _weight(value: object, path: str, weights: Mapping[str, Weigh]) -> Weight | None:
    if value is None:
        return None
    fields = cast("Mapping[str, object]", value)
    if not isinstance(value, Mapping) or set(fields) != {"limit", "unit"}:
        raise DecodeError(f"an object with 'limit' and 'unit' was expected, got {_shown(fields)}", path)
    limit, unit = fields["limit"], fields["unit"]
    if not isinstance(unit, str):
        raise DecodeError(f"a name was expected, got {_shown(unit)}", f"{path}.unit")
    if not isinstance(limit, int | float):
        raise DecodeError(f"a number was expected, got {_shown(limit)}", f"{path}.limit")
    return _checked(lambda number: Weight.known(number, unit, weights), limit, path)


def _checked(check_one: Callable[[_In], _Out], value: _In, path: str) -> _Out:
    """Return what a check of a setting returns, and tell what it refuses with its path."""
    try:
        return check_one(value)
    except ConfigError as error:
        raise DecodeError(error.message, path) from None


def _shown(value: object) -> str:
    """Return a value from outside for a message: short, and without a look into what may be nested deeply."""
    return f"{value!r:.80}" if value is None or isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
