"""`MetricsRegistry`: the figures of all runs of several pipelines, for Prometheus and OpenTelemetry."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

from streamflow import MapStage, Pipeline, PipelineBuilder, PipelineConfig, StageError, TextElement
from streamflow.errors import ConfigError
from streamflow.observe import GenAIMetrics, Span, TraceContext
from streamflow.runtime import MetricsRegistry


def pipeline(*, metrics: bool = True, pause_s: float = 1) -> Pipeline:
    async def slowly(element: TextElement) -> TextElement:
        if element.text == "bad":
            raise ValueError
        await anyio.sleep(pause_s)
        return element

    return PipelineBuilder(PipelineConfig(metrics=metrics)).chain(MapStage(slowly, name='say "hi"')).build()


def series(registry: MetricsRegistry) -> dict[tuple[str, ...], float]:
    told: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(registry.prometheus()):
        for one in family.samples:
            if not one.name.endswith("_bucket"):
                told[(one.name.removeprefix("streamflow_"), *one.labels.values())] = one.value
    return told


async def test_runs_are_added_up_while_they_go_on_and_when_they_have_ended() -> None:
    """semantics 24.6: by pipeline; a run is counted once; gauges are of the runs that go on."""
    registry, one, other = MetricsRegistry(), pipeline(), pipeline(metrics=False)
    registry.watch(one, "one")
    registry.watch(other, "other")
    await one.run(["a", "b"])
    with pytest.raises(StageError):
        await other.run(["a", "bad"])
    async with one.execute() as run:
        for text in "cde":
            await run.send(text)
        await anyio.sleep(1.5)
        told = series(registry)
        assert told["runs_total", "one", "done"] == 1
        assert told["runs_active", "one"] == 1
        assert told["runs_active", "other"] == 0
        assert told["runs_total", "other", "error"] == 1
        assert told["stage_errors_total", "other", 'say "hi"'] == 1
        assert told["stage_received_total", "one", 'say "hi"'] == 4
        assert told["stage_state_seconds_total", "one", 'say "hi"', "busy"] == 3.5
        assert told["edge_depth", "one", 'source → say "hi"'] == 1
        assert told["edge_depth_peak", "one", 'source → say "hi"'] == 3
        assert ("stage_state_seconds_total", "other", 'say "hi"', "busy") not in told
    told = series(registry)
    assert told["runs_total", "one", "cancelled"] == 1
    assert told["edge_depth", "one", 'source → say "hi"'] == 0
    assert told["run_duration_seconds_sum", "one"] == 3.5
    assert told["first_element_seconds_count", "one"] == 2
    assert (
        told["edge_wait_seconds_count", "one", 'source → say "hi"']
        == told["edge_received_total", "one", 'source → say "hi"']
    )


async def test_there_are_as_many_series_as_the_graphs_have_parts() -> None:
    """semantics 24.6: however many runs there are; and no more pipelines than the registry watches."""
    registry, one = MetricsRegistry(max_pipelines=1), pipeline()
    registry.watch(one, "one")
    await one.run("a")
    before = len(series(registry))
    for _ in range(5):
        await one.run("a")
    assert len(series(registry)) == before
    with pytest.raises(ConfigError, match="'one' is watched already"):
        registry.watch(one, "one")
    with pytest.raises(ConfigError, match="1 pipelines already"):
        registry.watch(pipeline(), "two")
    for bad in ("", "x" * 201):
        with pytest.raises(ConfigError, match="name"):
            registry.watch(one, bad)
    with pytest.raises(ConfigError, match="max_pipelines"):
        MetricsRegistry(max_pipelines=0)


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_opentelemetry_asks_when_it_collects() -> None:
    """semantics 24.7: nothing is told in between; histograms as sum, count and quantiles."""
    registry, one, reader = MetricsRegistry(), pipeline(pause_s=0), InMemoryMetricReader()
    registry.watch(one, "one")
    registry.to_opentelemetry(MeterProvider([reader]))
    one.execute_sync(["a", "b"])
    told = points(reader)
    (received,) = told["streamflow.stage.received"]
    assert (received.value, dict(received.attributes)) == (2, {"pipeline": "one", "stage": 'say "hi"'})
    assert {one.attributes["state"]: one.value for one in told["streamflow.stage.state"]}["busy"] > 0
    assert [one.value for one in told["streamflow.stage.service.count"]] == [2]
    assert [one.value > 0 for one in told["streamflow.stage.service.sum"]] == [True]
    assert {one.attributes["quantile"] for one in told["streamflow.stage.service.quantile"]} == {"0.5", "0.95", "0.99"}
    one.execute_sync(["a"])
    (received,) = points(reader)["streamflow.stage.received"]
    assert received.value == 3


def test_model_calls_are_recorded_under_the_names_of_the_conventions() -> None:
    """semantics 24.7: duration and tokens of each call, by its span; of other spans nothing."""
    reader = InMemoryMetricReader()
    metrics = GenAIMetrics(MeterProvider([reader]))
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.input.messages": "secret",
    }
    context = TraceContext("a" * 32, "b" * 16)
    for name in ("chat", "execute_tool"):
        its = {**attributes, "gen_ai.operation.name": name}
        metrics.span(
            Span(
                name=name,
                context=context,
                parent_id=None,
                kind="client",
                began_ns=0,
                ended_ns=2_000_000_000,
                status="error",
                error="TimeoutError",
                attributes=its,
            )
        )
    told = points(reader)
    (duration,) = told["gen_ai.client.operation.duration"]
    assert (duration.sum, duration.count) == (2, 1)
    assert duration.attributes["error.type"] == "TimeoutError"
    assert {one.attributes["gen_ai.token.type"]: one.sum for one in told["gen_ai.client.token.usage"]} == {
        "input": 10,
        "output": 5,
    }
    assert "secret" not in str(told)
