"""Metrics: what stages do with their time, what limits a run, figures for Prometheus, who holds an edge up."""

import logging

import anyio

from streamflow import Event, MapAsyncStage, MapStage, PipelineBuilder, PipelineConfig, TextElement
from streamflow.observe import EdgeStalled
from streamflow.runtime import MetricsRegistry, RunStats
from streamflow.stages import SinkStage


async def think(element: TextElement) -> TextElement:
    await anyio.sleep(0.04)
    return element


async def speak(element: TextElement) -> TextElement:
    await anyio.sleep(0.008)
    return element


def show(stats: RunStats) -> None:
    """Durations differ each time, so only what they say is shown."""
    for name, one in stats.stages.items():
        assert one.times is not None
        times = {"busy": one.times.busy_s, "blocked": one.times.blocked_s, "idle": one.times.idle_s}
        print(f"  {name}: {one.received} in, {one.sent} out, mostly {max(times, key=lambda state: times[state])}")
    found = stats.bottleneck
    assert found is not None
    print(f"  limited by: {found.kind} {found.name}")


STALLED: set[str] = set()


def note(event: Event) -> None:
    if isinstance(event, EdgeStalled):
        STALLED.add(f"'{event.edge}' is {event.state}: {' waits for '.join(event.chain)}")


async def main():
    config = PipelineConfig(buffer_size=2, metrics=True)
    texts = [str(number) for number in range(30)]
    registry = MetricsRegistry()

    print("One call at a time:")
    slow = PipelineBuilder(config).chain(think, speak).build()
    registry.watch(slow, "slow")
    result = await slow.run(texts)
    assert result.stats is not None
    show(result.stats)

    print("Twenty at a time:")
    fast = PipelineBuilder(config).chain(MapAsyncStage(think, name="think", concurrency=20), speak).build()
    registry.watch(fast, "fast")
    result = await fast.run(texts)
    assert result.stats is not None
    show(result.stats)

    print("For Prometheus:")
    for line in registry.prometheus().splitlines():
        if line.startswith("streamflow_edge_received_total") and "source" in line:
            print(f"  {line}")

    print("An edge that stands still, beside a run that goes on:")
    monitor = SinkStage(lambda _element: anyio.sleep(0.6), name="monitor")
    builder = PipelineBuilder(PipelineConfig(buffer_size=1, stall_report_s=0.2)).chain(speak, think)
    builder.chain(MapStage(speak, name="copy"), monitor).tap("speak", "copy")
    logging.getLogger("streamflow.observe").setLevel(logging.ERROR)  # it is in the log, too
    await builder.on_event(note).build().run(texts)
    print("  " + "; ".join(STALLED))


if __name__ == "__main__":
    anyio.run(main)
