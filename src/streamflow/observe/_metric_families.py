"""Figures as monitoring systems take them: families of samples that differ by their labels, and the text that Prometheus reads.

Above: `_metric_instruments` (OpenTelemetry), `runtime` (a registry makes families of runs). Below: `_histogram`.

The text is version 0.0.4 of the exposition format (https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ..errors import ConfigError
from ._histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PROMETHEUS_CONTENT_TYPE", "Labels", "MetricFamily", "MetricSample", "prometheus_text"]

PROMETHEUS_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""What a server says of `prometheus_text()`."""

Labels: TypeAlias = "tuple[tuple[str, str], ...]"
"""Names and values, in one order for all samples of a family."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclasses.dataclass(frozen=True, slots=True)
class MetricSample:
    """One figure of a family."""

    labels: Labels
    """What it is about."""
    value: float | Histogram
    """The figure; durations of a histogram are seconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class MetricFamily:
    """Figures of one kind.

    Raises:
        ConfigError: If the name, or that of a label, is not made of letters, digits and underscores.
    """

    name: str
    """As in `streamflow_stage_sent`, without the ending that a format puts behind counters."""
    kind: Literal["counter", "gauge", "histogram"]
    """Whether it only grows, goes up and down, or is a histogram."""
    help: str
    """What it is, in one sentence."""
    unit: str = ""
    """As in `seconds`; empty for plain numbers."""
    samples: tuple[MetricSample, ...] = ()
    """The figures."""

    def __post_init__(self) -> None:
        for name in (self.name, *(label for one in self.samples for label, _ in one.labels)):
            if not _NAME.fullmatch(name):
                raise ConfigError("name", f"letters, digits and underscores were expected, got {name!r:.80}")


def prometheus_text(families: Iterable[MetricFamily]) -> str:
    """Return the text that Prometheus scrapes: serve it with `PROMETHEUS_CONTENT_TYPE`."""
    return "".join(line for family in families for line in _lines(family))


def _lines(family: MetricFamily) -> Iterator[str]:
    name = family.name + (f"_{family.unit}" if family.unit else "") + ("_total" if family.kind == "counter" else "")
    told = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# HELP {name} {told}\n# TYPE {name} {family.kind}\n"
    for one in family.samples:
        if isinstance(one.value, Histogram):
            yield from _of_histogram(name, one.labels, one.value)
        else:
            yield f"{name}{_labels(one.labels)} {_number(one.value)}\n"


def _of_histogram(name: str, labels: Labels, value: Histogram) -> Iterator[str]:
    so_far = 0
    for bound, count in zip(value.bounds_s, value.counts, strict=True):
        so_far += count
        yield f"{name}_bucket{_labels((*labels, ('le', _number(bound))))} {so_far}\n"
    yield f"{name}_sum{_labels(labels)} {_number(value.total_s)}\n{name}_count{_labels(labels)} {so_far}\n"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
