"""Tracing: where each element was and how long, spans around it, and one file that https://ui.perfetto.dev opens."""

import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from streamflow import PipelineBuilder, PipelineConfig, TextElement, stage
from streamflow.observe import PerfettoFile, TraceList, Tracing, start_span
from streamflow.stages import BatchStage


@stage
async def translate(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        with start_span("dictionary", attributes={"words": len(element.text.split())}):  # a span of your own
            await anyio.sleep(0.05)
        yield TextElement(element.text.upper())


@stage
def check(element: TextElement) -> TextElement:
    return element


async def main():
    spans = TraceList()
    with tempfile.TemporaryDirectory() as folder, PerfettoFile(Path(folder) / "trace.json") as file:
        config = PipelineConfig(tracing=Tracing(name="translator", sinks=(spans, file)))
        pipeline = PipelineBuilder(config).chain(translate, check, BatchStage(2)).build()
        async with pipeline.execute(["good morning", "good night"]) as run:
            async for _ in run:
                pass

        (trace,) = run.traces()
        print(trace.element, "came through", " → ".join(trace.path))
        print("and is made of", 1 + len(trace.links), "elements of the source")
        print("in translate for 50 ms or more:", trace.time_in("translate") >= 0.05)
        print("times add up:", abs(sum(visit.duration_s for visit in trace.visits) - trace.duration_s) < 1e-9)

        for span in sorted(spans.spans, key=lambda one: one.name):
            print("span:", span.name, dict(span.attributes) if span.name == "dictionary" else "")

        file.close()
        events = json.loads((Path(folder) / "trace.json").read_text())
        print("in the file:", *sorted({event["args"]["name"] for event in events if event["name"] == "thread_name"}))


anyio.run(main)
