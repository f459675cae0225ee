"""What do elements cost: to make, to copy with a change, to write as JSON and to read back, beside other ways to say the same?

The least of many repetitions, in nanoseconds of CPU time; for these small steps it is the figure that other work on the machine
disturbs least.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
import time
import timeit
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from streamflow import Priority, TextElement
from streamflow.elements import decode, encode

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale
from ._report import Report, Table, number, times

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (3, 3)

OURS, DATACLASS, PYDANTIC = "TextElement", "dataclass", "pydantic"
REPEATS = 15
EMPTY: Mapping[str, object] = types.MappingProxyType({})


def cases(scale: Scale) -> list[Case]:
    """Return each way to say an element."""
    return [Case(one, one, options={"calls": scale.size(20_000, 5_000)}) for one in (OURS, DATACLASS, PYDANTIC)]


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


def _best_ns(step: Callable[[], object], calls: int) -> float:
    nothing = min(timeit.repeat(lambda: None, timer=time.thread_time, number=calls, repeat=REPEATS))
    spent = min(timeit.repeat(step, timer=time.thread_time, number=calls, repeat=REPEATS))
    return max(spent - nothing, 0.0) / calls * 1e9


def measure(case: Case) -> Sample:
    """Take each step many times; the cost of calling a function that does nothing is taken off."""
    steps = _WAYS[case.peer]()
    found: Sample = {name: _best_ns(step, case.options["calls"]) for name, step in steps.items()}
    element = steps["create"]()
    found["bytes"] = sys.getsizeof(element) + (sys.getsizeof(vars(element)) if hasattr(element, "__dict__") else 0)
    found["dicts"] = sum(isinstance(one, dict) for one in gc.get_referents(element)) + hasattr(element, "__dict__")
    return found


def report(results: Results) -> Report:
    """Compare with pydantic, round by round."""
    steps = ("create", "copy", "encode", "decode")
    rows = [
        (label, *(number(results.best(label, step), 0) for step in steps), f"{results.facts(label)['bytes']}")
        for label in results.cases
    ]
    ratios = [
        (f"{PYDANTIC} ÷ {OURS}", *(times(results.ratio(PYDANTIC, OURS, step)) for step in steps), "–"),
    ]
    header = ("a text element", "create ns", "copy ns", "JSON encode ns", "JSON decode ns", "bytes")
    figures = {
        "create a text": results.best(OURS, "create"),
        "copy with a change": results.best(OURS, "copy"),
        "JSON encode: pydantic ÷ streamflow": results.ratio(PYDANTIC, OURS, "encode"),
        "JSON decode: pydantic ÷ streamflow": results.ratio(PYDANTIC, OURS, "decode"),
        "dicts per element": results.median(OURS, "dicts"),
    }
    return Report([Table("The least of all rounds", header, [*rows, *ratios])], judged("elements", figures))


if __name__ == "__main__":
    sys.exit(main(["elements", *sys.argv[1:]]))
