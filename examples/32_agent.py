"""An agent: a model that calls tools until it has an answer, asks a person, and hands a task over to another agent.

The models are scripts, so it runs offline; put `OpenAIProvider.from_env()` in their place.
"""

import anyio

from streamflow import Message, MessageElement, PipelineBuilder, TextElement, TurnEnd
from streamflow.agents import AgentStage, Limits, ToolDecisionElement, Tools, agent_tool, tool
from streamflow.elements import ToolCallElement, ToolResultElement
from streamflow.providers import ScriptedProvider, ScriptTurn, TextStep, ToolCallStep, When


@tool
async def price(item: str) -> float:
    """Say what something costs, in euros."""
    return {"lamp": 39.5}.get(item, 0.0)


@tool(approve="ask")
async def order(item: str) -> str:
    """Order something; a person is asked first."""
    return f"one {item} is on its way"


shopper = ScriptedProvider(
    turns=[
        ScriptTurn([TextStep("Let me see."), ToolCallStep("price", {"item": "lamp"})], when="lamp"),
        ScriptTurn([ToolCallStep("poet", {"task": "a line about a lamp"})], when=When(tool_result="price")),
        ScriptTurn([ToolCallStep("order", {"item": "lamp"})], when=When(tool_result="poet")),
        ScriptTurn([TextStep("Done: {result}.")], when=When(tool_result="order")),
    ]
)
poet = AgentStage(ScriptedProvider(default="O lamp, thou little sun."), name="poet")
tools = Tools([price, order, agent_tool("poet", poet, description="Writes poems.")])
agent = AgentStage(shopper, tools, instructions="You run errands.", limits=Limits(rounds=8, time_s=60))

INPUT = [
    MessageElement(Message("user", "I need a lamp, and a poem.")),
    TurnEnd(),
    ToolDecisionElement("call-3-1", allow=True),  # what the person says when asked
    TurnEnd(),
]


async def main() -> None:
    async for element in PipelineBuilder().chain(agent).build().execute(INPUT):
        match element:
            case TextElement():
                print(f"[{element.metadata.get('agent', 'agent')}]{element.text}")
            case ToolCallElement():
                print("calls", element.name, dict(element.args))
            case ToolResultElement():
                print("gets", element.text)
            case TurnEnd():
                print("--", element.stop_reason, *element.pending, "after", element.metadata["rounds"], "round(s)")


if __name__ == "__main__":
    anyio.run(main)
