"""Tools: typed functions, what a model is told of them, and what comes of calls that go well and of those that do not."""

import json

import anyio

from streamflow import PipelineBuilder, TurnEnd
from streamflow.agents import ToolContext, Tools, ToolStage, tool
from streamflow.elements import ToolCallElement, ToolResultElement
from streamflow.errors import ToolError


@tool
async def weather(city: str, days: int = 1) -> dict[str, object]:
    """Say what the weather will be.

    Args:
        city: Name of the city.
        days: How many days ahead.
    """
    if city == "Atlantis":
        raise ToolError("There is no such city; ask for another one.")
    await anyio.sleep(0.05)
    return {"city": city, "days": days, "sky": "clear"}


@tool(timeout_s=5)
def count(words: str) -> int:  # not async: it runs in a thread
    """Count words."""
    return len(words.split())


@tool(sequential=True, approve="ask")
async def delete(path: str, run: ToolContext[object]) -> str:
    """Delete a file."""
    await run.progress("deleting")
    return f"{path} is gone"


CALLS = [
    ToolCallElement("1", "weather", {"city": "Rome"}),
    ToolCallElement("2", "count", {"words": "how many words"}),
    ToolCallElement("3", "weather", {"city": "Atlantis"}),
    ToolCallElement("4", "count", {"words": ["not", "a", "text"]}),
    ToolCallElement("5", "fly", {}),
    ToolCallElement("6", "delete", {"path": "notes.txt"}),
]


async def main() -> None:
    print(json.dumps(weather.spec.parameters["properties"], indent=2))
    tools = Tools([weather, count, delete], max_parallel=4)
    pipeline = PipelineBuilder().chain(ToolStage(tools)).build()
    async for element in pipeline.execute([*CALLS, TurnEnd("tool_calls")]):
        match element:
            case ToolResultElement():
                print(element.call_id, element.status, element.text, sep=" | ")
            case TurnEnd():
                print("ended with", element.stop_reason, "and waits for", *element.pending)


if __name__ == "__main__":
    anyio.run(main)
