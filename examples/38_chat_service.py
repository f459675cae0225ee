"""A chat service: conversations in a store, answered step by step with tools; what is shown is what is stored.

The model is a script, so it runs offline; put `OpenAIProvider.from_env()` in its place, and `SQLiteStore("chat.db")` for the store.
"""

import anyio

from streamflow.agents import tool
from streamflow.apps import ChatDone, ChatError, ChatService, ChatServiceEvent, ChatSettings, StepShown
from streamflow.providers import (
    DelayStep,
    ScriptedProvider,
    ScriptTurn,
    TextStep,
    ThinkingStep,
    ToolCallStep,
    When,
)
from streamflow.state import MemoryStore


@tool
async def weather(city: str) -> str:
    """Say what the weather will be."""
    return f"rain in {city}"


MODEL = ScriptedProvider(
    turns=[
        ScriptTurn([TextStep("Yes: {result}.")], when=When(tool_result="weather")),
        ScriptTurn([ThinkingStep("I must look."), ToolCallStep("weather", {"city": "Rome"})], when="umbrella"),
        ScriptTurn([TextStep("Once upon a time"), DelayStep(60)], when="story"),
    ]
)


def show(event: ChatServiceEvent) -> None:
    match event:
        case StepShown(step=step):
            print(f"{step.id:7} {step.type:11} {step.name or step.content!r}")
        case ChatDone():
            print(f"done: {event.stop_reason}, {event.token_count} tokens")
        case ChatError():
            print(f"error: {event.content}")


async def main() -> None:
    async with MemoryStore() as store:
        service = ChatService(store, MODEL, tools=[weather])
        chat = await service.create(ChatSettings(title="Travel", system="Be brief."), id="ann/1")

        async with service.stream_response(chat.id, "Do I need an umbrella in Rome?") as response:
            async for event in response:
                show(event)

        async with service.stream_response(chat.id, "Tell me a story.") as response:
            async for event in response:
                show(event)
                if isinstance(event, StepShown) and event.step.content == " time":
                    response.stop()  # the user has read enough

        for message in await service.messages(chat.id):
            steps = ", ".join(step.type for step in message.steps)
            print(f"{message.role}: {message.text!r} {message.status} [{steps}]")


if __name__ == "__main__":
    anyio.run(main)
