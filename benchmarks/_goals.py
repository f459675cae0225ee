"""What we want to reach, as data: each goal by its number, the question that measures it and the name of the figure.

Above: the questions, `_cli`. Below: `_report`.

A question returns its figures by name; `judged` makes goals of those that are named here. A figure is a ratio inside one run, the
median over the rounds, unless its name says otherwise. `limit` must be reached; `stretch` is what we want.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from ._report import Goal

__all__ = ["SUBJECTS", "TARGETS", "Target", "judged"]

SUBJECTS = {
    1: "default stages",
    2: "one more such stage",
    3: "map stages, batched",
    4: "fused stages",
    5: "latency",
    6: "a run of one element",
    7: "a blocking call",
    8: "many pipelines",
    9: "slow consumer",
    10: "growth",
    11: "fairness",
    12: "overlap",
    13: "elements",
    14: "features",
    15: "import",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A goal: the figure of a question, and what it should be."""

    number: int
    question: str
    figure: str
    limit: float
    stretch: float | None = None
    sense: Literal["at most", "at least"] = "at most"
    unit: str = "×"


def _at_least(
    number: int, question: str, figure: str, limit: float, *, stretch: float | None = None, unit: str = "×"
) -> Target:
    return Target(number, question, figure, limit, stretch, "at least", unit)


TARGETS = (
    Target(1, "throughput", "generators ÷ asyncio.Queue", 0.70, 0.60),
    Target(1, "throughput", "async for and send ÷ asyncio.Queue", 0.70, 0.60),
    _at_least(1, "throughput", "anyio streams ÷ generators", 16),
    _at_least(1, "throughput", "anyio streams ÷ generators, trio", 12),
    _at_least(1, "throughput", "Pipecat lean ÷ generators", 20),
    _at_least(1, "throughput", "Pipecat stock ÷ generators", 50),
    _at_least(1, "throughput", "genai Processor ÷ generators", 7),
    _at_least(1, "throughput", "LCEL ÷ generators", 10),
    _at_least(1, "throughput", "aiostream ÷ generators", 1.4),
    Target(1, "throughput", "generators, trio ÷ asyncio", 1.5),
    Target(1, "throughput", "async for and send, trio ÷ asyncio", 1.5),
    Target(2, "throughput", "one more: generators ÷ asyncio.Queue", 0.65, 0.55),
    Target(2, "throughput", "one more: async for and send ÷ asyncio.Queue", 0.65, 0.55),
    Target(2, "throughput", "one more: generators, trio ÷ asyncio", 1.5),
    Target(2, "growth", "one more stage: 10 to 100 ÷ 3 to 10", 1.3),
    Target(3, "fusion", "maps ÷ asyncio.Queue", 0.40, 0.36),
    Target(3, "fusion", "one more at capacity 64: maps ÷ bare generators", 1.4, 1.1),
    Target(3, "fusion", "maps, trio ÷ asyncio", 1.5),
    Target(4, "fusion", "3 fused, async source ÷ asyncio.Queue", 0.32, 0.22),
    Target(4, "fusion", "10 fused, async source ÷ asyncio.Queue", 0.17, 0.11),
    Target(4, "fusion", "3 fused, source in bursts ÷ asyncio.Queue", 0.25),
    _at_least(4, "fusion", "fused elements per second, best round", 1.0, stretch=1.5, unit=" M"),
    Target(4, "fusion", "3 fused, trio ÷ asyncio", 1.5),
    Target(5, "latency", "p50: generators ÷ asyncio.Queue", 0.95, 0.85),
    Target(5, "latency", "p50: generators ÷ anyio streams", 0.25),
    Target(5, "latency", "p50: generators ÷ Pipecat lean", 0.18),
    Target(5, "latency", "p99: generators ÷ asyncio.Queue", 1.1),
    Target(6, "startup", "one element: generators ÷ asyncio.Queue", 2, 1.4),
    Target(6, "startup", "one element: generators ÷ anyio streams", 0.35),
    Target(7, "execute_sync", "execute_sync ÷ asyncio.run(nothing)", 1.6),
    Target(7, "execute_sync", "in a session ÷ asyncio.run(nothing)", 1.0, 0.5),
    Target(8, "scale", "CPU of many: generators ÷ asyncio.Queue", 1.0, 0.7),
    Target(8, "scale", "KiB per live pipeline", 20, 14, unit=" KiB"),
    Target(8, "scale", "KiB per live pipeline, fused", 10, unit=" KiB"),
    Target(8, "scale", "CPU per pipeline: 10,000 ÷ 1,000", 2.2),
    Target(9, "slow_consumer", "source ahead of a slow consumer ÷ max_in_flight, most of both loops", 1.0),
    Target(9, "slow_consumer", "growth over the stream, most of both loops", 1024, unit=" KiB"),
    Target(10, "growth", "cost of an element: dearest ÷ cheapest length of stream", 1.25),
    *(Target(10, "fan", f"tee to {width}: streamflow ÷ asyncio.Queue", 0.40, 0.30) for width in (8, 32, 64)),
    Target(10, "fan", "merge of 64: streamflow ÷ asyncio.Queue", 0.30, 0.20),
    Target(10, "fan", "merge of 64 ÷ merge of 2", 2.0),
    Target(11, "fairness", "ticker gap p99 at 16: streamflow ÷ anyio streams", 1.5),
    Target(11, "fairness", "ticker gap p99 at 1,000,000", 2.0, unit=" ms"),
    Target(12, "overlap", "3 waiting stages ÷ 1", 1.10, 1.04),
    Target(13, "elements", "create a text", 80, unit=" ns"),
    Target(13, "elements", "copy with a change", 100, unit=" ns"),
    _at_least(13, "elements", "JSON encode: pydantic ÷ streamflow", 5),
    _at_least(13, "elements", "JSON decode: pydantic ÷ streamflow", 5),
    Target(13, "elements", "dicts per element", 0, unit=""),
    *(
        Target(14, "features_cost", f"{form}: {feature} on ÷ plain", limit, stretch)
        for form in ("generators", "functions")
        for feature, limit, stretch in (
            ("events and metrics", 1.25, 1.10),
            ("priority", 1.3, 1.2),
            ("element tracing", 2.0, 1.6),
        )
    ),
    *(
        Target(14, "features_cost", f"{form}: {feature} off ÷ without its questions", 1.03)
        for form in ("generators", "functions")
        for feature in ("events and metrics", "priority", "element tracing")
    ),
    Target(15, "import", "CPU of import streamflow over bare Python", 140, 110, unit=" ms"),
    Target(15, "import", "memory of a process that imports it", 30, unit=" MiB"),
)


def judged(question: str, figures: Mapping[str, float]) -> list[Goal]:
    """Return the goals of a question.

    Raises:
        KeyError: If no target is named like a figure: a typing mistake would hide a goal.
    """
    targets = {one.figure: one for one in TARGETS if one.question == question}
    found: list[Goal] = []
    for name, value in figures.items():
        target = targets[name]
        found.append(
            Goal(name, value, target.limit, target.sense, target.unit, stretch=target.stretch, number=target.number)
        )
    return found
