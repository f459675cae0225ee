"""Configuration: sizes, limits and switches, from code, the environment or a file; a wrong value is refused at once, by name."""

import datetime
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio

from streamflow import ConfigError, PassthroughStage, PipelineBuilder, PipelineConfig, Priority, TextElement

# The defaults with five things changed. `PipelineConfig(buffer_size=32, priority=True, …)` is the same, `replace(…)` too.
CONFIG = (
    PipelineConfig()
    .with_channel_buffer_size(32)  # wider edges share a task switch among more elements
    .with_priority_queue()  # an urgent element passes others
    .with_execution_timeout(datetime.timedelta(seconds=60))  # or 60.0
    .with_metrics()  # how full edges were, and how long their ends waited
    .with_tracing()  # where each element was, and how long
)

VARIABLES = {
    "APP_BUFFER_SIZE": "32",
    "APP_PRIORITY": "yes",
    "APP_TIMEOUT_S": "60",
    "APP_METRICS": "1",
    "APP_TRACING": "on",
}

TOML = """
[tool.streamflow]
buffer_size = 32
priority = true
timeout_s = 60.0
metrics = true
tracing = true
"""


def refused(make: Callable[[], PipelineConfig]) -> None:
    try:
        make()
    except ConfigError as error:
        print(f"refused: {error}")


async def main():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pyproject.toml"
        file.write_text(TOML, encoding="utf-8")
        from_file = PipelineConfig.from_toml(file, table="tool.streamflow")
    print("three ways, one result:", CONFIG == PipelineConfig.from_env("APP_", environ=VARIABLES) == from_file)

    # What it does, seen from outside: what is urgent leaves first, the run knows its edges, and each element was traced.
    events: Counter[str] = Counter()
    stages = [PassthroughStage("listen"), PassthroughStage("speak")]
    builder = PipelineBuilder(CONFIG).chain(*stages).on_event(lambda event: events.update([event.name]))
    async with builder.build().execute() as run:
        for text in ("one", "two", "three"):
            await run.send(text)
        await run.send(TextElement("stop!", priority=Priority.CRITICAL))
        run.close_input()
        print([text async for text in run.text()])
        edge = run.stats().edges["source → listen"]
        print(f"{edge.counts.name}: at most {edge.peak} of {edge.counts.capacity} places taken")
    print(f"{events['element.moved']} movements traced")

    # A wrong value names its field, and where it came from. Nothing is ignored, a misspelt name least of all.
    refused(lambda: PipelineConfig(buffer_size=0))
    refused(lambda: PipelineConfig().with_execution_timeout(-1))
    refused(lambda: PipelineConfig.from_env("APP_", environ={"APP_TIMEOUT_S": "soon"}))
    refused(lambda: PipelineConfig.from_env("APP_", environ={"APP_BUFER_SIZE": "8"}))


if __name__ == "__main__":
    anyio.run(main)
