"""One agent in the events of two client protocols: AG-UI, which CopilotKit speaks, and the Vercel AI SDK, which `useChat` speaks.

The model is a script, so it runs offline. `streamflow serve-chat` serves both, and a page of its own.
"""

import json
from collections.abc import Iterable

import anyio

from streamflow import MessageElement, PipelineBuilder
from streamflow.agents import AgentStage, tool
from streamflow.providers import ScriptedProvider, ScriptTurn, TextStep, ToolCallStep, When
from streamflow.transports import AgUiEncoder, EventEncoder, ServerEvent, StreamEnd, VercelEncoder, read_ag_ui


@tool
async def weather(city: str) -> str:
    """Say what the weather is."""
    return f"3 degrees in {city}"


model = ScriptedProvider(
    turns=[
        ScriptTurn([ToolCallStep("weather", {"city": "Oslo"})], when="weather"),
        ScriptTurn([TextStep("Cold: {result}.")], when=When(tool_result="weather")),
    ]
    * 2  # it is asked twice
)
pipeline = PipelineBuilder().chain(AgentStage(model, [weather])).build()

REQUEST = b"""{"threadId": "t1", "runId": "r1",
               "messages": [{"id": "m1", "role": "user", "content": "What is the weather?"}]}"""


def show(events: Iterable[ServerEvent]) -> None:
    for event in events:
        if event.data.startswith("["):
            print("  [DONE]")
            continue
        told = json.loads(event.data)
        more = {key: told[key] for key in ("delta", "inputTextDelta", "toolName", "content", "output") if key in told}
        print(f"  {told['type']:<22}", *more.values() or "-")


async def answer(encoder: EventEncoder) -> None:
    """Show a run in one format; `sse_response(run, encoder=…)` sends the same to a client."""
    request = read_ag_ui(REQUEST)  # checked, within limits, as our own messages
    show(encoder.start())
    async with pipeline.execute([MessageElement(message) for message in request.messages]) as run:
        async for element in run:
            show(encoder.encode(element))
    show(encoder.finish(StreamEnd("done")))


async def main() -> None:
    print("AG-UI")
    await answer(read_ag_ui(REQUEST).encoder())
    print("Vercel AI SDK", VercelEncoder().headers)
    await answer(VercelEncoder())
    print("Each response has an encoder of its own:", AgUiEncoder().run_id != AgUiEncoder().run_id)


if __name__ == "__main__":
    anyio.run(main)
