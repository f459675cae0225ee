"""What bounds an edge: a number of elements, what they weigh, and what becomes of an element for which there is no room.

Above: `_bounded`, `_limited`, `graph`. Below: `elements`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

from .._records import Record
from ..elements import (
    AudioElement,
    ImageElement,
    OpaqueElement,
    StreamElement,
    TextElement,
    ThinkingElement,
    VideoElement,
    encode,
)
from ..errors import ConfigError, ElementError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

__all__ = ["EdgeBound", "Overflow", "Weight", "checked_overflow", "checked_weight"]

Overflow = Literal["block", "drop_oldest", "drop_newest", "latest", "error"]
"""What becomes of data for which there is no room: its sender waits; what has waited longest goes; what came last goes; only the
newest is kept (conflation); the sender fails with `EdgeOverflowError`."""


def _bytes_of(element: StreamElement) -> float:
    if isinstance(element, TextElement | ThinkingElement):
        return len(element.text.encode(errors="surrogatepass"))
    if isinstance(element, AudioElement | ImageElement | VideoElement | OpaqueElement) and element.data is not None:
        return len(element.data)
    return len(encode(element, format="msgpack"))


def _audio_ms_of(element: StreamElement) -> float:
    if not isinstance(element, AudioElement):
        return 0
    if element.duration_s is None:
        message = f"nobody knows how long audio of the format {element.format!r} plays; bound it by Weight.bytes()"
        raise ElementError(message)
    return element.duration_s * 1000


_LONGEST_UNIT: Final = 30
_KNOWN: Final = {"bytes": _bytes_of, "audio_ms": _audio_ms_of}


@dataclasses.dataclass(frozen=True, slots=True)
class Weight:
    """A bound by what the data in an edge weighs, beside the number of elements. Control weighs nothing.

    An element heavier than the whole bound is no error: it goes through alone, when the edge holds no other that weighs.

    ```python
    builder.connect("llm", "tts", weight=Weight(200, "tokens", count_tokens))
    builder.connect("tts", "play", weight=Weight.audio_ms(500))
    ```

    Args:
        limit: The bound, in units; a positive number.
        unit: What is counted, as in `tokens`: for `explain()`, and for graphs as data.
        of: Returns what an element weighs, in units: a number from 0 up, the same whenever it is asked. It must be quick.

    Raises:
        ConfigError: If the limit is no positive number, the unit no name, or `of` cannot be called.
    """

    limit: float
    """The bound, in units."""
    unit: str
    """What is counted."""
    of: Callable[[StreamElement], float]
    """Returns what an element weighs, in units."""

    def __post_init__(self) -> None:
        limit, unit = cast("object", self.limit), cast("object", self.unit)
        if not isinstance(limit, int | float) or isinstance(limit, bool) or not 0 < limit < math.inf:
            raise ConfigError("weight", f"a limit is a positive number of units, got {limit!r:.80}")
        if not isinstance(unit, str) or not 0 < len(unit.strip()) <= _LONGEST_UNIT or not unit.isprintable():
            message = f"a unit is a name of at most {_LONGEST_UNIT} characters, as 'tokens', got {unit!r:.80}"
            raise ConfigError("weight", message)
        if not callable(cast("object", self.of)):
            raise ConfigError("weight", f"of= is a function of one element, got {self.of!r:.80}")
        if self.of is not _KNOWN.get(unit, self.of):
            raise ConfigError(
                "weight", f"{unit!r} is a unit of our own; write Weight.{unit}({limit:g}), or rename yours"
            )

    @classmethod
    def known(cls, limit: float, unit: str, others: Mapping[str, Callable[[StreamElement], float]]) -> Self:
        """Return a bound in a unit of our own, or in one of `others`, which has its function.

        Raises:
            ConfigError: If the limit is no positive number, or nobody knows the unit.
        """
        of = _KNOWN.get(unit) or others.get(unit)
        if of is None:
            raise ConfigError(
                "weight", f"nobody knows how to weigh in {unit!r:.80}; give weights={{{unit!r:.80}: function}}"
            )
        return cls(limit, unit, of)

    @classmethod
    def bytes(cls, limit: float) -> Self:
        """Return a bound in bytes: of text its UTF-8, of media its `data`, of all else its MessagePack encoding."""
        return cls(limit, "bytes", _bytes_of)

    @classmethod
    def audio_ms(cls, limit: float) -> Self:
        """Return a bound in milliseconds of raw audio; nothing else weighs. Compressed audio is an `ElementError`."""
        return cls(limit, "audio_ms", _audio_ms_of)

    def weigh(self, element: StreamElement) -> float:
        """Return what an element weighs, in units.

        Raises:
            ElementError: If `of` raises, or returns no number from 0 up.
        """
        try:
            found = cast("object", self.of(element))
        except Exception as error:
            message = f"the weight of {element!r:.80} in {self.unit} is not to be had: {error!r:.200}"
            raise ElementError(message) from error
        if isinstance(found, int | float) and 0 <= found < math.inf:
            return found
        raise ElementError(f"the weight of {element!r:.80} in {self.unit} is no number from 0 up but {found!r:.80}")

    def __str__(self) -> str:
        return f"{self.limit:,.15g} {self.unit}".replace(",", "_")


class EdgeBound(Record, frozen=True):
    """All that bounds one edge."""

    capacity: int
    """The bound, in elements; of data alone and of control alone, where data can be dropped."""
    overflow: Overflow = "block"
    """What becomes of data for which there is no room."""
    weight: Weight | None = None
    """The bound by weight, if there is one."""
    lanes: bool = False
    """Whether there is a lane for each `Priority`."""


def checked_overflow(value: object) -> Overflow:
    """Return `value`, if it is a policy.

    Raises:
        ConfigError: If it is none.
    """
    if isinstance(value, str) and value in get_args(Overflow):
        return cast("Overflow", value)
    raise ConfigError("overflow", f"there are {', '.join(get_args(Overflow))}; got {value!r:.80}")


def checked_weight(value: object) -> Weight | None:
    """Return `value`, if it is a bound by weight, or None.

    Raises:
        ConfigError: If it is neither.
    """
    if value is None or isinstance(value, Weight):
        return value
    message = f"a Weight was expected, as Weight.bytes(1_000_000) or Weight(limit, unit, function), got {value!r:.80}"
    raise ConfigError("weight", message)
