"""Figures as text for Prometheus, read by Prometheus' own parser; and histograms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from streamflow.errors import ConfigError
from streamflow.observe import Histogram, MetricFamily, MetricSample, Tally, prometheus_text

labels = st.text(st.characters(codec="utf-8", exclude_characters="\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), max_size=12)


@given(values=st.dictionaries(labels, st.floats(allow_nan=False), max_size=4), told=labels)
def test_the_text_is_read_as_it_was_meant(values: dict[str, float], told: str) -> None:
    """semantics 24.6: whatever is in labels and help texts."""
    samples = tuple(MetricSample((("stage", label),), value) for label, value in values.items())
    text = prometheus_text([MetricFamily("things", "counter", told, "seconds", samples)])
    (family,) = text_string_to_metric_families(text)
    assert family.type == "counter"
    assert {one.labels["stage"]: one.value for one in family.samples} == values
    assert all(one.name == "things_seconds_total" for one in family.samples)


@given(durations=st.lists(st.floats(0, 1e7)))
def test_a_histogram_is_read_with_its_buckets(durations: list[float]) -> None:
    """semantics 24.2, 24.6: each duration is in the first bucket that it does not exceed."""
    tally = Tally()
    for one in durations:
        tally.add(one)
    told = tally.read()
    assert (told.count, told.total_s) == (len(durations), pytest.approx(sum(durations)))
    text = prometheus_text([MetricFamily("wait", "histogram", "", "seconds", (MetricSample((), told),))])
    (family,) = text_string_to_metric_families(text)
    for one in family.samples:
        if one.name.endswith("_bucket"):
            bound = float(one.labels["le"])
            assert one.value == sum(duration <= bound * (1 + 1e-8) for duration in durations)


def test_quantiles_are_at_most_twice_too_long() -> None:
    """semantics 24.2: and None where there is nothing; two histograms can be added."""
    tally = Tally()
    tally.add(0.001, 90)
    tally.add(1.0, 10)
    told = tally.read()
    for share, true in ((0.5, 0.001), (0.9, 0.001), (0.95, 1.0)):
        found = told.quantile_s(share)
        assert found is not None
        assert true <= found <= 2 * true
    assert (told + told).count == 200
    assert (told + told).mean_s == told.mean_s
    assert Histogram().quantile_s(0.5) is None
    assert Histogram().mean_s is None
    assert (
        repr(Histogram((1, 1), 0.5)) == "Histogram(count=2, total_s=0.5)"
    )  # as many buckets as there are would hide the rest
    tally.add(1e9)
    assert tally.read().quantile_s(1) == math.inf


@pytest.mark.parametrize(("name", "label"), [("a-b", "c"), ("1a", "c"), ("a", "c d")])
def test_names_that_no_system_takes_are_refused(name: str, label: str) -> None:
    """semantics 24.6: at once."""
    with pytest.raises(ConfigError, match="letters, digits and underscores"):
        MetricFamily(name, "gauge", "", samples=(MetricSample(((label, "x"),), 1),))
