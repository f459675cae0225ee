"""What do elements cost: to make, to copy with a change, to write as JSON and to read back, beside other ways to say the same?

All ways take short turns in one process, and the least of each one's turns is its figure: if each had a process of its own, a
processor that is slow for seconds would slow down one way alone. Nanoseconds of CPU time.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import statistics
import sys
import time
import timeit
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from streamflow import Priority, TextElement
from streamflow.elements import decode, encode

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale
from ._report import Report, Table, number, times

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 3)

OURS, DATACLASS, PYDANTIC = "TextElement", "dataclass", "pydantic"
IDLE = "a function that does nothing"
NAMES = {"create": "create", "copy": "copy", "encode": "JSON encode", "decode": "JSON decode"}
STEPS = tuple(NAMES)
TURN_S = 0.001
"""CPU time of one turn: short beside the slow spells of a processor, long beside the clock's grain."""


def cases(scale: Scale) -> list[Case]:
    """Return each step; a case has all ways to say an element."""
    return [Case(one, one, options={"turns": scale.size(200, 60)}) for one in STEPS]


def _ours() -> dict[str, Callable[[], object]]:
    element = TextElement("hello")
    text = encode(element)
    return {
        "create": lambda: TextElement("hello"),
        "copy": lambda: element.replace(text="y"),
        "encode": lambda: encode(element),
        "decode": lambda: decode(text),
    }


def _of_dataclass() -> dict[str, Callable[[], object]]:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Text:
        text: str
        metadata: Mapping[str, object] | None = None
        priority: int = 1
        type: str = "text"

    element = Text("hello")
    text = json.dumps(dataclasses.asdict(element))
    return {
        "create": lambda: Text("hello"),
        "copy": lambda: dataclasses.replace(element, text="y"),
        "encode": lambda: json.dumps(dataclasses.asdict(element)),
        "decode": lambda: Text(**json.loads(text)),
    }


def _of_pydantic() -> dict[str, Callable[[], object]]:
    import pydantic

    class Header(pydantic.BaseModel, frozen=True):
        v: Literal[1] = 1
        id: str = ""
        metadata: dict[str, pydantic.JsonValue] | None = None
        priority: Priority = Priority.NORMAL
        interruptible: bool = True
        timestamp_s: float | None = None

    class Text(Header, frozen=True):
        type: Literal["text"] = "text"
        text: str
        path: tuple[str | int, ...] = ()

    class Audio(Header, frozen=True):
        type: Literal["audio"] = "audio"
        data: bytes

    class Number(Header, frozen=True):
        type: Literal["number"] = "number"
        value: float

    # Its fastest ways that are documented: one adapter, told apart by a tag, and no default is written.
    either = pydantic.TypeAdapter(Annotated[Text | Audio | Number, pydantic.Field(discriminator="type")])
    element = Text(text="hello")
    data = encode(TextElement("hello"))  # both read the same bytes
    if either.validate_json(data) != element:
        raise AssertionError(f"pydantic reads something else in {data!r}")
    return {
        "create": lambda: Text(text="hello"),
        "copy": lambda: element.model_copy(update={"text": "y"}),
        "encode": lambda: element.model_dump_json(exclude_defaults=True),
        "decode": lambda: either.validate_json(data),
    }


_WAYS = {OURS: _ours, DATACLASS: _of_dataclass, PYDANTIC: _of_pydantic}


def measure(case: Case) -> Sample:
    """Take one step in all ways, in turns; the cost of calling a function that does nothing is taken off."""
    steps = {name: make()[case.peer] for name, make in _WAYS.items()}
    timers = {name: timeit.Timer(step, timer=time.thread_time) for name, step in {**steps, IDLE: lambda: None}.items()}
    for timer in timers.values():
        timer.timeit(100)  # the first call makes what it needs
    calls = {name: max(int(TURN_S / max(timer.timeit(100) / 100, 1e-9)), 1) for name, timer in timers.items()}
    least = dict.fromkeys(timers, math.inf)
    for _ in range(case.options["turns"]):
        for name, timer in timers.items():
            least[name] = min(least[name], timer.timeit(calls[name]) / calls[name])
    element = steps[OURS]()
    found: Sample = {name: max(least[name] - least[IDLE], 1e-10) * 1e9 for name in steps}
    found["bytes"] = {name: _bytes_of(step()) for name, step in steps.items()}
    found["dicts"] = sum(isinstance(one, dict) for one in gc.get_referents(element)) + hasattr(element, "__dict__")
    return found


def _bytes_of(element: object) -> int:
    return sys.getsizeof(element) + (sys.getsizeof(vars(element)) if hasattr(element, "__dict__") else 0)


def report(results: Results) -> Report:
    """Compare with pydantic, round by round."""
    steps = [step for step in STEPS if step in results]
    sizes = results.facts("create")["bytes"] if "create" in results else dict.fromkeys(_WAYS, "–")
    rows = [(name, *(number(results.best(step, name), 0) for step in steps), str(sizes[name])) for name in _WAYS]
    ratios = {step: _ratio(results, step) for step in STEPS}
    rows.append((f"{PYDANTIC} ÷ {OURS}", *(times(ratios[step]) for step in steps), "–"))
    header = ("a text element", *(f"{NAMES[step]} ns" for step in steps), "bytes")
    figures = {
        "create a text": results.best("create", OURS),
        "copy with a change": results.best("copy", OURS),
        "JSON encode: pydantic ÷ streamflow": ratios["encode"],
        "JSON decode: pydantic ÷ streamflow": ratios["decode"],
        "dicts per element": results.median("create", "dicts"),
    }
    return Report([Table("The least of all rounds", header, rows)], judged("elements", figures))


def _ratio(results: Results, step: str) -> float:
    pairs = zip(results.values(step, PYDANTIC), results.values(step, OURS), strict=True)
    return statistics.median(one / other for one, other in pairs)


if __name__ == "__main__":
    sys.exit(main(["elements", *sys.argv[1:]]))
